"""Matrix products of any size from tiles, and the packing of their right-hand sides.

A right-hand side [K, N] is packed into blocks of COLUMNS columns, each [K][COLUMNS], so that a tile reads it
front to back. N is padded with zeros to whole blocks; nothing else needs padding.
"""

from __future__ import annotations

import numpy as np

from kernels.cpu.target import COLUMNS, ROWS
from kernels.cpu.tile import tile
from kernels.jit import subroutine

_tile1, _tile2, _tile3, _tile4, _tile5, _tile6 = (tile(rows) for rows in range(1, ROWS + 1))
DEPTH = 8192 // COLUMNS  # DEPTH x COLUMNS floats (32 KB) of a packed block stay in the first-level cache


def aligned(size):
    """A flat float32 array of zeros that begins on a cache line."""
    line = 16
    array = np.zeros(size + line, np.float32)
    first = (-array.ctypes.data // 4) % line
    return array[first : first + size]


def padded(size, multiple):
    """The next multiple."""
    return -(-size // multiple) * multiple


@subroutine
def block_product(A, a, lda, B, b, D, d, ldd, M, K, blocks, a_block, b_block, add):
    """`tile` over any number M of rows, in tiles of nearly equal height: 16 rows are 6 + 5 + 5, not 6 + 6 + 4."""
    count = (M + ROWS - 1) // ROWS
    row = 0
    for i in range(count):
        height = (M - row + count - i - 1) // (count - i)
        a_row = a + row * lda
        d_row = d + row * ldd
        if height == 6:
            _tile6(A, a_row, lda, B, b, D, d_row, ldd, K, blocks, a_block, b_block, add)
        elif height == 5:
            _tile5(A, a_row, lda, B, b, D, d_row, ldd, K, blocks, a_block, b_block, add)
        elif height == 4:
            _tile4(A, a_row, lda, B, b, D, d_row, ldd, K, blocks, a_block, b_block, add)
        elif height == 3:
            _tile3(A, a_row, lda, B, b, D, d_row, ldd, K, blocks, a_block, b_block, add)
        elif height == 2:
            _tile2(A, a_row, lda, B, b, D, d_row, ldd, K, blocks, a_block, b_block, add)
        else:
            _tile1(A, a_row, lda, B, b, D, d_row, ldd, K, blocks, a_block, b_block, add)
        row += height


@subroutine
def product(A, a, lda, B, b, D, d, ldd, M, K, N, add):
    """D[M, N] (+)= A[M, K] B[K, N], B packed, N whole blocks; K in parts that stay in the first-level cache."""
    depth = K if M <= ROWS else DEPTH
    for n in range(N // COLUMNS):
        block = b + n * K * COLUMNS
        for k in range(0, K, depth):
            block_product(
                A,
                a + k,
                lda,
                B,
                block + k * COLUMNS,
                D,
                d + n * COLUMNS,
                ldd,
                M,
                min(depth, K - k),
                1,
                0,
                0,
                add or k > 0,
            )
