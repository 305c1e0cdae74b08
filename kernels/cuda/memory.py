"""What Numba's CUDA target has no words for: wide and unwrapped accesses, sums in registers, a barrier's two halves.

Arrays are flat. An index is taken as unsigned 32-bit: Numba makes every sum of integers 64 bits wide and wraps
negative indices around, and the truncation lets the compiler do the arithmetic in 32 bits. Values that a thread
keeps are tuples: the compiler cannot put those into local memory, as it does with arrays that it fails to unroll.

On the simulator every function here is plain Python that means the same.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import float32

from kernels.cuda.device import SIMULATED, cuda

if not SIMULATED:
    from kernels.cuda.assembly import (
        acquire,
        arrange,
        arrive,
        dynamic_shared,
        fma,
        gather,
        load,
        load4,
        load_quads,
        outer,
        plus,
        reciprocal,
        scatter,
        store,
        store4,
        store_quads,
        total,
        trap,
        zeros,
    )
else:

    def load(array, i):
        """array[i]"""
        return array[i]

    def store(array, i, value):
        """array[i] = value"""
        array[i] = value

    def load4(array, i):
        """array[i : i + 4], float32, in one access: i and the array's start are multiples of 16 bytes."""
        return tuple(array[i : i + 4])

    def store4(array, i, values):
        """array[i : i + 4] = values, in one access as `load4`."""
        array[i : i + 4] = values

    @cache
    def load_quads(count: int, offset: int = 0) -> Callable[..., Any]:
        """A function (array, start, gap): `count` times `load4` from start + offset on, `gap` apart, as one tuple."""
        return lambda array, start, gap: sum((load4(array, start + offset + q * gap) for q in range(count)), ())

    @cache
    def store_quads(rows: int, count: int) -> Callable[..., Any]:
        """A function (array, start, stride, gap, values): values [rows, count, 4], rows `stride` apart."""

        def write(array, start, stride, gap, values):
            for r in range(rows):
                for q in range(count):
                    first = 4 * (r * count + q)
                    store4(array, start + r * stride + q * gap, values[first : first + 4])

        return write

    @cache
    def gather(pattern: tuple[int | None, ...]) -> Callable[..., Any]:
        """A function (array, start, stride): the values at start + p stride for each p of the pattern, None as 0."""
        zero = np.float32(0.0)
        return lambda array, start, stride: tuple(zero if p is None else array[start + p * stride] for p in pattern)

    @cache
    def scatter(count: int) -> Callable[..., Any]:
        """A function (array, start, stride, values) that puts value p to start + p stride."""

        def write(array, start, stride, values):
            for p in range(count):
                array[start + p * stride] = values[p]

        return write

    @cache
    def arrange(count: int, pattern: tuple[int | None, ...]) -> Callable[..., Any]:
        """A function of a tuple of `count` values: those that the pattern names, None as 0."""
        return lambda values: tuple(np.float32(0.0) if p is None else values[p] for p in pattern)

    @cache
    def total(count: int) -> Callable[..., Any]:
        """A function of a tuple of `count` values: their sum, from the first to the last."""
        return functools.partial(functools.reduce, operator.add)

    @cache
    def plus(count: int) -> Callable[..., Any]:
        """A function (a, b): the sum of two tuples of `count` values."""
        return lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True))

    def fma(a, b, c):
        """a b + c, rounded once."""
        return np.float32(np.float64(a) * np.float64(b) + np.float64(c))

    def reciprocal(x):
        """1 / x, to 1 unit in the last place."""
        return np.float32(1.0) / x

    @cache
    def zeros(count: int) -> Callable[[], Any]:
        """A function that gives a tuple of `count` float32 zeros."""
        return lambda: (np.float32(0.0),) * count

    @cache
    def outer(rows: int, columns: int) -> Callable[..., Any]:
        """A function (sums, a, b): sums[r columns + c] + a[r] b[c], each by one fused multiply-add."""

        def add(sums, a, b):
            return tuple(sums[r * columns + c] + a[r] * b[c] for r in range(rows) for c in range(columns))

        return add

    @cuda.jit(device=True)
    def dynamic_shared():
        """The launch's dynamic shared memory, float32, on a 16-byte boundary."""
        return cuda.shared.array(0, float32)

    @cuda.jit(device=True)
    def arrive(counters, i):
        """counters[i] += 1, after all that this thread has seen written (release, at the scope of the device)."""
        cuda.atomic.add(counters, i, 1)

    def acquire(counters, i):
        """counters[i], before all that this thread reads afterwards (acquire, at the scope of the device)."""
        return counters[i]

    def trap():
        """Stop the kernel with an error."""
        raise RuntimeError("a barrier between blocks was not reached")


__all__ = [
    "acquire",
    "arrange",
    "arrive",
    "dynamic_shared",
    "fma",
    "gather",
    "load",
    "load4",
    "load_quads",
    "outer",
    "plus",
    "reciprocal",
    "scatter",
    "store",
    "store4",
    "store_quads",
    "total",
    "trap",
    "zeros",
]
