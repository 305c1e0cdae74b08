"""Altered copies and changed frames: what stays, what changes, and by how much."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.audio import Audio
from asr.corpora import Utterance
from asr.features import FeatureConfig, extract
from asr.training.augment import PLAIN, _noisy, copy_frames, draw_copies, vary
from asr.training.config import AugmentConfig, Copy, load_config
from asr.training.streams import STREAMS, stream

FEATURES = FeatureConfig()
UTTERANCE = Utterance("one", Path("one.wav"), "one")


@pytest.fixture
def sound() -> Audio:
    samples = np.random.default_rng(0).standard_normal(16000)
    return Audio((np.sin(np.arange(16000) / 20) + 0.1 * samples).astype(np.float32), 16000)


def test_streams_are_apart() -> None:
    draws = {(name, position): stream(1, name, position).random() for name in STREAMS for position in (0, 1)}
    assert len(set(draws.values())) == len(draws)
    assert stream(1, "order", 2, 3).random() == stream(1, "order", 2, 3).random()


def test_the_plain_copy_is_the_recording(sound: Audio) -> None:
    np.testing.assert_array_equal(copy_frames(sound, UTTERANCE, PLAIN, FEATURES, 5.0), extract(sound, FEATURES))


@pytest.mark.parametrize(
    ("copy", "frames"), [(Copy(speed=1.25), 81), (Copy(hop=0.8), 126), (Copy(speed=0.8, hop=1.25), 101)]
)
def test_speed_and_hop_change_the_length(copy: Copy, frames: int, sound: Audio) -> None:
    assert abs(len(copy_frames(sound, UTTERANCE, copy, FEATURES, 5.0)) - frames) <= 1


def test_noise_is_the_utterances_own(sound: Audio) -> None:
    copy, other = Copy(snr=10.0), dataclasses.replace(UTTERANCE, id="two")
    first = copy_frames(sound, UTTERANCE, copy, FEATURES, 5.0)
    np.testing.assert_array_equal(first, copy_frames(sound, UTTERANCE, copy, FEATURES, 5.0))
    assert not np.array_equal(first, copy_frames(sound, other, copy, FEATURES, 5.0))
    assert not np.array_equal(first, extract(sound, FEATURES))


@pytest.mark.parametrize("seed", range(6))
def test_signal_to_noise_ratio(seed: int, sound: Audio) -> None:
    noisy = _noisy(sound.samples, Copy(snr=20.0), 5.0, np.random.default_rng(seed), ())
    noise = noisy.astype(np.float64) - sound.samples
    power = np.sort(sound.samples.astype(np.float64) ** 2)[8000:].mean()
    assert noisy.dtype == np.float32
    assert 14.99 <= 10 * np.log10(power / np.mean(noise**2)) <= 25.01


def test_noise_is_white_or_falls_with_frequency(sound: Audio) -> None:
    def tilt(seed: int) -> float:
        noise = _noisy(sound.samples, Copy(snr=20.0), 0.0, np.random.default_rng(seed), ()).astype(np.float64)
        noise -= sound.samples
        spectrum = np.abs(np.fft.rfft(noise)) ** 2
        return float(np.log10(spectrum[:2000].mean() / spectrum[-2000:].mean()))

    tilts = np.array([tilt(seed) for seed in range(40)])
    assert ((np.abs(tilts) < 0.2) | (tilts > 1)).all()
    assert 10 <= np.count_nonzero(tilts > 1) <= 30


def test_digital_silence_stays_silent() -> None:
    assert not _noisy(np.zeros(1000, np.float32), Copy(snr=20.0), 5.0, np.random.default_rng(0), ()).any()


def test_copies_are_drawn_by_weight() -> None:
    config = load_config("an4").augment
    drawn = draw_copies(config, 850, 40, seed=1)
    assert drawn.shape == (40, 850)
    weights = np.array([copy.weight for copy in config.copies])
    np.testing.assert_allclose(np.bincount(drawn.ravel()) / drawn.size, weights / weights.sum(), atol=0.01)
    np.testing.assert_array_equal(draw_copies(config, 850, 12, seed=1), drawn[:12])  # nothing depends on the end
    assert not draw_copies(AugmentConfig(), 10, 3, seed=1).any()


frames = st.integers(1, 200).map(lambda T: np.random.default_rng(T).standard_normal((T, 5)).astype(np.float32) + 10)


@given(frames=frames, masks=st.integers(0, 3), longest=st.integers(0, 30))
def test_masks_are_short_and_nothing_else_changes(frames: np.ndarray, masks: int, longest: int) -> None:
    before = frames.copy()
    varied = vary(frames, AugmentConfig(masks=masks, mask_frames=longest), np.random.default_rng(0))
    hidden = ~varied.any(axis=1)
    assert hidden.sum() <= masks * min(longest, len(frames) // 8)
    np.testing.assert_array_equal(varied[~hidden], frames[~hidden])
    np.testing.assert_array_equal(frames, before)
    assert varied.dtype == np.float32


def test_masks_reach_everywhere_and_every_width() -> None:
    config = AugmentConfig(masks=1, mask_frames=4)
    widths, places = set(), np.zeros(40, bool)
    for seed in range(400):
        hidden = ~vary(np.ones((40, 2), np.float32), config, np.random.default_rng(seed)).any(axis=1)
        widths.add(int(hidden.sum()))
        places |= hidden
    assert widths == {0, 1, 2, 3, 4}
    assert places.all()


def test_gain_and_offset_are_per_dimension() -> None:
    frames = np.random.default_rng(0).standard_normal((50, 400)).astype(np.float32)
    varied = vary(frames, AugmentConfig(gain=0.1, offset=0.2), np.random.default_rng(1))
    gains, offsets = np.array([np.polyfit(frames[:, d], varied[:, d], 1) for d in range(400)]).T
    np.testing.assert_allclose(frames * gains + offsets, varied, atol=1e-5)
    assert np.log(gains).std() == pytest.approx(0.1, rel=0.15)
    assert offsets.std() == pytest.approx(0.2, rel=0.15)


def test_noise_on_every_value() -> None:
    frames = np.zeros((200, 60), np.float32)
    varied = vary(frames, AugmentConfig(noise=0.2), np.random.default_rng(1))
    assert varied.std() == pytest.approx(0.2, rel=0.03)
    assert abs(np.corrcoef(varied[:, 0], varied[:, 1])[0, 1]) < 0.3
