"""Variation in the training data: altered copies of the audio, and changes to the frames of every batch."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Sequence

import numpy as np

from asr import audio, features
from asr.audio import Audio
from asr.corpora.utterance import Utterance
from asr.features import FeatureConfig
from asr.training import alterations
from asr.training.config import PLAIN, AugmentConfig, Copy, CorpusConfig, TrainingConfig
from asr.training.streams import stream

__all__ = ["PLAIN", "alter", "copy_frames", "draw", "draw_copies", "draw_present", "vary"]


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


def draw_present(settings: Sequence[CorpusConfig | None], config: TrainingConfig) -> np.ndarray:
    """Which utterances each epoch has, given each one's corpus: int64 `[epochs, N]`, sorted.

    Of a corpus with weight w and n utterances an epoch has w n, the next of a shuffled deck that is shuffled anew
    whenever it is used up: over time each utterance comes as often as any other of its corpus, give or take one.
    """
    epochs, rows = config.schedule.epochs, []
    for number, corpus in enumerate([None, *config.corpora]):
        members = np.array([i for i, one in enumerate(settings) if one == corpus], np.int64)
        if len(members) == 0:
            continue
        count = max(1, round((corpus.weight if corpus else 1.0) * len(members)))
        rng = stream(config.seed, "share", number)
        decks = [rng.permutation(members) for _ in range(-(-epochs * count // len(members)))]
        rows.append(np.concatenate(decks)[: epochs * count].reshape(epochs, count))
    return np.sort(np.concatenate(rows, axis=1), axis=1) if rows else np.zeros((epochs, 0), np.int64)


def copy_frames(
    sound: Audio,
    utterance: Utterance,
    copy: Copy,
    config: FeatureConfig,
    snr_spread: float,
    voices: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """The frames of one altered copy, float32 `[T, D]`; what is drawn depends on the utterance's name and the copy.

    voices : samples of other utterances, for a copy whose noise is speech
    """
    altered = alter(sound, utterance, copy, snr_spread, voices)
    factor = _factors(utterance, copy)[2]
    return features.extract(
        altered, dataclasses.replace(config, hop=min(config.hop * copy.hop * factor, config.window))
    )


def alter(
    sound: Audio, utterance: Utterance, copy: Copy, snr_spread: float, voices: Sequence[np.ndarray] = ()
) -> Audio:
    """The sound of one altered copy: all of it but the hop, which is the frames'."""
    samples, rate = sound.samples, sound.rate
    faster, longer, _ = _factors(utterance, copy)
    if copy.speed * faster != 1:
        samples = audio.speed(samples, copy.speed * faster, rate)
    if copy.pad:
        samples = alterations.pad(samples, copy.pad, rate, draw(utterance, copy, "pad"))
    if copy.reverb is not None:
        room = draw(utterance, copy, "room")
        samples = alterations.reverberate(samples, copy.reverb * longer, rate, room)
    if copy.snr is not None:
        samples = _noisy(samples, copy, snr_spread, draw(utterance, copy, "noise"), voices)
    if copy.stop:
        samples = alterations.stop_band(samples, copy.stop, rate, draw(utterance, copy, "band"))
    if copy.band != "full":
        samples = _BANDS[copy.band](samples, rate)
    if copy.level is not None:
        samples = alterations.set_level(samples, copy.level)
    return dataclasses.replace(sound, samples=samples)


def draw(utterance: Utterance, copy: Copy, name: str) -> np.random.Generator:
    """Stream `name` of one copy of an utterance."""
    seed = zlib.crc32(utterance.id.encode(errors="surrogatepass"))  # a name may come from a file's
    variant = copy.variant()
    plain = variant == variant[:3]  # speed, hop and noise alone: as when there was nothing else
    return stream(seed, name, *(() if plain else (zlib.crc32(json.dumps(variant).encode()),)))


def _factors(utterance: Utterance, copy: Copy) -> tuple[float, float, float]:
    """What the spread multiplies speed, reverberation and hop by."""
    faster, longer, farther = 1 + draw(utterance, copy, "spread").uniform(-copy.spread, copy.spread, 3)
    return float(faster), float(longer), float(farther)


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


def _noisy(
    samples: np.ndarray, copy: Copy, spread: float, rng: np.random.Generator, voices: Sequence[np.ndarray]
) -> np.ndarray:
    """Noise added, `copy.snr` +- `spread` dB below the mean power of the louder half of the samples."""
    if copy.noise == "speech":
        noise = alterations.babble(len(samples), voices, rng)
    else:
        noise = alterations.white(len(samples), rng)
        if copy.noise == "coloured" or (copy.noise == "either" and rng.random() < 0.5):
            noise = alterations.coloured(noise)
    return alterations.add_noise(samples, noise, (copy.snr or 0.0) + rng.uniform(-spread, spread))


_BANDS = {"narrow": alterations.narrow, "telephone": alterations.telephone}
