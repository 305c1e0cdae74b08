"""Matrix products of any size from tiles, and the packing of weights for the way forward and the way back.

    y = x W^T       `product`: W^T packed into blocks of COLUMNS columns, each [K][COLUMNS], read front to back
    dx = E W        `product_back`: E, the derivative by y, stands in panels of PANEL columns; W packed as above
    dW^T = x^T E    `weight_gradient`: x transposed into panels of ROWS; E's panels are packed as a tile wants them

Columns are padded with zeros to whole blocks or panels; nothing else needs padding. All arrays are flat float32.
"""

from __future__ import annotations

import numpy as np

from kernels.cpu.target import COLUMNS, PANEL, ROWS
from kernels.cpu.tile import tile
from kernels.cpu.vector import load, store
from kernels.jit import device_function, kernel, subroutine

_tile1, _tile2, _tile3, _tile4, _tile5, _tile6 = (tile(rows) for rows in range(1, ROWS + 1))
_gradient_tile = tile(ROWS, ldb=PANEL, packed_a=True)
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


@device_function
def product_back(E, e, rows, Q, panels, N, D, d, ldd, M, add):
    """D[M, N] (+)= E[M, all columns] Q[all columns, N]: E's panels stand rows apart, Q is packed."""
    depth = panels if M <= ROWS else max(1, DEPTH // PANEL)
    for n in range(N // COLUMNS):
        for j in range(0, panels, depth):
            block_product(
                E, e + j * rows * PANEL, PANEL, Q, (n * panels + j) * PANEL * COLUMNS, D, d + n * COLUMNS, ldd,
                M, PANEL, min(depth, panels - j), rows * PANEL, PANEL * COLUMNS, add or j > 0,
            )  # fmt: skip


@device_function
def panel_stride(rows):
    """Between transposed panels: a cache line more than they hold, or rows would fall on the same few cache sets."""
    return rows * ROWS + 16


@device_function
def transpose_row(a, begin, size, at, to, stride):
    """One row of A into the panels of ROWS = 6 that a packed-A tile reads; zeros fill the last panel."""
    panels = size // ROWS
    for m in range(panels):
        # six values as two overlapping vectors of four
        store(at, to + m * stride, load(a, begin + m * ROWS, 4), 4)
        store(at, to + m * stride + 2, load(a, begin + m * ROWS + 2, 4), 4)
    if size > panels * ROWS:
        for q in range(ROWS):
            k = panels * ROWS + q
            at[to + panels * stride + q] = a[begin + k] if k < size else np.float32(0.0)


@device_function
def weight_gradient(at, E, rows, panels, depth, dw):
    """dw [panel][depth ROWS][PANEL] += A^T E: A's columns in `depth` transposed panels, E [panel][row][PANEL]."""
    for j in range(panels):
        for q in range(0, PANEL, COLUMNS):
            for m in range(depth):
                _gradient_tile(
                    at, m * panel_stride(rows), ROWS, E, j * rows * PANEL + q,
                    dw, (j * depth + m) * ROWS * PANEL + q, PANEL, rows, 1, 0, 0, True,
                )  # fmt: skip


@kernel("pack weights")
def pack_weight(weight, gates, units_per_panel, forward, back):
    """weight [G H, D] -> forward: [panel][block][k][COLUMNS], k an input; back: [block][column][COLUMNS] over inputs.

    Column p of a unit is gate gates[p], or zeros where that is -1.
    """
    H = weight.shape[0] // (gates.max() + 1)
    D = weight.shape[1]
    P = gates.shape[0]
    panels = forward.shape[0] // (D * PANEL)
    for j in range(panels):
        for p in range(P):
            for v in range(units_per_panel):
                unit = j * units_per_panel + v
                if gates[p] < 0 or unit >= H:
                    continue
                row = gates[p] * H + unit
                column = p * units_per_panel + v
                to = (j * PANEL + column // COLUMNS * COLUMNS) * D + column % COLUMNS
                for k in range(D):
                    forward[to + k * COLUMNS] = weight[row, k]
                for n in range(0, D, COLUMNS):
                    to_back = (n * panels + j * COLUMNS) * PANEL + column * COLUMNS
                    for k in range(n, min(n + COLUMNS, D)):
                        back[to_back + k - n] = weight[row, k]


@kernel("unpack gradients")
def unpack_gradient(dw, gates, units_per_panel, first_row, depth, gradient):
    """gradient [G H, D] from dw [panel][depth rows][PANEL], of whose rows those from first_row on are its inputs."""
    H = gradient.shape[0] // (gates.max() + 1)
    for p in range(gates.shape[0]):
        if gates[p] < 0:
            continue
        for unit in range(H):
            j = unit // units_per_panel
            column = p * units_per_panel + unit % units_per_panel
            begin = (j * depth + first_row) * PANEL + column
            for k in range(gradient.shape[1]):
                gradient[gates[p] * H + unit, k] = dw[begin + k * PANEL]


@kernel("pack bias")
def pack_bias(bias, gates, units_per_panel, packed):
    """Adds bias [G H] to packed [panel][PANEL]."""
    H = bias.shape[0] // (gates.max() + 1)
    for p in range(gates.shape[0]):
        if gates[p] >= 0:
            for unit in range(H):
                j = unit // units_per_panel
                packed[j * PANEL + p * units_per_panel + unit % units_per_panel] += bias[gates[p] * H + unit]
