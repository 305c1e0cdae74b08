"""Best path decoding by hand, and long recordings put together from windows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.alphabet import Alphabet
from asr.decoding.greedy import decode
from asr.decoding.windows import Windowing
from asr.errors import UsageError
from asr.transcript import Word

ALPHABET = Alphabet(" abc")
STEP = 0.03


def along(path: str, probability: float = 0.97) -> np.ndarray:
    """Log-probabilities float32 [T, 5] whose best path is written with `_` for the blank."""
    labels = ["_ abc".index(character) for character in path]
    probabilities = np.full((len(path), 5), (1 - probability) / 4)
    probabilities[np.arange(len(path)), labels] = probability
    return np.log(probabilities).astype(np.float32)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("", ""),
        ("____", ""),
        ("a", "a"),
        ("aa", "a"),
        ("a_a", "aa"),
        ("_aab__bc_", "abbc"),
        ("ab  cc", "ab c"),
        ("_ _ab _ c_ ", "ab c"),
        ("  _ ", ""),
    ],
)
def test_repeats_blanks_and_spaces(path: str, text: str) -> None:
    hypothesis = decode(along(path), ALPHABET, STEP)
    assert hypothesis.text == text
    assert " ".join(word.text for word in hypothesis.words) == text


def test_words_run_from_their_first_label_to_the_end_of_their_last() -> None:
    hypothesis = decode(along("__aab_ _c_"), ALPHABET, 0.1)
    assert [(word.text, word.start, word.end) for word in hypothesis.words] == [
        ("ab", pytest.approx(0.2), pytest.approx(0.5)),
        ("c", pytest.approx(0.8), pytest.approx(0.9)),
    ]


def test_confidence_is_the_geometric_mean_of_the_peaks() -> None:
    log_probs = np.concatenate([along("a", 0.6), along("a", 0.9), along("_", 0.5), along("b", 0.4), along(" c", 0.8)])
    hypothesis = decode(log_probs, ALPHABET, STEP)
    assert [word.confidence for word in hypothesis.words] == [
        pytest.approx(math.sqrt(0.9 * 0.4), rel=1e-6),
        pytest.approx(0.8, rel=1e-6),
    ]
    assert hypothesis.confidence == pytest.approx((0.9 * 0.4 * 0.8) ** (1 / 3), rel=1e-6)
    assert hypothesis.score == pytest.approx(math.log(0.6 * 0.9 * 0.5 * 0.4 * 0.8 * 0.8), rel=1e-6)


def test_nothing_heard_has_confidence_zero() -> None:
    hypothesis = decode(along("___", 1.0 - 1e-6), ALPHABET, STEP)
    assert (hypothesis.text, hypothesis.words, hypothesis.confidence) == ("", (), 0.0)
    assert decode(np.zeros((0, 5), np.float32), ALPHABET, STEP).score == 0.0


def test_certainty_is_not_above_one() -> None:
    log_probs = along("ab")
    log_probs[np.arange(2), [2, 3]] = 1e-6  # as rounding in float32 may leave it
    hypothesis = decode(log_probs, ALPHABET, STEP)
    assert hypothesis.confidence == 1.0
    assert hypothesis.words == (Word("ab", 0.0, 0.06, 1.0),)


def test_a_misfit_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\[T, 5\], not \[3, 4\]"):
        decode(np.zeros((3, 4), np.float32), ALPHABET, STEP)


@given(st.text("abc ", max_size=30), st.randoms(use_true_random=False))
def test_any_text_comes_back_from_a_path_that_spells_it(text: str, random: np.random.Generator) -> None:
    path = "_".join(character * random.randint(1, 3) for character in text)
    assert decode(along(path), ALPHABET, STEP).text == " ".join(text.split())


@given(st.text("abc _", min_size=1, max_size=60))
def test_times_are_ordered_and_within_the_path(path: str) -> None:
    hypothesis = decode(along(path), ALPHABET, STEP)
    times = [time for word in hypothesis.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert all(word.start < word.end <= len(path) * STEP + 1e-9 for word in hypothesis.words)


@given(st.integers(1, 2000), st.integers(1, 4))
def test_joining_the_cut_pieces_gives_the_whole(steps: int, stack: int) -> None:
    windowing = Windowing(whole=60, length=50, overlap=16)
    frames = np.arange(steps * stack, dtype=np.float32)[:, None]
    windows = windowing.cut(frames, stack)
    assert all(len(window) <= 60 * stack for window in windows)
    np.testing.assert_array_equal(windowing.join([window[::stack] for window in windows]), frames[::stack])


def test_a_last_incomplete_step_stays() -> None:
    windowing = Windowing(whole=60, length=50, overlap=16)
    windows = windowing.cut(np.arange(301, dtype=np.float32)[:, None], 3)
    joined = windowing.join([window[::3] for window in windows])
    assert len(joined) == 101
    assert joined[-1] == 300


@given(st.lists(st.text("abc", min_size=1, max_size=4), min_size=20, max_size=60), st.integers(0, 2), st.data())
def test_text_survives_the_seams_although_windows_place_labels_differently(
    words: list[str], shift: int, data: st.DataObject
) -> None:
    """Each window hears the same labels up to two steps late, as a network with other context may."""
    gap = data.draw(st.integers(5, 7))
    path = " ".join(words).replace(" ", "_ _")
    path = ("_" * gap).join(path.replace("_", ""))
    windowing = Windowing(whole=100, length=100, overlap=40)
    whole = along(path + "____")
    pieces = []
    for index, window in enumerate(windowing.cut(whole, 1)):
        late = shift * (index % 2)
        pieces.append(np.concatenate([along("_" * late), window])[: len(window)])
    assert decode(windowing.join(pieces), ALPHABET, STEP).text == " ".join(words)


@pytest.mark.parametrize(("whole", "length", "overlap"), [(50, 60, 10), (60, 60, 31), (60, 60, 2)])
def test_windows_that_cannot_work_are_refused(whole: int, length: int, overlap: int) -> None:
    with pytest.raises(UsageError, match="do not fit"):
        Windowing(whole, length, overlap)
