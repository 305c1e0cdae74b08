"""CTC loss and gradient on the device, in log space and float64: exact where linear masses would underflow.

Over the labels interleaved with blanks, z = _ l_0 _ l_1 _ ... of 2 S + 1 positions (Graves et al., ICML 2006), with
y the log-softmax of the logits and position i able to skip i - 1 where both are labels and differ,

    alpha[t, i] = y[t, z_i] + log of the sum of e**alpha[t - 1, j] over j = i, i - 1 and perhaps i - 2

and beta the same from the end, without y[t, z_i]. The derivative by logit [t, k] is
e**y[t, k] - sum over positions of k of e**(alpha[t, i] + beta[t, i] + loss).
"""

from __future__ import annotations

import math

import numpy as np

from kernels.checks import check_ctc
from kernels.cuda.device import THREADS, Array, Device, cuda, device_function, kernel
from kernels.cuda.product import flat
from kernels.scalar import ZERO

_MINUS_INFINITY = -math.inf


@kernel
def _row_masses(x, lengths, out, B, C, rows):
    """out[t B + b] float64 = log of the sum of e**x over a row; NaN where a value is not finite."""
    for row in range(cuda.grid(1), rows, cuda.gridsize(1)):
        if row // B < lengths[row % B]:
            begin = row * C
            top = np.float64(x[begin])
            for c in range(1, C):
                top = max(top, np.float64(x[begin + c]))
            mass, unless_finite = 0.0, 0.0
            for c in range(C):
                value = np.float64(x[begin + c])
                mass += math.exp(value - top)
                unless_finite += value - value
            out[row] = top + math.log(mass) + unless_finite


@device_function
def _log_add(x, y):
    if x < y:
        x, y = y, x
    return x if y == _MINUS_INFINITY else x + math.log1p(math.exp(y - x))


@device_function
def _label(labels, row, i):
    """The class of position i; `row` is where the utterance's labels begin."""
    return labels[row + i // 2] if i % 2 == 1 else 0


@device_function
def _may_skip(labels, row, i):
    """Whether a path may go from position i - 2 to i."""
    return i % 2 == 1 and i >= 3 and labels[row + i // 2] != labels[row + i // 2 - 1]


@kernel
def _masses(x, row_masses, lengths, labels, label_lengths, alpha, beta, losses, T, B, C, S, feasible):
    """alpha and beta float64 [B, T, 2 S + 1], and the losses [B]: block (b, 0) makes alpha, block (b, 1) beta."""
    b, backwards = cuda.blockIdx.x, cuda.blockIdx.y == 1
    frames, count, L = lengths[b], 2 * label_lengths[b] + 1, 2 * S + 1
    row = b * S
    for step in range(frames):
        t = frames - 1 - step if backwards else step
        here = (b * T + t) * L
        for i in range(cuda.threadIdx.x, count, cuda.blockDim.x):
            if backwards:
                beta[here + i] = _ways_from(x, row_masses, labels, row, beta, here + L, i, count, t, frames, b, B, C)
            else:
                k = (t * B + b) * C + _label(labels, row, i)
                y = np.float64(x[k]) - row_masses[t * B + b]
                alpha[here + i] = _ways_to(labels, row, alpha, here - L, i, t) + y
        cuda.syncthreads()
    if not backwards and cuda.threadIdx.x == 0:
        end = (b * T + frames - 1) * L + count - 1
        total = alpha[end]
        if count > 1:
            total = _log_add(total, alpha[end - 1])
        loss = -total if feasible[b] else math.inf
        for t in range(frames):
            if math.isnan(row_masses[t * B + b]):
                loss = math.nan
        losses[b] = loss


@device_function
def _ways_to(labels, row, alpha, before, i, t):
    """The log mass that comes to position i at step t, from the row of alpha that begins at `before`."""
    if t == 0:
        return 0.0 if i < 2 else _MINUS_INFINITY
    ways = alpha[before + i]
    if i >= 1:
        ways = _log_add(ways, alpha[before + i - 1])
    if _may_skip(labels, row, i):
        ways = _log_add(ways, alpha[before + i - 2])
    return ways


@device_function
def _ways_from(x, row_masses, labels, row, beta, after, i, count, t, frames, b, B, C):
    """The log mass of all ways from position i at step t to the end."""
    if t == frames - 1:
        return 0.0 if i >= count - 2 else _MINUS_INFINITY
    begin, mass = ((t + 1) * B + b) * C, row_masses[(t + 1) * B + b]
    ways = beta[after + i] + (np.float64(x[begin + _label(labels, row, i)]) - mass)
    for j in range(i + 1, min(i + 3, count)):
        if j == i + 1 or _may_skip(labels, row, j):
            ways = _log_add(ways, beta[after + j] + (np.float64(x[begin + _label(labels, row, j)]) - mass))
    return ways


@kernel
def _gradient(x, row_masses, lengths, labels, label_lengths, alpha, beta, losses, out, T, B, C, S, size):
    """out [T, B, C]; one thread gathers all positions of one class, so the order of its sum is fixed."""
    for n in range(cuda.grid(1), size, cuda.gridsize(1)):
        t, b, c = n // (B * C), n // C % B, n % C
        loss = losses[b]
        if t >= lengths[b] or math.isnan(loss) or math.isinf(loss):
            out[n] = ZERO
        else:
            here = (b * T + t) * (2 * S + 1)
            share = 0.0
            for i in range(0 if c == 0 else 1, 2 * label_lengths[b] + 1, 2):
                if c == 0 or labels[b * S + i // 2] == c:
                    share += math.exp(alpha[here + i] + beta[here + i] + loss)
            out[n] = np.float32(math.exp(np.float64(x[n]) - row_masses[t * B + b]) - share)


class CudaCtcLoss:
    """`kernels.interface.CtcLoss` on the device; labels and lengths come from the host."""

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
        x = flat(logits)
        frames, counts, feasible, table = (
            device.upload(array.astype(np.int32).reshape(-1))
            for array in (lengths, label_lengths, _feasible(lengths, labels, label_lengths), labels if S else lengths)
        )
        row_masses, losses = self._grown("row masses", T * B), self._grown("losses", B)
        alpha, beta = (self._grown(name, B * T * (2 * S + 1)) for name in ("alpha", "beta"))
        device.spread(_row_masses, T * B, x, frames, row_masses, B, C, T * B)
        batch = x, row_masses, frames, table, counts, alpha, beta, losses
        device.launch(_masses, (B, 1 if gradient is None else 2), THREADS, *batch, T, B, C, S, feasible)
        if gradient is not None:
            device.spread(_gradient, logits.size, *batch, flat(gradient), T, B, C, S, logits.size)
        return device.download(losses)

    def _grown(self, name: str, size: int) -> Array:
        """A float64 work array of at least this size, cut to it."""
        if name not in self._work or self._work[name].size < size:
            self._work[name] = self._device.empty((size,), np.float64)
        return self._work[name][:size]


def _feasible(lengths: np.ndarray, labels: np.ndarray, label_lengths: np.ndarray) -> np.ndarray:
    """bool [B]: whether there are frames for each label and for a blank between equal ones."""
    counted = np.arange(1, labels.shape[1]) < label_lengths[:, None]
    repeats = ((labels[:, 1:] == labels[:, :-1]) & counted).sum(axis=1)
    result: np.ndarray = label_lengths + repeats <= lengths
    return result
