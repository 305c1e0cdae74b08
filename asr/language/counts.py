"""How often each n-gram occurs in a text: sorting packed numbers, order by order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.language.ngram import END, START
from asr.language.trie import NONE, Grams, Trie, unigrams


@dataclass(frozen=True)
class Counts:
    """The n-grams of a text.

    words : the vocabulary; the word's number is its place
    grams : of each order; no n-gram reaches over a sentence's ends, `<s>` and `</s>` being parts of it
    counts : int64 [M] of each order; words of the vocabulary that do not occur have 0
    """

    words: list[str]
    grams: Trie
    counts: Sequence[np.ndarray]

    @property
    def order(self) -> int:
        return len(self.grams)

    @property
    def events(self) -> int:
        """How many words and sentence ends the text has: what a model predicts."""
        return int(self.counts[0].sum() - self.counts[0][self.words.index(START)])


def count(words: list[str], text: np.ndarray, order: int) -> Counts:
    """The n-grams up to an order, or up to the longest that the text has.

    words : the vocabulary, with `<s>` and `</s>`
    text : int32 [T], numbers of words; every sentence begins with `<s>` and ends with `</s>`
    """
    size, start = len(words), words.index(START)
    assert len(text) == 0 or (text[0] == start and text[-1] == words.index(END))
    grams, counts = [unigrams(size)], [np.bincount(text, minlength=size)]
    ending = text.astype(np.int32)  # by place in the text, the n-gram of the last order that ends there
    for _ in range(1, order):
        ends = np.flatnonzero((ending[:-1] != NONE) & (text[1:] != start)) + 1
        if not len(ends):
            break
        key, inverse, occurring = np.unique(
            ending[ends - 1].astype(np.int64) * size + text[ends], return_inverse=True, return_counts=True
        )
        suffix = np.empty(len(key), np.int32)
        suffix[inverse] = ending[ends]
        grams.append(Grams(key, suffix, size))
        counts.append(occurring)
        ending[:] = NONE
        ending[ends] = inverse
    return Counts(words, grams, counts)
