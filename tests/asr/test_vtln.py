"""Hearing a voice as if its owner were larger or smaller."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from babble import RATE, make_model, sound

from asr import recognizer as module
from asr.audio import Audio
from asr.decoding.greedy import best_path
from asr.features import FeatureConfig, extract
from asr.recognizer import Heard, Recognizer
from asr.vtln import FACTORS, MARGIN, sureness, warped
from kernels import open_backend

CONFIG = FeatureConfig(rate=16000, normalise="none")


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(make_model(), open_backend("cpu", threads=1), vtln=True)


def plain(recognizer: Recognizer) -> Recognizer:
    return Recognizer(recognizer.model, recognizer.backend)


def chord(factor: float = 1.0) -> Audio:
    """Tones that begin one after the other, in two seconds."""
    t = np.arange(2 * CONFIG.rate) / CONFIG.rate
    tones = [np.sin(2 * np.pi * f * factor * t) * (t > begin) for f, begin in ((400, 0), (900, 0.5), (1700, 1.0))]
    noise = np.random.default_rng(1).standard_normal(len(t))
    return Audio((0.1 * sum(tones) + 1e-3 * noise).astype(np.float32), CONFIG.rate)


@pytest.mark.parametrize("factor", FACTORS)
def test_frequencies_move_and_the_tempo_stays(factor: float) -> None:
    found, expected, unmoved = warped(chord(), CONFIG, factor), extract(chord(factor), CONFIG), extract(chord(), CONFIG)
    assert abs(len(found) - len(expected)) <= 2
    T = min(map(len, (found, expected)))
    inner = slice(5, T - 5)
    near, far = (np.abs(other[:T][inner] - found[:T][inner]).mean() for other in (expected, unmoved))
    assert near < 0.5 * far  # the noise at the edges of the band is another


def test_sureness_is_the_mean_of_the_likeliest() -> None:
    log_probs = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]], np.float32))
    expected = np.log([0.5, 0.8, 0.6]).mean()
    assert sureness([log_probs], 1.0) == pytest.approx(expected)
    assert sureness([best_path(log_probs[:1]), log_probs[1:]], 0.02) == pytest.approx(50 * expected)


def test_the_surest_is_taken_where_it_is_surer_by_the_margin(recognizer: Recognizer) -> None:
    known = plain(recognizer)
    for seed in range(6):
        audio = Audio(sound(2.0, seed), RATE)
        frames = [extract(audio, recognizer.model.features)]
        frames += [warped(audio, recognizer.model.features, factor) for factor in FACTORS]
        each = [known._listen([Heard("x", 2.0, one)], whole=True)[0] for one in frames]
        values = [
            sureness(one, recognizer.model.step_seconds) - (MARGIN if index else 0.0) for index, one in enumerate(each)
        ]
        np.testing.assert_array_equal(recognizer.log_probs(audio), each[int(np.argmax(values))][0])


def test_what_is_clear_or_too_short_is_heard_once(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    window = recognizer.model.features.window_samples
    short = sound(1.0)[: 2 * window - 1]
    expected = [plain(recognizer).transcribe(samples) for samples in (short, sound(1.0))]
    monkeypatch.setattr(module, "warped", None)  # a call would fail
    assert recognizer.transcribe(short) == expected[0]
    monkeypatch.setattr(module, "sureness", lambda readings, step: -0.9 * MARGIN)
    assert recognizer.transcribe(sound(1.0)) == expected[1]


def test_batches_and_files_make_no_difference(recognizer: Recognizer) -> None:
    sounds = [sound(0.5 + index % 3, index) for index in range(7)]
    each = [recognizer.transcribe(samples) for samples in sounds]
    together = recognizer.transcribe_each(sounds, lambda samples: Audio(samples, RATE))
    assert [transcript for _, transcript in together] == each
    assert each != [plain(recognizer).transcribe(samples) for samples in sounds]  # some are heard in another warp


def test_warped_copies_are_no_longer_than_windows_allow() -> None:
    """A hop may not be longer than the window, however slow the sound is played."""
    config = replace(CONFIG, hop=CONFIG.window)
    np.testing.assert_array_equal(warped(chord(), config, 0.87), extract(chord(), config))


@pytest.mark.parametrize("factor", FACTORS)
def test_the_tempo_stays_however_long_the_recording(factor: float) -> None:
    """Or times of words, and subtitles, would drift away from what is said."""
    rate = 16000
    long = Audio(np.random.default_rng(0).standard_normal(120 * rate).astype(np.float32), rate)
    config = FeatureConfig(rate=rate)
    assert len(warped(long, config, factor)) == pytest.approx(len(extract(long, config)), abs=1)
