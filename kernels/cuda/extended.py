"""Float32 numbers of any size on the device: m 2**e, with a mantissa in [1, 2) and an exponent of 32 bits.

What lies outside float32's range needs no logarithms so: a product is a product and a sum of exponents, a sum aligns
its parts, and both round as float32 does. Zero is (0, EMPTY).
"""

from __future__ import annotations

import numpy as np

from kernels.cuda.device import SIMULATED, device_function, libdevice
from kernels.cuda.functions import EXP2
from kernels.cuda.memory import fma
from kernels.scalar import ZERO

EMPTY = np.int32(-(2**30) + 4096)  # the exponent of zero, so low that the sum of two still fits
LARGEST = 2**29  # of the exponents that numbers may have: far from EMPTY

_LOG2E = np.float32(np.log2(np.e))
_LOG2E_REST = np.float32(np.log2(np.e) - float(_LOG2E))
_ROUND = np.float32(1.5 * 2**23)  # adding it rounds to the nearest integer
_LEAST = np.int32(-127)  # 2**-127 and less count as 0
_BIAS, _FRACTION_BITS = np.int32(127), np.int32(23)

if SIMULATED:

    def bits(x):
        """A float32's representation, int32."""
        return np.float32(x).view(np.int32)

    def from_bits(i):
        """The float32 of a representation."""
        return np.int32(i).view(np.float32)

else:

    @device_function
    def bits(x):
        return libdevice.float_as_int(x)

    @device_function
    def from_bits(i):
        return libdevice.int_as_float(i)


@device_function
def power(e):
    """2**e as a float32 for e up to 127; 0 where e is -127 or less."""
    return from_bits(np.int32(np.int32(max(e, _LEAST) + _BIAS) << _FRACTION_BITS))


@device_function
def normal(m, e):
    """m 2**e with its mantissa in [1, 2), for m that is 0 or a normal positive number; zero also for NaN."""
    representation = bits(m)
    shift = np.int32((representation >> _FRACTION_BITS) - _BIAS)
    mantissa = from_bits(np.int32(representation - np.int32(shift << _FRACTION_BITS)))
    if m > ZERO:
        return mantissa, np.int32(e + shift)
    return ZERO, EMPTY


@device_function
def exponential(x, top, limit):
    """e**(x - top) for x <= top as a pair (about 1, exponent), no less than 2**-limit; limit below 2**22.

    The difference and its product by log2 e are kept with their rounding errors, so that the relative error is that
    of `exp2`, 2e-7, however far below the top x lies.
    """
    d = x - top
    back = d - x
    d_rest = (x - (d - back)) - (top + back)
    p = d * _LOG2E
    p_rest = fma(d, _LOG2E, -p) + fma(d, _LOG2E_REST, d_rest * _LOG2E)
    if p < -limit:
        p, p_rest = -limit, ZERO
    whole = (p + _ROUND) - _ROUND
    return EXP2((p - whole) + p_rest), np.int32(whole)


__all__ = ["EMPTY", "LARGEST", "bits", "exponential", "from_bits", "normal", "power"]
