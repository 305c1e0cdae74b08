"""N-gram models with back-off (Katz 1987): probabilities, perplexity, and the automaton that a decoder walks.

p(w | h) is the model's own where it lists the n-gram h w, else backoff(h) p(w | h'), h' being h without its first
word. Logarithms are natural ones; ARPA files hold decimal ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from asr.language import trie
from asr.language.trie import NONE, Trie

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
SPECIAL = (UNKNOWN, START, END)
SPACE = "<space>"  # how files write the space of a character model
SPACES = (SPACE, "|", "\u2581", "_", "<sp>")  # and how those of other toolkits do
NEVER = -99 * math.log(10)  # log p of what is never predicted; files write it as -99


@dataclass(frozen=True)
class Automaton:
    """A model as arrays: a state is a history, and state 0 the empty one; an arc reads a word.

    The log probability of a word in a state is that of its arc; without one, `backoff_log_prob` plus what the same
    word has in `backoff_state`. State 0 has an arc for every word. After the arc one is in `arc_next`.

    arc_begin : int64 [S+1], the arcs of state s are arc_begin[s]..arc_begin[s+1]-1
    arc_word : int32 [A], ascending within a state
    arc_log_prob : float32 [A]
    arc_next : int32 [A], a state
    backoff_log_prob : float32 [S], 0 in state 0
    backoff_state : int32 [S], always less than s; NONE (-1) in state 0
    start : the state in which a sentence begins
    end_word : the word `</s>`
    unknown_word : the word `<unk>`; NONE (-1) in a model that has none
    """

    arc_begin: np.ndarray
    arc_word: np.ndarray
    arc_log_prob: np.ndarray
    arc_next: np.ndarray
    backoff_log_prob: np.ndarray
    backoff_state: np.ndarray
    start: int
    end_word: int
    unknown_word: int

    def step(self, state: int, word: int) -> tuple[float, int]:
        """Log probability of a word and the state after it: what a kernel does, for tests and for reading."""
        weight = 0.0
        while state != NONE:
            first, last = self.arc_begin[state], self.arc_begin[state + 1]
            arc = first + int(np.searchsorted(self.arc_word[first:last], word))
            if arc < last and self.arc_word[arc] == word:
                return weight + float(self.arc_log_prob[arc]), int(self.arc_next[arc])
            weight += float(self.backoff_log_prob[state])
            state = int(self.backoff_state[state])
        raise ValueError(f"{word} is not the number of a word")


@dataclass(frozen=True)
class Score:
    """What a model says of sentences; everything per sentence.

    log_prob : float64 [N], of the known words and the sentence's end
    words : int64 [N], the end not counted, the unknown ones counted
    unknown : int64 [N], words that are not in the vocabulary
    unknown_log_prob : float64 [N], what `<unk>` gives for those; -inf where there are any and the model has no `<unk>`
    """

    log_prob: np.ndarray
    words: np.ndarray
    unknown: np.ndarray
    unknown_log_prob: np.ndarray

    @property
    def perplexity(self) -> float:
        """Per known word and sentence end, as SRILM's; nan without a sentence."""
        events = int(self.words.sum() - self.unknown.sum()) + len(self.words)
        return math.exp(-float(self.log_prob.sum()) / events) if events else math.nan

    @property
    def open_perplexity(self) -> float:
        """Per word and sentence end, unknown words being `<unk>`, as KenLM's."""
        events = int(self.words.sum()) + len(self.words)
        total = float(self.log_prob.sum() + self.unknown_log_prob.sum())
        return math.exp(min(-total / events, 700)) if events else math.nan

    @property
    def unknown_rate(self) -> float:
        """Share of the words that are unknown; nan without a word."""
        words = int(self.words.sum())
        return int(self.unknown.sum()) / words if words else math.nan


@dataclass(frozen=True)
class NgramModel:
    """A back-off model. Made by `asr.language.read_arpa`, or from texts.

    words : the vocabulary; the word's number is its place. Always with `<s>` and `</s>`, mostly with `<unk>`. In a
        character model the words are single characters, the space too.
    grams : the n-grams of each order
    log_probs : float64 [M] of each order
    backoffs : float64 [M] of each order but the last
    frequencies : float64 [M] of each order: how often the n-gram comes, per word and sentence end of the text that the
        model was made of; empty where that is not known, as in a model that was read from a file
    """

    words: list[str]
    grams: Trie
    log_probs: Sequence[np.ndarray]
    backoffs: Sequence[np.ndarray]
    frequencies: Sequence[np.ndarray] = ()

    @property
    def order(self) -> int:
        return len(self.grams)

    @property
    def sizes(self) -> list[int]:
        """How many n-grams it has, by order."""
        return [len(grams) for grams in self.grams]

    @cached_property
    def ids(self) -> dict[str, int]:
        """The number of each word."""
        return {word: number for number, word in enumerate(self.words)}

    @cached_property
    def level(self) -> str:
        """`word`, or `character` where every word is one character and the space is among them."""
        single = all(len(word) == 1 for word in self.words if word not in SPECIAL)
        return "character" if single and " " in self.ids else "word"

    def log_prob(self, history: Sequence[str], word: str) -> float:
        """Log p(word | history), by the definition, slowly; -inf for a word that is not there, if `<unk>` is not.

        history : words before, with `<s>` in front if the sentence's beginning is meant
        """
        known = self._known(history)
        number = self.ids.get(word, self.ids.get(UNKNOWN))
        return -math.inf if number is None else self._back_off(known[max(0, len(known) - self.order + 1) :], number)

    def _known(self, history: Sequence[str]) -> list[int]:
        """Numbers of the words of a history, from behind the last one that has none."""
        numbers = [self.ids.get(word, self.ids.get(UNKNOWN, NONE)) for word in history]
        last = max((place for place, number in enumerate(numbers) if number == NONE), default=-1)
        return numbers[last + 1 :]

    def _back_off(self, history: list[int], word: int) -> float:
        entry = self._entry([*history, word])
        if entry != NONE:
            return float(self.log_probs[len(history)][entry])
        context = self._entry(history)
        weight = 0.0 if context == NONE else float(self.backoffs[len(history) - 1][context])
        return weight + self._back_off(history[1:], word)

    def _entry(self, words: list[int]) -> int:
        return int(trie.entries(self.grams, np.array([words], np.int32))[0])

    def encode(self, sentences: Iterable[Sequence[str]]) -> np.ndarray:
        """Word numbers of tokenised sentences, int32 [T], each between `<s>` and `</s>`; NONE for unknown words."""
        start, end, ids = self.ids[START], self.ids[END], self.ids
        numbers: list[int] = []
        for sentence in sentences:
            numbers.append(start)
            numbers.extend([ids.get(word, NONE) for word in sentence])
            numbers.append(end)
        return np.array(numbers, np.int32)

    def word_log_probs(self, words: np.ndarray) -> np.ndarray:
        """Log p of each word of a running text as `encode` makes it, float64 [T].

        Unknown words count as `<unk>`, as words before too; nan where there is none. `<s>` has no meaning here.
        """
        words = np.where(words == NONE, self.ids.get(UNKNOWN, NONE), words).astype(np.int32)
        ending = trie.walk(self.grams, words, self.ids[START])
        log_prob = np.where(words == NONE, np.nan, self.log_probs[0][words])
        for order in range(1, self.order):  # the definition, from the shortest history to the longest
            context = np.concatenate([[NONE], ending[order - 1][:-1]])
            context[words == self.ids[START]] = NONE
            found = ending[order]
            backed_off = log_prob + np.where(context == NONE, 0.0, self.backoffs[order - 1][context])
            log_prob = np.where(found == NONE, backed_off, self.log_probs[order][found])
        return log_prob

    def score(self, sentences: Iterable[Sequence[str]]) -> Score:
        """Log probabilities of tokenised sentences."""
        return self.score_text(self.encode(sentences))

    def score_text(self, words: np.ndarray) -> Score:
        """Log probabilities of the sentences of a running text as `encode` makes it, int32 [T]."""
        log_prob = self.word_log_probs(words)
        begins = np.flatnonzero(words == self.ids[START])
        unknown = (words == NONE) | (words == self.ids.get(UNKNOWN, NONE))
        counted = np.where(unknown | (words == self.ids[START]), 0.0, log_prob)
        of_unknown = np.where(unknown, np.nan_to_num(log_prob, nan=-np.inf), 0.0)
        lengths = np.diff(np.append(begins, len(words))) - 2
        return Score(
            _sums(counted, begins), lengths, _sums(unknown, begins).astype(np.int64), _sums(of_unknown, begins)
        )

    def automaton(self) -> Automaton:
        """The same probabilities as arrays to walk. Histories that tell nothing that shorter ones do not are merged."""
        counts = [np.array([len(self.words)])]  # of arcs, per state
        weights, below = [np.zeros(1)], [np.array([NONE])]
        reached: list[np.ndarray] = [np.zeros(1, np.int64)]  # by entry of each order, the state after it
        states = 1
        for order, grams in enumerate(self.grams, start=1):
            shorter = reached[-1][grams.suffix]
            if order == self.order:
                reached.append(shorter)
                break
            children = np.bincount(self.grams[order].prefix, minlength=len(grams))
            telling = (children > 0) | (self.backoffs[order - 1] != 0)
            reached.append(np.where(telling, states + np.cumsum(telling) - 1, shorter))
            counts.append(children[telling])
            weights.append(self.backoffs[order - 1][telling])
            below.append(shorter[telling])
            states += int(telling.sum())
        return Automaton(
            arc_begin=np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64),
            arc_word=np.concatenate([grams.word for grams in self.grams]),
            arc_log_prob=np.concatenate(self.log_probs).astype(np.float32),
            arc_next=np.concatenate(reached[1:]).astype(np.int32),
            backoff_log_prob=np.concatenate(weights).astype(np.float32),
            backoff_state=np.concatenate(below).astype(np.int32),
            start=int(reached[1][self.ids[START]]) if self.order > 1 else 0,
            end_word=self.ids[END],
            unknown_word=self.ids.get(UNKNOWN, NONE),
        )


def _sums(values: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Sums over the stretches of a text that begin at these places."""
    return np.add.reduceat(values, begins, dtype=np.float64) if len(begins) else np.zeros(0)
