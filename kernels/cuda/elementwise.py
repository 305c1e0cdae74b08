"""Kernels over flat values, or over the rows of a matrix: one thread, one value (or several, by turns)."""

from __future__ import annotations

import math

import numpy as np

from kernels.cuda.device import cuda, kernel
from kernels.cuda.functions import stays
from kernels.scalar import ZERO


@kernel
def fill(out, value, size):
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        out[i] = value


@kernel
def count_up(out, size):
    """out = 0, 1, 2, ..."""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        out[i] = i


@kernel
def copy(x, out, out0, size):
    """x, to a place in out."""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        out[out0 + i] = x[i]


@kernel
def add_column_bias(bias, bias0, out, out0, size):
    """out[out0 + i] += bias[bias0 + i]"""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        out[out0 + i] += bias[bias0 + i]


@kernel
def dropout(x, out, threshold, scale, seed, size):
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        out[i] = x[i] * scale if stays(seed, i, threshold) else ZERO


@kernel
def sgd_step(weights, gradient, velocity, rate, momentum, scale, weight_decay, size):
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        g = scale * gradient[i] + weight_decay * weights[i]
        v = momentum * velocity[i] + g
        velocity[i] = v
        weights[i] -= rate * (g + momentum * v)


@kernel
def sums_of_squares(vector, out, size):
    """out [threads of the grid] float64: each thread's part of the sum."""
    total = 0.0
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        value = np.float64(vector[i])
        total += value * value
    out[cuda.grid(1)] = total


@kernel
def stack_frames(x, lengths, count, out, B, D, size):
    """x [T, B, D] -> out [ceil(T / count), B, count, D], size values."""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        row, value = i // (count * D), i % (count * D)
        step, b = row // B, row % B
        if step * count < lengths[b]:
            frame = min(step * count + value // D, lengths[b] - 1)
            out[i] = x[(frame * B + b) * D + value % D]
        else:
            out[i] = ZERO


@kernel
def log_softmax(x, out, rows, C):
    """Row by row; the sum in float64. out may be x."""
    for row in range(cuda.grid(1), rows, cuda.gridsize(1)):
        begin = row * C
        top = x[begin]
        for c in range(1, C):
            top = max(top, x[begin + c])
        mass = 0.0
        for c in range(C):
            mass += math.exp(np.float64(x[begin + c]) - np.float64(top))
        shift = math.log(mass)
        for c in range(C):
            out[begin + c] = np.float32(np.float64(x[begin + c]) - np.float64(top) - shift)


@kernel
def best(x, out, rows, C):
    """x [rows, C] -> out [2, rows]: the first class of the largest value, and that value."""
    for row in range(cuda.grid(1), rows, cuda.gridsize(1)):
        begin, label = row * C, 0
        for c in range(1, C):
            if x[begin + c] > x[begin + label]:
                label = c
        out[row] = np.float32(label)
        out[rows + row] = x[begin + label]
