"""CTC loss and gradient on the device, in linear space with numbers of any size (`kernels.cuda.extended`).

The labels stand interleaved with blanks, z = _ l_0 _ l_1 _ ..., as 2 S + 1 positions (Graves et al., ICML 2006). With y
the softmax of the logits, and position j able to skip j - 1 where it and j - 2 are labels that differ, the mass of all
ways from the start to position j at frame t is

    alpha[t, j] = (alpha[t - 1, j] + alpha[t - 1, j - 1] + perhaps alpha[t - 1, j - 2]) y[t, z_j]

The mass beta of all ways to the end is the same from the last frame and the last position backwards, without its y. So
alpha beta / (its sum over all positions of a frame) is the probability of being there, and

    d loss / d logit[t, k] = y[t, k] - sum over positions of k of alpha[t] beta[t] / sum over all positions

The rounding errors of all steps are common to a frame's positions, nearly, and the division cancels them. One launch
makes y; one walks, for each utterance and direction, through the frames, with a thread for each position and the last
row of masses in shared memory; one gathers the gradient, a block for some frames. Every sum has a fixed order.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import float32, int32

from kernels.checks import check_ctc
from kernels.cuda.device import SIMULATED, THREADS, Array, Device, blocks, cuda, device_function, kernel
from kernels.cuda.extended import EMPTY, LARGEST, bits, exponential, from_bits, normal, power
from kernels.cuda.memory import load, store
from kernels.cuda.product import flat
from kernels.cuda.rows import PARTS, ROWS, divide, largest, spread_rows, total
from kernels.scalar import ONE, ZERO

WALKERS = 4 if SIMULATED else 512  # threads of a walk, at most: where there are more positions, they take turns
ON_CHIP = 8 if SIMULATED else 2048  # positions that shared memory holds: more use the device's memory
SIDE = 2 if SIMULATED else 32  # frames, and classes, of a block of the gradient; an even number
CHUNK = 4 if SIMULATED else 256  # positions that it takes at a time; a multiple of SIDE

AHEAD = np.int32(4)  # frames whose probabilities are fetched before they are needed
_CELLS = 2 * (ON_CHIP + 2)  # two rows of masses; before its first position a row has two cells without mass
_PRODUCTS = CHUNK * (SIDE + 1)  # the one more spreads a column over the banks of shared memory
_SQUARE = SIDE * SIDE
_TILE = SIDE * (SIDE + 1)
_PAIR = 2 * SIDE
_FORTH, _BACK, _ALONE = 0, 1, 2  # a walk forwards, backwards, and one that keeps no rows
_NAN = np.float32(np.nan).view(np.int32)
_MOST_BITS = 2**22 - 1  # `exponential` counts no further


@kernel(threads=THREADS)
def _probabilities(x, tables, mantissas, exponents, T, B, C, limit):
    """The softmax of each frame, [B, T, C]; marks the utterances whose logits are not finite."""
    tops = cuda.shared.array(THREADS, float32)
    sums = cuda.shared.array(THREADS, float32)
    part = cuda.threadIdx.x % PARTS
    for first in range(cuda.blockIdx.x * ROWS, T * B, cuda.gridDim.x * ROWS):
        row = first + cuda.threadIdx.x // PARTS
        t, b = divide(row, B)
        count = C if row < T * B and t < load(tables, b) else 0
        top = largest(tops, x, row * C, part, count)
        mass = ZERO
        for c in range(part, count, PARTS):
            value = load(x, row * C + c)
            m, e = exponential(value, top, limit)
            mass += m * power(e) + (value - value)  # NaN unless the value is finite
        mass = total(sums, part, mass)
        if part == 0 and count > 0 and mass != mass:
            cuda.atomic.max(tables, 2 * B + b, np.int32(1))
        for c in range(part, count, PARTS):
            m, e = exponential(load(x, row * C + c), top, limit)
            m, e = normal(m / mass, e)
            store(mantissas, (b * T + t) * C + c, m)
            store(exponents, (b * T + t) * C + c, e)


@kernel
def _sort_labels(tables, order, starts, B, C, S):
    """order [B, S]: the labels' places, class by class; starts [B, C + 1]: where each class begins there."""
    b = cuda.blockIdx.x
    count, labels = load(tables, B + b), 3 * B + b * S
    for n in range(cuda.threadIdx.x, count + C + 1, cuda.blockDim.x):
        before = 0
        if n < count:
            mine = load(tables, labels + n)
            for s in range(count):
                other = load(tables, labels + s)
                before += other < mine or (other == mine and s < n)
            store(order, b * S + before, np.int32(n))
        else:
            for s in range(count):
                before += load(tables, labels + s) < n - count
            store(starts, b * (C + 1) + n - count, np.int32(before))


@device_function
def _position(tables, labels, i, count, backwards):
    """The class of position i (the blank where there is none), and whether a walk may skip the position before it."""
    if i % 2 == 0 or i < 0 or i >= count:
        return np.int32(0), False
    label, other = load(tables, labels + i // 2), i // 2 + (1 if backwards else -1)
    if other < 0 or 2 * other + 1 >= count:
        return label, False
    return label, load(tables, labels + other) != label


@device_function
def _fetch(y_m, y_e, place, stride, s, last):
    """The probabilities of four steps from s on (or of the last again), mantissas and exponents."""
    p0, p1 = place + min(s, last) * stride, place + min(s + 1, last) * stride
    p2, p3 = place + min(s + 2, last) * stride, place + min(s + 3, last) * stride
    mantissas = load(y_m, p0), load(y_m, p1), load(y_m, p2), load(y_m, p3)
    return mantissas, (load(y_e, p0), load(y_e, p1), load(y_e, p2), load(y_e, p3))


@device_function
def _pick(values, k):
    """values[k] of four, which stay in registers."""
    if k < 2:
        return values[0] if k == 0 else values[1]
    return values[2] if k == 2 else values[3]


@device_function
def _sum(masses, scales, cell, skips):
    """The mass of a cell, of the one before it and perhaps of the one before that, with the largest's exponent."""
    m0, m1, m2 = load(masses, cell), load(masses, cell - 1), load(masses, cell - 2)
    e0, e1, e2 = load(scales, cell), load(scales, cell - 1), load(scales, cell - 2)
    if not skips:
        m2, e2 = ZERO, EMPTY
    e = max(max(e0, e1), e2)
    m = m0 * power(np.int32(e0 - e)) + m1 * power(np.int32(e1 - e))
    return m + m2 * power(np.int32(e2 - e)), e


@device_function
def _move(cells, old, new, skips, factor_m, factor_e, rows, place, kind):
    """One position's step from cell `old` to cell `new`: the mass that comes there times the position's probability.

    It goes to `place` in the rows too, after the factor on the way forward, before it on the way back; or not at all.
    """
    m, e = _sum(cells[0], cells[1], old, skips)
    next_m, next_e = normal(m * factor_m, np.int32(e + factor_e))
    store(cells[0], new, next_m)
    store(cells[1], new, next_e)
    if kind != _ALONE:
        store(rows[0], place, m if kind == _BACK else next_m)
        store(rows[1], place, e if kind == _BACK else next_e)


@device_function
def _shared_cells(spare_m, spare_e):
    masses = cuda.shared.array(_CELLS, float32)
    scales = cuda.shared.array(_CELLS, int32)
    return masses, scales


@device_function
def _spare_cells(spare_m, spare_e):
    return spare_m, spare_e


@cache
def _walk(on_chip: bool) -> Any:
    """The kernel of all steps through the frames: block (b, 0) walks forwards, block (b, 1) backwards.

    A block has two rows of masses, of its last step and the next, in shared memory or in the spare arrays.
    rows_m, rows_e [2, B, T, L]: the masses of alpha and beta, if `keep`; ends [2, B]: that of all ways, as a
    mantissa's representation and an exponent.
    """
    place_cells = _shared_cells if on_chip else _spare_cells

    @kernel(threads=WALKERS, name=f"walk-{'shared' if on_chip else 'spare'}")
    def walk(tables, y_m, y_e, spare_m, spare_e, rows_m, rows_e, ends, T, B, C, S, L, keep):
        b, back = cuda.blockIdx.x, cuda.blockIdx.y == 1
        block, thread, threads = cuda.blockIdx.y * B + b, cuda.threadIdx.x, cuda.blockDim.x
        last, count = np.int32(load(tables, b) - 1), np.int32(2 * load(tables, B + b) + 1)
        labels = 3 * B + b * S
        cells, width = place_cells(spare_m, spare_e), _CELLS // 2 if on_chip else L + 2
        begin = 0 if on_chip else block * 2 * width
        for n in range(thread, 2 * width, threads):
            store(cells[0], begin + n, ONE if n == 2 else ZERO)
            store(cells[1], begin + n, np.int32(0) if n == 2 else EMPTY)
        cuda.syncthreads()
        kind = _ALONE if not keep else (_BACK if back else _FORTH)
        rows, down, along = (rows_m, rows_e), -L if back else L, -C if back else C
        row, y = block * T * L, b * T * C  # where the first step's row begins, and its probabilities
        if back:
            row, y = row + last * L, y + last * C
        row, down = np.int32(row), np.int32(down)
        old, new = np.int32(begin + 2), np.int32(begin + 2 + width)
        mine = np.int32(count - 1 - thread if back else thread)
        label, skips = _position(tables, labels, mine, count, back)
        given_m, given_e = _fetch(y_m, y_e, y + label, along, 0, last)
        for group in range(np.int32(0), np.int32(last + 1), AHEAD):
            coming_m, coming_e = _fetch(y_m, y_e, y + label, along, group + AHEAD, last)
            for k in range(AHEAD):
                s = np.int32(group + k)
                if s <= last:
                    if thread < count:
                        given = _pick(given_m, k), _pick(given_e, k)
                        _move(cells, old + thread, new + thread, skips, given[0], given[1], rows, row + mine, kind)
                    j = np.int32(thread + threads)  # from the start of the walk, as i from the start of the row
                    while j < count:
                        i = count - 1 - j if back else j
                        other, may_skip = _position(tables, labels, i, count, back)
                        m, e = load(y_m, y + other + s * along), load(y_e, y + other + s * along)
                        _move(cells, old + j, new + j, may_skip, m, e, rows, row + i, kind)
                        j = np.int32(j + threads)
                    cuda.syncthreads()
                    old, new, row = new, old, np.int32(row + down)
            given_m, given_e = coming_m, coming_e
        if thread == 0 and not back:
            m, e = _sum(cells[0], cells[1], old + count - 1, False)
            m, e = normal(m, e)
            store(ends, b, bits(m) if load(tables, 2 * B + b) == 0 else _NAN)
            store(ends, B + b, e)

    return walk


@kernel(threads=_SQUARE)
def _gradient(tables, order, starts, y_m, y_e, rows_m, rows_e, ends, out, T, B, C, S, L):
    """out [T, B, C]: SIDE frames of an utterance to each block, SIDE classes at a time; all positions of a class are
    summed by one thread, all positions of a frame by SIDE threads and then in their order."""
    products = cuda.shared.array(_PRODUCTS, float32)  # [CHUNK, SIDE + 1]: of alpha and beta, by position and frame
    parts = cuda.shared.array(_SQUARE, float32)  # [SIDE, SIDE]: sums over every SIDE-th position, by frame
    sums = cuda.shared.array(_PAIR, float32)  # [2, SIDE]: of the blanks, and of all positions, by frame
    shares = cuda.shared.array(_TILE, float32)  # [SIDE, SIDE + 1]: by class and frame
    lane, warp = cuda.threadIdx.x % SIDE, cuda.threadIdx.x // SIDE
    b, t0 = cuda.blockIdx.y, cuda.blockIdx.x * SIDE
    frames, count = load(tables, b), 2 * load(tables, B + b) + 1
    if not from_bits(load(ends, b)) > ZERO:
        frames = np.int32(0)
    scale = load(ends, B + b)
    for c0 in range(0, C, SIDE):
        c = c0 + warp
        cursor, stop, share, part = 0, 0, ZERO, ZERO
        if 0 < c < C:
            cursor, stop = load(starts, b * (C + 1) + c), load(starts, b * (C + 1) + c + 1)
        for p0 in range(0, count if t0 < frames else 0, CHUNK):
            size = min(CHUNK, count - p0)
            if c0 == 0 or count > CHUNK:
                cuda.syncthreads()
                alpha, beta = (b * T + t0 + warp) * L + p0, ((B + b) * T + t0 + warp) * L + p0
                for i in range(lane, size, SIDE):
                    product = ZERO
                    if t0 + warp < frames:
                        e = np.int32(np.int32(load(rows_e, alpha + i) + load(rows_e, beta + i)) - scale)
                        product = load(rows_m, alpha + i) * load(rows_m, beta + i) * power(e)
                    store(products, i * (SIDE + 1) + warp, product)
                cuda.syncthreads()
            for i in range(warp, size, SIDE):
                part += load(products, i * (SIDE + 1) + lane)
            while cursor < stop:
                i = 2 * load(order, b * S + cursor) + 1 - p0
                if i >= size:
                    break
                share += load(products, i * (SIDE + 1) + lane)
                cursor += 1
        store(shares, warp * (SIDE + 1) + lane, share)
        if c0 == 0:
            store(parts, warp * SIDE + lane, part)
            cuda.syncthreads()
            if warp == 0:
                blanks, others = ZERO, ZERO
                for n in range(0, SIDE, 2):
                    blanks += load(parts, n * SIDE + lane)  # the even positions
                    others += load(parts, (n + 1) * SIDE + lane)
                store(sums, lane, blanks)
                store(sums, SIDE + lane, blanks + others)
        cuda.syncthreads()
        t, k = t0 + warp, c0 + lane
        if t < T and k < C:
            value = ZERO
            if t < frames:
                share = load(sums, warp) if k == 0 else load(shares, lane * (SIDE + 1) + warp)
                place = (b * T + t) * C + k
                value = load(y_m, place) * power(load(y_e, place)) - share / load(sums, SIDE + warp)
            store(out, (t * B + b) * C + k, value)
        cuda.syncthreads()


class CudaCtcLoss:
    """`kernels.interface.CtcLoss` on the device; labels and lengths come from the host.

    A probability below 2**-(2**29 / T), or 2**-(2**22), counts as that: e to the power of minus hundreds of thousands.
    """

    def __init__(self, device: Device):
        self._device = device
        self._work: dict[str, Array] = {}

    def __call__(
        self,
        logits: Array,
        lengths: np.ndarray,
        labels: np.ndarray,
        label_lengths: np.ndarray,
        gradient: Array | None,
    ) -> np.ndarray:
        check_ctc(logits, lengths, labels, label_lengths, gradient)
        device, (T, B, C), S = self._device, logits.shape, labels.shape[1]
        L = 2 * int(label_lengths.max()) + 1
        marks = np.zeros(B, np.int32)  # of utterances whose logits are not finite
        tables = self._grown("tables", (3 + S) * B, np.int32)
        device.refill(tables, np.concatenate([lengths, label_lengths, marks, labels.reshape(-1)]))
        y = self._pair("probabilities", B * T * C)
        limit = float(min(LARGEST // T, _MOST_BITS))
        spread_rows(device, _probabilities, T * B, flat(logits), tables, *y, T, B, C, limit)

        walks = 1 if gradient is None else 2
        on_chip = L <= ON_CHIP
        spare = y if on_chip else self._pair("cells", walks * B * 2 * (L + 2))
        rows = y if gradient is None else self._pair("rows", walks * B * T * L)
        ends = self._grown("ends", 2 * B, np.int32)
        threads = min(WALKERS, SIDE * blocks(L, SIDE))
        sizes = T, B, C, S, L
        device.launch(_walk(on_chip), (B, walks), threads, tables, *y, *spare, *rows, ends, *sizes, int(walks == 2))
        if gradient is not None:
            order = self._grown("order", max(B * S, 1), np.int32), self._grown("starts", B * (C + 1), np.int32)
            device.launch(_sort_labels, B, THREADS, tables, *order, B, C, S)
            grid = blocks(T, SIDE), B
            device.launch(_gradient, grid, _SQUARE, tables, *order, *y, *rows, ends, flat(gradient), *sizes)
        return _losses(*device.download(ends).reshape(2, B))

    def _pair(self, name: str, size: int) -> tuple[Array, Array]:
        """Room for numbers of any size: mantissas and exponents."""
        return self._grown(name + " mantissas", size, np.float32), self._grown(name + " exponents", size, np.int32)

    def _grown(self, name: str, size: int, dtype: type[np.generic]) -> Array:
        """A work array of at least this size, cut to it."""
        if name not in self._work or self._work[name].size < size:
            self._work.pop(name, None)
            self._work[name] = self._device.empty((size,), dtype)
        return self._work[name][:size]


def _losses(mantissas: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """float64 [B] from the masses of all ways, each a float32's representation and an exponent."""
    with np.errstate(divide="ignore"):
        log_mass: np.ndarray = np.log(mantissas.view(np.float32).astype(np.float64))
    losses: np.ndarray = np.maximum(-log_mass - exponents * np.log(2.0), 0.0)
    return losses
