"""Kernels over the rows of a matrix [rows, C]: PARTS threads share a row, and take every PARTS-th of its values.

Neighbouring threads read neighbouring values, and rows as short as an alphabet still fill a block.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float32, int32

from kernels.cuda.device import BLOCKS, SIMULATED, THREADS, Array, Device, blocks, cuda, device_function, kernel
from kernels.cuda.functions import EXP2
from kernels.cuda.memory import load, store
from kernels.scalar import ZERO

PARTS = 2 if SIMULATED else 8
ROWS = THREADS // PARTS  # of a block

_LOWEST = np.float32(-np.inf)
_LOG2E = np.float32(np.log2(np.e))


def spread_rows(device: Device, function: object, rows: int, *args: object) -> None:
    """Launch a kernel of rows, each block of which takes ROWS rows, and then perhaps others."""
    device.launch(function, min(blocks(rows, ROWS), BLOCKS), THREADS, *args)


@device_function
def divide(n, by):
    """Quotient and remainder of numbers that are not negative: in 32 bits, where Numba would take 64."""
    n, by = np.uint32(n), np.uint32(by)
    return np.int32(n // by), np.int32(n % by)


# On the simulator a function of another module knows `threadIdx` only as a kernel of its own
_of_block = cuda.jit(device=True) if SIMULATED else device_function


@_of_block
def largest(shared, x, begin, part, count):
    """The largest of `count` values from `begin` on, found by all threads of the row; minus infinity of none."""
    top = _LOWEST
    for c in range(part, count, PARTS):
        top = max(top, load(x, begin + c))
    thread = cuda.threadIdx.x
    shared[thread] = top
    cuda.syncthreads()
    for p in range(PARTS):
        top = max(top, shared[thread - part + p])
    return top


@_of_block
def total(shared, part, mine):
    """The sum of what the threads of the row give, from the first to the last."""
    thread = cuda.threadIdx.x
    shared[thread] = mine
    cuda.syncthreads()
    mass = shared[thread - part]
    for p in range(1, PARTS):
        mass += shared[thread - part + p]
    return mass


@kernel(threads=THREADS)
def log_softmax(x, out, rows, C):
    """Row by row; out may be x."""
    tops = cuda.shared.array(THREADS, float32)
    sums = cuda.shared.array(THREADS, float32)
    part = cuda.threadIdx.x % PARTS
    for first in range(cuda.blockIdx.x * ROWS, rows, cuda.gridDim.x * ROWS):
        row = first + cuda.threadIdx.x // PARTS
        begin, count = row * C, C if row < rows else 0
        top = largest(tops, x, begin, part, count)
        mass = ZERO
        for c in range(part, count, PARTS):
            mass += EXP2((load(x, begin + c) - top) * _LOG2E)
        shift = np.float32(math.log(total(sums, part, mass)))
        for c in range(part, count, PARTS):
            store(out, begin + c, load(x, begin + c) - top - shift)


@kernel(threads=THREADS)
def agree(x, lengths, share, gradient, rows, pairs, C):
    """x, gradient [rows, 2, C], rows = T pairs: gradient += share (p - q), (q - p) of their softmaxes."""
    p_tops = cuda.shared.array(THREADS, float32)
    q_tops = cuda.shared.array(THREADS, float32)
    p_sums = cuda.shared.array(THREADS, float32)
    q_sums = cuda.shared.array(THREADS, float32)
    part = cuda.threadIdx.x % PARTS
    for first in range(cuda.blockIdx.x * ROWS, rows, cuda.gridDim.x * ROWS):
        row = first + cuda.threadIdx.x // PARTS
        count = np.int32(0)
        if row < rows:
            t, pair = divide(row, pairs)
            if t < load(lengths, 2 * pair):
                count = C
        p_begin, q_begin = 2 * row * C, (2 * row + 1) * C
        p_top = largest(p_tops, x, p_begin, part, count)
        q_top = largest(q_tops, x, q_begin, part, count)
        p_mass, q_mass = ZERO, ZERO
        for c in range(part, count, PARTS):
            p_mass += EXP2((load(x, p_begin + c) - p_top) * _LOG2E)
            q_mass += EXP2((load(x, q_begin + c) - q_top) * _LOG2E)
        p_mass, q_mass = total(p_sums, part, p_mass), total(q_sums, part, q_mass)
        for c in range(part, count, PARTS):
            p = EXP2((load(x, p_begin + c) - p_top) * _LOG2E) / p_mass
            q = EXP2((load(x, q_begin + c) - q_top) * _LOG2E) / q_mass
            store(gradient, p_begin + c, load(gradient, p_begin + c) + share * (p - q))
            store(gradient, q_begin + c, load(gradient, q_begin + c) - share * (p - q))


@kernel(threads=THREADS)
def best(x, out, rows, C):
    """x [rows, C] -> out [2, rows]: the first class of the largest value, and that value."""
    tops = cuda.shared.array(THREADS, float32)
    labels = cuda.shared.array(THREADS, int32)
    thread = cuda.threadIdx.x
    part = thread % PARTS
    for first in range(cuda.blockIdx.x * ROWS, rows, cuda.gridDim.x * ROWS):
        row = first + thread // PARTS
        count = C if row < rows else 0
        top, label = _LOWEST, np.int32(part)
        for c in range(part, count, PARTS):
            value = load(x, row * C + c)
            if value > top:
                top, label = value, np.int32(c)
        tops[thread], labels[thread] = top, label
        cuda.syncthreads()
        if part == 0 and row < rows:
            for p in range(1, PARTS):
                other, its = tops[thread + p], labels[thread + p]
                if other > top or (other == top and its < label):
                    top, label = other, its
            store(out, row, np.float32(label))
            store(out, rows + row, load(x, row * C + label))
        cuda.syncthreads()


def log_softmax_of(device: Device, x: Array, out: Array, rows: int, classes: int) -> None:
    """Natural log-probabilities of each row of a flat x [rows, classes]; out may be x."""
    spread_rows(device, log_softmax, rows, x, out, rows, classes)


def agree_of(
    device: Device, logits: Array, lengths: Array, share: float, gradient: Array, rows: int, pairs: int, classes: int
) -> None:
    """Pairs of rows of a flat logits [rows, 2, classes] drawn together, rows being steps times pairs."""
    spread_rows(device, agree, rows, logits, lengths, np.float32(share), gradient, rows, pairs, classes)


def best_of(device: Device, x: Array, rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row of a flat x [rows, classes] the first class of its largest value, int32, and that value."""
    out = device.empty((2 * rows,))
    spread_rows(device, best, rows, x, out, rows, classes)
    labels, values = device.download(out).reshape(2, rows)
    return labels.astype(np.int32), values
