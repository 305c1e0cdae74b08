"""The scalar functions and cells as the GPU's compiler makes them, against float64 and against the CPU's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from kernels.cells import CELLS
from kernels.reference import _STEPS
from ptx.driver import offline_gpu

N = 256
X = np.concatenate([np.linspace(-12, 12, N - 8), [0.0, -0.0, 1e-7, -1e-7, 90, -90, 3e38, -3e38]]).astype(np.float32)


@pytest.fixture(scope="module", params=[(8, 0), (9, 0), (12, 0)], ids=["sm_80", "sm_90", "sm_120"])
def device(request: pytest.FixtureRequest) -> Iterator[Any]:
    with offline_gpu(cc=request.param):
        from kernels.cuda.device import Device

        yield Device()


def test_functions_are_as_good_as_on_the_cpu(device: Any) -> None:
    from kernels.cuda.device import cuda, kernel
    from kernels.cuda.functions import SIGMOID, TANH

    @kernel
    def both(x, out, size):
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            out[i] = SIGMOID(x[i])
            out[size + i] = TANH(x[i])

    out = device.empty((2 * N,))
    device.spread(both, N, device.upload(X), out, N)
    sigmoid, tanh = device.download(out).reshape(2, N).astype(np.float64)
    x = X.astype(np.float64)
    assert np.abs(sigmoid - (0.5 + 0.5 * np.tanh(0.5 * x))).max() < 2.5e-7
    assert np.abs(tanh - np.tanh(x)).max() < 2.5e-7


def test_the_nan_of_a_gpu_stays_one(device: Any) -> None:
    """Arithmetic there makes one with all bits set, which no processor that runs the executor does."""
    from kernels.cuda.device import cuda, kernel
    from kernels.cuda.functions import EXP2, SIGMOID, TANH

    @kernel
    def every(x, out):
        i = cuda.threadIdx.x
        out[i] = EXP2(x[i])
        out[2 + i] = SIGMOID(x[i])
        out[4 + i] = TANH(x[i])

    out = device.empty((6,))
    device.launch(every, 1, 2, device.upload(np.array([0x7FFFFFFF, 0x7FC00000], np.uint32).view(np.float32)), out)
    assert np.isnan(device.download(out)).all()


@pytest.mark.parametrize("name", CELLS)
def test_cells_equal_the_reference(device: Any, name: str) -> None:
    from kernels.cuda.device import cuda, kernel
    from kernels.cuda.functions import BACKWARD, FORWARD
    from kernels.cuda.memory import gather, scatter

    cell = CELLS[name]
    P, run, back = cell.columns, FORWARD[name], BACKWARD[name]
    read, write = gather(tuple(range(P))), scatter(P)

    @kernel
    def each(columns, state, out, size):
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            h_prev, c_prev, dh, dc = state[i], state[size + i], state[2 * size + i], state[3 * size + i]
            h, c, saved = run(read(columns, i, size), h_prev, c_prev)
            da, dh_prev, dc_prev = back(saved, h_prev, c_prev, h, dh, dc)
            out[i] = h
            out[size + i] = c
            out[2 * size + i] = dh_prev
            out[3 * size + i] = dc_prev
            write(out, 4 * size + i, size, da)

    rng = np.random.default_rng(0)
    gi, gh = 2 * rng.standard_normal((2, cell.gates, N)).astype(np.float32)
    state = rng.standard_normal((4, N)).astype(np.float32)
    if not cell.has_memory:
        state[3] = 0  # nothing depends on c
    columns = np.zeros((P, N))
    for p, (from_input, from_state) in enumerate(zip(cell.from_input, cell.from_state, strict=True)):
        columns[p] += (0 if from_input is None else gi[from_input]) + (0 if from_state is None else gh[from_state])
    out = device.empty(((4 + P) * N,))
    device.spread(each, N, device.upload(columns.astype(np.float32).ravel()), device.upload(state.ravel()), out, N)
    h, c, dh_prev, dc_prev, *da = device.download(out).reshape(4 + P, N)

    step, step_back = _STEPS[name]
    tall = [values.astype(np.float64)[:, None] for values in state]
    expected_h, expected_c, saved = step(gi.T.astype(np.float64), gh.T.astype(np.float64), tall[0], tall[1])
    by_input, by_state, expected_dh_prev, expected_dc_prev = step_back(saved, *tall)
    found_input, found_state = np.zeros((2, N, cell.gates))
    for p, (from_input, from_state) in enumerate(zip(cell.from_input, cell.from_state, strict=True)):
        if from_input is not None:
            found_input[:, from_input] += da[p]
        if from_state is not None:
            found_state[:, from_state] += da[p]
    np.testing.assert_allclose(h, expected_h[:, 0], rtol=1e-6, atol=5e-7)
    np.testing.assert_allclose(c, expected_c[:, 0], rtol=1e-6, atol=1e-6)
    for found, expected in [
        (found_input, by_input),
        (found_state, by_state),
        (dh_prev, expected_dh_prev[:, 0]),
        (dc_prev, expected_dc_prev[:, 0]),
    ]:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=5e-6)
