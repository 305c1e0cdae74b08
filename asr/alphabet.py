"""Characters and labels: how text becomes what a network is trained on, and back.

normalise           one spelling of a text for every way that it may be written down
strip_punctuation   only what is spoken: letters, digits, apostrophes inside words, spaces
Alphabet            the characters a model knows; label 0 is the blank of CTC
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from asr.errors import UsageError

BLANK = 0  # the label of no character (Graves and others 2006)

_INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u00ad"))  # byte order mark, zero-width space, soft hyphen
_APOSTROPHES = dict.fromkeys(map(ord, "‘’‛ʼ＇"), "'")


def normalise(text: str) -> str:
    """Unicode NFC and lower case, typographic apostrophes as ', each run of white space one space, none at the ends.

    Byte order marks, zero-width spaces and soft hyphens go; line ends are white space. Punctuation stays. Of a sentence
    between `<s>` and `</s>`, as Sphinx and others write transcripts, the marks go. Normalising twice changes nothing
    more.
    """
    text = unicodedata.normalize("NFC", text.translate(_INVISIBLE))
    text = unicodedata.normalize("NFC", text.lower())  # lower case of a composed letter may be decomposed
    words = text.translate(_APOSTROPHES).split()
    while len(words) > 1 and (words[0], words[-1]) == ("<s>", "</s>"):
        words = words[1:-1]
    return " ".join(words)


def strip_punctuation(text: str) -> str:
    """Letters with their marks, digits, and apostrophes inside words; all else, the hyphen too, becomes a space."""
    kept = "".join(character if character == "'" or _is_spoken(character) else " " for character in text)
    words = (word.strip("'") for word in kept.split())
    return " ".join(word for word in words if word)


def _is_spoken(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"  # letter, mark, number


@dataclass(frozen=True)
class Alphabet:
    """The characters of a model's texts: label i + 1 is `characters[i]`, label 0 is the blank.

    Raises UsageError when a character stands twice or there is none.
    """

    characters: str

    def __post_init__(self) -> None:
        if not self.characters:
            raise UsageError("an alphabet needs at least one character; are all texts empty?")
        twice = sorted({character for character in self.characters if self.characters.count(character) > 1})
        if twice:
            raise UsageError(f"an alphabet names each character once, but has {_quoted(twice)} more than once")

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> Alphabet:
        """All characters of the texts, in code point order; the space, which sorts first, is always among them."""
        characters = {" "}.union(*texts)
        if characters == {" "}:
            raise UsageError("no alphabet can be made of texts without a character; check the corpus's transcripts")
        characters.remove(" ")
        return cls(" " + "".join(sorted(characters)))

    @property
    def size(self) -> int:
        """Number of labels, the blank among them."""
        return len(self.characters) + 1

    def encode(self, text: str) -> np.ndarray:
        """The labels of a text, int32 [S]. Raises UsageError, with the characters, where the alphabet lacks any."""
        labels = [self._labels.get(character, BLANK) for character in text]
        if BLANK in labels:
            raise UsageError(f"outside the alphabet: {_quoted(self.outside(text))} in {text!r}; remove or replace them")
        return np.array(labels, np.int32)

    def decode(self, labels: Sequence[int] | np.ndarray) -> str:
        """The text of labels 0 <= label < size. Blanks are passed over; repeats are kept: they are not a path."""
        labels = np.asarray(labels, np.int64)
        if labels.size and (labels.min() < 0 or labels.max() >= self.size):
            raise UsageError(f"labels must lie in 0..{self.size - 1}, not in {labels.min()}..{labels.max()}")
        return "".join(self.characters[label - 1] for label in labels if label != BLANK)

    def outside(self, text: str) -> set[str]:
        """The characters of a text that the alphabet lacks."""
        return set(text).difference(self._labels)

    @cached_property
    def _labels(self) -> dict[str, int]:
        return {character: label for label, character in enumerate(self.characters, start=1)}


def _quoted(characters: Iterable[str]) -> str:
    """Characters for a message, with the code points of those that may not be seen."""
    return ", ".join(f"{c!r} (U+{ord(c):04X})" for c in sorted(characters))
