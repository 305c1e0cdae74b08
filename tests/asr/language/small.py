"""Small models and what must hold for any model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from hypothesis import strategies

from asr.language import NgramModel, trie
from asr.language.counts import Counts, count
from asr.language.kneser_ney import kneser_ney
from asr.language.ngram import START
from asr.language.texts import Text, Tokenizer, vocabulary

WORDS = "abcd"
TEXTS = strategies.lists(
    strategies.lists(strategies.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join), min_size=1, max_size=12
)
ORDERS = strategies.integers(1, 4)


def counts_of(sentences: Iterable[str], order: int, words: list[str] | None = None) -> Counts:
    text = Text.read("text", sentences, Tokenizer())
    words = words or vocabulary([text])
    return count(words, text.encode(words), order)


def model_of(sentences: Iterable[str], order: int, words: list[str] | None = None) -> NgramModel:
    return kneser_ney(counts_of(sentences, order, words))


def ngrams(model: NgramModel) -> dict[tuple[str, ...], tuple[float, float]]:
    """Log probability and back-off weight of each n-gram by its words."""
    listed = {}
    for order, log_probs in enumerate(model.log_probs, start=1):
        backoffs = model.backoffs[order - 1].tolist() if order < model.order else [0.0] * len(log_probs)
        rows = trie.rows_of(model.grams, order, 0, len(log_probs)).tolist()
        for row, p, weight in zip(rows, log_probs.tolist(), backoffs, strict=True):
            listed[tuple(model.words[number] for number in row)] = (p, weight)
    return listed


def histories(model: NgramModel) -> list[tuple[str, ...]]:
    """Those that the model lists, and some that it does not."""
    listed = [words for words in ngrams(model) if len(words) < model.order]
    return [(), *listed, *itertools.product(("d", "a"), repeat=2), ("unheard", "a")]


def assert_sums_to_one(model: NgramModel) -> None:
    """After every history, the words that can follow share all of the probability."""
    for history in histories(model):
        total = sum(math.exp(model.log_prob(history, word)) for word in model.words if word != START)
        assert abs(total - 1) < 1e-9, history
