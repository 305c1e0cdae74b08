"""Frame stacking, dropout, sums, norm and the optimiser's step on the CPU: one pass over memory each."""

from __future__ import annotations

import numpy as np

from kernels.jit import kernel
from kernels.mixing import stays


@kernel("dropout")
def dropout(x, out, threshold, scale, seed, begin, end):
    """The flat values begin..end; `threshold` is the rate in units of 2**-24."""
    for i in range(begin, end):
        out[i] = x[i] * scale if stays(seed, i, threshold) else np.float32(0.0)


@kernel("stack frames")
def stack_frames(x, lengths, count, out):
    D = x.shape[2]
    for t in range(out.shape[0]):
        for b in range(x.shape[1]):
            for k in range(count):
                frame = min(t * count + k, lengths[b] - 1)
                if t * count < lengths[b]:
                    out[t, b, k * D : (k + 1) * D] = x[frame, b]
                else:
                    out[t, b, k * D : (k + 1) * D] = np.float32(0.0)


@kernel("axpy")
def axpy(scale, x, y, begin, end):
    for i in range(begin, end):
        y[i] += scale * x[i]


@kernel("SGD step")
def sgd_step(weights, gradient, velocity, rate, momentum, scale, weight_decay, begin, end):
    for i in range(begin, end):
        g = scale * gradient[i] + weight_decay * weights[i]
        v = momentum * velocity[i] + g
        velocity[i] = v
        weights[i] -= rate * (g + momentum * v)


@kernel("norm")
def sum_of_squares(vector):
    """Eight partial sums: with one, each addition would wait for the one before."""
    partial = np.zeros(8)
    whole = vector.shape[0] // 8 * 8
    for i in range(0, whole, 8):
        for k in range(8):
            value = np.float64(vector[i + k])
            partial[k] += value * value
    for i in range(whole, vector.shape[0]):
        value = np.float64(vector[i])
        partial[0] += value * value
    return partial.sum()
