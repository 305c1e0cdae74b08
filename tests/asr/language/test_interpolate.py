"""Several models as one, and the weights that suit a text."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import ORDERS, TEXTS, assert_sums_to_one, model_of, ngrams

from asr.errors import UsageError
from asr.language.interpolate import interpolate, tune_weights
from asr.language.prune import prune

SHARES = st.floats(0.05, 0.95)


@given(TEXTS, ORDERS, TEXTS, ORDERS, SHARES)
def test_probabilities_sum_to_one(first: list[str], order: int, second: list[str], other: int, share: float) -> None:
    merged = interpolate([model_of(first, order), model_of(second, other)], [share, 1 - share])
    assert_sums_to_one(merged)
    assert_sums_to_one(prune(merged, max_ngrams=len(merged.words) + 10))


@given(TEXTS, ORDERS, TEXTS, SHARES)
def test_what_is_listed_has_the_weighted_sum(first: list[str], order: int, second: list[str], share: float) -> None:
    models = [model_of(first, order), model_of(second, 2)]
    merged = interpolate(models, [share, 1 - share])
    assert ngrams(merged).keys() == ngrams(models[0]).keys() | ngrams(models[1]).keys()
    for words, (p, _) in ngrams(merged).items():
        if words == ("<s>",):
            continue
        history, word = words[:-1], words[-1]
        expected = 0.0
        for weight, model in zip((share, 1 - share), models, strict=True):
            # a word that a model lacks is impossible there, and what is known ends behind it
            known = history[max((i + 1 for i, one in enumerate(history) if one not in model.ids), default=0) :]
            expected += weight * math.exp(model.log_prob(known, word)) if word in model.ids else 0.0
        assert math.exp(p) == pytest.approx(expected, rel=1e-9), words


@given(TEXTS, ORDERS)
def test_a_model_with_itself_is_itself(sentences: list[str], order: int) -> None:
    model = model_of(sentences, order)
    merged, expected = ngrams(interpolate([model, model], [0.3, 0.7])), ngrams(model)
    assert merged.keys() == expected.keys()
    for words, values in expected.items():
        assert merged[words] == pytest.approx(values, abs=1e-6)


def test_frequencies_are_mixed() -> None:
    merged = interpolate([model_of(["a b"], 2), model_of(["a c", "a c"], 2)], [0.25, 0.75])
    listed = dict(zip(ngrams(merged), np.concatenate(merged.frequencies), strict=True))
    assert listed[("a", "b")] == pytest.approx(0.25 / 3)
    assert listed[("a", "c")] == pytest.approx(0.75 / 3)
    assert listed[("a",)] == pytest.approx(1 / 3)


def test_expectation_maximisation_finds_the_most_likely_weights() -> None:
    rng = np.random.default_rng(1)
    log_probs = np.log(rng.dirichlet(np.ones(6), 3)[:, rng.integers(0, 6, 2000)])
    weights = tune_weights(log_probs)
    assert weights.sum() == pytest.approx(1)

    def likelihood(candidate: np.ndarray) -> float:
        return float(np.log(candidate @ np.exp(log_probs)).mean())

    best = max(
        likelihood(np.array([x, y, 1 - x - y]))
        for x in np.linspace(0, 1, 51)
        for y in np.linspace(0, 1, 51)
        if x + y <= 1 + 1e-9
    )
    assert likelihood(weights) > best - 1e-4


def test_weights_of_a_mixture_that_was_drawn() -> None:
    rng = np.random.default_rng(2)
    first, second = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.1, 0.8])
    words = rng.choice(3, 50000, p=0.3 * first + 0.7 * second)
    weights = tune_weights(np.log(np.stack([first[words], second[words]])))
    assert weights == pytest.approx([0.3, 0.7], abs=0.02)


def test_impossible_and_unknown_words_do_not_count() -> None:
    inf = math.inf
    log_probs = np.log([[0.5, 0.25], [0.125, 0.5]])
    odd = np.array([[-inf, math.nan], [-inf, -1.0]])
    assert tune_weights(np.concatenate([log_probs, odd], axis=1)) == pytest.approx(tune_weights(log_probs))
    assert tune_weights(np.array([[-inf, -1.0], [-1.0, -inf]])) == pytest.approx([0.5, 0.5])
    assert tune_weights(np.full((2, 3), math.nan)).tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "weights: 1 for 2 texts; give one for each"),
        ([0.5, -0.5], "weights: 0.5, -0.5: none may be negative"),
        ([0.0, 0.0], "weights: 0, 0: none may be negative, and one must be above 0"),
        ([math.nan, 1.0], "weights: nan, 1: none"),
    ],
)
def test_weights_that_are_none(weights: list[float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        interpolate([model_of(["a b"], 2), model_of(["b a"], 2)], weights)


def test_weights_are_shares() -> None:
    models = [model_of(["a b"], 2), model_of(["b a"], 2)]
    assert ngrams(interpolate(models, [1, 3])) == ngrams(interpolate(models, [0.25, 0.75]))
