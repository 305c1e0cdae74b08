"""The n-grams of a model or a text as sorted arrays, one set per order, which point at each other.

The entries of order n are numbered by their place; each knows its prefix (all words but the last) and its suffix (all
but the first) as entries of order n - 1. Order 1 has one entry per word, entry and word being the same number; order 0
is the empty history, entry 0. Everything is done on whole arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

NONE = -1  # in place of an entry or a word that is not there


class RepeatedError(ValueError):
    """Two rows are the same n-gram. `order` is its order, `rows` are the two places in what was given."""

    def __init__(self, order: int, rows: tuple[int, int]):
        super().__init__(f"rows {rows} of order {order} are the same")
        self.order, self.rows = order, rows


@dataclass(frozen=True)
class Grams:
    """The n-grams of one order.

    key : int64 [M], ascending: prefix * size + last word
    suffix : int32 [M], entries of the order below
    size : of the vocabulary
    """

    key: np.ndarray
    suffix: np.ndarray
    size: int

    def __len__(self) -> int:
        return len(self.key)

    @cached_property
    def prefix(self) -> np.ndarray:
        """Int32 [M], entries of the order below, ascending."""
        return (self.key // self.size).astype(np.int32)

    @cached_property
    def word(self) -> np.ndarray:
        """Int32 [M], the last word; ascending under one prefix."""
        return (self.key % self.size).astype(np.int32)

    def find(self, prefix: np.ndarray, word: np.ndarray) -> np.ndarray:
        """The entries, int64, of prefixes continued by words; NONE where there is no such n-gram or no prefix."""
        key = prefix.astype(np.int64) * self.size + word
        place = np.searchsorted(self.key, key)
        place[place == len(self.key)] = 0
        there = (prefix >= 0) & (word >= 0)
        if len(self.key):
            there &= self.key[place] == key
        else:
            there[:] = False
        return np.where(there, place, NONE)

    def sums(self, values: np.ndarray, prefixes: int) -> np.ndarray:
        """Float64 [prefixes], the sum of values [M] over the continuations of each entry of the order below."""
        return np.bincount(self.prefix, values, prefixes)


Trie = Sequence[Grams]  # order 1 first; each prefix and suffix of an entry is an entry


def unigrams(size: int) -> Grams:
    """Every word of the vocabulary."""
    return Grams(np.arange(size, dtype=np.int64), np.zeros(size, np.int32), size)


def build(size: int, rows: Sequence[np.ndarray]) -> tuple[list[Grams], list[np.ndarray]]:
    """A trie of the n-grams, and where each of its entries stood in the rows.

    size : of the vocabulary
    rows : int32 [M, n] for n = 2, 3, ...: word numbers, in any order

    Prefixes and suffixes that are missing, as in pruned models, are put in; their place is NONE. Raises RepeatedError.
    """
    rows = list(rows)
    given = [len(table) for table in rows]
    while True:
        trie, places = [unigrams(size)], [np.arange(size)]
        missing = None
        for table in rows:
            grams, place, missing = _attach(trie, table)
            if missing is not None:
                break
            trie.append(grams)
            places.append(place)
        if missing is None:
            break
        below = missing.shape[1] - 2
        rows[below] = np.concatenate([rows[below], missing])
    return trie, [places[0]] + [np.where(p < many, p, NONE) for p, many in zip(places[1:], given, strict=True)]


def _attach(trie: list[Grams], rows: np.ndarray) -> tuple[Grams, np.ndarray, np.ndarray | None]:
    """The order above a trie, with each entry's place in the rows; or, third, what the trie lacks for that."""
    size, order = trie[0].size, rows.shape[1]
    prefix, suffix = entries(trie, rows[:, :-1]), entries(trie, rows[:, 1:])
    lacking = np.concatenate([rows[prefix == NONE, :-1], rows[suffix == NONE, 1:]])
    if len(lacking):
        return trie[0], lacking[:, 0], np.unique(lacking, axis=0)
    key = prefix * size + rows[:, -1]  # int64
    place = np.argsort(key, kind="stable")
    key = key[place]
    twice = np.flatnonzero(key[1:] == key[:-1])
    if len(twice):
        second = twice[np.argmin(place[twice + 1])] + 1
        raise RepeatedError(order, (int(place[second - 1]), int(place[second])))
    return Grams(key, suffix[place].astype(np.int32), size), place, None


def entries(trie: Trie, rows: np.ndarray) -> np.ndarray:
    """The entries, int64 [M], of the n-grams in rows [M, n], n >= 1 and no more than the trie has; NONE without one."""
    entry = rows[:, 0].astype(np.int64)
    for order in range(1, rows.shape[1]):
        entry = trie[order].find(entry, rows[:, order])
    return entry


def rows_of(trie: Trie, order: int, first: int, last: int) -> np.ndarray:
    """The words, int32 [last - first, order], of the entries first..last-1."""
    entry = np.arange(first, last)
    rows = np.empty((len(entry), order), np.int32)
    for place in range(order - 1, -1, -1):
        rows[:, place] = trie[place].word[entry]
        entry = trie[place].prefix[entry]
    return rows


def walk(trie: Trie, words: np.ndarray, start: int) -> list[np.ndarray]:
    """The n-grams that end at each word of a running text, int64 [T] for each order; NONE where there is none.

    words : int32 [T], NONE for a word that is not in the vocabulary
    start : the word that begins a sentence; no n-gram reaches over it
    """
    ending = [words.astype(np.int64)]
    for grams in trie[1:]:
        before = np.concatenate([[NONE], ending[-1][:-1]])
        before[words == start] = NONE
        ending.append(grams.find(before, words))
    return ending
