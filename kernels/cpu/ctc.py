"""CTC loss and gradient on the CPU: one utterance at a time, utterances in parallel.

The labels l_0 .. l_{S-1} stand between S + 1 blanks. With y the softmax of the logits, A the mass of all partial
paths that end at step t in a blank (before label i) or in label i,

    blank'[i] = (blank[i] + label[i-1]) y[blank]
    label'[i] = (label[i] + blank[i] + skip[i] label[i-1]) y[l_i]         skip[i] = 1 if l_i differs from l_{i-1}

(Graves et al., ICML 2006; blanks and labels as two rows need no gather and no odd-even tests). The same backwards
gives the mass B of all ways to the end, and

    d loss / d logit[t, k] = y[t, k] - sum over positions of k of A[t] B[t] / P

The fast path computes masses as they are, in float64, and keeps them in range: after each row its sum gives a power
of two that scales the next, exactly. What this cannot represent (a row of zeros; mass lost to underflow: then P
from the end and from the start differ; a path that matters through a probability below float32's range) is
computed again in log space, `_log_space`, which is exact and slow.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from kernels.checks import check_ctc
from kernels.cpu.product import aligned
from kernels.cpu.target import LANES
from kernels.cpu.team import Team
from kernels.cpu.vector import flush_denormals, largest, load, prefetch, restore_denormals, spread, store, total
from kernels.jit import device_function, kernel, subroutine
from kernels.scalar import exp2, select

HALF = max(LANES // 2, 2)  # float64 lanes
SMALLEST, GREATEST = 1e-280, 1e280  # of a row's sum: beyond, powers of two no longer keep it in range
AGREEMENT = 1e-6  # of log P from the start and from the end; lost mass shows as a difference
FAINT = 1e-36  # `exp2` gives no less than 1e-38 for anything smaller, so a probability like this may be too large
NEGLIGIBLE = 1e-9  # posterior that may go through such
_LOG2E = np.float32(1.4426950408889634)


class Workspace(NamedTuple):
    """What one thread needs for one utterance of T steps, S labels and C classes."""

    stride: int  # of a row of positions: S + 1 blanks or labels, and room for vectors to run over the end
    blank: np.ndarray  # float64 [(T + 1) stride]: masses in blanks; row 0 is the start
    label: np.ndarray  # the same in labels; label i stands at i + 1
    prob: np.ndarray  # the same, the labels' probabilities
    skip: np.ndarray  # float64 [stride]
    lane: np.ndarray  # float32 [LANES]: 0, 1, 2, ...
    exps: np.ndarray  # float32 [C]: a row of the softmax before its division
    tops: np.ndarray  # float32 [T]: the largest logit of each row
    scales: np.ndarray  # float32 [T]: what makes `exps` the softmax
    blanks: np.ndarray  # float64 [T]: the blank's probability
    ends: np.ndarray  # float64 [2, stride]: masses to the end
    posterior: np.ndarray  # float64 [stride]


@device_function
def _exponent(x):
    """The binary exponent of a positive float64."""
    return (np.float64(x).view(np.int64) >> np.int64(52)) - np.int64(1023)


@device_function
def _power_of_two(n):
    return np.int64((np.int64(n) + np.int64(1023)) << np.int64(52)).view(np.float64)


@device_function
def _exponentials(x, begin, following, C, lane, out):
    """out[c] = e**(x[c] - largest x); returns the largest x, the sum of out (NaN if a value is not finite) and the
    least of out.

    The last vector ends with the row and overlaps the one before, whose lanes it leaves out of the sum.
    """
    zero = np.float32(0.0)
    if C < LANES:
        top = x[begin]
        for c in range(1, C):
            top = select(x[begin + c] > top, x[begin + c], top)
        mass, least = zero, np.float32(1.0)
        for c in range(C):
            out[c] = exp2((x[begin + c] - top) * _LOG2E)
            mass += out[c] + x[begin + c] * zero
            least = select(out[c] < least, out[c], least)
        return top, mass, least
    whole = C // LANES * LANES
    last = load(x, begin + C - LANES, LANES)
    tops, unless_finite = last, last * zero
    for c in range(0, whole, LANES):
        v = load(x, begin + c, LANES)
        prefetch(x, following + c)
        tops = select(v > tops, v, tops)
        unless_finite = unless_finite + v * zero
    top = largest(tops)
    tail = exp2((last - top) * _LOG2E)
    overlap = np.float32(LANES - (C - whole) - 0.5)
    sums = select(load(lane, 0, LANES) > overlap, tail, spread(zero, LANES)) + unless_finite
    leasts = tail
    for c in range(0, whole, LANES):
        v = exp2((load(x, begin + c, LANES) - top) * _LOG2E)
        store(out, c, v, LANES)
        sums = sums + v
        leasts = select(v < leasts, v, leasts)
    store(out, C - LANES, tail, LANES)
    return top, total(sums), -largest(-leasts)


@device_function
def _write_softmax(x, begin, following, C, top, scale, out):
    """out = the row's softmax; scale is 1 / its mass."""
    if C < LANES:
        for c in range(C):
            out[begin + c] = exp2((x[begin + c] - top) * _LOG2E) * scale
        return
    for c in range(0, C // LANES * LANES, LANES):
        prefetch(x, following + c)
        prefetch(out, following + c)
        store(out, begin + c, exp2((load(x, begin + c, LANES) - top) * _LOG2E) * scale, LANES)
    end = begin + C - LANES
    store(out, end, exp2((load(x, end, LANES) - top) * _LOG2E) * scale, LANES)


@device_function
def _alpha_row(blank, label, prob, old, new, blank_prob, scale, skip, low, high):
    """One step of the recurrence over labels low <= i < high and blanks low <= i <= high; returns the row's sum.

    Rows begin at `old` and `new`; label i stands at i + 1, after a zero. Vectors run over the end, where
    probabilities are zero, and what they leave behind the end is cleared.
    """
    label[new + low] = 0.0
    sums = spread(0.0, HALF)
    both = spread(blank_prob * scale, HALF)
    for i in range(low, high + 1, HALF):
        before, left = load(blank, old + i, HALF), load(label, old + i, HALF)
        to_blank = (before + left) * both
        to_label = load(skip, i, HALF) * left + (load(label, old + i + 1, HALF) + before)
        to_label = to_label * (load(prob, new + i, HALF) * scale)
        store(blank, new + i, to_blank, HALF)
        store(label, new + i + 1, to_label, HALF)
        sums = sums + (to_blank + to_label)
    for i in range(high + 1, high + 1 + 2 * HALF, HALF):
        store(blank, new + i, 0.0, HALF)
        store(label, new + i, 0.0, HALF)
    return total(sums)


@device_function
def _beta_row(to_end_blank, to_end_label, blank, label, prob, row, blank_prob, scale, skip, posterior, low, high):
    """One step backwards, in place; leaves the labels' posteriors in `posterior`. Returns three sums: the blanks'
    posteriors, all posteriors, and the masses to the end.

    In `to_end_*` stands, for each position of the next row, its mass to the end times its probability.
    """
    blanks, labels, to_end = spread(0.0, HALF), spread(0.0, HALF), spread(0.0, HALF)
    both = spread(blank_prob * scale, HALF)
    for i in range(low, high + 1, HALF):
        here = load(to_end_label, i, HALF)
        from_blank = load(to_end_blank, i, HALF) + here
        from_label = load(skip, i + 1, HALF) * load(to_end_label, i + 1, HALF)
        from_label = from_label + (here + load(to_end_blank, i + 1, HALF))
        mass = from_label * load(label, row + i + 1, HALF)
        store(posterior, i, mass, HALF)
        store(to_end_blank, i, from_blank * both, HALF)
        store(to_end_label, i, from_label * (load(prob, row + i, HALF) * scale), HALF)
        blanks = blanks + from_blank * load(blank, row + i, HALF)
        labels = labels + mass
        to_end = to_end + (from_blank + from_label)
    store(to_end_blank, high + 1, 0.0, HALF)
    store(to_end_label, high, 0.0, HALF)
    of_blanks = total(blanks)
    return of_blanks, of_blanks + total(labels), total(to_end)


@device_function
def _fast(x, B, C, b, T, y, S, w, want, gradient):
    """The loss, or -1 where this arithmetic cannot hold it, or NaN where the logits are not finite.

    x, gradient: flat [T B C]; y: the S labels; w: the `Workspace`.
    """
    blank, label, prob, stride = w.blank, w.label, w.prob, w.stride
    blank[:stride] = 0.0
    label[:stride] = 0.0
    blank[0] = 1.0
    exponents, shift, scale, faint = np.int64(0), np.int64(0), 1.0, False
    for t in range(T):
        begin = (t * B + b) * C
        top, mass, least = _exponentials(x, begin, begin + B * C, C, w.lane, w.exps)
        if not np.isfinite(mass):
            return np.nan
        w.tops[t], w.scales[t] = top, np.float32(1.0) / mass
        low, high = max(0, S - (T - t)), min(S, t + 1)
        row = (t + 1) * stride
        for i in range(low, high):
            prob[row + i] = np.float64(w.exps[y[i]] * w.scales[t])
        for i in range(high, high + HALF):
            prob[row + i] = 0.0
        w.blanks[t] = np.float64(w.exps[0] * w.scales[t])
        faint = faint or least * w.scales[t] <= FAINT
        row_sum = _alpha_row(blank, label, prob, row - stride, row, w.blanks[t], scale, w.skip, low, high)
        if not SMALLEST < row_sum < GREATEST:
            return -1.0
        exponents += shift
        shift = -_exponent(row_sum)
        scale = _power_of_two(shift)
    end = blank[T * stride + S] + label[T * stride + S]
    if not end > SMALLEST:
        return -1.0
    loss = exponents * np.log(2.0) - np.log(end)

    doubt = 0.0
    end_blank, end_label = w.ends[0], w.ends[1]
    end_blank[:] = 0.0
    end_label[:] = 0.0
    end_blank[S] = 1.0  # the row after the last: from the last blank, and from the last label before it
    scale = 1.0
    exponents, shift, applied, everything = np.int64(0), np.int64(0), np.int64(0), 1.0
    for t in range(T - 1, -1, -1):
        begin = (t * B + b) * C
        low, high = max(0, S - (T - t)), min(S, t + 1)
        row = (t + 1) * stride
        of_blanks, everything, to_end = _beta_row(
            end_blank, end_label, blank, label, prob, row, w.blanks[t], scale, w.skip, w.posterior, low, high
        )
        if low > 0:
            end_blank[low - 1] = 0.0
            end_label[low - 1] = 0.0
        if not (everything > SMALLEST and to_end < GREATEST):
            return -1.0
        applied = exponents
        exponents += shift
        # Where the paths to a step and those from it favour different positions, their product is far below both:
        # half the distance for each
        shift = -(_exponent(everything) + _exponent(to_end)) // 2
        scale = _power_of_two(shift)
        share = 1.0 / everything
        if want:
            _write_softmax(x, begin, begin - B * C, C, w.tops[t], w.scales[t], gradient)
            gradient[begin] -= np.float32(of_blanks * share)
            for i in range(low, high):
                gradient[begin + y[i]] -= np.float32(w.posterior[i] * share)
        if faint:
            doubt += of_blanks * share if w.blanks[t] <= FAINT else 0.0
            for i in range(low, high):
                doubt += w.posterior[i] * share if prob[row + i] <= FAINT else 0.0
    other = applied * np.log(2.0) - np.log(everything)
    return loss if doubt < NEGLIGIBLE and abs(other - loss) <= AGREEMENT * max(1.0, loss) else -1.0


@device_function
def _log_add(x, y):
    if x < y:
        x, y = y, x
    return x if y == -np.inf else x + np.log1p(np.exp(y - x))


@subroutine
def _log_space(x, B, C, b, T, y, S, want, gradient):
    """The same in log space and float64, over the labels interleaved with blanks: z = _ l_0 _ l_1 _ ..., length L."""
    L = 2 * S + 1
    z = np.zeros(L, np.int64)
    skip = np.zeros(L, np.bool_)
    for s in range(S):
        z[2 * s + 1] = y[s]
        skip[2 * s + 1] = s > 0 and y[s] != y[s - 1]
    log_y = np.empty((T, C))
    for t in range(T):
        begin = (t * B + b) * C
        top = np.float64(x[begin])
        for c in range(1, C):
            top = max(top, np.float64(x[begin + c]))
        mass = 0.0
        for c in range(C):
            mass += np.exp(np.float64(x[begin + c]) - top)
        for c in range(C):
            log_y[t, c] = np.float64(x[begin + c]) - top - np.log(mass)
    alpha = np.full((T, L), -np.inf)
    for i in range(min(2, L)):
        alpha[0, i] = log_y[0, z[i]]
    for t in range(1, T):
        for i in range(L):
            ways = alpha[t - 1, i]
            if i > 0:
                ways = _log_add(ways, alpha[t - 1, i - 1])
            if skip[i]:
                ways = _log_add(ways, alpha[t - 1, i - 2])
            alpha[t, i] = ways + log_y[t, z[i]]
    log_p = alpha[T - 1, L - 1]
    if S > 0:
        log_p = _log_add(log_p, alpha[T - 1, L - 2])
    if not want:
        return -log_p
    beta, later = np.full(L, -np.inf), np.empty(L)
    beta[max(0, L - 2) :] = 0.0
    for t in range(T - 1, -1, -1):
        begin = (t * B + b) * C
        row = np.exp(log_y[t])
        for i in range(L):
            row[z[i]] -= np.exp(alpha[t, i] + beta[i] - log_p)
        for c in range(C):
            gradient[begin + c] = np.float32(row[c])
        if t > 0:
            for i in range(L):
                later[i] = beta[i] + log_y[t, z[i]]
            for i in range(L):
                ways = later[i]
                if i + 1 < L:
                    ways = _log_add(ways, later[i + 1])
                if i + 2 < L and skip[i + 2]:
                    ways = _log_add(ways, later[i + 2])
                beta[i] = ways
    return -log_p


@kernel("CTC loss")
def ctc_utterance(x, B, C, b, T, padded_T, y, S, w, want, gradient):
    """Utterance b of flat logits [T B C]: writes its gradient and returns its loss, and whether the fast path held."""
    repeats = 0
    w.skip[:] = 0.0
    for s in range(1, S):
        repeats += y[s] == y[s - 1]
        w.skip[s] = 1.0 if y[s] != y[s - 1] else 0.0
    fast, loss = True, np.inf
    if S + repeats <= T:
        old = flush_denormals()
        loss = _fast(x, B, C, b, T, y, S, w, want, gradient)
        restore_denormals(old)
        if loss < 0.0:
            fast = False
            loss = _log_space(x, B, C, b, T, y, S, want, gradient)
    elif not _finite(x, B, C, b, T):
        loss = np.nan
    if want:
        for t in range(T if np.isfinite(loss) else 0, padded_T):
            begin = (t * B + b) * C
            gradient[begin : begin + C] = np.float32(0.0)
    return loss, fast


@device_function
def _finite(x, B, C, b, T):
    for t in range(T):
        for c in range(C):
            if not np.isfinite(x[(t * B + b) * C + c]):
                return False
    return True


class CpuCtcLoss:
    """`kernels.interface.CtcLoss` on the CPU, with one workspace for each thread."""

    def __init__(self, team: Team):
        self._team = team
        self._scratch = [_Scratch() for _ in range(team.threads)]
        self.log_space = 0  # how many utterances needed it so far

    def __call__(
        self,
        logits: np.ndarray,
        lengths: np.ndarray,
        labels: np.ndarray,
        label_lengths: np.ndarray,
        gradient: np.ndarray | None,
    ) -> np.ndarray:
        check_ctc(logits, lengths, labels, label_lengths, gradient)
        losses, fast = np.empty(len(lengths)), np.empty(len(lengths), bool)
        shares = min(self._team.threads, len(lengths))
        run = partial(self._share, shares, logits, lengths, labels, label_lengths, gradient, losses, fast)
        self._team.run([partial(run, index) for index in range(shares)])
        self.log_space += int((~fast).sum())
        return losses

    def _share(self, shares, logits, lengths, labels, label_lengths, gradient, losses, fast, index) -> None:
        """Every so-manieth utterance, so that each thread gets long ones and short ones."""
        padded_T, B, C = logits.shape
        into = _NOTHING if gradient is None else gradient.reshape(-1)
        for b in range(index, B, shares):
            T, S = int(lengths[b]), int(label_lengths[b])
            workspace = self._scratch[index].reserve(T, S, C)
            losses[b], fast[b] = ctc_utterance(
                logits.reshape(-1), B, C, b, T, padded_T, labels[b], S, workspace, gradient is not None, into
            )


_NOTHING = np.empty(0, np.float32)


class _Scratch:
    """One thread's workspace, grown when it must; rows run over their end by up to three vectors."""

    def __init__(self) -> None:
        self._sizes = 0, 0, 0
        self._workspace: Workspace

    def reserve(self, T: int, S: int, C: int) -> Workspace:
        stride = S + 2 + 3 * HALF
        if self._sizes[0] < T or stride > self._sizes[1] or self._sizes[2] < C:
            T, stride, C = max(T, self._sizes[0]), max(stride, self._sizes[1]), max(C, self._sizes[2])
            self._sizes = T, stride, C
            blank, label, prob = (np.zeros((T + 1) * stride) for _ in range(3))
            lane = np.arange(LANES, dtype=np.float32)
            exps, tops, scales = aligned(max(C, LANES)), aligned(T), aligned(T)
            skip, posterior, blanks = np.zeros(stride), np.zeros(stride), np.zeros(T)
            ends = np.zeros((2, stride))
            self._workspace = Workspace(
                stride, blank, label, prob, skip, lane, exps, tops, scales, blanks, ends, posterior
            )
        return self._workspace
