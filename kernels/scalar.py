"""exp2, sigmoid and tanh in float32: plain functions, compiled for every target.

They have no branches, tables or library calls, so that a compiler turns a loop over them into vector code.
Clamps are conditional expressions and not `min`/`max`: Numba's versions of those branch, which stops LLVM's
vectoriser and made a loop over `exp2` 12 times slower. Comparisons are written so that NaN passes through.
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
# 2**f on [-0.5, 0.5], minimax in relative error, highest power first (Remez; maximum error 7.7e-8)
_P6 = np.float32(1.535336188319500e-4)
_P5 = np.float32(1.339887440266574e-3)
_P4 = np.float32(9.618437357674640e-3)
_P3 = np.float32(5.550332471162809e-2)
_P2 = np.float32(2.402264791363012e-1)
_P1 = np.float32(6.931472028550421e-1)


@device_function
def exp2(x):
    """2**x, relative error below 1e-7 for |x| <= 126; outside, the value at the nearer bound."""
    x = -_LIMIT if x < -_LIMIT else x
    x = _LIMIT if x > _LIMIT else x
    t = np.float32(x + _ROUND)
    f = x - (t - _ROUND)
    p = _P5 + f * _P6
    p = _P4 + f * p
    p = _P3 + f * p
    p = _P2 + f * p
    p = _P1 + f * p
    p = np.float32(ONE + f * p)
    # the integer stands in the low bits of t: moved to the exponent field, it multiplies p by 2**integer
    exponent = np.float32(t).view(np.int32) << np.int32(23)
    return np.int32(np.float32(p).view(np.int32) + exponent).view(np.float32)


@device_function
def sigmoid(x):
    """1 / (1 + e**-x), absolute error below 1.5e-7."""
    return ONE / (ONE + exp2(-_LOG2E * x))


@device_function
def tanh(x):
    """tanh x, absolute error below 2.5e-7 (not relative: near 0 the difference below cancels)."""
    return ONE - TWO / (ONE + exp2(TWO * _LOG2E * x))
