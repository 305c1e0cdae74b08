"""Interpolated modified Kneser-Ney smoothing (Chen and Goodman 1999, section 4.1.6 and appendix), as KenLM's lmplz.

With a(h w) the count of the n-gram h w in the highest order, and in lower orders the number of different words that
come before it (sentence beginnings excepted: nothing comes before `<s>`, and the plain count serves):

    p(w | h) = (a(h w) - D(a(h w))) / a(h .) + gamma(h) p(w | h'),    gamma(h) = sum_w D(a(h w)) / a(h .)

h' being h without its first word. D is one of D1, D2, D3 for a = 1, a = 2, a >= 3, of each order its own, from the
numbers n1..n4 of n-grams with a = 1..4: Y = n1 / (n1 + 2 n2), Dj = j - (j + 1) Y n(j+1) / nj. At the end of the chain
stands the uniform distribution over all words with `<unk>` and `</s>`; it is all that a word without a count gets.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from asr.language.counts import Counts
from asr.language.ngram import NEVER, START, NgramModel

FALLBACK = (0.5, 1.0, 1.5)  # discounts where a text is too small or too odd to tell; lmplz's

Discounts = tuple[float, float, float]
_log = logging.getLogger(__name__)


def kneser_ney(counts: Counts, name: str | None = "text") -> NgramModel:
    """The model of a text. Logs, with the text's name if it has one, for which orders the discounts are `FALLBACK`."""
    adjusted = adjust(counts)
    discounts = _discounts(adjusted, name)
    below = np.array([1 / (len(counts.words) - 1)])  # uniform; <s> is never predicted
    probs, gammas = [], []
    for grams, values, discount in zip(counts.grams, adjusted, discounts, strict=True):
        taken = np.array([0, *discount])[np.minimum(values, 3)]
        totals, left = grams.sums(values, len(below)), grams.sums(taken, len(below))
        gamma = np.divide(left, totals, out=np.ones(len(below)), where=totals > 0)
        probs.append((values - taken) / totals[grams.prefix] + gamma[grams.prefix] * below[grams.suffix])
        gammas.append(gamma)
        below = probs[-1]
    with np.errstate(divide="ignore"):
        log_probs, backoffs = [np.log(p) for p in probs], [np.log(gamma) for gamma in gammas[1:]]
    log_probs[0][counts.words.index(START)] = NEVER
    frequencies = [values / counts.events for values in counts.counts]
    return NgramModel(counts.words, counts.grams, log_probs, backoffs, frequencies)


def adjust(counts: Counts) -> list[np.ndarray]:
    """The a(.) of each order, int64 [M]."""
    adjusted = []
    for order in range(1, counts.order + 1):
        values = counts.counts[order - 1]
        if order < counts.order:
            preceded = np.bincount(counts.grams[order].suffix, minlength=len(values))
            values = np.where(preceded > 0, preceded, values)
        adjusted.append(values)
    adjusted[0] = adjusted[0].copy()
    adjusted[0][counts.words.index(START)] = 0
    return adjusted


def _discounts(adjusted: Sequence[np.ndarray], name: str | None) -> list[Discounts]:
    tallies = [np.bincount(np.minimum(values, 5), minlength=6)[1:5].tolist() for values in adjusted]
    estimated = [estimate_discounts(tally) for tally in tallies]
    odd = [f"{order}-grams" for order, discounts in enumerate(estimated, start=1) if discounts is None]
    if odd and name:
        _log.info(f"{name}: too small or too odd to estimate discounts of {', '.join(odd)}; taking {FALLBACK}")
    return [discounts or FALLBACK for discounts in estimated]


def estimate_discounts(n: Sequence[int]) -> Discounts | None:
    """D1, D2, D3 from n1, n2, n3, n4; None where they cannot be had, or are not above 0."""
    if 0 in n:
        return None
    share = n[0] / (n[0] + 2 * n[1])
    discounts = tuple(j - (j + 1) * share * n[j] / n[j - 1] for j in (1, 2, 3))
    return (discounts[0], discounts[1], discounts[2]) if min(discounts) > 0 else None
