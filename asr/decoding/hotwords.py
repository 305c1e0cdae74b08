"""Words and phrases that a decoder is to prefer, as an automaton that sees every label (Aho and Corasick, 1975).

A phrase counts where it stands whole, between the boundaries of words, and adds its boost to a text's score each time.
While it is being spelled, a growing part of the boost is lent to the beginning, so that the search does not drop it
for want of what comes at its end; what does not go on gives the loan back. The score of a finished text holds whole
boosts alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.alphabet import BLANK, Alphabet, normalise
from asr.decoding.lexicon import read_lines
from asr.errors import UsageError
from kernels.beam import Patterns, empty_patterns

BOOST = 5.0  # natural logarithm: as if the phrase were 150 times as likely
MOST_TRANSITIONS = 100_000_000  # of the automaton: states times labels, four bytes each


@dataclass(frozen=True)
class HotWord:
    """A word or phrase, normalised, and what it adds to the natural logarithm of a text's probability; a negative boost
    makes it less likely."""

    phrase: str
    boost: float = BOOST

    def __post_init__(self) -> None:
        if not self.phrase or self.phrase != normalise(self.phrase):
            raise UsageError(f"a hot word must be a normalised text, not {self.phrase!r}")
        if not math.isfinite(self.boost):
            raise UsageError(f"the boost of {self.phrase!r} must be a number, not {self.boost}")


def read_hotwords(path: str | Path, boost: float = BOOST) -> list[HotWord]:
    """The words and phrases of a file in UTF-8, one a line, each perhaps with a tab and its own boost behind it.

    UsageError where it cannot be read, holds none, or a line is wrong.
    """
    found = []
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        phrase, tab, own = line.partition("\t")
        try:
            found.append(HotWord(normalise(phrase), float(own) if tab else boost))
        except ValueError:
            raise UsageError(f"{path}, line {number}: {own!r} is no boost; write a number after the tab") from None
        except UsageError as error:
            raise UsageError(f"{path}, line {number}: {error}") from error
    if not found:
        raise UsageError(f"{path}: no hot word; write one word or phrase on each line")
    return found


def patterns(hotwords: Sequence[HotWord], alphabet: Alphabet) -> Patterns:
    """The automaton. UsageError where a phrase stands twice, or has a character outside the alphabet."""
    if not hotwords:
        return empty_patterns(alphabet.size)
    tree = _Tree(alphabet)
    for hotword in hotwords:
        tree.add(hotword)
    return tree.patterns()


class _Tree:
    """The phrases as a tree of labels; the label BLANK is the boundary of a word."""

    def __init__(self, alphabet: Alphabet):
        self._alphabet = alphabet
        self._space = alphabet.characters.find(" ") + 1
        self._children: list[dict[int, int]] = [{}]
        self._held, self._won = [0.0], [0.0]
        self._seen: set[str] = set()

    def add(self, hotword: HotWord) -> None:
        if hotword.phrase in self._seen:
            raise UsageError(f"the hot word {hotword.phrase!r} stands twice; give it one boost")
        self._seen.add(hotword.phrase)
        node = 0
        path = self._path(hotword.phrase)
        for depth, label in enumerate(path):
            node = self._children[node].setdefault(label, len(self._children))
            if node == len(self._children):
                self._children.append({})
                self._held.append(0.0)
                self._won.append(0.0)
            if depth < len(path) - 1:  # the first boundary alone is worth nothing yet: every word begins with one
                self._held[node] = max(self._held[node], hotword.boost * depth / (len(path) - 1))
        self._won[node] += hotword.boost

    def _path(self, phrase: str) -> list[int]:
        """The labels from boundary to boundary; without a space in the alphabet there are none to be seen."""
        try:
            labels = self._alphabet.encode(phrase).tolist()
        except UsageError as error:
            raise UsageError(f"the hot word {phrase!r} cannot be spelled: {error}") from error
        if not self._space:
            return [int(label) for label in labels]
        return [BLANK, *(BLANK if label == self._space else int(label) for label in labels), BLANK]

    def patterns(self) -> Patterns:
        size = len(self._children), self._alphabet.size
        if size[0] * size[1] > MOST_TRANSITIONS:
            raise UsageError(
                f"{len(self._seen)} hot words are too many for an alphabet of {size[1]} labels; name fewer"
            )
        after = np.zeros(size, np.int32)
        held, won = np.array(self._held), np.array(self._won)
        waiting = [(0, 0)]  # nodes with the longest other node that they end with, level by level
        for node, other in waiting:
            if node:
                after[node] = after[other]
                held[node] = max(held[node], held[other])
                won[node] += won[other]
            for label, child in self._children[node].items():
                waiting.append((child, int(after[node, label]) if node else 0))
                after[node, label] = child
        if self._space:
            after[:, self._space] = after[:, BLANK]
        return Patterns(after, held, won, int(after[0, BLANK]))
