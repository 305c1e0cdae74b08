"""Entropy pruning: against the definition, and what must hold afterwards."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import ORDERS, TEXTS, assert_sums_to_one, model_of, ngrams
from test_kneser_ney import chatter

from asr.errors import UsageError
from asr.language import NgramModel, trie
from asr.language.ngram import START
from asr.language.prune import _keep, prune, relative_loss


@given(TEXTS, ORDERS, st.integers(0, 40))
def test_probabilities_still_sum_to_one(sentences: list[str], order: int, room: int) -> None:
    model = model_of(sentences, order)
    smaller = prune(model, max_ngrams=len(model.words) + room)
    assert sum(smaller.sizes) <= len(model.words) + room
    assert smaller.words == model.words
    assert_sums_to_one(smaller)


@given(TEXTS, ORDERS)
def test_what_is_kept_keeps_its_probability_and_its_parts(sentences: list[str], order: int) -> None:
    model = model_of(sentences, order)
    before, after = ngrams(model), ngrams(prune(model, 0.02))
    for words, (p, _) in after.items():
        assert p == before[words][0]
        assert len(words) == 1 or (words[:-1] in after and words[1:] in after)


@given(TEXTS, ORDERS)
def test_nothing_goes_at_threshold_zero_but_what_helps_nobody(sentences: list[str], order: int) -> None:
    model = model_of(sentences, order)
    before, after = ngrams(model), ngrams(prune(model, 0.0))
    assert before.keys() == after.keys()
    for words in before:
        assert after[words] == pytest.approx(before[words], abs=1e-6)


def divergence(model: NgramModel, other: NgramModel, history: tuple[str, ...]) -> float:
    """Of what may follow a history."""
    total = 0.0
    for word in model.words:
        if word != START:
            p = model.log_prob(history, word)
            total += math.exp(p) * (p - other.log_prob(history, word))
    return total


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("known", [True, False])
def test_the_loss_is_the_divergence_that_taking_an_ngram_out_makes(order: int, known: bool) -> None:
    model = model_of(["a b c a", "a b d", "c a b c", "b c", "a b c d", "d a"], order)
    if not known:
        model = replace(model, frequencies=())
    losses = relative_loss(model, order)
    rows = trie.rows_of(model.grams, order, 0, len(losses))
    for place, loss in enumerate(losses):
        kept = [np.ones(size, bool) for size in model.sizes[1:]]
        kept[-1][place] = False
        history = tuple(model.words[number] for number in rows[place, :-1])
        expected = frequency(model, history) * divergence(model, _keep(model, kept), history)
        assert math.log1p(loss) == pytest.approx(expected, abs=1e-12)
        assert loss > 0


def frequency(model: NgramModel, history: tuple[str, ...]) -> float:
    """Of a history: counted in the six sentences above, or by the model itself."""
    if model.frequencies:
        entry = trie.entries(model.grams, np.array([[model.ids[word] for word in history]], np.int32))[0]
        return float(model.frequencies[len(history) - 1][entry])
    p = model.log_prob([], "</s>" if history[0] == START else history[0])
    return math.exp(p + sum(model.log_prob(history[:i], history[i]) for i in range(1, len(history))))


def test_frequencies_are_those_of_the_text() -> None:
    model = model_of(["a b", "a c"], 2)
    listed = dict(zip(ngrams(model), np.concatenate(model.frequencies), strict=True))
    assert listed[("<s>",)] == pytest.approx(2 / 6)  # of a b </s> a c </s>
    assert listed[("a",)] == pytest.approx(2 / 6)
    assert listed[("<s>", "a")] == pytest.approx(2 / 6)
    assert listed[("a", "b")] == pytest.approx(1 / 6)


def test_the_more_goes_the_higher_the_perplexity_and_not_by_much() -> None:
    text = chatter(4000)
    model = model_of(text[:-200], 3)
    held_out = [sentence.split() for sentence in text[-200:]]
    full = sum(model.sizes)
    perplexities = [model.score(held_out).perplexity]
    for share in (0.8, 0.5, 0.25, 0.1):
        smaller = prune(model, max_ngrams=round(share * full))
        assert share * full - 5 <= sum(smaller.sizes) <= share * full + 1
        perplexities.append(smaller.score(held_out).perplexity)
    assert perplexities[2] < 1.1 * perplexities[0]
    assert perplexities[1:] == sorted(perplexities[1:])
    unigrams = prune(model, max_ngrams=len(model.words))
    assert unigrams.order == 1
    assert perplexities[-1] < unigrams.score(held_out).perplexity


def test_counted_frequencies_serve_better_than_the_models_own() -> None:
    text = chatter(4000)
    model = model_of(text[:-200], 3)
    held_out = [sentence.split() for sentence in text[-200:]]
    size = sum(model.sizes) // 5
    counted, own = prune(model, max_ngrams=size), prune(replace(model, frequencies=()), max_ngrams=size)
    assert counted.score(held_out).perplexity < own.score(held_out).perplexity


def test_by_threshold_and_by_number() -> None:
    model = model_of(chatter(500), 3)
    both = prune(model, 1e-5, 10**9)
    assert both.sizes == prune(model, 1e-5).sizes
    assert sum(both.sizes) < sum(model.sizes)
    assert sum(prune(model, 1e-9, 600).sizes) <= 600


@pytest.mark.parametrize("threshold", [-0.1, 1.0, math.nan])
def test_a_threshold_is_a_share(threshold: float) -> None:
    with pytest.raises(UsageError, match=r"prune: .* is not within \[0, 1\)"):
        prune(model_of(["a b"], 2), threshold)


def test_words_are_not_pruned() -> None:
    with pytest.raises(UsageError, match=r"max-ngrams: 3 is less than the 5 words; .*--min-count"):
        prune(model_of(["a b"], 2), max_ngrams=3)
