"""exp2, sigmoid and tanh in float32: plain functions, compiled for every target, for scalars and for vectors.

They have no branches, tables or library calls. Three primitives, `select`, `reciprocal` and `scale_by_low_bits`,
stand for what a processor does in its own way; a target may give its own code for them (`kernels.cpu.vector`
does for vectors). NaN passes through every function.
"""

from __future__ import annotations

import numpy as np

from kernels.jit import device_function

ZERO = np.float32(0.0)
ONE = np.float32(1.0)
TWO = np.float32(2.0)
_LOG2E = np.float32(1.4426950408889634)
_ROUND = np.float32(12582912.0)  # 1.5 * 2**23: adding it rounds to the nearest integer
_LIMIT = np.float32(126.0)  # 2**+-126 are normal numbers
# 2**f - 1 over f, |f| <= 0.5: minimax in the relative error of 2**f, 9.1e-8
_P5 = np.float32(0.0013264727552253146)
_P4 = np.float32(0.009671512641377902)
_P3 = np.float32(0.05550733742120181)
_P2 = np.float32(0.24022242085370726)
_P1 = np.float32(0.69314697759984)


@device_function
def select(condition, x, y):
    """x where the condition holds, else y."""
    return x if condition else y


@device_function
def reciprocal(x):
    """1 / x"""
    return ONE / x


@device_function
def scale_by_low_bits(p, t):
    """p 2**n, where n is the integer in the low bits of t's representation: an addition to p's exponent field.

    NaN stays NaN where its low bits are 0, as in those that x86 and ARM make.
    """
    exponent = np.float32(t).view(np.int32) << np.int32(23)
    return np.int32(np.float32(p).view(np.int32) + exponent).view(np.float32)


@device_function
def exp2(x):
    """2**x, relative error below 2e-7 for |x| <= 126; outside, the value at the nearer bound."""
    x = select(x < -_LIMIT, -_LIMIT, x)
    x = select(x > _LIMIT, _LIMIT, x)
    t = x + _ROUND
    f = x - (t - _ROUND)
    p = _P4 + f * _P5
    p = _P3 + f * p
    p = _P2 + f * p
    p = _P1 + f * p
    return scale_by_low_bits(ONE + f * p, t)


@device_function
def sigmoid(x):
    """1 / (1 + e**-x), absolute error below 1.5e-7."""
    return reciprocal(ONE + exp2(-_LOG2E * x))


@device_function
def tanh(x):
    """tanh x, absolute error below 2.5e-7 (not relative: near 0 the difference below cancels)."""
    return ONE - TWO * reciprocal(ONE + exp2((TWO * _LOG2E) * x))
