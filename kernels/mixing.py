"""Which values dropout keeps: a function of the seed and the value's place, compiled for every target.

splitmix64 (Steele, Lea and Flood, OOPSLA 2014): a counter goes in, 64 well-mixed bits come out.
"""

from __future__ import annotations

import numpy as np

from kernels.jit import device_function

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


@device_function
def mix(z):
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    return z ^ (z >> np.uint64(31))


@device_function
def stays(seed, i, threshold):
    """Whether the value at flat index i stays: it is dropped when the top 24 bits of its hash lie below `threshold`."""
    return mix(seed + np.uint64(i + 1) * _GOLDEN) >> np.uint64(40) >= threshold
