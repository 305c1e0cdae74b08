"""Frame stacking, dropout, norm and the optimiser's step on the CPU: one pass over memory each."""

from __future__ import annotations

import numpy as np

from kernels.jit import device_function, kernel

# splitmix64 (Steele, Lea and Flood, OOPSLA 2014): a counter goes in, 64 well-mixed bits come out
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


@device_function
def _mix(z):
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    return z ^ (z >> np.uint64(31))


@kernel("dropout")
def dropout(x, out, threshold, scale, seed, begin, end):
    """The flat values begin..end; a value is dropped when the top 24 bits of its hash lie below `threshold`."""
    for i in range(begin, end):
        keep = _mix(seed + np.uint64(i + 1) * _GOLDEN) >> np.uint64(40) >= threshold
        out[i] = x[i] * scale if keep else np.float32(0.0)


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
