"""Our own kernel for dense products, in float32: out [M, N] (+)= op(a) [M, K] op(b) [K, N].

A block makes a tile of the result, and each of its threads 8 x 8 or 8 x 4 sums of it in registers (Volkov & Demmel,
"Benchmarking GPUs to tune dense linear algebra", SC 2008). The operands come DEPTH values of k at a time through two
buffers in shared memory, both with k as the slower index: while the threads multiply what one buffer holds, they fetch
into registers what the other shall hold. A thread's sums are quads, at 4 r and 4 (r + the threads in that
direction), so that all accesses to shared memory are 128 bits wide and those of neighbours lie side by side.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import cache
from typing import Any

from kernels.cuda.device import SIMULATED, cuda, device_function, kernel
from kernels.cuda.memory import dynamic_shared, load, load4, load_quads, outer, plus, scatter, store, store4, zeros
from kernels.scalar import ZERO

DEPTH = 4 if SIMULATED else 8  # values of k that a buffer holds
UNROLLED = 2  # of them without a jump; with more the assembler runs out of registers
PAD = 4  # values after each row of a buffer, against bank conflicts when an operand is turned around


@dataclass(frozen=True)
class Tile:
    """What a block makes: `down` x `across` threads with `rows` x `columns` sums each.

    Each thread fetches one quad of either operand for a buffer: `(height + width) DEPTH = 8 down across`.

    rows, columns : 4 or 8
    resident : blocks that the registers of a multiprocessor shall hold
    step_cycles : what a block costs a multiprocessor of four schedulers for DEPTH values of k: the instructions that
        one warp issues in the loop, counted in the assembled code, times a quarter of the warps
    """

    down: int
    across: int
    rows: int
    columns: int
    resident: int
    step_cycles: int

    @property
    def height(self) -> int:
        return self.down * self.rows

    @property
    def width(self) -> int:
        return self.across * self.columns

    @property
    def threads(self) -> int:
        return self.down * self.across

    @property
    def shared_bytes(self) -> int:
        return 2 * 4 * DEPTH * (self.height + self.width + 2 * PAD)


LARGE = Tile(16, 16, 8, 8, resident=2, step_cycles=2 * 665)
SMALL = Tile(8, 16, 8, 4, resident=4, step_cycles=401)
TINY = Tile(4, 4, 4, 4, resident=1, step_cycles=1)
TILES = (TINY,) if SIMULATED else (LARGE, SMALL)


@dataclass(frozen=True)
class Form:
    """What a kernel is compiled for: its tile, which operands are given transposed, and where rows allow 128 bits.

    wide_a, wide_b, wide_out : every quad of a row is inside or outside, and stands on a 16-byte boundary
    """

    tile: Tile
    a_transposed: bool
    b_transposed: bool
    wide_a: bool
    wide_b: bool
    wide_out: bool


@cache
def _operand(width: int, along: bool, wide: bool) -> tuple[Any, Any]:
    """Functions for a part `[DEPTH, width]` of an operand: a thread's quad into registers, and on to a buffer.

    along : the operand's rows in memory run along k, so the quad is turned around on its way
    """
    quads = (DEPTH if along else width) // 4  # of a row in memory
    step = width + PAD
    nothing, turned = zeros(4), scatter(4)

    @device_function
    def value(array, place, inside):
        return load(array, place) if inside else ZERO

    @device_function
    def fetch(array, start, stride, i, limit, k, end, thread):
        row, column = thread // quads, thread % quads * 4
        if along:
            place = start + (i + row) * stride + k + column
            inside, left = i + row < limit, end - k - column
        else:
            place = start + (k + row) * stride + i + column
            inside, left = k + row < end, limit - i - column
        if wide:
            return load4(array, place) if inside and left > 0 else nothing()
        return (
            value(array, place, inside and left > 0),
            value(array, place + 1, inside and left > 1),
            value(array, place + 2, inside and left > 2),
            value(array, place + 3, inside and left > 3),
        )

    @device_function
    def keep(buffer, start, values, thread):
        row, column = thread // quads, thread % quads * 4
        if along:
            turned(buffer, start + column * step + row, step, values)
        else:
            store4(buffer, start + row * step + column, values)

    return fetch, keep


@cache
def _steps(tile: Tile, count: int) -> Any:
    """A function that adds `count` steps of k, written out, to a thread's sums; its buffers begin at the thread's own
    first quads."""
    add, half = outer(tile.rows, tile.columns), count // 2
    rows, columns = load_quads(tile.rows // 4), load_quads(tile.columns // 4)
    row_gap, column_gap = 4 * tile.down, 4 * tile.across
    a_step, b_step = half * (tile.height + PAD), half * (tile.width + PAD)

    @device_function
    def one(sums, a_buffer, a, b_buffer, b):
        return add(sums, rows(a_buffer, a, row_gap), columns(b_buffer, b, column_gap))

    if count == 1:
        return one
    some = _steps(tile, half)

    @device_function
    def all_of_them(sums, a_buffer, a, b_buffer, b):
        return some(some(sums, a_buffer, a, b_buffer, b), a_buffer, a + a_step, b_buffer, b + b_step)

    return all_of_them


@cache
def _write_row(columns: int, gap: int, wide: bool) -> Any:
    """A function that writes a thread's sums of one row, from column n of N on; `add` to what is there."""
    total, both = plus(4), columns == 8

    @device_function
    def value(out, place, result, inside, add):
        if inside:
            store(out, place, result + load(out, place) if add else result)

    @device_function
    def quad(out, place, results, n, N, add):
        if wide:
            if n < N:
                store4(out, place, total(results, load4(out, place)) if add else results)
        else:
            value(out, place, results[0], n < N, add)
            value(out, place + 1, results[1], n + 1 < N, add)
            value(out, place + 2, results[2], n + 2 < N, add)
            value(out, place + 3, results[3], n + 3 < N, add)

    @device_function
    def row(out, place, results, n, N, add):
        quad(out, place, results[:4], n, N, add)
        if both:
            quad(out, place + gap, results[4:], n + gap, N, add)

    return row


@cache
def _write_rows(count: int, columns: int, gap: int, wide: bool) -> Any:
    """The same for `count` rows, from row m of M on."""
    row = _write_row(columns, gap, wide)

    @device_function
    def one(out, place, stride, results, m, M, n, N, add):
        if m < M:
            row(out, place, results, n, N, add)

    if count == 1:
        return one
    others = _write_rows(count - 1, columns, gap, wide)

    @device_function
    def rows(out, place, stride, results, m, M, n, N, add):
        one(out, place, stride, results[:columns], m, M, n, N, add)
        others(out, place + stride, stride, results[columns:], m + 1, M, n, N, add)

    return rows


@cache
def product_kernel(form: Form) -> Any:
    """The kernel of a form, for blocks (rows of tiles, columns of tiles, parts of k) of `tile.threads` threads.

    Its part z of k is `[z depth, (z + 1) depth)`, depth a multiple of DEPTH, and goes to `out0 + z part`.
    """
    tile = form.tile
    height, width = tile.height, tile.width
    fetch_a, keep_a = _operand(height, not form.a_transposed, form.wide_a)
    fetch_b, keep_b = _operand(width, form.b_transposed, form.wide_b)
    nothing, multiply = zeros(tile.rows * tile.columns), _steps(tile, UNROLLED)
    a_step, b_step = height + PAD, width + PAD
    b_start, size = DEPTH * a_step, DEPTH * (a_step + b_step)
    write = _write_rows(4, tile.columns, 4 * tile.across, form.wide_out)
    half, row_gap, two_quads = 4 * tile.columns, 4 * tile.down, tile.rows == 8
    # A warp makes a patch of 4 x 8 threads, so that each quarter of it reads few different quads of a buffer.
    lanes = min(tile.across, 8)
    patches = tile.across // lanes

    def product(a, a0, lda, b, b0, ldb, out, out0, ldo, M, N, K, depth, part, add):
        buffer = dynamic_shared()
        thread = cuda.threadIdx.x
        patch = thread // (4 * lanes)
        row = 4 * (patch // patches * 4 + thread // (2 * lanes) % 2 * 2 + thread % 2)
        column = 4 * (patch % patches * lanes + thread // 2 % lanes)
        m, n = cuda.blockIdx.x * height, cuda.blockIdx.y * width
        begin = cuda.blockIdx.z * depth
        end = min(begin + depth, K)
        keep_a(buffer, 0, fetch_a(a, a0, lda, m, M, begin, end, thread), thread)
        keep_b(buffer, b_start, fetch_b(b, b0, ldb, n, N, begin, end, thread), thread)
        cuda.syncthreads()
        sums, full = nothing(), 0
        for k in range(begin + DEPTH, end + DEPTH, DEPTH):  # what is beyond the end is fetched as zeros
            next_a = fetch_a(a, a0, lda, m, M, k, end, thread)
            next_b = fetch_b(b, b0, ldb, n, N, k, end, thread)
            rows, columns = buffer[full + row :], buffer[full + b_start + column :]
            for i in range(0, DEPTH, UNROLLED):
                sums = multiply(sums, rows, i * a_step, columns, i * b_step)
            full = size - full
            keep_a(buffer, full, next_a, thread)
            keep_b(buffer, full + b_start, next_b, thread)
            cuda.syncthreads()
        m, n = m + row, n + column
        place = out0 + cuda.blockIdx.z * part + m * ldo + n
        write(out, place, ldo, sums[:half], m, M, n, N, add)
        if two_quads:
            write(out, place + row_gap * ldo, ldo, sums[half:], m + row_gap, M, n, N, add)

    key = "-".join(str(int(value)) for value in (height, width, *astuple(form)[1:]))
    return kernel(product, threads=tile.threads, resident=tile.resident, name=f"product-{key}")
