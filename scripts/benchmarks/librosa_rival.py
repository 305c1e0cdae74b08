"""librosa's side: the same frames by its own functions, called as its documentation does."""

from __future__ import annotations

from typing import Any

import numpy as np

from asr.features import FeatureConfig
from benchmarks.jobs import FEATURE_PARTS, Job, figures, library, load_sounds, spread


def features(threads: int, listing: str) -> Job:
    librosa = library("librosa")
    config = FeatureConfig()
    sounds = load_sounds(listing, config.rate)
    groups = spread(len(sounds), FEATURE_PARTS)

    def run(part: int) -> list[np.ndarray]:
        return [_frames(librosa, sounds[i].samples, config) for i in groups[part]]

    return Job(run, figures(np.concatenate(run(0))), len(groups))


def _frames(librosa: Any, samples: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """float32 [T, D], each dimension with mean 0 and variance 1."""
    cepstra = librosa.feature.mfcc(
        y=librosa.effects.preemphasis(samples, coef=config.preemphasis, zi=[0.0]),
        sr=config.rate,
        n_mfcc=config.coefficients,
        n_fft=config.transform_samples,
        win_length=config.window_samples,
        hop_length=config.hop_samples,
        window=config.window_shape,
        n_mels=config.filters,
        fmin=config.low,
        fmax=config.high,
    )
    orders = [
        librosa.feature.delta(cepstra, width=config.delta_width, order=order, mode="nearest")
        for order in range(1, config.deltas + 1)
    ]
    frames = np.concatenate([cepstra, *orders]).T
    normalised: np.ndarray = ((frames - frames.mean(axis=0)) / frames.std(axis=0)).astype(np.float32)
    return normalised


TASKS: dict[str, Any] = {"features": features}
