"""The time loops of one direction of a recurrent layer, forward and backward, compiled for each cell.

Layouts (all flat float32; P columns per unit; see `kernels.cells`):

    frames        [T][B][width], time-major: x, out, and their gradients; a direction's outputs begin at `column`
    packed rows   the frames of a slice of the batch that exist, without padding: row offsets[t] + b is frame t of
                  the slice's utterance b, which is utterance first + b stride of the batch
    panel         PANEL = P UNITS values: the P columns of UNITS hidden units, column by column
    G             [chunk][panel][row of the chunk][PANEL]: pre-activations, then what the cell saves
    E             as one chunk of G: the derivatives by the pre-activations
    cs            [packed row][H]: the memory c of every row; H is the number of units padded to whole panels
    zeros         the state before the first frame

The states h are not kept apart: they are the outputs, and the product h W reads them where they stand.

A *chunk* is a run of time steps with about CHUNK_ROWS rows: its input projection is one large product whose result
is still in the second-level cache when the steps use it, and so it is for the gradients on the way back. Steps
walk the panels of the recurrent weights to and fro: what the last step read last, and the cache still holds, the
next step reads first.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from kernels.cells import CELLS
from kernels.cpu.product import panel_stride, product, product_back, transpose_row, weight_gradient
from kernels.cpu.target import COLUMNS, LANES, PANEL, ROWS
from kernels.cpu.vector import load, store
from kernels.jit import device_function, kernel


@device_function
def _load1(a, i, stride):
    return (load(a, i, LANES),)


@device_function
def _load4(a, i, stride):
    return load(a, i, LANES), load(a, i + stride, LANES), load(a, i + 2 * stride, LANES), load(a, i + 3 * stride, LANES)


@device_function
def _add1(x, y):
    return (x[0] + y[0],)


@device_function
def _add4(x, y):
    return x[0] + y[0], x[1] + y[1], x[2] + y[2], x[3] + y[3]


@device_function
def _store1(a, i, stride, x):
    store(a, i, x[0], LANES)


@device_function
def _store4(a, i, stride, x):
    store(a, i, x[0], LANES)
    store(a, i + stride, x[1], LANES)
    store(a, i + 2 * stride, x[2], LANES)
    store(a, i + 3 * stride, x[3], LANES)


_ACCESS = {1: (_load1, _add1, _store1), 4: (_load4, _add4, _store4)}


class Slice(NamedTuple):
    """Which utterances, and where their frames stand; see `kernels.cpu.recurrence.Packing`."""

    offsets: np.ndarray  # int64 [T + 1]
    chunks: np.ndarray  # int64: the first step of each chunk, and the end
    first: int
    stride: int
    batch: int  # utterances of the whole batch


@device_function
def rows_before(offsets, t, reverse):
    """How many rows of step t have a step before them in this direction, and which step that is."""
    prev = t + 1 if reverse else t - 1
    if prev < 0 or prev >= offsets.shape[0] - 1:
        return 0, 0
    return min(offsets[t + 1] - offsets[t], offsets[prev + 1] - offsets[prev]), prev


@device_function
def is_whole(part, t0, t1):
    """Whether the packed rows of the steps t0 .. t1 are the batch's frames as they stand."""
    return part.stride == 1 and part.offsets[t1] - part.offsets[t0] == (t1 - t0) * part.batch


@device_function
def gather(frames, width, part, t0, t1, rows):
    """Packed rows of the steps t0 .. t1 from frames of `width` values."""
    to = 0
    for t in range(t0, t1):
        for b in range(part.offsets[t + 1] - part.offsets[t]):
            begin = (t * part.batch + part.first + b * part.stride) * width
            for i in range(width):
                rows[to + i] = frames[begin + i]
            to += width


@cache
def forward_steps(cell_name, keep):
    """The compiled forward pass of one direction over one slice; `keep` saves what the backward pass needs."""
    cell = CELLS[cell_name]
    units_per_panel = PANEL // cell.columns
    step = cell.forward
    load_columns, add_columns, store_columns = _ACCESS[cell.columns]

    @device_function
    def cells(G, g, bias, j, old_h, h_prev, ldh_prev, old_c, c_prev, ldc_prev, out, h, ldh, cs, c, H, begin, end):
        """The rows begin .. end of one panel."""
        for u in range(0, units_per_panel, LANES):
            b = load_columns(bias, j * PANEL + u, units_per_panel)
            unit = j * units_per_panel + u
            for r in range(begin, end):
                at = g + r * PANEL + u
                a = add_columns(load_columns(G, at, units_per_panel), b)
                before_h = load(old_h, h_prev + r * ldh_prev + unit, LANES)
                before_c = load(old_c, c_prev + r * ldc_prev + unit, LANES)
                new_h, new_c, saved = step(a, before_h, before_c)
                if keep:
                    store_columns(G, at, units_per_panel, saved)
                store(out, h + r * ldh + unit, new_h, LANES)
                store(cs, c + r * H + unit, new_c, LANES)

    @kernel(f"{cell_name} {'forward' if keep else 'infer'}")
    def run(x, D, part, reverse, wx, wh, bias, units, H, xs, G, cs, zeros, out, width, column):
        offsets = part.offsets
        panels = (units + units_per_panel - 1) // units_per_panel
        slot = offsets[1]  # rows of a step at most: without keeping, the memories of two steps stand in turn
        ldh = part.stride * width
        for ci in range(part.chunks.shape[0] - 1):
            c = part.chunks.shape[0] - 2 - ci if reverse else ci
            t0, t1 = part.chunks[c], part.chunks[c + 1]
            row0 = offsets[t0]
            rows = offsets[t1] - row0
            chunk = row0 * panels * PANEL if keep else 0
            if is_whole(part, t0, t1):
                for j in range(panels):
                    g = chunk + j * rows * PANEL
                    product(x, t0 * part.batch * D, D, wx, j * D * PANEL, G, g, PANEL, rows, D, PANEL, False)
            else:
                gather(x, D, part, t0, t1, xs)
                for j in range(panels):
                    g = chunk + j * rows * PANEL
                    product(xs, 0, D, wx, j * D * PANEL, G, g, PANEL, rows, D, PANEL, False)
            for s in range(t1 - t0):
                t = t1 - 1 - s if reverse else t0 + s
                n = offsets[t + 1] - offsets[t]
                old, prev = rows_before(offsets, t, reverse)
                h = (t * part.batch + part.first) * width + column
                h_prev = (prev * part.batch + part.first) * width + column
                c_now = (offsets[t] if keep else (t & 1) * slot) * H
                c_prev = (offsets[prev] if keep else (prev & 1) * slot) * H
                for k in range(panels):
                    j = panels - 1 - k if t & 1 else k
                    g = chunk + (j * rows + offsets[t] - row0) * PANEL
                    if old > 0:
                        product(out, h_prev, ldh, wh, j * units * PANEL, G, g, PANEL, old, units, PANEL, True)
                    cells(G, g, bias, j, out, h_prev, ldh, cs, c_prev, H, out, h, ldh, cs, c_now, H, 0, old)
                    cells(G, g, bias, j, zeros, 0, 0, zeros, 0, 0, out, h, ldh, cs, c_now, H, old, n)

    return run


@device_function
def transpose_inputs(x, D, out, width, column, zeros, units, part, t0, t1, reverse, at):
    """[x, 1, h_prev] of a chunk's rows, transposed: the left-hand side of the weights' gradient."""
    stride = panel_stride(part.offsets[t1] - part.offsets[t0])
    first_h = (D + ROWS) // ROWS * stride
    last_x = D // ROWS * stride
    to = 0
    for t in range(t0, t1):
        old, prev = rows_before(part.offsets, t, reverse)
        for b in range(part.offsets[t + 1] - part.offsets[t]):
            utterance = part.first + b * part.stride
            for q in range(ROWS):
                at[last_x + to + q] = np.float32(0.0)
            transpose_row(x, (t * part.batch + utterance) * D, D, at, to, stride)
            at[last_x + to + D % ROWS] = np.float32(1.0)
            if b < old:
                transpose_row(out, (prev * part.batch + utterance) * width + column, units, at, first_h + to, stride)
            else:
                transpose_row(zeros, 0, units, at, first_h + to, stride)
            to += ROWS


@device_function
def scatter(rows, ld, part, t0, t1, dx, D, add):
    """Packed rows back to their frames."""
    begin = 0
    for t in range(t0, t1):
        for b in range(part.offsets[t + 1] - part.offsets[t]):
            to = (t * part.batch + part.first + b * part.stride) * D
            for i in range(D):
                dx[to + i] = dx[to + i] + rows[begin + i] if add else rows[begin + i]
            begin += ld


@cache
def backward_steps(cell_name):
    """The compiled back-propagation through time of one direction over one slice."""
    cell = CELLS[cell_name]
    units_per_panel = PANEL // cell.columns
    step = cell.backward
    load_columns, _, store_columns = _ACCESS[cell.columns]

    @device_function
    def cells(
        G, g, E, e, j, old_h, h_prev, ldh_prev, old_c, c_prev, ldc_prev, out, h, ldh, dout, dh, dc, H, begin, end
    ):  # fmt: skip
        """The rows begin .. end of one panel: derivatives by the columns to E, by the states before to dh, dc."""
        for u in range(0, units_per_panel, LANES):
            unit = j * units_per_panel + u
            for r in range(begin, end):
                at = r * H + unit
                da, dh_prev, dc_prev = step(
                    load_columns(G, g + r * PANEL + u, units_per_panel),
                    load(old_h, h_prev + r * ldh_prev + unit, LANES),
                    load(old_c, c_prev + r * ldc_prev + unit, LANES),
                    load(out, h + r * ldh + unit, LANES),
                    load(dh, at, LANES) + load(dout, h + r * ldh + unit, LANES),
                    load(dc, at, LANES),
                )
                store_columns(E, e + r * PANEL + u, units_per_panel, da)
                store(dh, at, dh_prev, LANES)
                store(dc, at, dc_prev, LANES)

    @kernel(f"{cell_name} backward")
    def run(
        x, D, part, reverse, wx, wh, units, H, G, E, cs, zeros, out, dout, width, column, dh, dc,
        at, dw, dxs, dx, want_dx, add_dx,
    ):  # fmt: skip
        offsets = part.offsets
        panels = (units + units_per_panel - 1) // units_per_panel
        depth = (D + ROWS) // ROWS + (units + ROWS - 1) // ROWS  # panels of [x, 1] and h_prev
        DP = (D + COLUMNS - 1) // COLUMNS * COLUMNS
        ldh = part.stride * width
        dh[:] = np.float32(0.0)
        dc[:] = np.float32(0.0)
        dw[:] = np.float32(0.0)
        for ci in range(part.chunks.shape[0] - 1):
            c = ci if reverse else part.chunks.shape[0] - 2 - ci
            t0, t1 = part.chunks[c], part.chunks[c + 1]
            row0 = offsets[t0]
            rows = offsets[t1] - row0
            chunk = row0 * panels * PANEL
            for s in range(t1 - t0):
                t = t0 + s if reverse else t1 - 1 - s
                n = offsets[t + 1] - offsets[t]
                old, prev = rows_before(offsets, t, reverse)
                h = (t * part.batch + part.first) * width + column
                h_prev = (prev * part.batch + part.first) * width + column
                c_prev = offsets[prev] * H
                for j in range(panels):
                    e = (j * rows + offsets[t] - row0) * PANEL
                    g = chunk + e
                    cells(G, g, E, e, j, out, h_prev, ldh, cs, c_prev, H, out, h, ldh, dout, dh, dc, H, 0, old)
                    cells(G, g, E, e, j, zeros, 0, 0, zeros, 0, 0, out, h, ldh, dout, dh, dc, H, old, n)
                if old > 0:
                    product_back(E, (offsets[t] - row0) * PANEL, rows, wh, panels, H, dh, 0, H, old, True)
            transpose_inputs(x, D, out, width, column, zeros, units, part, t0, t1, reverse, at)
            weight_gradient(at, E, rows, panels, depth, dw)
            if want_dx:
                if DP == D and is_whole(part, t0, t1):
                    product_back(E, 0, rows, wx, panels, D, dx, t0 * part.batch * D, D, rows, add_dx)
                else:
                    product_back(E, 0, rows, wx, panels, DP, dxs, 0, DP, rows, False)
                    scatter(dxs, DP, part, t0, t1, dx, D, add_dx)

    return run


@kernel("zero padding")
def zero_padding(a, lengths):
    """a [T, B, D] is zero beyond each length."""
    for b in range(lengths.shape[0]):
        for t in range(lengths[b], a.shape[0]):
            a[t, b] = np.float32(0.0)


@kernel("sum directions")
def add_rows(a, other, lengths):
    """a += other, [T, B, D], up to each length."""
    for t in range(a.shape[0]):
        for b in range(a.shape[1]):
            if t < lengths[b]:
                for d in range(a.shape[2]):
                    a[t, b, d] += other[t, b, d]
