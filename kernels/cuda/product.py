"""Matrix products on the device, by tiles in shared memory: a block makes TILE x TILE values of the result.

A matrix is a flat array, an offset, a row's length in memory and a list of rows: row i stands at
`offset + rows[i] * stride`. The lists leave out the frames beyond an utterance's end, which may hold anything,
and shift a sequence by one step; a row of -1 is zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32

from kernels.cuda.device import BLOCKS, THREADS, TILE, Array, Device, blocks, cuda, kernel
from kernels.scalar import ZERO

SQUARE = (TILE, TILE)
Matrix = tuple[Array, int, int]  # flat array, offset, stride of a row


@kernel
def _rows_product(a, a0, lda, rows, w, w0, wn, wk, bias, bias0, out, out0, ldo, M, N, K, add):
    """out[rows[m], n] = (out[rows[m], n] if add else bias[n]) + sum over k of a[rows[m], k] w[n, k]."""
    a_tile = cuda.shared.array(SQUARE, float32)
    w_tile = cuda.shared.array(SQUARE, float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    n0 = cuda.blockIdx.x * TILE
    m, n = cuda.blockIdx.y * TILE + y, n0 + x
    total = ZERO
    for k0 in range(0, K, TILE):
        k = k0 + x
        a_tile[y, x] = a[a0 + rows[m] * lda + k] if m < M and k < K else ZERO
        w_tile[y, x] = w[w0 + (n0 + y) * wn + k * wk] if n0 + y < N and k < K else ZERO
        cuda.syncthreads()
        for i in range(TILE):
            total += a_tile[y, i] * w_tile[x, i]
        cuda.syncthreads()
    if m < M and n < N:
        place = out0 + rows[m] * ldo + n
        out[place] = total + (out[place] if add else bias[bias0 + n])


@kernel
def _columns_product(a, a0, lda, a_rows, b, b0, ldb, b_rows, out, out0, M, N, K):
    """out[m, n] = sum over k of a[a_rows[k], m] b[b_rows[k], n]; the rows of out stand close together."""
    a_tile = cuda.shared.array(SQUARE, float32)
    b_tile = cuda.shared.array(SQUARE, float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    m0 = cuda.blockIdx.y * TILE
    m, n = m0 + y, cuda.blockIdx.x * TILE + x
    total = ZERO
    for k0 in range(0, K, TILE):
        k = k0 + y
        a_row, b_row = np.int32(-1), np.int32(-1)
        if k < K:
            a_row, b_row = a_rows[k], b_rows[k]
        a_tile[y, x] = a[a0 + a_row * lda + m0 + x] if a_row >= 0 and m0 + x < M else ZERO
        b_tile[y, x] = b[b0 + b_row * ldb + n] if b_row >= 0 and n < N else ZERO
        cuda.syncthreads()
        for i in range(TILE):
            total += a_tile[i, y] * b_tile[i, x]
        cuda.syncthreads()
    if m < M and n < N:
        out[out0 + m * N + n] = total


@kernel
def _column_sums(a, a0, lda, rows, out, out0, M, N):
    """out[n] = sum over m of a[rows[m], n], always in the same order."""
    for n in range(cuda.grid(1), N, cuda.gridsize(1)):
        total = ZERO
        for m in range(M):
            total += a[a0 + rows[m] * lda + n]
        out[out0 + n] = total


def rows_product(
    device: Device,
    a: Matrix,
    rows: Array,
    w: Matrix,
    w_step: int,
    bias: tuple[Array, int] | None,
    out: Matrix,
    *sizes: int,
) -> None:
    """out = a w^T + bias for the listed rows, or, without a bias, out += a w^T. sizes: rows M, N and K.

    The stride of w is from n to n + 1, and `w_step` that from k to k + 1: w may be given transposed.
    """
    M, N, K = sizes
    grid, start = (blocks(N), blocks(M)), bias or (out[0], 0)
    add = bias is None
    device.launch(_rows_product, grid, SQUARE, *a, rows, *w, w_step, *start, *out, M, N, K, add)


def columns_product(
    device: Device, a: Matrix, a_rows: Array, b: Matrix, b_rows: Array, out: Array, out0: int, *sizes: int
) -> None:
    """out [M, N], from offset out0 on, = a^T b over the listed rows. sizes: M, N and rows K."""
    M, N, K = sizes
    device.launch(_columns_product, (blocks(N), blocks(M)), SQUARE, *a, a_rows, *b, b_rows, out, out0, M, N, K)


def column_sums(device: Device, a: Matrix, rows: Array, out: Array, out0: int, M: int, N: int) -> None:
    """out [N], from offset out0 on, = the sums of the listed rows."""
    device.launch(_column_sums, min(blocks(N, THREADS), BLOCKS), THREADS, *a, rows, out, out0, M, N)


def flat(array: Any) -> Array:
    """The same values as a vector."""
    return array.reshape(array.size)


@kernel
def _plain_product(a, a0, am, ak, b, b0, bk, bn, out, out0, ldo, M, N, K, add):
    for i in range(cuda.grid(1), M * N, cuda.gridsize(1)):
        m, n = i // N, i % N
        total = out[out0 + m * ldo + n] if add else ZERO
        for k in range(K):
            total += a[a0 + m * am + k * ak] * b[b0 + k * bk + n * bn]
        out[out0 + m * ldo + n] = total


@kernel
def _plain_sums(a, a0, lda, out, out0, M, N):
    for n in range(cuda.grid(1), N, cuda.gridsize(1)):
        total = ZERO
        for m in range(M):
            total += a[a0 + m * lda + n]
        out[out0 + n] = total


class Products:
    """Dense row-major products; a matrix is a flat array, an offset and a row's stride."""

    def __init__(self, device: Device, tf32: bool = False):
        self._device = device

    def multiply(
        self,
        a: Matrix,
        b: Matrix,
        out: Matrix,
        M: int,
        N: int,
        K: int,
        *,
        a_transposed: bool = False,
        b_transposed: bool = False,
        add: bool = False,
    ) -> None:
        """out [M, N] (+)= a [M, K] b [K, N]"""
        left = (a[0], a[1], 1, a[2]) if a_transposed else (a[0], a[1], a[2], 1)
        right = (b[0], b[1], 1, b[2]) if b_transposed else (b[0], b[1], b[2], 1)
        self._device.spread(_plain_product, M * N, *left, *right, *out, M, N, K, add)

    def column_sums(self, a: Matrix, out: Array, out0: int, M: int, N: int) -> None:
        """out[n] = sum over m of a[m, n]"""
        self._device.spread(_plain_sums, N, *a, out, out0, M, N)
