"""Recurrent layers on hardware: each way to launch them gives the same bits, always, and the right ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_cases import (
    CELL_NAMES,
    Case,
    Result,
    assert_close,
    assert_same_bits,
    fresh,
    make_case,
    make_weights,
    packed_layer,
    run_layer,
)

from kernels import open_backend
from kernels.interface import RecurrentShape

SHAPES = ((16, 39, 256), (16, 512, 256), (64, 512, 256), (64, 512, 512))  # B, D, H of the benchmark
STEPS = 60


def layer_case(cell: str, T: int, B: int, D: int, H: int) -> Case:
    """A batch of unequal lengths."""
    rng = np.random.default_rng(3)
    shape = RecurrentShape(cell, D, H)
    lengths = np.linspace(T, max(1, T // 3), B).astype(np.int32)
    x, out_gradient = rng.standard_normal((T, B, D), np.float32), rng.standard_normal((T, B, 2 * H), np.float32)
    return Case(shape, make_weights(shape, rng), x, lengths, out_gradient)


def run_in(gpu: Any, mode: str, case: Case) -> Result:
    """Infer, forward and backward, launched this way. Skips where the device cannot."""
    before, gpu.mode = gpu.mode, mode
    try:
        return run_layer(gpu, case, packed_layer(gpu, case))
    except ValueError as error:
        if mode != "persistent" or "cannot hold" not in str(error):
            raise
        pytest.skip(str(error))
    finally:
        gpu.mode = before


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("size", ["unequal lengths", "wide batch", "frames beyond the longest"])
def test_stepwise_equals_persistent_bit_for_bit(gpu: Any, cell: str, size: str) -> None:
    case = make_case(cell, True, size)
    assert_same_bits(run_in(gpu, "stepwise", case), run_in(gpu, "persistent", case))


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_the_benchmark_s_layers_are_right(hardware: Any, cell: str, sizes: tuple[int, ...]) -> None:
    """Against the CPU's kernels; and each way of launching the same."""
    case = layer_case(cell, STEPS, *sizes)
    found, expected = run_in(hardware, "auto", case), run_layer(open_backend("cpu"), case)
    for name, array in expected.arrays().items():
        assert_close(found.arrays()[name], array, 1e-5 if name in ("out", "inferred") else 1e-4, name)
    assert_same_bits(run_in(hardware, "stepwise", case), run_in(hardware, "persistent", case))


@pytest.mark.parametrize("mode", ["persistent", "stepwise"])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_every_run_gives_the_same_bits(gpu: Any, repeats: int, cell: str, mode: str) -> None:
    case = make_case(cell, True, "unequal lengths") if repeats < 10 else layer_case(cell, 40, 20, 24, 96)
    first = run_in(gpu, mode, case)
    for _ in range(repeats - 1):
        assert_same_bits(run_in(gpu, mode, case), first)


def test_a_thousand_steps_stay_right(hardware: Any) -> None:
    """The rounding of approximate functions does not add up."""
    case = layer_case("lstm", 1000, 16, 39, 256)
    found, expected = run_in(hardware, "auto", case), run_layer(open_backend("cpu"), case)
    for name, array in expected.arrays().items():
        assert_close(found.arrays()[name], array, 1e-4, name)


def test_another_backend_s_work_does_not_disturb(gpu: Any) -> None:
    """Each backend has a stream; two in turn, their launches under way at the same time, give what one gives alone."""
    cases = [make_case("lstm", True, "unequal lengths", seed) for seed in (1, 2)]
    alone = [run_in(gpu, "auto", case) for case in cases]
    backends = gpu, type(gpu)()
    layers = [packed_layer(backend, case) for backend, case in zip(backends, cases, strict=True)]
    outs = [fresh(backend, case.out_gradient.shape) for backend, case in zip(backends, cases, strict=True)]
    inputs = [backend.to_device(case.x) for backend, case in zip(backends, cases, strict=True)]
    for _ in range(5):
        for layer, case, x, out in zip(layers, cases, inputs, outs, strict=True):
            layer.infer(x, case.lengths, out)
    for backend, expected, out in zip(backends, alone, outs, strict=True):
        assert backend.to_host(out).tobytes() == expected.inferred.tobytes()
