"""The time loops of one direction of a recurrent layer, forward and backward, compiled for each cell.

Layouts (all flat float32; P columns per unit; see `kernels.cells`):

    packed rows   the frames that exist, time-major without padding: row offsets[t] + b is frame t of utterance b
    panel         PANEL = P UNITS values: the P columns of UNITS hidden units, column by column
    G             [chunk][panel][row of the chunk][PANEL]: pre-activations, then what the cell saves
    hs, cs        [N + 1][H]: states of every row, and one row of zeros for "before the first frame";
                  H is the number of units padded to whole panels and whole tiles
    E             as one chunk of G: the derivatives by the pre-activations

A *chunk* is a run of time steps with about CHUNK_ROWS rows: its input projection is one large product whose result
is still in the second-level cache when the steps use it, and so it is for the gradients on the way back.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from kernels.cells import CELLS
from kernels.cpu.product import DEPTH, block_product, product
from kernels.cpu.target import COLUMNS, LANES, PANEL, ROWS
from kernels.cpu.tile import tile
from kernels.cpu.vector import load, store
from kernels.jit import device_function, kernel

_gradient_tile = tile(ROWS, ldb=PANEL, packed_a=True)


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


@device_function
def gather(x, offsets, t0, t1, first, stride, rows_out):
    """The packed rows of the steps t0 .. t1; utterance b of the slice is utterance first + b stride of the batch."""
    D = x.shape[2]
    to = 0
    for t in range(t0, t1):
        for b in range(offsets[t + 1] - offsets[t]):
            for d in range(D):
                rows_out[to + d] = x[t, first + b * stride, d]
            to += D


@device_function
def rows_before(offsets, t, reverse):
    """How many rows of step t have a step before them in this direction, and where those begin."""
    prev = t + 1 if reverse else t - 1
    if prev < 0 or prev >= offsets.shape[0] - 1:
        return 0, 0
    return min(offsets[t + 1] - offsets[t], offsets[prev + 1] - offsets[prev]), prev


@cache
def forward_steps(cell_name):
    """The compiled forward pass of one direction over one slice of the batch."""
    cell = CELLS[cell_name]
    units_per_panel = PANEL // cell.columns
    step = cell.forward
    load_columns, add_columns, store_columns = _ACCESS[cell.columns]

    @device_function
    def cells(G, g, bias, j, hs, cs, before, stride_before, now, H, begin, end):
        """The rows begin .. end of one panel."""
        for u in range(0, units_per_panel, LANES):
            b = load_columns(bias, j * PANEL + u, units_per_panel)
            unit = j * units_per_panel + u
            for r in range(begin, end):
                at = g + r * PANEL + u
                prev = before + r * stride_before + unit
                a = add_columns(load_columns(G, at, units_per_panel), b)
                h, c, saved = step(a, load(hs, prev, LANES), load(cs, prev, LANES))
                store_columns(G, at, units_per_panel, saved)
                store(hs, now + r * H + unit, h, LANES)
                store(cs, now + r * H + unit, c, LANES)

    @kernel(f"{cell_name} forward")
    def run(x, offsets, chunks, first, stride, reverse, keep, wx, wh, bias, H, xs, G, hs, cs, out, column, units):
        D = x.shape[2]
        panels = (units + units_per_panel - 1) // units_per_panel
        slot = offsets[1]  # rows of a step at most: without keeping, the states of two steps stand in turn
        zero = hs.shape[0] - H
        for ci in range(chunks.shape[0] - 1):
            c = chunks.shape[0] - 2 - ci if reverse else ci
            t0, t1 = chunks[c], chunks[c + 1]
            row0 = offsets[t0]
            rows = offsets[t1] - row0
            chunk = row0 * panels * PANEL if keep else 0
            gather(x, offsets, t0, t1, first, stride, xs)
            for j in range(panels):
                product(xs, 0, D, wx, j * D * PANEL, G, chunk + j * rows * PANEL, PANEL, rows, D, PANEL, False)
            for s in range(t1 - t0):
                t = t1 - 1 - s if reverse else t0 + s
                n = offsets[t + 1] - offsets[t]
                old, prev = rows_before(offsets, t, reverse)
                now = (offsets[t] if keep else (t & 1) * slot) * H
                before = (offsets[prev] if keep else (prev & 1) * slot) * H
                for j in range(panels):
                    g = chunk + (j * rows + offsets[t] - row0) * PANEL
                    if old > 0:
                        product(hs, before, H, wh, j * units * PANEL, G, g, PANEL, old, units, PANEL, True)
                    cells(G, g, bias, j, hs, cs, before, H, now, H, 0, old)
                    cells(G, g, bias, j, hs, cs, zero, 0, now, H, old, n)
                for b in range(n):
                    for u in range(units):
                        out[t, first + b * stride, column + u] = hs[now + b * H + u]

    return run


@device_function
def product_back(E, e, rows, Q, panels, N, D, M, add):
    """D[M, N] (+)= E[M, all columns] Q[all columns, N]: E's panels stand rows apart, Q is packed."""
    depth = panels if M <= ROWS else max(1, DEPTH // PANEL)
    for n in range(N // COLUMNS):
        for j in range(0, panels, depth):
            block_product(
                E, e + j * rows * PANEL, PANEL, Q, (n * panels + j) * PANEL * COLUMNS, D, n * COLUMNS, N,
                M, PANEL, min(depth, panels - j), rows * PANEL, PANEL * COLUMNS, add or j > 0,
            )  # fmt: skip


@device_function
def transpose_row(a, begin, size, at, to, ldk):
    """One row of A into the panels of ROWS that a packed-A tile reads; zeros fill the last panel."""
    panels = size // ROWS
    for m in range(panels):
        for q in range(ROWS):
            at[to + m * ldk + q] = a[begin + m * ROWS + q]
    rest = size - panels * ROWS
    for q in range(rest):
        at[to + panels * ldk + q] = a[begin + panels * ROWS + q]
    if rest:
        for q in range(rest, ROWS):
            at[to + panels * ldk + q] = np.float32(0.0)


@device_function
def transpose_inputs(x, hs, zero, H, units, offsets, t0, t1, first, stride, reverse, at):
    """[x, 1, h_prev] of a chunk's rows, transposed: the left-hand side of the weights' gradient."""
    B, D = x.shape[1], x.shape[2]
    flat = x.reshape(-1)
    ldk = (offsets[t1] - offsets[t0]) * ROWS
    h_panel = (D + ROWS) // ROWS * ldk
    one = D // ROWS * ldk + D % ROWS
    to = 0
    for t in range(t0, t1):
        old, prev = rows_before(offsets, t, reverse)
        for b in range(offsets[t + 1] - offsets[t]):
            for q in range(ROWS):
                at[D // ROWS * ldk + to + q] = np.float32(0.0)
            transpose_row(flat, (t * B + first + b * stride) * D, D, at, to, ldk)
            at[one + to] = np.float32(1.0)
            h_prev = (offsets[prev] + b) * H if b < old else zero
            transpose_row(hs, h_prev, units, at, h_panel + to, ldk)
            to += ROWS


@cache
def backward_steps(cell_name):
    """The compiled back-propagation through time of one direction over one slice of the batch."""
    cell = CELLS[cell_name]
    units_per_panel = PANEL // cell.columns
    step = cell.backward
    load_columns, _, store_columns = _ACCESS[cell.columns]

    @device_function
    def cells(G, g, E, e, j, hs, cs, before, stride_before, now, dy, dh, dc, H, begin, end):
        """The rows begin .. end of one panel: derivatives by the columns to E, by the states before to dh, dc."""
        for u in range(0, units_per_panel, LANES):
            unit = j * units_per_panel + u
            for r in range(begin, end):
                at = r * H + unit
                prev = before + r * stride_before + unit
                da, dh_prev, dc_prev = step(
                    load_columns(G, g + r * PANEL + u, units_per_panel),
                    load(hs, prev, LANES),
                    load(cs, prev, LANES),
                    load(hs, now + at, LANES),
                    load(dh, at, LANES) + load(dy, at, LANES),
                    load(dc, at, LANES),
                )
                store_columns(E, e + r * PANEL + u, units_per_panel, da)
                store(dh, at, dh_prev, LANES)
                store(dc, at, dc_prev, LANES)

    @kernel(f"{cell_name} backward")
    def run(
        x, offsets, chunks, first, stride, reverse, wx, wh, H, G, E, hs, cs, dout, column, units, dy, dh, dc,
        at, dw, dxs, dx, want_dx, add_dx,
    ):  # fmt: skip
        D = x.shape[2]
        panels = (units + units_per_panel - 1) // units_per_panel
        zero = hs.shape[0] - H
        depth = (D + ROWS) // ROWS + (units + ROWS - 1) // ROWS  # panels of [x, 1] and h_prev
        DP = (D + COLUMNS - 1) // COLUMNS * COLUMNS
        dh[:] = np.float32(0.0)
        dc[:] = np.float32(0.0)
        dw[:] = np.float32(0.0)
        for ci in range(chunks.shape[0] - 1):
            c = ci if reverse else chunks.shape[0] - 2 - ci
            t0, t1 = chunks[c], chunks[c + 1]
            row0 = offsets[t0]
            rows = offsets[t1] - row0
            chunk = row0 * panels * PANEL
            for s in range(t1 - t0):
                t = t0 + s if reverse else t1 - 1 - s
                n = offsets[t + 1] - offsets[t]
                old, prev = rows_before(offsets, t, reverse)
                for b in range(n):
                    for u in range(units):
                        dy[b * H + u] = dout[t, first + b * stride, column + u]
                now = offsets[t] * H
                for j in range(panels):
                    e = (j * rows + offsets[t] - row0) * PANEL
                    cells(G, chunk + e, E, e, j, hs, cs, offsets[prev] * H, H, now, dy, dh, dc, H, 0, old)
                    cells(G, chunk + e, E, e, j, hs, cs, zero, 0, now, dy, dh, dc, H, old, n)
                if old > 0:
                    product_back(E, (offsets[t] - row0) * PANEL, rows, wh, panels, H, dh, old, True)
            transpose_inputs(x, hs, zero, H, units, offsets, t0, t1, first, stride, reverse, at)
            for j in range(panels):
                for q in range(0, PANEL, COLUMNS):
                    for m in range(depth):
                        _gradient_tile(
                            at, m * rows * ROWS, ROWS, E, j * rows * PANEL + q, dw, (j * depth + m) * ROWS * PANEL + q,
                            PANEL, rows, 1, 0, 0, True,
                        )  # fmt: skip
            if want_dx:
                product_back(E, 0, rows, wx, panels, DP, dxs, rows, False)
                scatter(dxs, DP, offsets, t0, t1, first, stride, dx, add_dx)

    return run


@device_function
def scatter(rows, width, offsets, t0, t1, first, stride, dx, add):
    """Packed rows back to their places in dx [T, B, D]."""
    begin = 0
    for t in range(t0, t1):
        for b in range(offsets[t + 1] - offsets[t]):
            for d in range(dx.shape[2]):
                if add:
                    dx[t, first + b * stride, d] += rows[begin + d]
                else:
                    dx[t, first + b * stride, d] = rows[begin + d]
            begin += width


@kernel("pack weights")
def pack_weight(weight, gates, units_per_panel, forward, back):
    """weight [G H, D] -> forward: [panel][block][k][COLUMNS], k an input; back: [block][column][COLUMNS] over inputs.

    Column p of a unit is gate gates[p], or zeros where that is -1.
    """
    H = weight.shape[0] // (gates.max() + 1)
    D = weight.shape[1]
    P = gates.shape[0]
    panels = forward.shape[0] // (D * PANEL)
    for j in range(panels):
        for p in range(P):
            for v in range(units_per_panel):
                unit = j * units_per_panel + v
                if gates[p] < 0 or unit >= H:
                    continue
                row = gates[p] * H + unit
                column = p * units_per_panel + v
                to = (j * PANEL + column // COLUMNS * COLUMNS) * D + column % COLUMNS
                for k in range(D):
                    forward[to + k * COLUMNS] = weight[row, k]
                for n in range(0, D, COLUMNS):
                    to_back = (n * panels + j * COLUMNS) * PANEL + column * COLUMNS
                    for k in range(n, min(n + COLUMNS, D)):
                        back[to_back + k - n] = weight[row, k]


@kernel("unpack gradients")
def unpack_gradient(dw, gates, units_per_panel, first_row, depth, gradient):
    """gradient [G H, D] from dw [panel][depth rows][PANEL], of whose rows those from first_row on are its inputs."""
    H = gradient.shape[0] // (gates.max() + 1)
    for p in range(gates.shape[0]):
        if gates[p] < 0:
            continue
        for unit in range(H):
            j = unit // units_per_panel
            column = p * units_per_panel + unit % units_per_panel
            begin = (j * depth + first_row) * PANEL + column
            for k in range(gradient.shape[1]):
                gradient[gates[p] * H + unit, k] = dw[begin + k * PANEL]


@kernel("pack bias")
def pack_bias(bias, gates, units_per_panel, packed):
    """Adds bias [G H] to packed [panel][PANEL]."""
    H = bias.shape[0] // (gates.max() + 1)
    for p in range(gates.shape[0]):
        if gates[p] >= 0:
            for unit in range(H):
                j = unit // units_per_panel
                packed[j * PANEL + p * units_per_panel + unit % units_per_panel] += bias[gates[p] * H + unit]


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
