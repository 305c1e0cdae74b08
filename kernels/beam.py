"""CTC prefix beam search: what a caller says and gets, as arrays; `open_beam_search` gives what runs it.

Label 0 is the blank. A prefix is the labels of all CTC paths that spell it; its mass is the sum of their
probabilities (Hannun et al., 2014). What is known beyond the posteriors is a `Grammar`: words as a tree of labels, an
n-gram model as an automaton, patterns worth a boost as another. Logarithms are natural.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from kernels.cpu.beam import CpuBeamSearch

ROOM = 4096
NO_MODEL, WORDS, LABELS = 0, 1, 2  # what the tokens of a language model are
NO_WORD, UNLISTED = -1, -2  # of a place in the tree: no word ends there; one ends that the language model lacks


class Tree(NamedTuple):
    """Words as paths of labels from the root, node 0.

    The children of node i are the nodes first[i] .. first[i + 1] - 1, in the order of their labels.
    """

    first: np.ndarray  # int32 [N + 1]
    label: np.ndarray  # int32 [N], of the edge from the parent
    word: np.ndarray  # int32 [N]: the word's number in the language model, or NO_WORD, or UNLISTED
    best: np.ndarray  # float32 [N]: log-probability of the likeliest word here or below, whatever was before


class Automaton(NamedTuple):
    """An n-gram model with back-off: a state is a history, its arcs are the tokens seen after it."""

    arc_begin: np.ndarray  # int64 [S + 1]
    arc_token: np.ndarray  # int32 [A], sorted within a state
    arc_log_prob: np.ndarray  # float32 [A]
    arc_next: np.ndarray  # int32 [A], the state after the token
    backoff: np.ndarray  # float32 [S], what it costs to forget the oldest token
    backoff_state: np.ndarray  # int32 [S]; -1: the history is empty
    start: int  # the state before the first token
    end: int  # the token that ends a text; -1: there is none
    unknown: int  # the token for all that the model does not know; -1: there is none
    floor: float  # log-probability of such after the empty history, where there is no token for it


class Patterns(NamedTuple):
    """Label sequences that are worth something, as one automaton that has seen all labels so far."""

    next: np.ndarray  # int32 [H, C]; column 0, and the column of the space: a word's boundary
    held: np.ndarray  # float64 [H]: lent for a pattern that has begun; given back by what follows
    won: np.ndarray  # float64 [H]: given for the patterns that end here
    start: int  # the state before the first label


class Grammar(NamedTuple):
    """What is known of texts.

    A word ends before a space and at the end. It adds `weight` times its log-probability under the model of WORDS, and
    `bonus`. A model of LABELS adds the same for each label. The end adds `weight` times the log-probability of `end`.

    While a word of a model of WORDS is being spelled, what it may come to (`Tree.best`, `outside`) is lent to it, or
    the search would prefer words that never end. Its end settles that: it decides what the beam keeps, and is in no
    score.
    """

    space: int  # the label between words; 0: there is none
    level: int  # NO_MODEL, WORDS, LABELS
    closed: bool  # only the words of the tree may be spelled
    weight: float
    bonus: float
    outside: float  # log-probability of a word that is not in the tree, whatever was before
    tree: Tree
    model: Automaton
    spelling: Automaton  # how likely such a word is spelled so: its tokens are labels, its text is the word
    tokens: np.ndarray  # int32 [C]: the labels in the model of LABELS, or else in `spelling`; -1: it lacks one
    patterns: Patterns


class Reading(NamedTuple):
    """A text that a search has found; its labels' places are those of the likeliest path.

    A space is never first, last, or beside another.
    """

    labels: np.ndarray  # int32 [S]
    first: np.ndarray  # int32 [S], the step at which each begins
    stop: np.ndarray  # int32 [S], the step after its last
    peak: np.ndarray  # float32 [S], its highest log-probability there
    score: float  # `acoustic` and all that the grammar adds
    acoustic: float  # log of the mass


def empty_tree() -> Tree:
    """No word at all."""
    return Tree(
        np.array([1, 1], np.int32), np.zeros(1, np.int32), np.full(1, NO_WORD, np.int32), np.zeros(1, np.float32)
    )


def empty_automaton() -> Automaton:
    """A model that knows nothing, for a grammar without one."""
    no = np.zeros(0, np.int32)
    return Automaton(
        np.zeros(2, np.int64),
        no,
        np.zeros(0, np.float32),
        no,
        np.zeros(1, np.float32),
        np.full(1, -1, np.int32),
        0,
        -1,
        -1,
        0.0,
    )


def empty_patterns(classes: int) -> Patterns:
    """Nothing is worth anything."""
    return Patterns(np.zeros((1, classes), np.int32), np.zeros(1), np.zeros(1), 0)


def empty_grammar(classes: int, space: int = 0) -> Grammar:
    """Any text, none likelier than its sound: labels are 0 .. classes - 1."""
    tokens = np.full(classes, -1, np.int32)
    return Grammar(
        space,
        NO_MODEL,
        False,
        0.0,
        0.0,
        0.0,
        empty_tree(),
        empty_automaton(),
        empty_automaton(),
        tokens,
        empty_patterns(classes),
    )


def open_beam_search(threads: int | None = None, room: int = ROOM) -> CpuBeamSearch:
    """A search on the CPU with `threads` threads (None: all cores that this process may use), each with room for so
    many prefixes at first."""
    from kernels.cpu.beam import CpuBeamSearch
    from kernels.cpu.team import Team, available_threads

    return CpuBeamSearch(Team(available_threads() if threads is None else threads), room)
