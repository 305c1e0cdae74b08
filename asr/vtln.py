"""Vocal tract length normalisation: a voice heard as if its owner were larger or smaller.

Resonances stand higher in a short vocal tract, a child's say, than in a long one. Multiplying all frequencies of a
recording by a factor moves them to where the network knows them best; which factor that is, the network itself tells by
how sure it is (Lee and Rose, "A frequency warping approach to speaker normalization", IEEE Trans. Speech and Audio
Processing 6, 1998, choose by likelihood). A network heard such voices if its training data were warped as well, as
`speed` and `hop` of `asr.training.augment` do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from asr import audio as sound
from asr.audio import Audio
from asr.decoding.greedy import BestPath
from asr.features import FeatureConfig, extract

FACTORS = (0.87, 0.93, 1.07, 1.15)
# By so much must `sureness` grow for a warped recording to be preferred. It is 0 at most, so none that is above -MARGIN
# need be tried. Chosen on held-out speakers: docs/accuracy.md
MARGIN = 0.8
SHORTEST = 2  # feature windows: a recording of fewer has too little left when it is played faster


def warped(audio: Audio, config: FeatureConfig, factor: float) -> np.ndarray:
    """Features of a recording with all frequencies multiplied by `factor`, at the tempo that it has: float32 [T, D].

    Played faster by the factor, its frequencies rise and its length falls; frames that are closer together by as much
    undo the latter. They are whole samples apart, so the factor is the nearest to that wanted for which they do.
    """
    hop = min(round(config.hop_samples / factor), config.window_samples)
    samples = sound.speed(audio.samples, config.hop_samples / hop, audio.rate)
    return extract(replace(audio, samples=samples), replace(config, hop=hop / config.rate))


def sureness(readings: Sequence[BestPath | np.ndarray], step_seconds: float) -> float:
    """Natural log-probability of the likeliest labels in a second of a recording, on average, from what was read in its
    windows: best paths, or log-probabilities [T', C], of steps of so many seconds."""
    each = [one.log_probs if isinstance(one, BestPath) else one.max(axis=1) for one in readings]
    return float(np.concatenate(each).mean()) / step_seconds
