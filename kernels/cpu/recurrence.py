"""A bidirectional recurrent layer on the CPU: a matrix product and a loop over the units for each time step.

Inside, a batch is *packed*: the frames that exist, time-major, without the padding. Row `offsets[t] + b` is frame
t of utterance b; since a batch is sorted longest first, the `active[t]` utterances at time t are a prefix. So
no product spends work on padding, and nothing of it can enter a result.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial

import numpy as np

from kernels.cells import CELLS
from kernels.checks import check_backward, check_sequence, check_weights
from kernels.cpu.team import Team
from kernels.interface import RecurrentShape
from kernels.jit import device_function, kernel


@device_function
def _load1(a, row, j, H):
    return (a[row, j],)


@device_function
def _load4(a, row, j, H):
    return a[row, j], a[row, H + j], a[row, 2 * H + j], a[row, 3 * H + j]


@device_function
def _add1(x, y):
    return (x[0] + y[0],)


@device_function
def _add4(x, y):
    return x[0] + y[0], x[1] + y[1], x[2] + y[2], x[3] + y[3]


@device_function
def _store1(a, row, j, H, values):
    a[row, j] = values[0]


@device_function
def _store4(a, row, j, H, values):
    a[row, j] = values[0]
    a[row, H + j] = values[1]
    a[row, 2 * H + j] = values[2]
    a[row, 3 * H + j] = values[3]


_COLUMN_ACCESS = {1: (_load1, _add1, _store1), 4: (_load4, _add4, _store4)}


@cache
def forward_kernel(cell_name):
    """The time loop of one direction.

    a [N, P H] in: the input's part of the columns; out: what the cell saves.
    weight [H, P H]; h, c [B, H] running states, zero at first; product [B, P H] scratch;
    h_prev, c_prev [N or 0, H]: the states before each step, kept for the backward pass unless empty.
    """
    load, add, store = _COLUMN_ACCESS[CELLS[cell_name].columns]
    cell = CELLS[cell_name].forward

    @kernel(f"{cell_name} forward")
    def run(a, weight, active, offsets, reverse, h, c, product, h_prev, c_prev, out, first):
        T = active.shape[0]
        H = h.shape[1]
        keep = h_prev.shape[0] > 0
        for step in range(T):
            t = T - 1 - step if reverse else step
            n = active[t]
            start = offsets[t]
            if keep:
                h_prev[start : start + n] = h[:n]
                c_prev[start : start + n] = c[:n]
            np.dot(h[:n], weight, product[:n])
            for b in range(n):
                for j in range(H):
                    columns = add(load(a, start + b, j, H), load(product, b, j, H))
                    h[b, j], c[b, j], saved = cell(columns, h[b, j], c[b, j])
                    store(a, start + b, j, H, saved)
            for b in range(n):
                out[t, b, first : first + H] = h[b]
            out[t, n:, first : first + H] = np.float32(0.0)

    return run


@cache
def backward_kernel(cell_name):
    """Back-propagation through the time loop of one direction.

    a [N, P H] in: what the cell saved; out: the derivatives by the columns.
    weight [P H, H]; dh, dc [B, H] running derivatives, zero at first.
    """
    load, _, store = _COLUMN_ACCESS[CELLS[cell_name].columns]
    cell = CELLS[cell_name].backward

    @kernel(f"{cell_name} backward")
    def run(a, weight, active, offsets, reverse, dh, dc, product, h_prev, c_prev, out, dout, first):
        T = active.shape[0]
        H = dh.shape[1]
        for step in range(T):
            t = step if reverse else T - 1 - step
            n = active[t]
            start = offsets[t]
            for b in range(n):
                row = start + b
                for j in range(H):
                    dh_total = dh[b, j] + dout[t, b, first + j]
                    saved = load(a, row, j, H)
                    da, dh[b, j], dc[b, j] = cell(
                        saved, h_prev[row, j], c_prev[row, j], out[t, b, first + j], dh_total, dc[b, j]
                    )
                    store(a, row, j, H, da)
            np.dot(a[start : start + n], weight, product[:n])
            for b in range(n):
                for j in range(H):
                    dh[b, j] += product[b, j]

    return run


class _Direction:
    """Weights and workspace of one direction."""

    def __init__(self, shape: RecurrentShape, index: int):
        cell = CELLS[shape.cell]
        self.shape = shape
        self.cell = cell
        self.reverse = index == 1
        self.first = index * shape.hidden  # where this direction's outputs begin
        width = cell.columns * shape.hidden
        self.weight_x = np.zeros((shape.inputs, width), np.float32)  # [D, P H]
        self.weight_h = np.zeros((shape.hidden, width), np.float32)  # [H, P H]
        self.bias = np.zeros(width, np.float32)
        self.weight_x_back = np.zeros((width, shape.inputs), np.float32)
        self.weight_h_back = np.zeros((width, shape.hidden), np.float32)
        self.rows = self.batch = 0

    def pack(self, weight_ih, weight_hh, bias_ih, bias_hh) -> None:
        """Gates become columns: a gate that feeds no column leaves zeros."""
        H = self.shape.hidden
        self.bias[:] = 0
        for source, bias, forward, back, gates in (
            (weight_ih, bias_ih, self.weight_x, self.weight_x_back, self.cell.from_input),
            (weight_hh, bias_hh, self.weight_h, self.weight_h_back, self.cell.from_state),
        ):
            for column, gate in enumerate(gates):
                if gate is not None:
                    to = slice(column * H, (column + 1) * H)
                    rows = slice(gate * H, (gate + 1) * H)
                    back[to] = source[rows]
                    forward[:, to] = source[rows].T
                    self.bias[to] += bias[rows]

    def reserve(self, rows: int, batch: int) -> None:
        """Grow the workspace to `rows` packed frames and `batch` utterances."""
        H = self.shape.hidden
        width = self.cell.columns * H
        if rows > self.rows:
            self.rows = rows
            self.a = np.empty((rows, width), np.float32)
            self.h_prev = np.empty((rows, H), np.float32)
            self.c_prev = np.empty((rows, H), np.float32)
            self.dx = np.empty((rows, self.shape.inputs), np.float32)
        if batch > self.batch:
            self.batch = batch
            self.h = np.empty((batch, H), np.float32)
            self.c = np.empty((batch, H), np.float32)
            self.product = np.empty((batch, width), np.float32)
            self.product_back = np.empty((batch, H), np.float32)

    def forward(self, x, active, offsets, out, keep: bool) -> None:
        rows, batch = x.shape[0], int(active[0])
        self.reserve(rows, batch)
        a = self.a[:rows]
        np.matmul(x, self.weight_x, out=a)
        a += self.bias
        h, c = self.h[:batch], self.c[:batch]
        h[:] = 0
        c[:] = 0
        kept = rows if keep else 0
        forward_kernel(self.shape.cell)(
            a,
            self.weight_h,
            active,
            offsets,
            self.reverse,
            h,
            c,
            self.product,
            self.h_prev[:kept],
            self.c_prev[:kept],
            out,
            self.first,
        )

    def backward(self, x, active, offsets, out, dout, gradients, want_dx: bool) -> None:
        rows, batch = x.shape[0], int(active[0])
        a = self.a[:rows]
        dh, dc = self.h[:batch], self.c[:batch]
        dh[:] = 0
        dc[:] = 0
        h_prev = self.h_prev[:rows]
        backward_kernel(self.shape.cell)(
            a,
            self.weight_h_back,
            active,
            offsets,
            self.reverse,
            dh,
            dc,
            self.product_back,
            h_prev,
            self.c_prev[:rows],
            out,
            dout,
            self.first,
        )
        bias = a.sum(axis=0)
        for kind, source, gates in (("ih", x, self.cell.from_input), ("hh", h_prev, self.cell.from_state)):
            self._to_gates(np.matmul(a.T, source), gradients[f"weight_{kind}"], gates)
            self._to_gates(bias, gradients[f"bias_{kind}"], gates)
        if want_dx:
            np.matmul(a, self.weight_x_back, out=self.dx[:rows])

    def _to_gates(self, columns, gradient, gates) -> None:
        """The inverse of `pack`: each gate feeds one column."""
        H = self.shape.hidden
        for column, gate in enumerate(gates):
            if gate is not None:
                gradient[gate * H : (gate + 1) * H] = columns[column * H : (column + 1) * H]


class CpuRecurrentLayer:
    """`kernels.interface.RecurrentLayer` on the CPU; the directions run in parallel."""

    def __init__(self, shape: RecurrentShape, team: Team):
        self.shape = shape
        self._team = team
        self._directions = {name: _Direction(shape, i) for i, name in enumerate(shape.directions)}
        self._x = np.empty((0, shape.inputs), np.float32)

    def pack(self, weights: Mapping[str, np.ndarray]) -> None:
        check_weights(self.shape, weights)
        for name, direction in self._directions.items():
            direction.pack(*(weights[f"{name}.{part}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")))

    def infer(self, x: np.ndarray, lengths: np.ndarray, out: np.ndarray) -> None:
        self._forward(x, lengths, out, keep=False)

    def forward(self, x: np.ndarray, lengths: np.ndarray, out: np.ndarray) -> None:
        self._forward(x, lengths, out, keep=True)

    def _forward(self, x: np.ndarray, lengths: np.ndarray, out: np.ndarray, keep: bool) -> None:
        check_sequence(self.shape, x, lengths, out)
        active, offsets = packing(lengths, x.shape[0])
        packed = self._pack_frames(x, active, offsets)
        self._team.run(
            [partial(each.forward, packed, active, offsets, out, keep) for each in self._directions.values()]
        )

    def _pack_frames(self, x, active, offsets):
        rows = int(offsets[-1])
        if rows > self._x.shape[0]:
            self._x = np.empty((rows, self.shape.inputs), np.float32)
        _gather(x, active, offsets, self._x)
        return self._x[:rows]

    def backward(
        self,
        x: np.ndarray,
        lengths: np.ndarray,
        out: np.ndarray,
        out_gradient: np.ndarray,
        gradients: Mapping[str, np.ndarray],
        x_gradient: np.ndarray | None,
    ) -> None:
        check_backward(self.shape, x, lengths, out, out_gradient, gradients, x_gradient)
        active, offsets = packing(lengths, x.shape[0])
        packed = self._x[: int(offsets[-1])]
        want_dx = x_gradient is not None
        self._team.run(
            [
                partial(each.backward, packed, active, offsets, out, out_gradient, _under(gradients, name), want_dx)
                for name, each in self._directions.items()
            ]
        )
        if x_gradient is not None:
            parts = [each.dx for each in self._directions.values()]
            _scatter_sum(parts[0], parts[-1], len(parts) == 2, active, offsets, x_gradient)


def packing(lengths: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """How many utterances are active at each time step, int64 [T], and where its packed rows begin, int64 [T + 1]."""
    active = np.searchsorted(-lengths, -np.arange(steps), side="left").astype(np.int64)
    return active, np.concatenate([[0], np.cumsum(active)])


def _under(gradients: Mapping[str, np.ndarray], direction: str) -> dict[str, np.ndarray]:
    prefix = direction + "."
    return {name.removeprefix(prefix): view for name, view in gradients.items() if name.startswith(prefix)}


@kernel("gather frames")
def _gather(x, active, offsets, packed):
    for t in range(x.shape[0]):
        for b in range(active[t]):
            packed[offsets[t] + b] = x[t, b]


@kernel("scatter gradients")
def _scatter_sum(first, second, both, active, offsets, dx):
    for t in range(dx.shape[0]):
        n = active[t]
        for b in range(n):
            row = offsets[t] + b
            for d in range(dx.shape[2]):
                dx[t, b, d] = first[row, d] + second[row, d] if both else first[row, d]
        dx[t, n:] = np.float32(0.0)
