"""What error counts say beyond themselves: bootstrap intervals of error rates, and whether one system is better.

    grouped         counts of utterances added up by speaker
    rate_interval   the interval of one system's error rate
    paired          two systems on the same utterances: their intervals, that of the difference, who is better how often
    matched_pairs   the chance of so large a difference if both systems were equally good

It knows arrays of counts, one entry per unit (an utterance, or all utterances of a speaker), never texts. As many units
as there are, drawn with replacement, are scored as if they were the test set; the rates of many such draws scatter as
those of other test sets like this one would (Efron 1979; for word error rates Bisani and Ney, "Bootstrap estimates for
confidence intervals in ASR performance evaluation", ICASSP 2004). Units must be independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

REPLICATES = 10_000  # draws: from seed to seed the ends of a 95 % interval then move by 1 % of its width
SEED = 0
LEVEL = 0.95
_AT_ONCE = 1 << 20  # units drawn at once: 8 MB of indices


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, both included."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Paired:
    """Two systems, A and B, on the same draws.

    a, b : intervals of their error rates
    difference : interval of B's rate less A's
    improvement : fraction of draws in which B makes fewer errors than A: the probability of improvement
    decline : fraction of draws in which B makes more; in the rest they are equal
    units : how many were drawn from
    """

    a: Interval
    b: Interval
    difference: Interval
    improvement: float
    decline: float
    units: int


def grouped(counts: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Sums of counts int [K, U] over the units of each label: int64 [K, groups], labels in order of the alphabet."""
    names, places = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    sums = np.zeros((len(counts), len(names)), np.int64)
    for row, column in zip(sums, counts, strict=True):
        np.add.at(row, places, column)
    return sums


def rate_interval(
    errors: np.ndarray, reference: np.ndarray, replicates: int = REPLICATES, seed: int = SEED
) -> Interval | None:
    """The interval of sum(errors) / sum(reference), by percentiles of its bootstrap distribution.

    errors, reference : int [U], a unit's errors and reference tokens

    None where nothing can be said: fewer than two units, or no reference tokens. A draw without any reference token has
    no rate and is left out. Units without errors give an interval from 0 to 0: no draw can show what was never seen.
    """
    if len(reference) < 2 or not np.any(reference):
        return None
    return _interval(_rates(_drawn(np.stack([errors, reference]), replicates, seed))[0])


def paired(
    a: np.ndarray, b: np.ndarray, reference: np.ndarray, replicates: int = REPLICATES, seed: int = SEED
) -> Paired | None:
    """Draw the same units for both systems, so that what is hard for both does not hide their difference.

    a, b, reference : int [U], the errors of each system and the reference tokens in each unit

    None as in `rate_interval`, whose intervals are these for the same seed.
    """
    if len(reference) < 2 or not np.any(reference):
        return None
    drawn = _drawn(np.stack([a, b, reference]), replicates, seed)
    rates = _rates(drawn)
    fewer, more = np.mean(drawn[1] < drawn[0]), np.mean(drawn[1] > drawn[0])
    return Paired(
        _interval(rates[0]), _interval(rates[1]), _interval(rates[1] - rates[0]), float(fewer), float(more), len(a)
    )


def matched_pairs(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p of the matched-pairs test (Gillick and Cox, "Some statistical issues in the comparison of speech
    recognition algorithms", ICASSP 1989), each unit a segment: the mean of a - b against its standard error, normal.

    a, b : int [U], the errors of each system in each unit; some 50 units and more make the mean about normal

    1 where the systems never differ; NaN where the differences do not scatter or there are fewer than two units.
    """
    differences = np.subtract(a, b, dtype=np.float64)
    if len(differences) < 2:
        return math.nan
    if not np.any(differences):
        return 1.0
    error = np.std(differences, ddof=1) / math.sqrt(len(differences))
    return math.erfc(abs(np.mean(differences)) / error / math.sqrt(2)) if error else math.nan


def _drawn(counts: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Sums of counts [K, U] over U units drawn with replacement, `replicates` times: int64 [K, replicates]."""
    rng = np.random.default_rng(seed)
    units = counts.shape[1]
    sums = np.empty((len(counts), replicates), np.int64)
    step = max(1, _AT_ONCE // units)
    for begin in range(0, replicates, step):
        rows = slice(begin, min(begin + step, replicates))
        places = rng.integers(units, size=(rows.stop - begin, units))
        for total, column in zip(sums, counts, strict=True):
            total[rows] = column[places].sum(axis=1)
    return sums


def _rates(sums: np.ndarray) -> np.ndarray:
    """Each row but the last by the last, float64; draws without any reference token are left out."""
    kept = sums[:, sums[-1] > 0]
    return np.asarray(kept[:-1] / kept[-1])


def _interval(values: np.ndarray) -> Interval:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
