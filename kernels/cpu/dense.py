"""A dense layer and log-softmax on the CPU: rows of frames shared out over the threads."""

from __future__ import annotations

from functools import partial

import numpy as np

from kernels.checks import check_array, check_dense
from kernels.cpu.product import (
    aligned,
    pack_weight,
    padded,
    panel_stride,
    product,
    product_back,
    transpose_row,
    unpack_gradient,
    weight_gradient,
)
from kernels.cpu.target import COLUMNS, PANEL, ROWS
from kernels.cpu.team import Team
from kernels.jit import kernel

CHUNK_ROWS = 128
_ONE_GATE = np.zeros(1, np.int64)  # `pack_weight` packs gates; a dense layer is one, with a unit for each output


@kernel("dense forward")
def dense_forward(x, D, packed, bias, wide, begin, end, out, N):
    """Rows begin .. end of out [rows, N] = x [rows, D] W^T + bias; wide: [CHUNK_ROWS, N in whole panels] scratch."""
    width = packed.shape[0] // D
    for first in range(begin, end, CHUNK_ROWS):
        rows = min(CHUNK_ROWS, end - first)
        product(x, first * D, D, packed, 0, wide, 0, width, rows, D, width, False)
        for r in range(rows):
            for n in range(N):
                out[(first + r) * N + n] = wide[r * width + n] + bias[n]


@kernel("dense backward")
def dense_backward(x, D, packed, E, at, begin, end, dy, N, dw, wide, dx, want_dx):
    """Rows begin .. end: dw = [x, 1]^T dy in panels, dx = dy W; E [panel][row][PANEL], at, wide: scratch."""
    panels = (N + PANEL - 1) // PANEL
    depth = (D + ROWS) // ROWS
    width = (D + COLUMNS - 1) // COLUMNS * COLUMNS
    dw[:] = np.float32(0.0)
    for first in range(begin, end, CHUNK_ROWS):
        rows = min(CHUNK_ROWS, end - first)
        stride = panel_stride(rows)
        for r in range(rows):
            for n in range(panels * PANEL):
                to = (n // PANEL * rows + r) * PANEL + n % PANEL
                E[to] = dy[(first + r) * N + n] if n < N else np.float32(0.0)
            for q in range(ROWS):
                at[D // ROWS * stride + r * ROWS + q] = np.float32(0.0)
            transpose_row(x, (first + r) * D, D, at, r * ROWS, stride)
            at[D // ROWS * stride + r * ROWS + D % ROWS] = np.float32(1.0)
        weight_gradient(at, E, rows, panels, depth, dw)
        if want_dx:
            product_back(E, 0, rows, packed, panels, width, wide, 0, width, rows, False)
            for r in range(rows):
                for d in range(D):
                    dx[(first + r) * D + d] = wide[r * width + d]


@kernel("log-softmax")
def log_softmax(x, out, begin, end):
    """Rows begin .. end of x, out [N, C]; float64 inside, so that a row of out sums to 1 within float32."""
    for i in range(begin, end):
        top = x[i].max()
        mass = 0.0
        for c in range(x.shape[1]):
            mass += np.exp(np.float64(x[i, c] - top))
        shift = top + np.log(mass)
        for c in range(x.shape[1]):
            out[i, c] = x[i, c] - shift


@kernel("agreement of pairs")
def agree(x, lengths, share, gradient, begin, end):
    """Rows begin .. end of x, gradient [T B / 2, 2, C]: gradient += share (p - q), (q - p) of their softmaxes."""
    pairs = len(lengths) // 2
    for i in range(begin, end):
        if i // pairs >= lengths[2 * (i % pairs)]:
            continue
        p_top, q_top = x[i, 0].max(), x[i, 1].max()
        p_mass, q_mass = 0.0, 0.0
        for c in range(x.shape[2]):
            p_mass += np.exp(np.float64(x[i, 0, c] - p_top))
            q_mass += np.exp(np.float64(x[i, 1, c] - q_top))
        for c in range(x.shape[2]):
            p = np.exp(np.float64(x[i, 0, c] - p_top)) / p_mass
            q = np.exp(np.float64(x[i, 1, c] - q_top)) / q_mass
            gradient[i, 0, c] += share * (p - q)
            gradient[i, 1, c] -= share * (p - q)


class CpuDenseLayer:
    """`kernels.interface.DenseLayer` on tiles."""

    def __init__(self, inputs: int, outputs: int, team: Team):
        self._team = team
        self._inputs, self._outputs = inputs, outputs
        width, depth = padded(outputs, PANEL), padded(inputs + 1, ROWS)
        self._forward = aligned(inputs * width)
        self._back = aligned(padded(inputs, COLUMNS) * width)
        self._bias = np.zeros(outputs, np.float32)
        wide = max(width, padded(inputs, COLUMNS))
        self._wide = [aligned(CHUNK_ROWS * wide) for _ in range(team.threads)]
        self._E = [aligned(CHUNK_ROWS * width) for _ in range(team.threads)]
        self._at = [aligned((CHUNK_ROWS + 3) * depth) for _ in range(team.threads)]
        self._dw = [aligned(depth * width) for _ in range(team.threads)]

    def pack(self, weight: np.ndarray, bias: np.ndarray) -> None:
        check_array("weight", weight, (self._outputs, self._inputs))
        check_array("bias", bias, (self._outputs,))
        pack_weight(weight, _ONE_GATE, PANEL, self._forward, self._back)
        self._bias[:] = bias

    def forward(self, x: np.ndarray, out: np.ndarray) -> None:
        check_dense(x, out, self._inputs, self._outputs)
        run = partial(dense_forward, x.reshape(-1), self._inputs, self._forward, self._bias)
        self._team.run(
            [
                partial(run, wide, begin, end, out.reshape(-1), self._outputs)
                for wide, (begin, end) in zip(self._wide, self._team.ranges(out.shape[0] * out.shape[1]), strict=True)
            ]
        )

    def backward(
        self,
        x: np.ndarray,
        out_gradient: np.ndarray,
        weight_gradient: np.ndarray,
        bias_gradient: np.ndarray,
        x_gradient: np.ndarray | None,
    ) -> None:
        D, N = self._inputs, self._outputs
        check_dense(x, out_gradient, D, N, "out_gradient")
        check_array("weight_gradient", weight_gradient, (N, D))
        check_array("bias_gradient", bias_gradient, (N,))
        if x_gradient is not None:
            check_array("x_gradient", x_gradient, x.shape)
        dx = np.empty(0, np.float32) if x_gradient is None else x_gradient.reshape(-1)
        parts = zip(self._E, self._at, self._dw, self._wide, self._team.ranges(x.shape[0] * x.shape[1]), strict=True)
        self._team.run(
            [
                partial(
                    dense_backward,
                    x.reshape(-1),
                    D,
                    self._back,
                    E,
                    at,
                    begin,
                    end,
                    out_gradient.reshape(-1),
                    N,
                    dw,
                    wide,
                    dx,
                    x_gradient is not None,
                )
                for E, at, dw, wide, (begin, end) in parts
            ]
        )
        for other in self._dw[1:]:
            self._dw[0] += other
        depth = padded(D + 1, ROWS)
        unpack_gradient(self._dw[0], _ONE_GATE, PANEL, 0, depth, weight_gradient)
        unpack_gradient(self._dw[0], _ONE_GATE, PANEL, D, depth, bias_gradient.reshape(-1, 1))
