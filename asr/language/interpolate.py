"""Linear interpolation: p(w | h) = sum of weight_i p_i(w | h), merged into one back-off model.

As SRILM's static mixture: the merged model lists each n-gram that any of the models lists, with its interpolated
probability; back-off weights are computed anew. What none of them lists is backed off to, so the merged model is close
to the sum, not equal to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asr.errors import UsageError
from asr.language.ngram import NEVER, SPECIAL, NgramModel
from asr.language.prune import with_backoffs
from asr.language.trie import NONE, Grams, Trie, unigrams

ENOUGH = 1e-6  # nats per word: expectation maximisation stops when it gains less
MAX_ITERATIONS = 1000


def tune_weights(log_probs: np.ndarray) -> np.ndarray:
    """The weights that make a text most likely, float64 [K], by expectation maximisation from equal ones.

    log_probs : float64 [K, T], of each word by each model, as `NgramModel.word_log_probs`; words for which some model
        has nan, and those that all find impossible, count for nothing
    """
    log_probs = log_probs[:, ~np.isnan(log_probs).any(axis=0) & (log_probs > -np.inf).any(axis=0)]
    weights = np.full(len(log_probs), 1 / len(log_probs))
    if not log_probs.shape[1]:
        return weights
    probs = np.exp(log_probs - log_probs.max(axis=0))
    last = -np.inf
    for _ in range(MAX_ITERATIONS):
        mixed = weights @ probs
        weights = (weights[:, None] * probs / mixed).mean(axis=1)
        likelihood = float(np.log(mixed).mean())
        if likelihood - last < ENOUGH:
            break
        last = likelihood
    return weights


def check_weights(weights: Sequence[float], models: int) -> np.ndarray:
    """Weights that sum to 1. Raises UsageError for another number of them than of models, and for negative ones."""
    if len(weights) != models:
        raise UsageError(f"weights: {len(weights)} for {models} texts; give one for each")
    given = np.array(weights, np.float64)
    if not np.isfinite(given).all() or (given < 0).any() or not given.sum():
        shown = ", ".join(f"{weight:g}" for weight in weights)
        raise UsageError(f"weights: {shown}: none may be negative, and one must be above 0")
    shares: np.ndarray = given / given.sum()
    return shares


def interpolate(models: Sequence[NgramModel], weights: Sequence[float]) -> NgramModel:
    """One model of several, of the highest order among them.

    A word that a model lacks has probability 0 there; build the models with one vocabulary where that is not wanted.
    """
    lambdas = check_weights(weights, len(models))
    words = _words(models)
    grams, places = _union(words, models)
    log_probs: list[np.ndarray] = []
    frequencies: list[np.ndarray] = []
    below = [np.zeros(1)] * len(models)  # log p_i of the entries of the order below
    for order, entries in enumerate(grams, start=1):
        below = [_log_probs(m, order, entries, at, p) for m, at, p in zip(models, places, below, strict=True)]
        with np.errstate(divide="ignore"):
            log_probs.append(np.maximum(np.log(_mixture(lambdas, [np.exp(p) for p in below])), NEVER))
        if all(model.frequencies for model in models):
            of = [_at(m.frequencies, order, at[order - 1], 0.0) for m, at in zip(models, places, strict=True)]
            frequencies.append(_mixture(lambdas, of))
    return with_backoffs(NgramModel(words, grams, log_probs, [], frequencies))


def _mixture(weights: np.ndarray, values: Sequence[np.ndarray]) -> np.ndarray:
    mixed = np.zeros(len(values[0]))
    for weight, of in zip(weights, values, strict=True):
        mixed += weight * of
    return mixed


def _words(models: Sequence[NgramModel]) -> list[str]:
    known = [set(model.words) for model in models]
    special = [word for word in SPECIAL if any(word in words for words in known)]
    return special + sorted(set().union(*known) - set(special))


def _union(words: list[str], models: Sequence[NgramModel]) -> tuple[list[Grams], list[list[np.ndarray]]]:
    """All n-grams of the models; and, by model and order, each one's entry there, int64 [M], or NONE."""
    size, ids = len(words), {word: number for number, word in enumerate(words)}
    numbers = [np.array([ids[word] for word in model.words], np.int64) for model in models]
    there = [[number] for number in numbers]  # by model and order: its entries' places in the union
    grams = [unigrams(size)]
    for order in range(2, max(model.order for model in models) + 1):
        keys, suffixes, extended = [], [], []
        for model, number, merged in zip(models, numbers, there, strict=True):
            if order <= model.order:
                own = model.grams[order - 1]
                keys.append(merged[-1][own.prefix] * size + number[own.word])
                suffixes.append(merged[-1][own.suffix])
                extended.append(merged)
        key, first = np.unique(np.concatenate(keys), return_index=True)
        grams.append(Grams(key, np.concatenate(suffixes)[first].astype(np.int32), size))
        for merged, of_model in zip(extended, keys, strict=True):
            merged.append(np.searchsorted(key, of_model))
    return grams, [_inverses(merged, grams) for merged in there]


def _inverses(places: list[np.ndarray], grams: Trie) -> list[np.ndarray]:
    """By order, which entry of a model stands at each place of the union."""
    inverses = [np.full(len(entries), NONE) for entries in grams]
    for inverse, place in zip(inverses, places, strict=False):  # a model may be of a lower order
        inverse[place] = np.arange(len(place))
    return inverses


def _at(values: Sequence[np.ndarray], order: int, place: np.ndarray, absent: float) -> np.ndarray:
    """A model's values of an order's n-grams, where the union has them; float64 [M]."""
    if order > len(values) or not len(values[order - 1]):
        return np.full(len(place), absent)
    return np.where(place == NONE, absent, values[order - 1][place])


def _log_probs(model: NgramModel, order: int, grams: Grams, places: list[np.ndarray], below: np.ndarray) -> np.ndarray:
    """Log p_i of the union's n-grams of an order, float64 [M]; `below` are those of the order below."""
    if order == 1:
        return _at(model.log_probs, 1, places[0], -np.inf)
    backed_off = _at(model.backoffs, order - 1, places[order - 2], 0.0)[grams.prefix] + below[grams.suffix]
    own = _at(model.log_probs, order, places[order - 1], np.nan)
    return np.where(np.isnan(own), backed_off, own)
