"""The equations of `kernels.cells`, compiled and plain, against the reference's own and against finite differences."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from kernel_cases import CELL_NAMES
from numba.np.unsafe.ndarray import to_fixed_tuple

from kernels.cells import CELLS, Cell
from kernels.jit import FASTMATH
from kernels.reference import _STEPS

N = 500  # units, each with numbers of its own


def gate_products(cell: Cell, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The input's and the state's products by gate [N, G] float64, and the columns [N, P] float32 that they make."""
    gi, gh = 2 * rng.standard_normal((2, N, cell.gates)).astype(np.float32).astype(np.float64)
    columns = np.zeros((N, cell.columns))
    for p, (from_input, from_state) in enumerate(zip(cell.from_input, cell.from_state, strict=True)):
        columns[:, p] += 0 if from_input is None else gi[:, from_input]
        columns[:, p] += 0 if from_state is None else gh[:, from_state]
    return gi, gh, columns.astype(np.float32)


def by_gate(cell: Cell, da: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The derivatives by the columns [N, P], as those by the input's and the state's products [N, G]."""
    dgi, dgh = np.zeros((2, N, cell.gates))
    for p, (from_input, from_state) in enumerate(zip(cell.from_input, cell.from_state, strict=True)):
        if from_input is not None:
            dgi[:, from_input] += da[:, p]
        if from_state is not None:
            dgh[:, from_state] += da[:, p]
    return dgi, dgh


def run_cell(name: str, columns: np.ndarray, state: np.ndarray, derivative: np.ndarray, compiled: bool) -> Any:
    """h, c [N] and the derivatives by columns [N, P], h_prev and c_prev [N]; state and derivative float32 [2, N]."""
    cell = CELLS[name]
    forward, backward, count = cell.forward, cell.backward, cell.columns
    compile_like_kernels = numba.njit(fastmath=FASTMATH, error_model="numpy")
    as_tuple = numba.njit(lambda row: to_fixed_tuple(row, count)) if compiled else tuple

    def each(columns, h_prev, c_prev, dh, dc, h, c, da, dh_prev, dc_prev):
        for i in range(h.shape[0]):
            h[i], c[i], saved = forward(as_tuple(columns[i]), h_prev[i], c_prev[i])
            da_i, dh_prev[i], dc_prev[i] = backward(saved, h_prev[i], c_prev[i], h[i], dh[i], dc[i])
            da[i] = da_i

    h, c, dh_prev, dc_prev = np.empty((4, N), np.float32)
    da = np.empty(columns.shape, np.float32)
    run = compile_like_kernels(each) if compiled else each
    run(columns, *state, *derivative, h, c, da, dh_prev, dc_prev)
    return h, c, da, dh_prev, dc_prev


@pytest.mark.parametrize("name", CELL_NAMES)
@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "plain"])
def test_equals_the_reference(name: str, compiled: bool) -> None:
    cell = CELLS[name]
    rng = np.random.default_rng(0)
    gi, gh, columns = gate_products(cell, rng)
    state, derivative = rng.standard_normal((2, 2, N)).astype(np.float32)
    if not cell.has_memory:
        derivative[1] = 0  # nothing depends on c
    h, c, da, dh_prev, dc_prev = run_cell(name, columns, state, derivative, compiled)

    step, step_back = _STEPS[name]
    tall = [array.astype(np.float64)[:, None] for array in (*state, *derivative)]
    expected_h, expected_c, saved = step(gi, gh, tall[0], tall[1])
    expected_dgi, expected_dgh, expected_dh_prev, expected_dc_prev = step_back(saved, *tall)
    dgi, dgh = by_gate(cell, da.astype(np.float64))
    for found, expected in [
        (h, expected_h[:, 0]),
        (c, expected_c[:, 0]),
        (dgi, expected_dgi),
        (dgh, expected_dgh),
        (dh_prev, expected_dh_prev[:, 0]),
        (dc_prev, expected_dc_prev[:, 0]),
    ]:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("name", CELL_NAMES)
def test_the_reference_step_back_is_finite_differences(name: str) -> None:
    cell = CELLS[name]
    rng = np.random.default_rng(1)
    gi, gh = rng.standard_normal((2, N, cell.gates))
    h_prev, c_prev, dh, dc = rng.standard_normal((4, N, 1))
    if not cell.has_memory:
        dc[:] = 0
    inputs = [gi, gh, h_prev, c_prev]
    step, step_back = _STEPS[name]
    _, _, saved = step(*inputs)
    gradients = step_back(saved, h_prev, c_prev, dh, dc)

    def loss(shifted: list[np.ndarray]) -> np.ndarray:
        h, c, _ = step(*shifted)
        return (dh * h + dc * c)[:, 0]

    size = 1e-5
    for k, array in enumerate(inputs):
        for column in range(array.shape[1]):
            shift = size * np.eye(array.shape[1])[column]
            above = loss([value + shift if j == k else value for j, value in enumerate(inputs)])
            below = loss([value - shift if j == k else value for j, value in enumerate(inputs)])
            np.testing.assert_allclose(gradients[k][:, column], (above - below) / (2 * size), atol=1e-8)


@pytest.mark.parametrize("name", CELL_NAMES)
def test_the_table_is_consistent(name: str) -> None:
    cell = CELLS[name]
    assert len(cell.from_input) == len(cell.from_state) == cell.columns
    for gates in (cell.from_input, cell.from_state):
        assert sorted(gate for gate in gates if gate is not None) == list(range(cell.gates))
    assert cell.forget_gate is None or 0 <= cell.forget_gate < cell.gates
