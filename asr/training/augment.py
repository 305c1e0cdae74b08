"""Variation in the training data: altered copies of the audio, and changes to the frames of every batch."""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np

from asr import audio, features
from asr.audio import Audio
from asr.corpora.utterance import Utterance
from asr.features import FeatureConfig
from asr.training.config import AugmentConfig, Copy
from asr.training.streams import stream

PLAIN = Copy()  # the audio as recorded
COLOUR = 0.9  # a in the coloured noise 1 / (1 - a z^-1), which falls with frequency as room noise does


def draw_copies(config: AugmentConfig, utterances: int, epochs: int, seed: int) -> np.ndarray:
    """Which of `config.copies` each utterance has in each epoch: int64 `[epochs, utterances]`."""
    if not config.copies:
        return np.zeros((epochs, utterances), np.int64)
    weights = np.array([copy.weight for copy in config.copies])
    return np.stack(
        [
            stream(seed, "copies", epoch).choice(len(weights), utterances, p=weights / weights.sum())
            for epoch in range(epochs)
        ]
    )


def copy_frames(sound: Audio, utterance: Utterance, copy: Copy, config: FeatureConfig, snr_spread: float) -> np.ndarray:
    """The frames of one altered copy, float32 `[T, D]`; its noise depends on the utterance's name alone."""
    samples = sound.samples
    if copy.speed != 1:
        samples = audio.speed(samples, copy.speed, sound.rate)
    if copy.snr is not None:
        seed = zlib.crc32(utterance.id.encode(errors="surrogatepass"))  # a name may come from a file's
        samples = _noisy(samples, copy.snr, snr_spread, stream(seed, "noise"))
    scaled = dataclasses.replace(config, hop=config.hop * copy.hop)
    return features.extract(dataclasses.replace(sound, samples=samples), scaled)


def vary(frames: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """A changed copy of one utterance's frames `[T, D]`: gain and offset, noise, then stretches of zeros."""
    T, D = frames.shape
    gain = np.exp(config.gain * rng.standard_normal(D, np.float32))
    offset = np.float32(config.offset) * rng.standard_normal(D, np.float32)
    varied: np.ndarray = frames * gain.astype(np.float32) + offset
    if config.noise:
        varied += np.float32(config.noise) * rng.standard_normal((T, D), np.float32)
    longest = min(config.mask_frames, int(T * config.mask_share))
    for _ in range(config.masks):
        width = int(rng.integers(0, longest + 1))
        start = int(rng.integers(0, T - width + 1))
        varied[start : start + width] = 0
    return varied


def _noisy(samples: np.ndarray, snr: float, spread: float, rng: np.random.Generator) -> np.ndarray:
    """White or coloured noise added, `snr` +- `spread` dB below the mean power of the louder half of the samples."""
    noise = rng.standard_normal(len(samples))
    if rng.random() < 0.5:
        noise = _coloured(noise)
    power = np.sort(np.square(samples, dtype=np.float64))[len(samples) // 2 :].mean()
    decibels = snr + rng.uniform(-spread, spread)
    noise *= np.sqrt(power * 10 ** (-decibels / 10) / np.mean(noise**2))
    return (samples + noise).astype(np.float32)


def _coloured(noise: np.ndarray) -> np.ndarray:
    """y[n] = x[n] + a y[n-1]"""
    from scipy.signal import lfilter

    filtered: np.ndarray = lfilter([1.0], [1.0, -COLOUR], noise)
    return filtered
