"""Dense products on the device, in float32: by cuBLAS where it is installed, else by our own kernel.

All matrices are row-major: a matrix is a flat array, the offset of its first value and its leading dimension, which is
the distance from a row to the next. Whatever makes a product, it gives the same bits each time on one device.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kernels.cuda.cublas import Cublas, CublasUnavailableError, open_cublas
from kernels.cuda.device import SIMULATED, Array, Device, blocks, cuda, kernel
from kernels.cuda.memory import dynamic_shared, load, store
from kernels.cuda.tiles import DEPTH, TILES, Form, Tile, product_kernel
from kernels.scalar import ZERO

Matrix = tuple[Array, int, int]  # flat array, offset of the first value, leading dimension

SPLITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # into how many parts k may be cut
LATENCY = 700  # cycles from the fetch of a step to its barrier, where no other block hides them
LAUNCH = 4000  # cycles for a second kernel
PART_BYTES = 24  # of partial sums that a multiprocessor moves in a cycle, which fit into the second-level cache

COLUMNS, LANES = (2, 2) if SIMULATED else (32, 8)  # threads of a block that adds: neighbours take neighbouring columns
SUM_ROWS = 2 if SIMULATED else 64  # of a block that adds columns, at least
SUM_BLOCKS = 4  # for each multiprocessor


@dataclass(frozen=True)
class Cut:
    """How our own kernel cuts a product: its tile, and into how many parts of k, each `depth` long but the last."""

    tile: Tile
    splits: int
    depth: int


def _cycles(tile: Tile, splits: int, M: int, N: int, K: int, multiprocessors: int) -> float:
    """What a product takes: the busiest multiprocessor's steps, and the partial sums.

    A multiprocessor with w warps for each scheduler leaves 1 in 2 w of the issue slots empty: each warp waits for
    shared memory and barriers about half the time that it works.
    """
    per_multiprocessor = blocks(blocks(M, tile.height) * blocks(N, tile.width) * splits, multiprocessors)
    warps = min(per_multiprocessor, tile.resident) * tile.threads / 128
    busy = per_multiprocessor * tile.step_cycles * (1 + 0.5 / warps)
    steps = blocks(blocks(K, splits), DEPTH)
    parts = LAUNCH + 2 * 4 * splits * M * N / (PART_BYTES * multiprocessors) if splits > 1 else 0
    return steps * max(busy, LATENCY) + parts


@lru_cache(4096)
def choose(M: int, N: int, K: int, multiprocessors: int) -> Cut:
    """The cut that takes the fewest cycles."""
    useful = [splits for splits in SPLITS if splits == 1 or K // splits >= 4 * DEPTH]
    candidates = [(tile, splits) for tile in TILES for splits in useful]
    tile, splits = min(candidates, key=lambda pair: _cycles(pair[0], pair[1], M, N, K, multiprocessors))
    return cut(tile, splits, K)


def cut(tile: Tile, splits: int, K: int) -> Cut:
    """A cut into at most so many parts, none of them empty."""
    depth = blocks(blocks(K, splits), DEPTH) * DEPTH
    return Cut(tile, blocks(K, depth), depth)


@kernel
def _add_parts(parts, count, out, out0, ldo, M, N, add):
    """out [M, N] (+)= the sum of parts [count, M, N], the first first."""
    m = cuda.blockIdx.x * LANES + cuda.threadIdx.y
    n = cuda.blockIdx.y * COLUMNS + cuda.threadIdx.x
    if m < M and n < N:
        total = ZERO
        for part in range(count):
            total += load(parts, (part * M + m) * N + n)
        place = out0 + m * ldo + n
        store(out, place, load(out, place) + total if add else total)


@kernel
def _add_columns(a, a0, lda, out, out0, M, N, rows):
    """out [block, n] = the sum over the block's `rows` rows of a[m, n]; each lane takes every LANES-th of them."""
    lanes = dynamic_shared()
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    n = cuda.blockIdx.x * COLUMNS + x
    first = cuda.blockIdx.y * rows
    total = ZERO
    if n < N:
        for m in range(first + y, min(first + rows, M), LANES):
            total += load(a, a0 + m * lda + n)
    store(lanes, y * COLUMNS + x, total)
    cuda.syncthreads()
    if y == 0 and n < N:
        for lane in range(1, LANES):
            total += load(lanes, lane * COLUMNS + x)
        store(out, out0 + cuda.blockIdx.y * N + n, total)


@kernel
def _repeat(row, out, size, N):
    """out [size / N, N] = row [N] in each of its rows."""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        store(out, i, load(row, i % N))


class Products:
    """The products of one device, on its stream.

    tf32 : let cuBLAS round factors to the 11 bits of TF32, which tensor cores multiply several times as fast
    cublas : False for our own kernel even where cuBLAS is installed
    """

    def __init__(self, device: Device, tf32: bool = False, *, cublas: bool = True):
        self._device = device
        self._tf32 = tf32
        self._parts: Array = None
        self._cublas: Cublas | None = None
        self._why_not = "switched off"
        if cublas:
            try:
                self._cublas = open_cublas(device, tf32)
            except CublasUnavailableError as error:
                self._why_not = str(error)

    def describe(self) -> str:
        """For a person: what makes the products, and whether it may round to TF32."""
        if self._cublas is not None:
            return f"cuBLAS {self._cublas.version}, TF32 {'on' if self._tf32 else 'off'}"
        asked = "; TF32 was asked for, and only cuBLAS has it" if self._tf32 else ""
        return f"own kernel, float32 (no cuBLAS: {self._why_not}{asked})"

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
        """out [M, N] (+)= op(a) [M, K] op(b) [K, N]. M, N, K > 0; `out` overlaps neither a nor b.

        a_transposed, b_transposed : the matrix stands in memory as [K, M] or [N, K]
        add : to what `out` holds, which is otherwise not read
        """
        if self._cublas is not None:
            left, right, to = ((self._address(matrix), matrix[2]) for matrix in (a, b, out))
            self._cublas.multiply(left, right, to, M, N, K, a_transposed, b_transposed, add)
        else:
            best = choose(M, N, K, self._device.limits.multiprocessors)
            self.multiply_by(best, a, b, out, M, N, K, a_transposed, b_transposed, add)

    def multiply_by(
        self,
        cut: Cut,
        a: Matrix,
        b: Matrix,
        out: Matrix,
        M: int,
        N: int,
        K: int,
        a_transposed: bool = False,
        b_transposed: bool = False,
        add: bool = False,
    ) -> None:
        """The same by our own kernel, cut so."""
        to, added = out, add
        if cut.splits > 1:
            to, added = (self._room(cut.splits * M * N), 0, N), False
        wide_a = self._wide(a, M if a_transposed else K)
        wide_b = self._wide(b, K if b_transposed else N)
        form = Form(cut.tile, a_transposed, b_transposed, wide_a, wide_b, self._wide(to, N, M * N))
        grid = blocks(M, cut.tile.height), blocks(N, cut.tile.width), cut.splits
        sizes = M, N, K, cut.depth, M * N, added
        shared = cut.tile.shared_bytes
        self._device.launch(product_kernel(form), grid, cut.tile.threads, *a, *b, *to, *sizes, shared=shared)
        if cut.splits > 1:
            self._add_parts(cut.splits, out, M, N, add)

    def column_sums(self, a: Matrix, out: Array, out0: int, M: int, N: int) -> None:
        """out [N], from offset out0 on, = the sums of the columns of a [M, N].

        First of parts of the rows, then of the parts.
        """
        wanted = max(1, SUM_BLOCKS * self._device.limits.multiprocessors // blocks(N, COLUMNS))
        rows = max(blocks(M, wanted), SUM_ROWS)
        parts = blocks(M, rows)
        to, to0 = (out, out0) if parts == 1 else (self._room(parts * N), 0)
        grid, shared = (blocks(N, COLUMNS), parts), 4 * COLUMNS * LANES
        self._device.launch(_add_columns, grid, (COLUMNS, LANES), *a, to, to0, M, N, rows, shared=shared)
        if parts > 1:
            self._add_parts(parts, (out, out0, N), 1, N, False)

    def repeat(self, row: Array, out: Array, M: int, N: int) -> None:
        """out [M, N], flat, = row [N] in each of its rows."""
        self._device.spread(_repeat, M * N, row, out, M * N, N)

    def _add_parts(self, count: int, out: Matrix, M: int, N: int, add: bool) -> None:
        grid = blocks(M, LANES), blocks(N, COLUMNS)
        self._device.launch(_add_parts, grid, (COLUMNS, LANES), self._parts, count, *out, M, N, add)

    def _wide(self, matrix: Matrix, width: int, part: int = 0) -> bool:
        """Whether each quad of a row is inside or outside, and stands on a 16-byte boundary; in each part too."""
        return self._address(matrix) % 16 == matrix[2] % 4 == width % 4 == part % 4 == 0

    def _address(self, matrix: Matrix) -> int:
        """Of its first value."""
        return self._device.address(matrix[0]) + 4 * matrix[1]

    def _room(self, size: int) -> Array:
        """A work array, made anew only when it must grow, after the smaller one was given back."""
        if self._parts is None or self._parts.size < size:
            self._parts = None
            self._parts = self._device.empty((size,))
        return self._parts


def flat(array: Any) -> Array:
    """The same values as a vector."""
    return array.reshape(array.size)
