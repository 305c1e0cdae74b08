"""What all contenders share: a job, and the data of the synthetic ones, drawn from one seed in every process."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.interface import RecurrentShape

NARROW_INPUT = 39  # inputs up to here are features: a first layer, whose input needs no gradient


class MissingError(Exception):
    """A library is not installed; the message is its name."""


@dataclass(frozen=True)
class Job:
    """One task, ready to be timed.

    run : does the part of this number; what it returns is dropped
    check : figures on which all contenders must agree
    parts : a run of the task is the parts 0 .. parts - 1
    flops : floating-point operations of each part's matrix products; empty where they mean nothing
    """

    run: Callable[[int], object]
    check: Sequence[float] = ()
    parts: int = 1
    flops: Sequence[float] = ()


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


def figures(*arrays: Any) -> list[float]:
    """A few numbers that tell one result from another: the mean magnitude of each array."""
    return [float(np.abs(np.asarray(array, np.float64)).mean()) for array in arrays]
