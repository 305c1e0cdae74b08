"""What this machine's vector units can do at most, and how near to it the bare tile comes: one core, float32.

The peak is measured, not computed from a clock rate: processors slow down for wide vectors, and a machine may be
shared. Windows are short and the best counts, so that what other processes take away does not lower it.
"""

from __future__ import annotations

from time import perf_counter, thread_time_ns

import numpy as np
from numba import types

from kernels.cpu.product import DEPTH, aligned, block_product
from kernels.cpu.target import COLUMNS, LANES, ROWS
from kernels.cpu.tile import loop
from kernels.cpu.vector import I64, Vector, call_intrinsic, constant, splat
from kernels.jit import intrinsic, kernel

CHAINS = 12  # independent sums: two units with a latency of four or five cycles need 8 to 10
TURNS = 200_000  # of the loop in one window: 0.4 ms at 200 GFLOP/s
TILE_ROWS = 8 * ROWS  # rows of the bare tile's product: eight tiles over one packed block in the first-level cache
TILE_REPEATS = 100


def measure(seconds: float = 0.02) -> float:
    """GFLOP/s of one core in independent fused multiply-adds on vectors of LANES; the best of many windows.

    seconds : for measuring, after the kernel has been compiled and run once
    """
    half = np.float32(0.5)
    _chains(1, half, half)
    best = 0.0
    end = perf_counter() + seconds
    while perf_counter() < end:
        begun = thread_time_ns()
        _chains(TURNS, half, half)
        spent = thread_time_ns() - begun
        best = max(best, 2 * LANES * CHAINS * TURNS / spent)  # operations a nanosecond
    return best


class BareTile:
    """Tiles over operands that stay in the first-level cache, and nothing else: `run` is one window of `flops`."""

    flops = 2 * TILE_ROWS * DEPTH * COLUMNS * TILE_REPEATS

    def __init__(self) -> None:
        self._a, self._b, self._d = (
            aligned(size) for size in (TILE_ROWS * DEPTH, DEPTH * COLUMNS, TILE_ROWS * COLUMNS)
        )

    def run(self) -> None:
        _tiles(self._a, self._b, self._d, TILE_REPEATS)


@intrinsic
def _multiply_add_chains(typingctx, turns, factor, term):
    """`turns` times a = a factor + term in each of CHAINS vectors; the sum of their first lanes."""
    vector = Vector(types.float32, LANES)

    def codegen(context, builder, sig, args):
        x, y = splat(builder, args[1], vector), splat(builder, args[2], vector)

        def turn(i, state):
            return [call_intrinsic(builder, f"llvm.fma.v{LANES}f32", x.type, [a, x, y]) for a in state]

        ends = loop(builder, args[0], [constant(vector, float(i)) for i in range(CHAINS)], turn)
        result = ends[0]
        for end in ends[1:]:
            result = builder.fadd(result, end)
        return builder.extract_element(result, I64(0))

    return types.float32(types.int64, types.float32, types.float32), codegen


@kernel("FMA peak")
def _chains(turns, factor, term):
    return _multiply_add_chains(turns, factor, term)


@kernel("bare tile")
def _tiles(A, B, D, repeats):
    for _ in range(repeats):
        block_product(A, 0, DEPTH, B, 0, D, 0, COLUMNS, TILE_ROWS, DEPTH, 1, 0, 0, False)
