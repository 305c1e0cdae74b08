"""CTC loss and gradient on the CPU, in log space and float64: one utterance at a time, utterances in parallel.

With z the labels interleaved with blanks (z = _ a _ b _, length 2 S + 1) and y the softmax of the logits,

    alpha[t, i] = y[t, z_i] (alpha[t-1, i] + alpha[t-1, i-1] + skip_i alpha[t-1, i-2])
    beta [t, i] = sum over the same arrows backwards, without y[t, z_i]
    d loss / d logit[t, k] = y[t, k] - sum_{i: z_i = k} alpha[t, i] beta[t, i] / P

where skip_i is 1 if z_i is a label that differs from z_{i-2} (Graves et al., ICML 2006).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from kernels.checks import check_ctc
from kernels.cpu.team import Team
from kernels.jit import device_function, kernel

INFEASIBLE, NOT_FINITE = np.inf, np.nan


@device_function
def _log_add(x, y):
    if x < y:
        x, y = y, x
    if y == -np.inf:
        return x
    return x + np.log1p(np.exp(y - x))


@device_function
def _log_softmax_row(x, out):
    """Returns whether the row is finite."""
    top = np.float64(x[0])
    for c in range(x.shape[0]):
        top = max(top, np.float64(x[c]))
    total = 0.0
    for c in range(x.shape[0]):
        total += np.exp(np.float64(x[c]) - top)
    shift = top + np.log(total)
    for c in range(x.shape[0]):
        out[c] = np.float64(x[c]) - shift
    return np.isfinite(shift)


@kernel("CTC loss")
def ctc_utterance(logits, b, T, labels, S, log_y, alpha, beta, gradient, want_gradient):
    """One utterance, column b of logits [T_max, B, C]: writes gradient[:, b] and returns the loss.

    Scratch, float64: log_y [T, C], alpha [T, 2 S + 1], beta [2, 2 S + 1].
    """
    C = logits.shape[2]
    L = 2 * S + 1
    if want_gradient:
        for t in range(logits.shape[0]):
            gradient[t, b] = np.float32(0.0)
    repeats = 0
    for s in range(1, S):
        repeats += labels[b, s] == labels[b, s - 1]
    finite = True
    for t in range(T):
        finite &= _log_softmax_row(logits[t, b], log_y[t])
    if not finite:
        return np.nan
    if S + repeats > T:
        return np.inf

    for i in range(L):
        alpha[0, i] = -np.inf
    alpha[0, 0] = log_y[0, 0]
    if S > 0:
        alpha[0, 1] = log_y[0, labels[b, 0]]
    for t in range(1, T):
        for i in range(L):
            label = labels[b, i // 2] if i % 2 else 0
            total = alpha[t - 1, i]
            if i > 0:
                total = _log_add(total, alpha[t - 1, i - 1])
            if i % 2 and i > 2 and label != labels[b, i // 2 - 1]:
                total = _log_add(total, alpha[t - 1, i - 2])
            alpha[t, i] = total + log_y[t, label]
    log_p = alpha[T - 1, L - 1]
    if S > 0:
        log_p = _log_add(log_p, alpha[T - 1, L - 2])
    if not want_gradient:
        return -log_p

    now, then = 0, 1
    for i in range(L):
        beta[now, i] = 0.0 if i >= L - 2 else -np.inf
    for t in range(T - 1, -1, -1):
        for c in range(C):
            gradient[t, b, c] = np.exp(log_y[t, c])
        for i in range(L):
            label = labels[b, i // 2] if i % 2 else 0
            gradient[t, b, label] -= np.exp(alpha[t, i] + beta[now, i] - log_p)
        if t == 0:
            break
        now, then = then, now
        for i in range(L):
            label = labels[b, i // 2] if i % 2 else 0
            total = beta[then, i] + log_y[t, label]
            if i + 1 < L:
                after = labels[b, (i + 1) // 2] if (i + 1) % 2 else 0
                total = _log_add(total, beta[then, i + 1] + log_y[t, after])
            if i % 2 and i + 2 < L and label != labels[b, i // 2 + 1]:
                total = _log_add(total, beta[then, i + 2] + log_y[t, labels[b, i // 2 + 1]])
            beta[now, i] = total
    return -log_p


class CpuCtcLoss:
    """`kernels.interface.CtcLoss` on the CPU, with one workspace for each thread."""

    def __init__(self, team: Team):
        self._team = team
        self._scratch = [_Scratch() for _ in range(team.threads)]

    def __call__(
        self,
        logits: np.ndarray,
        lengths: np.ndarray,
        labels: np.ndarray,
        label_lengths: np.ndarray,
        gradient: np.ndarray | None,
    ) -> np.ndarray:
        check_ctc(logits, lengths, labels, label_lengths, gradient)
        losses = np.empty(lengths.shape[0])
        into = np.empty((0, 0, 0), np.float32) if gradient is None else gradient
        args = logits, lengths, np.ascontiguousarray(labels), label_lengths, into, gradient is not None, losses
        self._team.run([partial(self._share, index, *args) for index in range(self._team.threads)])
        return losses

    def _share(self, index, logits, lengths, labels, label_lengths, gradient, want_gradient, losses) -> None:
        """Every so-manieth utterance, so that each thread gets long ones and short ones."""
        scratch = self._scratch[index]
        for b in range(index, lengths.shape[0], self._team.threads):
            T, S = int(lengths[b]), int(label_lengths[b])
            scratch.reserve(T, logits.shape[2], 2 * S + 1)
            losses[b] = ctc_utterance(
                logits, b, T, labels, S, scratch.log_y, scratch.alpha, scratch.beta, gradient, want_gradient
            )


class _Scratch:
    def __init__(self) -> None:
        self.log_y = np.empty((0, 0))
        self.alpha = np.empty((0, 0))
        self.beta = np.empty((2, 0))

    def reserve(self, T: int, C: int, L: int) -> None:
        if self.log_y.shape[0] < T or self.log_y.shape[1] != C:
            self.log_y = np.empty((max(T, self.log_y.shape[0]), C))
        if self.alpha.shape[0] < T or self.alpha.shape[1] < L:
            self.alpha = np.empty((max(T, self.alpha.shape[0]), max(L, self.alpha.shape[1])))
            self.beta = np.empty((2, self.alpha.shape[1]))
