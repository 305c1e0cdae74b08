"""Kernels over flat values: one thread, one value or four (or several, by turns).

Where a kernel takes `quads`, that many groups of four values are read and written with one access each, and the rest
singly: `quads(size, ...)` gives all that there are, if the arrays begin where the device can do that.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float32

from kernels.cuda.device import THREADS, Array, Device, blocks, cuda, device_function, kernel
from kernels.cuda.functions import stays
from kernels.cuda.memory import fma, load, load4, store, store4
from kernels.cuda.rows import divide
from kernels.scalar import ZERO

NORM_BLOCKS = 2 if THREADS < 32 else 264  # two for each multiprocessor of a large GPU
NORM_PARTS = 6  # three sums, each with what its roundings left out

# Squares of what is smaller or larger than these leave float32's range; so those are scaled first (Blue, TOMS 1978)
_SMALL, _UP = np.float32(2.0**-40), np.float32(2.0**90)
_GREAT, _DOWN = np.float32(2.0**40), np.float32(2.0**-80)
_SCALES = 1.0, 2.0**90, 2.0**-80


def quads(device: Device, size: int, *arrays: Array) -> int:
    """How many groups of four there are in `size` values of these arrays; 0 unless each begins on 16 bytes."""
    return size // 4 if all(device.address(array) % 16 == 0 for array in arrays) else 0


@kernel
def fill(out, value, size):
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        store(out, i, value)


@kernel
def add_column_bias(bias, bias0, out, out0, size):
    """out[out0 + i] += bias[bias0 + i]"""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        store(out, out0 + i, load(out, out0 + i) + load(bias, bias0 + i))


@kernel
def pack_rows(x, places, out, rows, D):
    """out[r] = x[places[r]] for r < rows: rows of D values."""
    for i in range(cuda.grid(1), rows * D, cuda.gridsize(1)):
        row, value = divide(i, D)
        store(out, i, load(x, load(places, row) * D + value))


@kernel
def unpack_rows(x, rows_of, out, size, D):
    """out[p] = x[rows_of[p]], or zeros where rows_of[p] is negative: rows of D values, size values in all."""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        place, value = divide(i, D)
        row = load(rows_of, place)
        store(out, i, load(x, row * D + value) if row >= 0 else ZERO)


@kernel
def dropout(x, out, threshold, scale, seed, quads, size):
    start, step = cuda.grid(1), cuda.gridsize(1)
    for q in range(start, quads, step):
        i = 4 * q
        a, b, c, d = load4(x, i)
        a = a * scale if stays(seed, i, threshold) else ZERO
        b = b * scale if stays(seed, i + 1, threshold) else ZERO
        c = c * scale if stays(seed, i + 2, threshold) else ZERO
        d = d * scale if stays(seed, i + 3, threshold) else ZERO
        store4(out, i, (a, b, c, d))
    for i in range(4 * quads + start, size, step):
        store(out, i, load(x, i) * scale if stays(seed, i, threshold) else ZERO)


@kernel
def axpy(scale, x, y, quads, size):
    start, step = cuda.grid(1), cuda.gridsize(1)
    for q in range(start, quads, step):
        a, b = load4(x, 4 * q), load4(y, 4 * q)
        store4(y, 4 * q, (b[0] + scale * a[0], b[1] + scale * a[1], b[2] + scale * a[2], b[3] + scale * a[3]))
    for i in range(4 * quads + start, size, step):
        store(y, i, load(y, i) + scale * load(x, i))


@device_function
def _stepped(w, g, v, rate, momentum, scale, weight_decay):
    """A weight and its velocity after a step."""
    g = scale * g + weight_decay * w
    v = momentum * v + g
    return w - rate * (g + momentum * v), v


@kernel
def sgd_step(weights, gradient, velocity, rate, momentum, scale, weight_decay, quads, size):
    start, step = cuda.grid(1), cuda.gridsize(1)
    for q in range(start, quads, step):
        w, g, v = load4(weights, 4 * q), load4(gradient, 4 * q), load4(velocity, 4 * q)
        w0, v0 = _stepped(w[0], g[0], v[0], rate, momentum, scale, weight_decay)
        w1, v1 = _stepped(w[1], g[1], v[1], rate, momentum, scale, weight_decay)
        w2, v2 = _stepped(w[2], g[2], v[2], rate, momentum, scale, weight_decay)
        w3, v3 = _stepped(w[3], g[3], v[3], rate, momentum, scale, weight_decay)
        store4(weights, 4 * q, (w0, w1, w2, w3))
        store4(velocity, 4 * q, (v0, v1, v2, v3))
    for i in range(4 * quads + start, size, step):
        w0, v0 = _stepped(load(weights, i), load(gradient, i), load(velocity, i), rate, momentum, scale, weight_decay)
        store(weights, i, w0)
        store(velocity, i, v0)


@device_function
def _plus(total, rest, x, x_rest):
    """The sum of two numbers, and of what roundings left out of them and now of it (Knuth's two-sum).

    The first is the plain float32 sum: it stays infinite or NaN once it is, when the second is good for nothing.
    """
    s = total + x
    part = s - total
    return s, rest + ((total - (s - part)) + (x - part) + x_rest)


@device_function
def _plus_square(sums, x):
    """Three sums of squares, each with its rest: of values in the middle, of small and of great ones, both scaled."""
    m, m_rest, s, s_rest, g, g_rest = sums
    if abs(x) < _SMALL:
        x *= _UP
        square = x * x
        s, s_rest = _plus(s, s_rest, square, fma(x, x, -square))
    elif abs(x) > _GREAT:
        x *= _DOWN
        square = x * x
        g, g_rest = _plus(g, g_rest, square, fma(x, x, -square))
    else:
        square = x * x
        m, m_rest = _plus(m, m_rest, square, fma(x, x, -square))
    return m, m_rest, s, s_rest, g, g_rest


@kernel(threads=THREADS)
def sums_of_squares(vector, out, quads, size):
    """out [blocks, NORM_PARTS]: each block's part of the three sums, each followed by its rest."""
    kept = cuda.shared.array((NORM_PARTS, THREADS), float32)
    thread, start, step = cuda.threadIdx.x, cuda.grid(1), cuda.gridsize(1)
    sums = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    for q in range(start, quads, step):
        a, b, c, d = load4(vector, 4 * q)
        sums = _plus_square(_plus_square(_plus_square(_plus_square(sums, a), b), c), d)
    for i in range(4 * quads + start, size, step):
        sums = _plus_square(sums, load(vector, i))
    for k in range(NORM_PARTS):
        kept[k, thread] = sums[k]
    half = THREADS // 2
    while half > 0:
        cuda.syncthreads()
        if thread < half:
            for k in range(0, NORM_PARTS, 2):
                other, other_rest = kept[k, thread + half], kept[k + 1, thread + half]
                kept[k, thread], kept[k + 1, thread] = _plus(kept[k, thread], kept[k + 1, thread], other, other_rest)
        half //= 2
    if thread == 0:
        for k in range(NORM_PARTS):
            store(out, cuda.blockIdx.x * NORM_PARTS + k, kept[k, 0])


def norm_of(device: Device, vector: Array) -> float:
    """The Euclidean norm of a flat vector; the blocks' parts meet on the host, in float64."""
    size, grid = vector.size, min(blocks(vector.size, 4 * THREADS), NORM_BLOCKS)
    out = device.empty((grid * NORM_PARTS,))
    device.launch(sums_of_squares, grid, THREADS, vector, out, quads(device, size, vector), size)
    by_scale = device.download(out).astype(np.float64).reshape(grid, NORM_PARTS // 2, 2).sum(axis=0)
    sums = [total if not math.isfinite(total) else total + rest for total, rest in by_scale]
    return math.sqrt(sum(total / scale**2 for total, scale in zip(sums, _SCALES, strict=True)))


@kernel
def stack_frames(x, lengths, count, out, B, D, size):
    """x [T, B, D] -> out [ceil(T / count), B, count, D], size values."""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        group, value = divide(i, D)
        row, k = divide(group, count)
        step, b = divide(row, B)
        length = load(lengths, b)
        stays_in = step * count < length
        frame = min(step * count + k, length - 1)
        store(out, i, load(x, (frame * B + b) * D + value) if stays_in else ZERO)
