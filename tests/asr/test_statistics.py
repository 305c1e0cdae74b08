"""Bootstrap intervals and tests: by hand, by enumerating every draw, and against SciPy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from asr import statistics
from asr.statistics import Interval, grouped, matched_pairs, paired, rate_interval

RNG = np.random.default_rng(5)
WORDS = RNG.integers(1, 12, 60)
EASY = RNG.binomial(WORDS, 0.07)
HARD = np.minimum(EASY + RNG.binomial(1, 0.15, 60), WORDS)
UNITS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=8)


def every_draw(counts: np.ndarray) -> np.ndarray:
    """Sums [K, U^U] of counts [K, U] over all draws of U units, each equally likely."""
    units = range(counts.shape[1])
    return np.array([counts[:, list(draw)].sum(axis=1) for draw in itertools.product(units, repeat=len(units))]).T


def test_two_units_by_hand() -> None:
    """Rates of 0/4, 4/8 (twice as likely), 4/4; a quarter of draws at each end is far more than 2.5 %."""
    assert rate_interval(np.array([0, 4]), np.array([4, 4])) == Interval(0.0, 1.0)


def test_five_units_by_every_draw() -> None:
    errors, words = np.array([0, 1, 0, 3, 1]), np.array([4, 5, 2, 7, 3])
    sums = every_draw(np.stack([errors, words]))
    low, high = np.quantile(sums[0] / sums[1], [0.025, 0.975])
    found = rate_interval(errors, words, replicates=200_000)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.005)


def test_it_is_scipys_percentile_interval() -> None:
    """Other draws, the same distribution: the ends agree within 3 % of the width, three of their standard errors."""

    def rate(errors: np.ndarray, words: np.ndarray, axis: int = -1) -> np.ndarray:
        return errors.sum(axis=axis) / words.sum(axis=axis)

    theirs = scipy.stats.bootstrap(
        (EASY, WORDS), rate, paired=True, vectorized=True, n_resamples=10_000, method="percentile", rng=RNG
    ).confidence_interval
    ours = rate_interval(EASY, WORDS)
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03 * (theirs.high - theirs.low))


def test_the_difference_is_scipys_too() -> None:
    def difference(a: np.ndarray, b: np.ndarray, words: np.ndarray, axis: int = -1) -> np.ndarray:
        return (b.sum(axis=axis) - a.sum(axis=axis)) / words.sum(axis=axis)

    done = scipy.stats.bootstrap(
        (HARD, EASY, WORDS), difference, paired=True, vectorized=True, n_resamples=10_000, method="percentile", rng=RNG
    )
    theirs, ours = done.confidence_interval, paired(HARD, EASY, WORDS)
    assert ours is not None
    expected = pytest.approx((theirs.low, theirs.high), abs=0.03 * (theirs.high - theirs.low))
    assert (ours.difference.low, ours.difference.high) == expected
    assert ours.improvement == pytest.approx(np.mean(done.bootstrap_distribution < 0), abs=0.02)


def test_the_probability_of_improvement_by_every_draw() -> None:
    a, b, words = np.array([2, 0, 1, 3, 1]), np.array([1, 1, 0, 3, 1]), np.array([4, 5, 2, 7, 3])
    sums = every_draw(np.stack([a, b, words]))
    found = paired(a, b, words, replicates=200_000)
    assert found is not None
    assert found.improvement == pytest.approx(np.mean(sums[1] < sums[0]), abs=0.005)
    assert found.decline == pytest.approx(np.mean(sums[1] > sums[0]), abs=0.005)
    assert found.improvement + found.decline < 1
    assert found.units == 5


def test_pairing_sees_what_separate_intervals_hide() -> None:
    """HARD makes EASY's errors and some more: the rates' intervals overlap, that of the difference is above 0."""
    found = paired(EASY, HARD, WORDS)
    assert found is not None
    assert found.b.low < found.a.high
    assert found.difference.low > 0
    assert (found.a, found.b) == (rate_interval(EASY, WORDS), rate_interval(HARD, WORDS))
    assert found.decline > 0.999
    assert found.improvement == 0.0


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    """Errors of known rate, 300 test sets of 100 utterances: about 95 % of the intervals hold it."""
    rng, hits = np.random.default_rng(3), 0
    for _ in range(300):
        words = rng.integers(1, 12, 100)
        interval = rate_interval(rng.binomial(words, 0.1), words, replicates=1000)
        hits += interval is not None and 0.1 in interval
    assert 0.91 <= hits / 300 <= 0.98


def test_speakers_who_differ_widen_the_interval() -> None:
    """Ten speakers of 20 utterances, half of them with twice the errors: one speaker's utterances go together."""
    rng = np.random.default_rng(4)
    words = np.full(200, 8)
    speakers = [f"s{number // 20}" for number in range(200)]
    errors = rng.binomial(words, np.repeat([0.05, 0.25] * 5, 20))
    alone = rate_interval(errors, words)
    together = rate_interval(*grouped(np.stack([errors, words]), speakers))
    assert alone is not None
    assert together is not None
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


@pytest.mark.parametrize(("speakers", "least", "most"), [(10, 0.84, 0.92), (40, 0.91, 0.97)])
def test_few_speakers_give_too_narrow_an_interval(speakers: int, least: float, most: float) -> None:
    """1000 test sets, each of so many speakers of 80 words, whose rates are drawn around 10 %: the interval that should
    hold 0.1 in 95 % of them does so in about 90 % with ten speakers (docs/evaluation.md says so)."""
    rng, hits = np.random.default_rng(8), 0
    for _ in range(1000):
        errors = rng.binomial(80, rng.beta(2.0, 18.0, speakers))
        interval = rate_interval(errors, np.full(speakers, 80), replicates=1000)
        hits += interval is not None and 0.1 in interval
    print(f"{speakers} speakers: {hits / 10:.1f} %")
    assert least <= hits / 1000 <= most


def test_counts_are_added_up_by_label() -> None:
    counts = np.array([[1, 2, 3, 4], [10, 20, 30, 40]])
    assert grouped(counts, ["b", "a", "b", "c"]).tolist() == [[2, 4, 4], [20, 40, 40]]
    assert grouped(np.zeros((2, 0), np.int64), []).shape == (2, 0)


def test_how_much_is_drawn_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = paired(EASY, HARD, WORDS)
    monkeypatch.setattr(statistics, "_AT_ONCE", 1000)
    assert paired(EASY, HARD, WORDS) == whole


@pytest.mark.parametrize(("errors", "words"), [([], []), ([3], [10]), ([0, 0], [0, 0]), ([2, 1], [0, 0])], ids=str)
def test_too_little_to_say_anything(errors: list[int], words: list[int]) -> None:
    assert rate_interval(np.array(errors, int), np.array(words, int)) is None
    assert paired(np.array(errors, int), np.array(errors, int), np.array(words, int)) is None


def test_no_errors_scatter_nothing() -> None:
    assert rate_interval(np.zeros(9, int), np.full(9, 4)) == Interval(0.0, 0.0)


def test_draws_without_words_are_left_out() -> None:
    """One unit has all words: whichever draw holds it has the rate 2/4, or more by insertions in the other."""
    assert rate_interval(np.array([2, 0]), np.array([4, 0])) == Interval(0.5, 0.5)


@given(UNITS)
def test_what_holds_for_any_counts(units: list[tuple[int, int, int]]) -> None:
    a, b, words = np.array(units).T
    found = paired(a, b, words, replicates=200)
    if not words.any():
        assert found is None
        return
    swapped = paired(b, a, words, replicates=200)
    assert found is not None
    assert swapped is not None
    assert (swapped.a, swapped.b, swapped.improvement) == (found.b, found.a, found.decline)
    assert swapped.difference.low == pytest.approx(-found.difference.high)
    assert found.a.low <= found.a.high
    assert 0 <= found.improvement + found.decline <= 1
    same = paired(a, a, words, replicates=200)
    assert same is not None
    assert (same.difference, same.improvement, same.decline) == (Interval(0.0, 0.0), 0.0, 0.0)


def test_matched_pairs_by_hand() -> None:
    """Differences 1, 1, 1, -1: mean 1/2, standard deviation 1, standard error 1/2: W = 1, p = 0.3173."""
    assert matched_pairs(np.array([2, 1, 3, 0]), np.array([1, 0, 2, 1])) == pytest.approx(0.31731, abs=1e-5)


def test_matched_pairs_is_the_z_test() -> None:
    differences = HARD - EASY
    z = differences.mean() / scipy.stats.sem(differences)
    assert matched_pairs(HARD, EASY) == pytest.approx(2 * scipy.stats.norm.sf(abs(z)))
    assert matched_pairs(EASY, HARD) == matched_pairs(HARD, EASY)


def test_matched_pairs_of_systems_that_never_differ_or_always_by_the_same() -> None:
    assert matched_pairs(EASY, EASY) == 1
    assert math.isnan(matched_pairs(EASY, EASY + 1))
    assert math.isnan(matched_pairs(np.array([1]), np.array([2])))
