"""Layers of many sizes with random numbers, one way to run them, and how close is close enough."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from kernels.cells import CELLS
from kernels.interface import Backend, RecurrentLayer, RecurrentShape

CELL_NAMES = tuple(CELLS)
SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") != "0"  # CUDA's simulator runs a few blocks a second
EXECUTED = os.environ.get("ASR_PTX_SEED", "")  # CUDA's PTX is run on the CPU (tests/ptx), in an order by this seed

# name -> T, lengths, D, H: no size a multiple of anything, unless it is
SIZES = {
    "all ones": (1, (1,), 1, 1),
    "one frame": (1, (1, 1, 1), 7, 5),
    "one utterance": (11, (11,), 13, 16),
    "one unit": (6, (6, 4, 4), 3, 1),
    "unequal lengths": (17, (17, 9, 9, 4, 1), 7, 33),
    "equal lengths": (8, (8, 8, 8, 8), 5, 16),
    "frames beyond the longest": (9, (6, 2), 3, 5),
    "long": (90, (90, 61, 60, 7), 13, 33),
    "wide batch": (5, (5,) * 9 + (3,) * 7 + (1,) * 3, 4, 16),
}
if not EXECUTED:  # which would take long
    SIZES |= {
        "whole blocks, straight into place": (40, (40,) * 8, 64, 16),
        "inputs and units of more than a block": (4, (4,) * 8, 130, 140),
    }
if SIMULATED:  # a block's tile is 2 x 2: less, equal and more than it
    SIZES = {
        "one frame": (1, (1, 1, 1), 3, 2),
        "unequal lengths": (3, (3, 2, 1), 3, 3),
        "equal lengths": (4, (4, 4, 4, 4), 2, 1),
        "frames beyond the longest": (3, (2, 1), 1, 2),
        "long": (7, (7, 4), 1, 1),
        "wide batch": (2, (2,) * 3 + (1,) * 2, 2, 1),
    }


@dataclass(frozen=True)
class Case:
    """Inputs of one recurrent layer, float32; `lengths` int32."""

    shape: RecurrentShape
    weights: dict[str, np.ndarray]
    x: np.ndarray
    lengths: np.ndarray
    out_gradient: np.ndarray

    @property
    def padding(self) -> np.ndarray:
        """bool [T, B]: true beyond the lengths."""
        return np.arange(self.x.shape[0])[:, None] >= self.lengths


@dataclass(frozen=True)
class Result:
    """What a layer made of a case, on the host."""

    inferred: np.ndarray
    out: np.ndarray
    gradients: dict[str, np.ndarray]
    x_gradient: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        return {"inferred": self.inferred, "out": self.out, "x_gradient": self.x_gradient, **self.gradients}


def make_weights(shape: RecurrentShape, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """As PyTorch draws them: uniform within +- 1 / sqrt(H)."""
    bound = shape.hidden**-0.5
    return {
        name: rng.uniform(-bound, bound, size).astype(np.float32) for name, size in shape.parameter_shapes().items()
    }


def make_case(
    cell: str, bidirectional: bool, size: str, seed: int = 9
) -> Case:  # 9: even the ReLU layer of one unit is alive
    T, lengths, D, H = SIZES[size]
    rng = np.random.default_rng(seed)
    shape = RecurrentShape(cell, D, H, bidirectional)
    B = len(lengths)
    return Case(
        shape,
        make_weights(shape, rng),
        rng.standard_normal((T, B, D), np.float32),
        np.array(lengths, np.int32),
        rng.standard_normal((T, B, shape.outputs), np.float32),
    )


def packed_layer(backend: Backend, case: Case) -> RecurrentLayer:
    layer = backend.recurrent(case.shape)
    layer.pack({name: backend.to_device(weight) for name, weight in case.weights.items()})
    return layer


def run_layer(backend: Backend, case: Case, layer: RecurrentLayer | None = None) -> Result:
    """Infer, forward and backward into arrays full of NaN: whatever is not overwritten shows."""
    layer = layer or packed_layer(backend, case)
    x = backend.to_device(case.x)
    lengths = case.lengths
    inferred, out = (fresh(backend, case.out_gradient.shape) for _ in range(2))
    gradients = {name: fresh(backend, size) for name, size in case.shape.parameter_shapes().items()}
    x_gradient = fresh(backend, case.x.shape)
    layer.infer(x, lengths, inferred)
    layer.forward(x, lengths, out)
    layer.backward(x, lengths, out, backend.to_device(case.out_gradient), gradients, x_gradient)
    return Result(
        backend.to_host(inferred).copy(),
        backend.to_host(out).copy(),
        {name: backend.to_host(gradient).copy() for name, gradient in gradients.items()},
        backend.to_host(x_gradient).copy(),
    )


def fresh(backend: Backend, shape: tuple[int, ...]) -> np.ndarray:
    """A device array of NaN, to be written into."""
    return backend.to_device(np.full(shape, np.nan, np.float32))


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float, what: str = "array") -> None:
    """The largest error, as a share of the largest value (of 1 where all values are small)."""
    assert found.shape == expected.shape, what
    assert np.isfinite(found).all(), f"{what} has values that are not finite"
    error = np.abs(found.astype(np.float64) - expected).max() / max(1.0, np.abs(expected).max())
    assert error <= tolerance, f"{what}: error {error:.2e} > {tolerance:.0e}"


def assert_same_bits(found: Result, expected: Result) -> None:
    for name, array in expected.arrays().items():
        assert found.arrays()[name].tobytes() == array.tobytes(), name
