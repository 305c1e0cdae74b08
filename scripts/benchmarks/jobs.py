"""What all contenders share: a job, and the data of the synthetic ones, drawn from one seed in every process."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr.audio import Audio, read
from asr.network import NetworkConfig
from kernels.interface import RecurrentShape

RATE, MOMENTUM, CLIP = 0.05, 0.9, 1.0  # of the training steps
CHECKED_STEPS = 20  # after so many the losses of all contenders must agree
FEATURE_PARTS = 8
NARROW_INPUT = 39  # inputs up to here are features: a first layer, whose input needs no gradient


Timer = Callable[[Callable[[], object]], float]


class MissingError(Exception):
    """A library is not installed; the message is its name."""


@dataclass(frozen=True)
class Job:
    """One task, ready to be timed.

    run : does the part of this number; what it returns is dropped
    check : figures on which all contenders must agree
    parts : a run of the task is the parts 0 .. parts - 1
    flops : floating-point operations of each part's matrix products; empty where they mean nothing
    sound : seconds of sound in each part; empty where there is none
    note : how good the result is, where contenders may differ in that; "" where not
    timed : the milliseconds that a function takes by the device's own clock, with all that it launches there; None
        where everything happens on the CPU
    """

    run: Callable[[int], object]
    check: Sequence[float] = ()
    parts: int = 1
    flops: Sequence[float] = ()
    sound: Sequence[float] = ()
    note: str = ""
    timed: Timer | None = None


def library(name: str) -> Any:
    """A module that need not be installed; MissingError where it is not."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingError(name.partition(".")[0]) from error


@dataclass(frozen=True)
class LayerData:
    """A bidirectional layer and a batch of equal lengths.

    weights : as in `kernels.interface.RecurrentShape.parameter_shapes`
    x : float32 [T, B, D]
    out_gradient : float32 [T, B, 2 H]
    """

    shape: RecurrentShape
    weights: dict[str, np.ndarray]
    x: np.ndarray
    out_gradient: np.ndarray


def layer_data(cell: str, sizes: Sequence[int]) -> LayerData:
    """For sizes T, B, D, H. The recurrent weights are small enough for any cell to stay finite."""
    T, B, D, H = sizes
    rng = np.random.default_rng(1)
    shape = RecurrentShape(cell, D, H)
    limit = 1 / np.sqrt(H)
    weights = {
        name: rng.uniform(-limit, limit, size).astype(np.float32) for name, size in shape.parameter_shapes().items()
    }
    x = rng.standard_normal((T, B, D), np.float32)
    return LayerData(shape, weights, x, rng.standard_normal((T, B, 2 * H), np.float32))


@dataclass(frozen=True)
class LossData:
    """logits float32 [T, B, C]; labels int32 [B, S], all lengths full."""

    logits: np.ndarray
    labels: np.ndarray


def loss_data(sizes: Sequence[int]) -> LossData:
    """For sizes T, B, C, S."""
    T, B, C, S = sizes
    rng = np.random.default_rng(1)
    logits = 2 * rng.standard_normal((T, B, C), np.float32)
    return LossData(logits, rng.integers(1, C, (B, S)).astype(np.int32))


def load_network(folder: str) -> tuple[NetworkConfig, dict[str, np.ndarray]]:
    """Configuration and named weights that `speech.write_network` has left in a folder."""
    settings = json.loads((Path(folder) / "network.json").read_text())
    with np.load(Path(folder) / "weights.npz") as weights:
        return NetworkConfig(**settings), dict(weights)


def load_batches(folder: str) -> list[dict[str, np.ndarray]]:
    """Batches that `speech.write_batches` has left there: frames [T, B, D], lengths, labels [B, S], label_lengths."""
    batches = []
    for path in sorted(Path(folder).glob("batch*.npz")):
        with np.load(path) as batch:
            batches.append(dict(batch))
    return batches


def stacked(frames: np.ndarray, lengths: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Each `count` frames side by side, the last of an utterance repeated to fill its last step; and the new lengths.

    A rival gets its batches like this, ready made; we do it within the time that is measured.
    """
    T, B, D = frames.shape
    steps = -(-lengths // count)
    index = np.minimum(np.arange(-(-T // count) * count)[:, None], lengths[None] - 1)
    repeated = np.take_along_axis(frames, index[:, :, None], axis=0)
    grouped = repeated.reshape(-1, count, B, D).transpose(0, 2, 1, 3).reshape(-1, B, count * D)
    return np.ascontiguousarray(grouped), steps.astype(np.int32)


def within(log_probs: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The rows [N, C] of [T, B, C] that lie within the utterances."""
    return log_probs[np.arange(len(log_probs))[:, None] < steps[None]]


def load_sounds(listing: str, rate: int) -> list[Audio]:
    """Recordings that `speech.write_listing` names."""
    return [read(path, rate, start, end) for path, start, end in json.loads(Path(listing).read_text())]


def spread(count: int, parts: int) -> list[range]:
    """0 .. count - 1 dealt out to parts, each with some of the beginning and some of the end."""
    return [range(part, count, parts) for part in range(min(parts, count))]


def figures(*arrays: Any) -> list[float]:
    """A few numbers that tell one result from another: the mean magnitude of each array."""
    return [float(np.abs(np.asarray(array, np.float64)).mean()) for array in arrays]
