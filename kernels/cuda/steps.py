"""The time steps of a recurrent layer, as kernels: one source for a launch of all steps and for a launch of each.

A launch runs the steps first ... last - 1, counted from `header[0]` on. In a launch of several, the blocks of a group
(one direction, some utterances) meet after each step; else the end of the launch is their meeting. What they hand to
each other goes through `exchange`, which has two halves in turn, so one meeting a step is enough.

Step n of an utterance of length L is its frame n forward and L - 1 - n backward; the way back begins with each
group's last step. Frame t of utterance b stands in packed row offsets[t] + b: utterances are sorted longest first, so
those that have a frame t are a prefix.

    columns  [R, directions, P, H]  the input's products, then what the cell saves, then derivatives
    memory   [R, directions, H]     the LSTM's c
    out      [T, B, directions, H]
    exchange forward  [2, groups, state k, row]: h, transposed
             backward [2, groups, slice, row, unit]: each slice's share of the derivatives by h
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from kernels.cells import CELLS
from kernels.cuda.device import cuda, device_function, kernel
from kernels.cuda.functions import BACKWARD, FORWARD
from kernels.cuda.memory import (
    acquire,
    arrange,
    arrive,
    dynamic_shared,
    gather,
    load,
    load_quads,
    outer,
    plus,
    scatter,
    store,
    store_quads,
    total,
    trap,
    zeros,
)
from kernels.cuda.plan import QUAD, Tiling
from kernels.scalar import ZERO

POLLS = np.int32(1 << 26)  # of a barrier, before the launch is given up: about half a minute on a GPU


@kernel
def clear(values, size):
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        values[i] = 0


@kernel
def advance(header, steps):
    header[0] += steps


@device_function
def _meet(counters, group, arrivals):
    """All blocks of a group wait here for each other: `arrivals` counts them since the launch began."""
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        arrive(counters, group)
        polls = np.int32(0)
        while acquire(counters, group) < arrivals:
            polls += np.int32(1)
            if polls > POLLS:
                trap()
    cuda.syncthreads()


def _copy_in(threads: int) -> Any:
    """A function that copies quads into shared memory, by all threads of a block, each with several on their way."""
    step, many = QUAD * threads, 8
    read, write, read_many, write_many = load_quads(1), store_quads(1, 1), load_quads(many), store_quads(1, many)

    @device_function
    def copy_in(source, start, shared, place, size):
        i = QUAD * cuda.threadIdx.x
        while i + (many - 1) * step < size:
            write_many(shared, place + i, 0, step, read_many(source, start + i, step))
            i += many * step
        while i < size:
            write(shared, place + i, 0, 0, read(source, start + i, 0))
            i += step

    return copy_in


def _sum_of_shares(slices: int) -> Any:
    """A function that adds one unit's share from each slice, all of them (or very many) on their way at once."""
    many = min(slices, 32)
    rest = slices % many
    batch, add, last, add_last = gather(tuple(range(many))), total(many), gather(tuple(range(rest))), total(rest or 1)

    @device_function
    def sum_of_shares(exchange, place, stride):
        dh = add(batch(exchange, place, stride))
        for first in range(many, slices - rest, many):
            dh += add(batch(exchange, place + first * stride, stride))
        if rest > 0:
            dh += add_last(last(exchange, place + (slices - rest) * stride, stride))
        return dh

    return sum_of_shares


@cache
def forward_steps(name: str, tiling: Tiling) -> Any:
    """The kernel of a cell's way forward."""
    cell, t = CELLS[name], tiling
    C, P, H, K = cell.gates, cell.columns, t.hidden, t.padded
    U, ROWS, THREADS, CHUNK, SPLITS, STRIDE = t.units, t.rows, t.threads, t.chunk, t.splits, t.partial_stride
    TILE, HELD, WEIGHTS, COLUMN = t.tile_rows, t.held, t.weights, t.gates * t.units
    STAGED = WEIGHTS if HELD else 0
    UNIT_QUADS, TILES = U // QUAD, ROWS // TILE
    CELL_COUNT, FURTHER = U * ROWS, THREADS // U
    TWICE, HAS_MEMORY = THREADS < CELL_COUNT, cell.has_memory
    inputs = gather(tuple(None if gate is None else p for p, gate in enumerate(cell.from_input)))
    biases, save, partial = gather(tuple(range(P))), scatter(P), gather(tuple(range(C)))
    to_columns, add, add_gates, copy_in = arrange(C, cell.from_state), plus(P), plus(C), _copy_in(THREADS)
    none, no_gates, empty = zeros(TILE * QUAD * C), zeros(C), zeros(P)
    NEXT_ROWS, NEXT_COLUMNS = SPLITS * ROWS, SPLITS * COLUMN
    weights, next_weights = load_quads(C), load_quads(C, NEXT_COLUMNS)
    states, next_states, multiply = load_quads(TILE // QUAD), load_quads(TILE // QUAD, NEXT_ROWS), outer(TILE, QUAD * C)
    put_partial, run = store_quads(TILE, C), FORWARD[name]

    @device_function
    def products(shared, weight, own, part, unit_quad, tile, sums, count):
        """sums += states x weights, over this thread's part of the staged states, two at a time."""
        h_at = np.int32(STAGED + part * ROWS + tile * TILE)
        w_at = np.int32(own + part * COLUMN + unit_quad * QUAD)
        end = STAGED + count * ROWS
        while h_at < end - NEXT_ROWS:
            sums = multiply(sums, states(shared, h_at, QUAD), weights(shared if HELD else weight, w_at, U))
            sums = multiply(sums, next_states(shared, h_at, QUAD), next_weights(shared if HELD else weight, w_at, U))
            h_at = np.int32(h_at + 2 * NEXT_ROWS)
            w_at = np.int32(w_at + 2 * NEXT_COLUMNS)
        if h_at < end:
            sums = multiply(sums, states(shared, h_at, QUAD), weights(shared if HELD else weight, w_at, U))
        return sums

    @device_function
    def fetch(offsets, lengths, columns, bias, n, b, B, d, unit):
        """The input's products for step n, and their row."""
        a, row = empty(), np.int32(-1)
        if b < B and unit < H:
            length = load(lengths, b)
            if n < length:
                frame = n if d == 0 else length - 1 - n
                row = np.int32(load(offsets, frame) + b)
                start = (row * cuda.gridDim.z + d) * (P * H) + unit
                a = add(inputs(columns, start, H), bias)
        return a, row

    @device_function
    def run_cell(shared, a, row, frame_row, r, u, unit, d, n, state, c, columns, memory, out, exchange, place):
        """One unit of one utterance: its sums' parts, the cell, and where its values go."""
        h = ZERO
        if row >= 0:
            sums = no_gates()
            if n > 0:
                for part in range(SPLITS):
                    sums = add_gates(sums, partial(shared, STAGED + (part * ROWS + r) * STRIDE + u, U))
            h, c, saved = run(add(a, to_columns(sums)), state, c)
            here = row * cuda.gridDim.z + d
            save(columns, here * (P * H) + unit, H, saved)
            if HAS_MEMORY:
                store(memory, here * H + unit, c)
            store(out, frame_row * H + unit, h)
        store(exchange, place + unit * ROWS + r, h)
        return h, c

    @device_function
    def before(offsets, lengths, memory, out, n, b, B, d, unit):
        """h and c of the step before n."""
        h, c = ZERO, ZERO
        if n > 0 and b < B and unit < H:
            length = load(lengths, b)
            if n < length:
                frame = n - 1 if d == 0 else length - n
                h = load(out, ((frame * B + b) * cuda.gridDim.z + d) * H + unit)
                if HAS_MEMORY:
                    c = load(memory, ((load(offsets, frame) + b) * cuda.gridDim.z + d) * H + unit)
        return h, c

    @device_function
    def frame_row(lengths, n, b, B, d, row):
        """Where in `out` step n of an utterance stands, in rows of H."""
        if row < 0:
            return np.int32(0)
        frame = n if d == 0 else load(lengths, b) - 1 - n
        return np.int32((frame * B + b) * cuda.gridDim.z + d)

    @kernel(threads=THREADS, name=f"forward-{name}-{t.key}")
    def forward(header, lengths, offsets, weight, bias, columns, memory, out, exchange, counters, B, first, last):
        shared = dynamic_shared()
        tid, d = cuda.threadIdx.x, cuda.blockIdx.z
        group = d * cuda.gridDim.y + cuda.blockIdx.y
        groups = cuda.gridDim.z * cuda.gridDim.y
        own = (d * cuda.gridDim.x + cuda.blockIdx.x) * WEIGHTS
        n = load(header, 0) + first
        begin = n
        end = min(load(header, 0) + last, load(lengths, cuda.blockIdx.y * ROWS))
        if n >= end:
            return
        if HELD:
            copy_in(weight, own, shared, 0, WEIGHTS)
            own = 0
        unit_quad, tile, part = tid % UNIT_QUADS, tid // UNIT_QUADS % TILES, tid // (UNIT_QUADS * TILES)
        u, r = tid % U, tid // U
        unit, b = cuda.blockIdx.x * U + u, cuda.blockIdx.y * ROWS + r
        has_cell = tid < CELL_COUNT
        kept = empty()
        if unit < H:
            kept = biases(bias, d * (P * H) + unit, H)
        a, row = empty(), np.int32(-1)
        a2, row2 = empty(), np.int32(-1)
        h, c, h2, c2 = ZERO, ZERO, ZERO, ZERO
        if has_cell:
            a, row = fetch(offsets, lengths, columns, kept, n, b, B, d, unit)
            h, c = before(offsets, lengths, memory, out, n, b, B, d, unit)
        if TWICE:
            a2, row2 = fetch(offsets, lengths, columns, kept, n, b + FURTHER, B, d, unit)
            h2, c2 = before(offsets, lengths, memory, out, n, b + FURTHER, B, d, unit)
        while n < end:
            if n > 0:
                sums = none()
                source = ((n & 1) * groups + group) * (K * ROWS)
                for begin_chunk in range(0, K, CHUNK):
                    count = min(CHUNK, K - begin_chunk)
                    cuda.syncthreads()
                    copy_in(exchange, source + begin_chunk * ROWS, shared, STAGED, count * ROWS)
                    cuda.syncthreads()
                    if part < SPLITS:
                        place = own + begin_chunk * COLUMN
                        sums = products(shared, weight, place, part, unit_quad, tile, sums, count)
                cuda.syncthreads()
                if part < SPLITS:
                    place = STAGED + (part * ROWS + tile * TILE) * STRIDE + unit_quad * QUAD
                    put_partial(shared, place, STRIDE, U, sums)
                cuda.syncthreads()
            place = (((n + 1) & 1) * groups + group) * (K * ROWS)
            if has_cell:
                where = frame_row(lengths, n, b, B, d, row)
                h, c = run_cell(shared, a, row, where, r, u, unit, d, n, h, c, columns, memory, out, exchange, place)
            if TWICE:
                where = frame_row(lengths, n, b + FURTHER, B, d, row2)
                h2, c2 = run_cell(
                    shared, a2, row2, where, r + FURTHER, u, unit, d, n, h2, c2, columns, memory, out, exchange, place
                )
            n += 1
            if n < end:
                if has_cell:
                    a, row = fetch(offsets, lengths, columns, kept, n, b, B, d, unit)
                if TWICE:
                    a2, row2 = fetch(offsets, lengths, columns, kept, n, b + FURTHER, B, d, unit)
                _meet(counters, group, cuda.gridDim.x * (n - begin))

    return forward


@cache
def backward_steps(name: str, tiling: Tiling) -> Any:
    """The kernel of a cell's way back through time."""
    cell, t = CELLS[name], tiling
    C, P, H, K = cell.gates, cell.columns, t.hidden, t.padded
    U, ROWS, THREADS, HELD, WEIGHTS = t.units, t.rows, t.threads, t.held, t.weights
    STAGED = WEIGHTS if HELD else 0
    DEPTH, (TILE, UNITS) = C * U, t.back_tile
    HALVES = UNITS // QUAD
    GAP = K // HALVES
    UNIT_TILES, ROW_TILES = K // UNITS, ROWS // TILE
    CELL_COUNT, FURTHER = U * ROWS, THREADS // U
    TWICE, HAS_MEMORY = THREADS < CELL_COUNT, cell.has_memory
    saved_values, save, put_gates = gather(tuple(range(P))), scatter(P), scatter(C)
    to_gates = arrange(P, tuple(cell.from_state.index(gate) for gate in range(C)))
    none, empty, no_gates, copy_in = zeros(TILE * UNITS), zeros(P), zeros(C), _copy_in(THREADS)
    rows, next_rows = load_quads(TILE // QUAD), load_quads(TILE // QUAD, ROWS)
    weights, next_weights, multiply = load_quads(HALVES), load_quads(HALVES, K), outer(TILE, UNITS)
    put, run, sum_of_shares = store_quads(TILE, HALVES), BACKWARD[name], _sum_of_shares(t.slices)

    @device_function
    def products(shared, weight, own, row_tile, unit_tile, exchange, place):
        """A tile of this block's share of the derivatives by h, into the exchange."""
        sums = none()
        da_at, w_at = np.int32(STAGED + row_tile * TILE), np.int32(own + unit_tile * QUAD)
        while da_at < STAGED + DEPTH * ROWS:
            sums = multiply(sums, rows(shared, da_at, QUAD), weights(shared if HELD else weight, w_at, GAP))
            sums = multiply(sums, next_rows(shared, da_at, QUAD), next_weights(shared if HELD else weight, w_at, GAP))
            da_at = np.int32(da_at + 2 * ROWS)
            w_at = np.int32(w_at + 2 * K)
        put(exchange, place + row_tile * TILE * K + unit_tile * QUAD, K, GAP, sums)

    @device_function
    def fetch(offsets, lengths, columns, memory, out, out_gradient, n, end, b, B, d, unit):
        """What step n of the way back reads that no other block has just written; the row, -1 where there is none."""
        saved, row, before = empty(), np.int32(-1), np.int32(-1)
        h, h_prev, c_prev, dh = ZERO, ZERO, ZERO, ZERO
        follows = False
        s = end - 1 - n
        if s >= 0 and b < B and unit < H:
            length = load(lengths, b)
            if s < length:
                follows = s + 1 < length
                frame = s if d == 0 else length - 1 - s
                row = np.int32(load(offsets, frame) + b)
                here = (frame * B + b) * cuda.gridDim.z + d
                saved = saved_values(columns, (row * cuda.gridDim.z + d) * (P * H) + unit, H)
                h = load(out, here * H + unit)
                dh = load(out_gradient, here * H + unit)
                if s > 0:
                    frame = frame - 1 if d == 0 else frame + 1
                    h_prev = load(out, ((frame * B + b) * cuda.gridDim.z + d) * H + unit)
                    if HAS_MEMORY:
                        before = np.int32((load(offsets, frame) + b) * cuda.gridDim.z + d)
                        c_prev = load(memory, before * H + unit)
        return saved, row, follows, h, h_prev, c_prev, dh

    @device_function
    def run_cell(shared, values, carry_h, carry_c, exchange, place, r, u, unit, d, columns):
        """One unit of one utterance: the derivatives that reach it, the cell, and its own derivatives."""
        saved, row, follows, h, h_prev, c_prev, dh = values
        gates = no_gates()
        if row >= 0:
            dc = ZERO
            if follows:
                dh += carry_h
                dc = carry_c
                dh += sum_of_shares(exchange, place + r * K + unit, ROWS * K)
            da, carry_h, carry_c = run(saved, h_prev, c_prev, h, dh, dc)
            save(columns, (row * cuda.gridDim.z + d) * (P * H) + unit, H, da)
            gates = to_gates(da)
        put_gates(shared, STAGED + u * ROWS + r, U * ROWS, gates)
        return carry_h, carry_c

    @kernel(threads=THREADS, name=f"backward-{name}-{t.key}")
    def backward(
        header, lengths, offsets, weight, columns, memory, out, out_gradient, carry, exchange, counters, B, first, last
    ):
        shared = dynamic_shared()
        tid, d = cuda.threadIdx.x, cuda.blockIdx.z
        group = d * cuda.gridDim.y + cuda.blockIdx.y
        groups = cuda.gridDim.z * cuda.gridDim.y
        slices = cuda.gridDim.x
        own = (d * slices + cuda.blockIdx.x) * WEIGHTS
        n = load(header, 0) + first
        begin = n
        steps = load(lengths, cuda.blockIdx.y * ROWS)
        end = min(load(header, 0) + last, steps)
        if n >= end:
            return
        if HELD:
            copy_in(weight, own, shared, 0, WEIGHTS)
            own = 0
        u, r = tid % U, tid // U
        unit, b = cuda.blockIdx.x * U + u, cuda.blockIdx.y * ROWS + r
        has_cell = tid < CELL_COUNT
        # the carries of this thread's units, between launches
        carried = ((group * slices + cuda.blockIdx.x) * CELL_COUNT + tid) * 2
        carry_h, carry_c, carry_h2, carry_c2 = ZERO, ZERO, ZERO, ZERO
        if n > 0:
            if has_cell:
                carry_h, carry_c = load(carry, carried), load(carry, carried + 1)
            if TWICE:
                carry_h2, carry_c2 = load(carry, carried + 2 * THREADS), load(carry, carried + 2 * THREADS + 1)
        values = fetch(offsets, lengths, columns, memory, out, out_gradient, n, steps if has_cell else 0, b, B, d, unit)
        values2 = values
        if TWICE:
            values2 = fetch(offsets, lengths, columns, memory, out, out_gradient, n, steps, b + FURTHER, B, d, unit)
        while n < end:
            place = ((n & 1) * groups + group) * slices * (ROWS * K)
            if has_cell:
                carry_h, carry_c = run_cell(shared, values, carry_h, carry_c, exchange, place, r, u, unit, d, columns)
            if TWICE:
                carry_h2, carry_c2 = run_cell(
                    shared, values2, carry_h2, carry_c2, exchange, place, r + FURTHER, u, unit, d, columns
                )
            cuda.syncthreads()
            n += 1
            if n < steps:
                place = (((n & 1) * groups + group) * slices + cuda.blockIdx.x) * (ROWS * K)
                tile = tid
                while tile < UNIT_TILES * ROW_TILES:
                    products(shared, weight, own, tile // UNIT_TILES, tile % UNIT_TILES, exchange, place)
                    tile += THREADS
            if n < end:
                values = fetch(
                    offsets, lengths, columns, memory, out, out_gradient, n, steps if has_cell else 0, b, B, d, unit
                )
                if TWICE:
                    values2 = fetch(
                        offsets, lengths, columns, memory, out, out_gradient, n, steps, b + FURTHER, B, d, unit
                    )
                _meet(counters, group, slices * (n - begin))
        if has_cell:
            store(carry, carried, carry_h)
            store(carry, carried + 1, carry_c)
        if TWICE:
            store(carry, carried + 2 * THREADS, carry_h2)
            store(carry, carried + 2 * THREADS + 1, carry_c2)

    return backward
