"""Words as a tree of their spellings, for a decoder to walk letter by letter; and lexicon files, one word a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from asr.alphabet import Alphabet, normalise
from asr.errors import UsageError
from kernels.beam import NO_WORD, Tree, empty_tree

SHOWN = 5  # words that a message names


def read_lexicon(path: str | Path) -> list[str]:
    """The words of a file in UTF-8, one a line, each once, normalised as texts are; empty lines are passed over.

    UsageError where it cannot be read, holds no word, or a line holds several.
    """
    words: dict[str, None] = {}
    for number, line in enumerate(read_lines(path), 1):
        word = normalise(line)
        if " " in word:
            raise UsageError(f"{path}, line {number}: {word!r} is not one word; a lexicon has one on each line")
        if word:
            words[word] = None
    if not words:
        raise UsageError(f"{path}: no word in this lexicon; write one on each line")
    return list(words)


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file in UTF-8, or a UsageError."""
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text in UTF-8 ({error.reason} at byte {error.start}); convert it") from error


def unspellable(words: Iterable[str], alphabet: Alphabet) -> list[str]:
    """The words that have a character outside the alphabet."""
    known = set(alphabet.characters)
    return [word for word in words if not known.issuperset(word)]


def some(words: list[str]) -> str:
    """The first few words of a list, for a message."""
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return ", ".join(repr(word) for word in words[:SHOWN]) + more


def spelling_tree(words: Mapping[str, int], alphabet: Alphabet, log_probs: np.ndarray | None = None) -> Tree:
    """The tree of words, which the alphabet can spell and none of which is empty; each leads to its number.

    log_probs : float [W], of each word by itself; None: all 0

    Nodes are numbered level by level, in the order of their spellings, so that a node's children stand side by side.
    """
    if not words:
        return empty_tree()
    spellings = _sorted_spellings(list(words), alphabet)
    labels, numbers = spellings.labels, np.array(list(words.values()), np.int32)[spellings.order]
    values = (np.zeros(len(words)) if log_probs is None else log_probs)[spellings.order].astype(np.float32)
    edge, word, parents = [np.zeros(1, np.int32)], [np.full(1, NO_WORD, np.int32)], [np.zeros(0, np.int64)]
    best = [values.max(keepdims=True)]
    node = np.zeros(len(labels), np.int64)  # of each word's beginning, up to the level
    fresh = np.zeros(len(labels), bool)  # whether it differs from that of the word before
    fresh[0] = True
    total = 1
    for level, column in enumerate(labels.T):
        there = column > 0
        fresh = fresh | np.concatenate([[True], column[1:] != column[:-1]])
        first = np.flatnonzero(fresh & there)
        edge.append(column[first])
        parents.append(node[first])
        node = total + np.cumsum(fresh & there) - 1
        here = np.full(len(first), NO_WORD, np.int32)
        ends = there & (spellings.lengths == level + 1)
        here[node[ends] - total] = numbers[ends]
        word.append(here)
        highest = np.full(len(first), -np.inf, np.float32)
        np.maximum.at(highest, node[there] - total, values[there])
        best.append(highest)
        total += len(first)
    children = np.bincount(np.concatenate(parents), minlength=total)
    begin = 1 + np.concatenate([[0], np.cumsum(children)])
    return Tree(
        begin.astype(np.int32), np.concatenate(edge).astype(np.int32), np.concatenate(word), np.concatenate(best)
    )


class _Spellings:
    """Words as rows of labels, int32 [W, longest], zeros behind their ends, in order."""

    def __init__(self, labels: np.ndarray, lengths: np.ndarray, order: np.ndarray):
        self.labels, self.lengths, self.order = labels, lengths, order


def _sorted_spellings(words: list[str], alphabet: Alphabet) -> _Spellings:
    lengths = np.array([len(word) for word in words])
    labels = np.zeros((len(words), lengths.max()), np.int32)
    labels[np.arange(labels.shape[1]) < lengths[:, None]] = alphabet.encode("".join(words))
    # as bytes, most significant first: several times as fast as column by column
    order = np.argsort(labels.astype(">i4").view(f"S{4 * labels.shape[1]}").ravel(), kind="stable")
    return _Spellings(labels[order], lengths[order], order)
