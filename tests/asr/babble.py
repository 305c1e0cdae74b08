"""Sounds made on the spot, and a small model of random weights that hears letters in them."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Literal

import numpy as np

from asr.alphabet import Alphabet
from asr.features import FeatureConfig
from asr.model import Model
from asr.network import Network, NetworkConfig

RATE = 8000
ALPHABET = Alphabet(" abcdefg")


def make_model(normalise: Literal["utterance", "none"] = "utterance", rate: int = RATE) -> Model:
    features = FeatureConfig(rate=rate, coefficients=8, deltas=1, filters=20, high=3800.0, normalise=normalise)
    network = NetworkConfig(
        inputs=features.dimension, outputs=ALPHABET.size, cell="gru", layers=2, hidden=12, stack=3, dropout=0.0
    )
    parameters = Network.initial(network, np.random.default_rng(1))
    parameters["output.weight"][:] *= 6  # sure enough of its letters to write some
    return Model(features, ALPHABET, network, parameters)


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose loudness and colour change ten times a second."""
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal(int(seconds * RATE)).astype(np.float32)
    for part in np.array_split(samples, max(1, round(seconds * 10))):
        part *= rng.uniform(0.01, 0.3)
        part[1:] += rng.uniform(-0.9, 0.9) * part[:-1]
    return samples / 4


def write(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path
