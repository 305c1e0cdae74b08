"""Entropy pruning (Stolcke 1998): leave out the n-grams that back-off nearly makes up for.

Taking h w out raises the model's perplexity on its own text by the factor exp(D), with

    D = -p(h) { p(w|h) [log p(w|h') + log b' - log p(w|h)] + (log b' - log b) (1 - sum of p(v|h) over listed v) }

where b is the back-off weight of h before and b' after. p(h) is the history's frequency in the text where the model
knows it: the lower orders of Kneser-Ney models do not tell it (Chelba and others 2010). Else it is the product of the
model's own probabilities, with p(</s>) for a sentence's beginning.
An n-gram stays while a longer one needs it as its prefix or its suffix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from asr.errors import UsageError
from asr.language.ngram import END, START, NgramModel
from asr.language.trie import Grams, unigrams

TINY = 1e-12  # probability mass below which all that is left is rounding


def prune(model: NgramModel, threshold: float | None = None, max_ngrams: int | None = None) -> NgramModel:
    """A smaller model; the words all stay, and the back-off weights are computed anew.

    threshold : n-grams that change the perplexity by less than this share (1e-8, say) go
    max_ngrams : so many stay at most, of all orders together, the most useful ones

    Raises UsageError where fewer n-grams are wanted than there are words, and for a threshold outside [0, 1).
    """
    check(len(model.words), threshold, max_ngrams)
    losses = _needed(model, [relative_loss(model, order) for order in range(2, model.order + 1)])
    if max_ngrams is not None:
        threshold = max(threshold or 0.0, _threshold(model, losses, max_ngrams))
    return _keep(model, [loss >= (threshold or 0.0) for loss in losses])


def check(words: int, threshold: float | None, max_ngrams: int | None) -> None:
    """Raise the UsageError of `prune` for a model of so many words."""
    if threshold is not None and not 0 <= threshold < 1:
        raise UsageError(f"prune: {threshold:g} is not within [0, 1)")
    if max_ngrams is not None and max_ngrams < words:
        raise UsageError(
            f"max-ngrams: {max_ngrams} is less than the {words} words; "
            "allow more, or know fewer words (as with --min-count, --vocab of asr lm build)"
        )


def relative_loss(model: NgramModel, order: int) -> np.ndarray:
    """exp(D) - 1 for each n-gram of an order, 2 at least; float64 [M]."""
    grams = model.grams[order - 1]
    histories = len(model.log_probs[order - 2])
    p, shorter = np.exp(model.log_probs[order - 1]), np.exp(model.log_probs[order - 2])[grams.suffix]
    left, left_below = 1 - grams.sums(p, histories), 1 - grams.sums(shorter, histories)
    h = grams.prefix
    mass, mass_below = np.maximum(left[h], TINY), np.maximum(left_below[h], TINY)
    before = np.log(mass / mass_below)
    after = np.log((mass + p) / (mass_below + shorter))
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = p * (np.log(shorter) + after - np.log(p)) + (after - before) * mass
    gain = np.where(np.isfinite(gain), gain, -np.inf)  # to back off would make w impossible
    loss: np.ndarray = np.expm1(np.minimum(-_frequency(model, order - 1)[h] * gain, 700))
    return loss


def _frequency(model: NgramModel, order: int) -> np.ndarray:
    """P(h) of the n-grams of an order, float64 [M]."""
    if model.frequencies:
        return model.frequencies[order - 1]
    p: np.ndarray = model.log_probs[0].copy()
    p[model.ids[START]] = p[model.ids[END]]
    for place in range(1, order):
        p = p[model.grams[place].prefix] + model.log_probs[place]
    frequency: np.ndarray = np.exp(p)
    return frequency


def _needed(model: NgramModel, losses: list[np.ndarray]) -> list[np.ndarray]:
    """Each n-gram's loss, or that of the most useful longer one that it is part of. Orders from 2 on."""
    losses = [loss.copy() for loss in losses]
    for order in range(model.order - 1, 1, -1):
        longer, below = model.grams[order], losses[order - 2]
        np.maximum.at(below, longer.prefix, losses[order - 1])
        np.maximum.at(below, longer.suffix, losses[order - 1])
    return losses


def _threshold(model: NgramModel, losses: list[np.ndarray], max_ngrams: int) -> float:
    """The lowest that leaves so many n-grams."""
    room = max_ngrams - len(model.words)
    every = np.sort(np.concatenate([np.zeros(0), *losses]))[::-1]
    return float(np.nextafter(every[room], np.inf)) if room < len(every) else 0.0


def _keep(model: NgramModel, kept: Sequence[np.ndarray]) -> NgramModel:
    """The model of the words and of those n-grams of orders 2 and up; trailing orders without any go."""
    size = len(model.words)
    grams: list[Grams] = [unigrams(size)]
    masks = [np.ones(size, bool), *kept]
    for order, mask in enumerate(kept, start=2):
        if not mask.any():
            break
        old = model.grams[order - 1]
        number = np.cumsum(masks[order - 2]) - 1
        key = number[old.prefix[mask]] * size + old.word[mask]  # int64
        grams.append(Grams(key, number[old.suffix[mask]].astype(np.int32), size))
    log_probs = [p[mask] for p, mask in zip(model.log_probs, masks, strict=True)][: len(grams)]
    frequencies = [p[mask] for p, mask in zip(model.frequencies, masks, strict=False)][: len(grams)]
    smaller = replace(model, grams=grams, log_probs=log_probs, backoffs=[], frequencies=frequencies)
    return with_backoffs(smaller)


def with_backoffs(model: NgramModel) -> NgramModel:
    """The model with the back-off weights that make the probabilities after each history sum to 1."""
    backoffs = []
    for order in range(2, model.order + 1):
        grams, histories = model.grams[order - 1], len(model.log_probs[order - 2])
        left = 1 - grams.sums(np.exp(model.log_probs[order - 1]), histories)
        below = 1 - grams.sums(np.exp(model.log_probs[order - 2])[grams.suffix], histories)
        backoffs.append(np.log(np.divide(np.maximum(left, TINY), below, out=np.ones(histories), where=below > TINY)))
    return replace(model, backoffs=backoffs)
