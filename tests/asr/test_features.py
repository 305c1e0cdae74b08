"""Frames: their number, their meaning, and sounds that have none."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.audio import Audio
from asr.config import from_table, to_table
from asr.errors import AudioError, UsageError
from asr.features import BLOCK, FeatureConfig, _compiled_folder, _frames, extract, measure
from asr.files import cache_folder

CONFIG = FeatureConfig()
PLAIN = FeatureConfig(normalise="none", deltas=0, preemphasis=0.0)


def noise(samples: int, seed: int = 0) -> Audio:
    return Audio(np.random.default_rng(seed).standard_normal(samples).astype(np.float32) * 0.1, 16000)


def naive_cepstra(audio: Audio, config: FeatureConfig) -> np.ndarray:
    """Frame by frame in float64, from the definitions; only the mel filters are librosa's."""
    import librosa
    from scipy.signal import get_window

    window, hop = config.window_samples, config.hop_samples
    size = 1 << (window - 1).bit_length()
    taper = np.pad(get_window(config.window_shape, window), (size - window) // 2)
    padded = np.pad(audio.samples.astype(np.float64), size // 2)
    frames = [padded[t * hop : t * hop + size] * taper for t in range(1 + len(audio.samples) // hop)]
    filters = librosa.filters.mel(
        sr=config.rate, n_fft=size, n_mels=config.filters, fmin=config.low, fmax=config.high, dtype=np.float64
    )
    decibels = 10 * np.log10(np.maximum(filters @ (np.abs(np.fft.rfft(frames)) ** 2).T, 1e-10))
    decibels = np.maximum(decibels, decibels.max() - 80)
    n, k = np.arange(config.filters), np.arange(config.coefficients)[:, None]
    basis = np.cos(np.pi * k * (n + 0.5) / config.filters) * np.sqrt(2 / config.filters)
    basis[0] /= np.sqrt(2)
    cepstra: np.ndarray = (basis @ decibels).T
    return cepstra


def test_cepstra_are_those_of_the_definition() -> None:
    audio = noise(5000)
    np.testing.assert_allclose(extract(audio, PLAIN), naive_cepstra(audio, PLAIN), rtol=1e-4, atol=1e-3)


def test_preemphasis_is_a_difference() -> None:
    audio = noise(4000)
    emphasised = audio.samples.copy()
    emphasised[1:] -= np.float32(0.97) * audio.samples[:-1]
    expected = extract(Audio(emphasised, 16000), PLAIN)
    np.testing.assert_array_equal(extract(audio, dataclasses.replace(PLAIN, preemphasis=0.97)), expected)


def test_deltas_are_slopes_and_bends_over_nine_frames() -> None:
    frames = extract(noise(16000), FeatureConfig(normalise="none", coefficients=5))
    offsets = np.arange(-4, 5)
    for t in (10, 50):
        bend, slope, _ = np.polyfit(offsets, frames[t - 4 : t + 5, :5], 2)
        np.testing.assert_allclose(frames[t, 5:10], slope, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(frames[t, 10:], 2 * bend, rtol=1e-3, atol=1e-3)


@settings(max_examples=25)
@given(samples=st.integers(400, 6000), hop=st.sampled_from([0.008, 0.009125, 0.010, 0.011]), deltas=st.integers(0, 2))
def test_shape_and_normalisation(samples: int, hop: float, deltas: int) -> None:
    config = FeatureConfig(hop=hop, deltas=deltas)
    frames = extract(noise(samples), config)
    assert frames.dtype == np.float32
    assert frames.flags.c_contiguous
    assert frames.shape == (1 + samples // config.hop_samples, config.dimension)
    np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(frames.std(axis=0), 1, atol=1e-3)


def test_loudness_does_not_matter() -> None:
    audio = noise(8000)
    np.testing.assert_allclose(
        extract(Audio(audio.samples * 0.25, 16000), CONFIG), extract(audio, CONFIG), rtol=1e-2, atol=2e-3
    )


@pytest.mark.parametrize("level", [0.0, 0.25])
def test_silence_gives_zeros(level: float) -> None:
    frames = extract(Audio(np.full(16000, level, np.float32), 16000), FeatureConfig(preemphasis=0.0))
    assert np.isfinite(frames).all()
    if level == 0:
        assert not frames.any()


def test_sound_then_silence_is_finite() -> None:
    samples = np.concatenate([noise(4000).samples, np.zeros(12000, np.float32)])
    assert np.isfinite(extract(Audio(samples, 16000), CONFIG)).all()


def test_less_than_a_window_is_too_short() -> None:
    extract(noise(400), CONFIG)
    with pytest.raises(AudioError, match=r"x.wav: 24.9 ms of sound is less than one window \(25 ms\)"):
        extract(Audio(noise(399).samples, 16000, "x.wav"), CONFIG)


def test_another_rate() -> None:
    with pytest.raises(UsageError, match="for 16000 Hz, not 8000 Hz"):
        extract(Audio(np.zeros(8000, np.float32), 8000), CONFIG)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": 500},
        {"window": 0.0005},
        {"hop": 0.0},
        {"hop": 0.03},
        {"coefficients": 0},
        {"coefficients": 41},
        {"filters": 0},
        {"deltas": 3},
        {"delta_width": 4},
        {"delta_width": 1},
        {"low": 8000.0},
        {"high": 8001.0},
        {"preemphasis": 1.0},
        {"window_shape": "triangle"},
        {"normalise": "speaker"},
        {"normalise_seconds": 0.5},
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        from_table(FeatureConfig, wrong, "here")
    assert next(iter(wrong)) in str(caught.value)


def test_librosa_keeps_its_compiled_functions_in_our_cache() -> None:
    """Elsewhere Numba may find no folder that can be written, and librosa could not be imported at all."""
    program = """
import librosa, numba
from asr.features import _librosa
print(_librosa().core.notation.__o_fold.stats.cache_path, numba.config.CACHE_DIR, sep="|")
"""
    command = [sys.executable, "-c", program]
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    path, setting = printed.rstrip("\n").split("|")
    assert Path(path).parent.parent == cache_folder("")
    assert setting == ""  # other programs' functions are not our business


def test_where_the_cache_cannot_be_written_they_go_to_a_passing_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "file"))
    ends: list[str] = []
    monkeypatch.setattr("atexit.register", lambda remove, folder, **_: ends.append(folder))
    folder = _compiled_folder()
    assert ends == [folder]
    assert Path(folder).is_dir()
    assert not Path(folder).is_relative_to(tmp_path)
    Path(folder).rmdir()


def test_settings_there_and_back() -> None:
    config = FeatureConfig(coefficients=20, window_shape="hann")
    assert from_table(FeatureConfig, to_table(config), "here") == config


def test_what_librosa_compiles_on_loading_is_compiled_when_called() -> None:
    """It costs a first start ten seconds, and cepstra need none of it; a caller of librosa's finds it as ever."""
    code = """
from asr.features import _librosa
import numba.core.event as event
with event.install_recorder("numba:compile") as compiled:
    librosa = _librosa()
assert not compiled.buffer, compiled.buffer
import numpy as np
print(librosa.util.localmax(np.array([0.0, 1.0, 0.0, 2.0, 1.0])).tolist())
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["[False,", "True,", "False,", "True,", "False]"]


def test_prior_counts_as_so_many_frames_of_average_speech() -> None:
    """As if frames with the prior's mean and deviation stood beside the utterance's own."""
    sound = noise(4000)
    plain = FeatureConfig(coefficients=4, deltas=1, prior_frames=30, normalise="none")
    mean, deviation = np.linspace(-9, 9, plain.dimension), np.linspace(1, 8, plain.dimension)
    prior = mean + deviation * np.where(np.arange(30) % 2, 1, -1)[:, np.newaxis]
    own = extract(sound, plain).astype(np.float64)
    both = np.concatenate([own, prior])
    config = replace(plain, normalise="utterance", prior_mean=tuple(mean), prior_deviation=tuple(deviation))
    np.testing.assert_allclose(extract(sound, config), (own - both.mean(axis=0)) / both.std(axis=0), atol=1e-5)


def test_prior_makes_loudness_count_for_nothing() -> None:
    config = measure([noise(16000)], FeatureConfig(prior_frames=50))
    sound = noise(8000)
    softer = replace(sound, samples=sound.samples * np.float32(0.01))
    np.testing.assert_allclose(extract(softer, config), extract(sound, config), atol=1e-3)


def test_average_speech_is_that_of_all_frames() -> None:
    config = FeatureConfig(coefficients=3, deltas=0, prior_frames=10)
    sounds = [noise(16000), noise(4000)]
    measured = measure(sounds, config)
    frames = [extract(sound, replace(config, normalise="none")) for sound in sounds]
    np.testing.assert_allclose(measured.prior_mean, np.concatenate(frames).mean(axis=0), rtol=1e-3)
    within = np.concatenate([one - one.mean(axis=0) for one in frames])
    np.testing.assert_allclose(measured.prior_deviation, within.std(axis=0), rtol=1e-3)
    with pytest.raises(ValueError, match="no recording"):
        measure([], config)


def test_speech_is_normalised_alike_whatever_quiet_is_around_it() -> None:
    config = FeatureConfig(coefficients=5, deltas=0, normalise="speech")
    sound = Audio((noise(16000).samples * np.hanning(16000)).astype(np.float32), 16000)  # its ends are quiet
    padded = replace(sound, samples=np.pad(sound.samples, (40 * config.hop_samples, 9999)))
    inside = slice(40, 141)
    np.testing.assert_allclose(extract(padded, config)[inside], extract(sound, config), atol=1e-3)
    whole = replace(config, normalise="utterance")
    assert np.abs(extract(padded, whole)[inside] - extract(sound, whole)).max() > 1


def test_frames_within_the_range_of_the_loudest_count_as_speech() -> None:
    """The second half, 18 dB below the first, counts at a range of 25 dB, and not at 12."""
    samples = noise(16000).samples * np.repeat(np.float32([1, 10 ** (-18 / 20)]), 8000)
    sound = Audio(samples.astype(np.float32), 16000)
    plain = replace(PLAIN, coefficients=3, prior_frames=10)
    frames = extract(sound, plain)
    for limit, counted in ((12.0, frames[:51]), (25.0, frames)):
        measured = measure([sound], replace(plain, normalise="speech", speech_range=limit))
        np.testing.assert_allclose(measured.prior_mean, counted.mean(axis=0), rtol=0.01)


def test_a_soft_speaker_behind_a_loud_one_is_speech_too() -> None:
    """20 s that are 18 dB below the 20 s before them count but for the first 5; another 20 s, 30 dB below, do not."""
    loudness = np.repeat(np.float32(10) ** np.float32([0, -18 / 20, -30 / 20]), 20 * 16000)
    sound = Audio(noise(60 * 16000).samples * loudness, 16000)
    config = replace(PLAIN, coefficients=1, prior_frames=10, window=0.1, hop=0.1)
    level = extract(sound, config)[:, 0]
    measured = measure([sound], replace(config, normalise="speech", speech_range=12.0))
    np.testing.assert_allclose(measured.prior_mean, level[np.r_[:200, 250:400]].mean(), rtol=0.02)


def test_prior_must_be_measured_and_fit() -> None:
    with pytest.raises(UsageError, match="average speech was not measured"):
        extract(noise(4000), FeatureConfig(prior_frames=10))
    with pytest.raises(UsageError, match="prior_mean: 2 values, not 39"):
        FeatureConfig(prior_frames=10, prior_mean=(1.0, 2.0))


@pytest.mark.parametrize("normalise", ["utterance", "speech"])
def test_sliding_mean_and_deviation_are_those_of_the_frames_around(normalise: str) -> None:
    """In windows that stay whole at both ends, over the boundary of a block too."""
    sound = Audio(noise(BLOCK * 100 + 3000).samples * np.linspace(0.001, 1, BLOCK * 100 + 3000), 16000)
    plain = FeatureConfig(window=0.01, hop=100 / 16000, coefficients=3, deltas=1, normalise=normalise, speech_range=3.0)
    config = replace(plain, normalise_seconds=1.0)
    raw, counted = _frames(sound, config)
    width = 160
    checked = np.arange(0, len(raw), 37)
    expected = np.empty((len(checked), raw.shape[1]))
    for row, t in enumerate(checked):
        start = min(max(t - width // 2, 0), len(raw) - width)
        own = raw[start : start + width][counted[start : start + width]].astype(np.float64)
        expected[row] = (raw[t] - own.mean(axis=0)) / own.std(axis=0) if len(own) > 1 else 0
    np.testing.assert_allclose(extract(sound, config)[checked], expected, rtol=1e-3, atol=1e-4)


def test_a_sliding_window_longer_than_the_recording_is_all_of_it() -> None:
    config = FeatureConfig(normalise="speech")
    np.testing.assert_array_equal(
        extract(noise(16000), replace(config, normalise_seconds=1.5)), extract(noise(16000), config)
    )
