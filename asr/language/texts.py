"""Texts for language models: sentences, one a line, split as transcripts are for training, as numbers.

Tokenizer       sentence -> words, or characters
read_sentences  the lines of a file, compressed or not
Text            many sentences, each word a number
vocabulary      the words that a model will know
"""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from asr.alphabet import normalise, strip_punctuation
from asr.errors import CorpusError, UsageError
from asr.language.arpa import open_compressed
from asr.language.ngram import END, SPECIAL, START, UNKNOWN

CHUNK = 1 << 20  # words put together as a list before they become an array


class Tokenizer:
    """Words of a sentence, or characters with the spaces between words, after the normalisation of training.

    A sentence may stand between `<s>` and `</s>`. UsageError where these or `<unk>` are anywhere else.

    level : "word" or "character"
    punctuation : "strip" or "keep", as `TextConfig.punctuation`
    """

    def __init__(self, level: str = "word", punctuation: Literal["strip", "keep"] = "strip"):
        if level not in ("word", "character"):
            raise UsageError(f"level: {level!r} is neither word nor character")
        if punctuation not in ("strip", "keep"):
            raise UsageError(f"punctuation: {punctuation!r} is neither strip nor keep")
        self.level, self.punctuation = level, punctuation
        self._known: dict[str, list[str]] = {}  # what stands between two spaces, as words: texts repeat themselves

    def __call__(self, sentence: str) -> list[str]:
        words: list[str] = []
        pieces = sentence.split()
        if pieces and pieces[0].lower() == START and pieces[-1].lower() == END:
            pieces = normalise(sentence).split()  # without them
        for piece in pieces:
            known = self._known.get(piece)
            words += self._learn(piece) if known is None else known
        return words if self.level == "word" else list(" ".join(words))

    def _learn(self, piece: str) -> list[str]:
        text = normalise(piece)
        if text in SPECIAL:
            raise UsageError(f"the word {text} has a meaning of its own in a language model; take it out")
        words = (strip_punctuation(text) if self.punctuation == "strip" else text).split()
        self._known[piece] = words
        return words


def read_sentences(path: Path, opened: BinaryIO | None = None) -> Iterator[str]:
    """The lines of a text file in UTF-8, which gzip, bzip2 or xz may have compressed. Raises CorpusError.

    opened : read instead of it, if given; `path` is its name then
    """
    number = 0
    try:
        with nullcontext(opened) if opened else open_compressed(path) as file:
            for number, line in enumerate(file, start=1):  # noqa: B007  for the message
                yield line.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path}, line {number}: not UTF-8 (byte 0x{error.object[error.start]:02x}); convert the file to UTF-8"
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise CorpusError(f"{path}: the compressed file is damaged or cut off ({error}); get it again") from error
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error


@dataclass(frozen=True)
class Text:
    """Sentences as numbers.

    name : of the file or corpus, for messages
    types : the words that occur, by number; `<s>` and `</s>` are the first two
    tokens : int32 [T], every sentence between `<s>` and `</s>`
    """

    name: str
    types: list[str]
    tokens: np.ndarray

    @classmethod
    def read(cls, name: str, sentences: Iterable[str], tokenize: Tokenizer) -> Text:
        """Sentences without a word are left out. Raises UsageError where none is left."""
        ids: defaultdict[str, int] = defaultdict()
        ids.default_factory = ids.__len__
        start, end = ids[START], ids[END]
        parts, numbers = [], [0] * 0
        for number, sentence in enumerate(sentences, start=1):
            try:
                words = tokenize(sentence)
            except UsageError as error:
                raise UsageError(f"{name}, sentence {number}: {error}") from error
            if words:
                numbers.append(start)
                numbers += [ids[word] for word in words]
                numbers.append(end)
            if len(numbers) >= CHUNK:
                parts.append(np.array(numbers, np.int32))
                numbers.clear()
        parts.append(np.array(numbers, np.int32))
        if len(ids) == 2:
            raise UsageError(f"{name}: no word in it; give a text with one sentence a line, or a corpus")
        return cls(name, list(ids), np.concatenate(parts))

    @property
    def words(self) -> int:
        """How many there are, sentence ends not counted."""
        return len(self.tokens) - 2 * self.sentences

    @property
    def sentences(self) -> int:
        return int((self.tokens == 0).sum())

    @property
    def longest(self) -> int:
        """Words of the longest sentence."""
        return int(np.diff(np.append(np.flatnonzero(self.tokens == 0), len(self.tokens))).max()) - 2

    def encode(self, words: Sequence[str]) -> np.ndarray:
        """The tokens as numbers of a vocabulary, int32 [T]; other words are its `<unk>`."""
        ids = {word: number for number, word in enumerate(words)}
        unknown = ids[UNKNOWN]
        numbers: np.ndarray = np.array([ids.get(word, unknown) for word in self.types], np.int32)[self.tokens]
        return numbers


def vocabulary(
    texts: Sequence[Text], min_count: int = 1, given: Sequence[str] | None = None, alphabet: str = ""
) -> list[str]:
    """The words that a model of these texts knows, sorted, after `<unk>`, `<s>` and `</s>`.

    min_count : how often a word must occur in all texts together
    given : these words instead, whether they occur or not
    alphabet : of a recogniser; words with another character cannot be recognised, and are left out

    Raises UsageError for a given word outside the alphabet, and where no word is left.
    """
    if min_count < 1:
        raise UsageError(f"min-count: {min_count} is below 1")
    if given is not None:
        outside = [word for word in given if alphabet and not set(word) <= set(alphabet)]
        if outside:
            raise UsageError(
                f"the vocabulary has words outside the alphabet ({outside[0]!r}, {len(outside)} in all); "
                "take them out, or spell them with the alphabet's characters"
            )
        words = set(given)
    else:
        counts: defaultdict[str, int] = defaultdict(int)
        for text in texts:
            for word, count in zip(text.types, np.bincount(text.tokens, minlength=len(text.types)), strict=True):
                counts[word] += int(count)
        words = {word for word, count in counts.items() if count >= min_count}
        words = {word for word in words if not alphabet or set(word) <= set(alphabet)}
    words -= set(SPECIAL)
    if not words:
        rule = f"occurs often enough (min-count {min_count})" if given is None else "is given"
        within = " and is within the alphabet" if alphabet else ""
        raise UsageError(f"the vocabulary is empty: no word {rule}{within}")
    return [*SPECIAL, *sorted(words)]
