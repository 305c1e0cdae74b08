"""A plain twin of the beam search: every path of a few steps, and a grammar as dictionaries.

Labels are written as characters: `_` the blank (label 0), then the space, then letters.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from kernels.beam import (
    LABELS,
    NO_MODEL,
    NO_WORD,
    UNLISTED,
    WORDS,
    Automaton,
    Grammar,
    Patterns,
    Tree,
    empty_automaton,
    empty_patterns,
    empty_tree,
)

SYMBOLS = "_ abc"
LETTER = math.log(1 / 27)
FLOOR = -7.0


def collapse(path: Sequence[int]) -> str:
    """The text of a path: repeats joined, blanks dropped, white space normalised."""
    text = "".join(SYMBOLS[label] for label, _ in itertools.groupby(path) if label)
    return " ".join(text.split())


class Found(NamedTuple):
    mass: float
    path: tuple[int, ...]  # the likeliest


def all_texts(log_probs: np.ndarray) -> dict[str, Found]:
    """Every text that log-probabilities [T, C] can spell, by going through all C**T paths."""
    T, C = log_probs.shape
    masses: dict[str, list[float]] = {}
    best: dict[str, tuple[float, tuple[int, ...]]] = {}
    for path in itertools.product(range(C), repeat=T):
        log_prob = float(sum(log_probs[t, label] for t, label in enumerate(path)))
        text = collapse(path)
        masses.setdefault(text, []).append(log_prob)
        best[text] = max(best.get(text, (-math.inf, ())), (log_prob, path))
    return {text: Found(float(np.logaddexp.reduce(each)), best[text][1]) for text, each in masses.items()}


@dataclass(frozen=True)
class Model:
    """A back-off model as two tables, as ARPA files have them; tokens are strings."""

    log_probs: Mapping[tuple[str, ...], float]
    backoffs: Mapping[tuple[str, ...], float] = field(default_factory=dict)

    @property
    def order(self) -> int:
        return max(map(len, self.log_probs))

    @property
    def tokens(self) -> list[str]:
        return sorted(gram[0] for gram in self.log_probs if len(gram) == 1)

    def known(self, token: str) -> str | None:
        if (token,) in self.log_probs:
            return token
        return "<unk>" if ("<unk>",) in self.log_probs else None

    def log_prob(self, history: Sequence[str], token: str) -> float:
        """By the definition: the longest history that was seen with the token."""
        name = self.known(token)
        seen = [self.known(each) or each for each in history][max(0, len(history) - self.order + 1) :]
        gram = (*seen, name) if self.order > 1 else (name,)
        if name is not None and gram in self.log_probs:
            return self.log_probs[gram]
        if len(gram) == 1:
            return FLOOR
        return self.backoffs.get(gram[:-1], 0.0) + self.log_prob(gram[1:-1], token)

    def automaton(self) -> Automaton:
        """The same as arrays."""
        histories = sorted(
            {()} | set(self.backoffs) | {gram[:-1] for gram in self.log_probs}, key=lambda h: (len(h), h)
        )
        number = {history: index for index, history in enumerate(histories)}
        ids = {token: index for index, token in enumerate(self.tokens)}

        def longest(gram: tuple[str, ...]) -> int:
            while gram not in number:
                gram = gram[1:]
            return number[gram]

        begin, arcs = [0], []
        for history in histories:
            here = sorted((ids[gram[-1]], gram) for gram in self.log_probs if gram[:-1] == history)
            arcs += here
            begin.append(len(arcs))
        return Automaton(
            np.array(begin, np.int64),
            np.array([token for token, _ in arcs], np.int32),
            np.array([self.log_probs[gram] for _, gram in arcs], np.float32),
            np.array([longest(gram[-self.order + 1 :] if self.order > 1 else ()) for _, gram in arcs], np.int32),
            np.array([self.backoffs.get(history, 0.0) for history in histories], np.float32),
            np.array([longest(history[1:]) if history else -1 for history in histories], np.int32),
            longest(("<s>",)),
            ids.get("</s>", -1),
            ids.get("<unk>", -1),
            FLOOR,
        )


def tree(words: Mapping[str, int]) -> Tree:
    """Words with their numbers."""
    prefixes = sorted(
        {word[:size] for word in words for size in range(len(word) + 1)} | {""}, key=lambda p: (len(p), p)
    )
    number = {prefix: index for index, prefix in enumerate(prefixes)}
    first = [
        next((number[p] for p in prefixes if p and number[p[:-1]] >= i), len(prefixes)) for i in range(len(prefixes))
    ]
    return Tree(
        np.array([*first, len(prefixes)], np.int32),
        np.array([SYMBOLS.index(p[-1]) if p else 0 for p in prefixes], np.int32),
        np.array([words.get(p, NO_WORD) for p in prefixes], np.int32),
        np.random.default_rng(1).normal(-3, 2, len(prefixes)).astype(np.float32),  # may change no score
    )


def patterns(phrases: Mapping[str, float]) -> Patterns:
    """Words and phrases that are worth something where they stand whole; a third of it is lent for a beginning."""
    worth = {f" {phrase} ": boost for phrase, boost in phrases.items()}
    states = sorted({text[:size] for text in worth for size in range(len(text) + 1)} | {""}, key=lambda s: (len(s), s))

    def longest(text: str) -> int:
        while text not in states:
            text = text[1:]
        return states.index(text)

    columns = [" ", *SYMBOLS[1:]]
    return Patterns(
        np.array([[longest(state + symbol) for symbol in columns] for state in states], np.int32),
        np.array([0.3 * len(state) for state in states]),
        np.array([sum(boost for text, boost in worth.items() if state.endswith(text)) for state in states]),
        longest(" "),
    )


@dataclass(frozen=True)
class Task:
    """A grammar in words."""

    model: Model | None = None
    level: int = NO_MODEL
    lexicon: tuple[str, ...] | None = None  # these words alone
    weight: float = 0.7
    bonus: float = 0.4
    hot: Mapping[str, float] = field(default_factory=dict)
    spelling: Model | None = None  # of words that the model lacks; None: `LETTER` for each letter

    def spelled(self, word: str) -> float:
        """How likely an unknown word is spelled so."""
        if self.spelling is None:
            return LETTER * len(word)
        letters = [*word, "</s>"]
        return sum(self.spelling.log_prob(["<s>", *letters[:i]], letter) for i, letter in enumerate(letters))

    def added(self, text: str) -> float:
        """All that a text gets beside its mass, by the definition; minus infinity: it is forbidden."""
        words = text.split()
        if self.lexicon is not None and not set(words) <= set(self.lexicon):
            return -math.inf
        total = sum(boost * f" {text} ".replace(" ", "  ").count(f" {phrase.replace(' ', '  ')} ")
                    for phrase, boost in self.hot.items())  # fmt: skip
        if self.level == NO_MODEL or self.model is None:
            return total + self.bonus * len(words)
        tokens = words if self.level == WORDS else ["<space>" if symbol == " " else symbol for symbol in text]
        for index, token in enumerate(tokens):
            total += self.weight * self.model.log_prob(["<s>", *tokens[:index]], token) + self.bonus
            if self.level == WORDS and (token,) not in self.model.log_probs and token not in (self.lexicon or ()):
                total += self.weight * self.spelled(token)
        return total + self.weight * self.model.log_prob(["<s>", *tokens], "</s>")

    def grammar(self) -> Grammar:
        ids = {token: index for index, token in enumerate(self.model.tokens)} if self.model else {}
        words = {word: index for word, index in ids.items() if self.level == WORDS and not word.startswith("<")}
        if self.lexicon is not None:
            words = {word: words.get(word, UNLISTED) for word in self.lexicon}
        named = ["", "<space>", *SYMBOLS[2:]]
        labels = self.model if self.level == LABELS else self.spelling
        numbers = {token: index for index, token in enumerate(labels.tokens)} if labels else {}
        return Grammar(
            SYMBOLS.index(" "),
            self.level,
            self.lexicon is not None,
            self.weight,
            self.bonus,
            -2.0,
            tree(words) if words else empty_tree(),
            self.model.automaton() if self.model else empty_automaton(),
            self.spelling.automaton() if self.spelling else empty_automaton()._replace(floor=LETTER),
            np.array([numbers.get(name, -1) for name in named], np.int32),
            patterns(self.hot) if self.hot else empty_patterns(len(SYMBOLS)),
        )


WORD_MODEL = Model(
    {
        ("<s>",): -99.0, ("</s>",): -1.2, ("<unk>",): -2.9, ("a",): -1.0, ("ab",): -1.6, ("c",): -2.2, ("ba",): -2.7,
        ("<s>", "a"): -0.4, ("a", "a"): -2.0, ("a", "ab"): -0.9, ("ab", "</s>"): -0.3, ("<unk>", "c"): -0.2,
        ("<s>", "a", "ab"): -0.1, ("a", "ab", "</s>"): -0.7,
    },
    {("<s>",): -0.3, ("a",): -0.5, ("ab",): -0.2, ("<unk>",): -0.1, ("<s>", "a"): -0.6, ("a", "ab"): -0.8},
)  # fmt: skip
CLOSED_MODEL = Model({gram: value for gram, value in WORD_MODEL.log_probs.items() if "<unk>" not in gram})
LETTER_MODEL = Model(
    {
        ("<s>",): -99.0, ("</s>",): -1.0, ("<space>",): -1.5, ("a",): -1.1, ("b",): -1.9, ("<s>", "a"): -0.3,
        ("a", "<space>"): -0.4, ("<space>", "b"): -0.2, ("a", "b"): -0.8,
    },
    {("<s>",): -0.5, ("a",): -0.2, ("<space>",): -0.4},
)  # fmt: skip
SPELLING = Model(
    {
        ("<s>",): -99.0, ("</s>",): -0.9, ("a",): -1.3, ("b",): -1.6, ("<s>", "b"): -0.2, ("b", "b"): -0.6,
        ("b", "</s>"): -1.1, ("<s>", "b", "b"): -0.1,
    },
    {("<s>",): -0.4, ("b",): -0.3, ("<s>", "b"): -0.7},
)  # fmt: skip
TASKS = {
    "nothing known": Task(bonus=0.0),
    "bonus": Task(bonus=0.8),
    "words": Task(WORD_MODEL, WORDS),
    "words and how others are spelled": Task(WORD_MODEL, WORDS, spelling=SPELLING),
    "words without unknown ones": Task(CLOSED_MODEL, WORDS),
    "words and a lexicon": Task(WORD_MODEL, WORDS, ("a", "ab", "b", "cab")),
    "a lexicon alone": Task(lexicon=("a", "ab", "cab")),
    "letters": Task(LETTER_MODEL, LABELS),
    "hot words": Task(hot={"a": 1.5, "b a": 2.5, "a b": -1.0, "ab": 0.7, "b": 0.3}, bonus=0.0),
    "all": Task(WORD_MODEL, WORDS, ("a", "ab", "b", "ba", "c"), hot={"ba": 3.0, "b c": 2.0}),
}


def posteriors(seed: int, T: int, classes: int = len(SYMBOLS), sharpness: float = 1.5) -> np.ndarray:
    """Log-probabilities float32 [T, C]."""
    logits = np.random.default_rng(seed).standard_normal((T, classes)) * sharpness
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
