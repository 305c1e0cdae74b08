"""The whole `Backend` in NumPy float64: slow, obvious, the judge of the others.

Everything here is written from the papers and PyTorch's documentation, apart from the fast kernels: a loop over
time, whole batches of gates as matrices, CTC in log space. The equations of the cells stand here a second time,
on purpose: a twin that shared `kernels.cells` could not find its errors.

Inputs may be float32 or float64; the arithmetic is float64, and `empty` and `zeros` give float64, so that central
finite differences can judge the gradients.

Dropout is a pure function of (seed, flat index i), with 64-bit unsigned arithmetic, the same on every backend:

    z = seed + (i + 1) * 0x9E3779B97F4A7C15          splitmix64 (Steele, Lea and Flood, OOPSLA 2014)
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    z = z ^ (z >> 31)
    keep the value when (z >> 40) >= round(rate * 2^24)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.checks import (
    FLOATS,
    check_array,
    check_backward,
    check_ctc,
    check_dense,
    check_frames,
    check_pairs,
    check_rate,
    check_same,
    check_sequence,
    check_sgd,
    check_stack_frames,
    check_vector,
    check_weights,
)
from kernels.interface import RecurrentShape

Floats = NDArray[np.float64]
Saved = tuple[Floats, ...]
Step = Callable[[Floats, Floats, Floats, Floats], tuple[Floats, Floats, Saved]]
StepBack = Callable[[Saved, Floats, Floats, Floats, Floats], tuple[Floats, Floats, Floats, Floats]]


# A step takes gi = x W_ih^T + b_ih and gh = h_prev W_hh^T + b_hh, both [B, G H], and h_prev, c_prev [B, H]:
# it returns h, c and what its derivative needs. A step back takes that, h_prev, c_prev and the loss's derivatives
# dh, dc [B, H]: it returns those by gi, gh, h_prev (without the part through gh) and c_prev.


def _sigmoid(a: Floats) -> Floats:
    return 0.5 * (1.0 + np.tanh(0.5 * a))  # 1 / (1 + exp(-a)), without overflow


def _rnn_tanh(gi: Floats, gh: Floats, h_prev: Floats, c_prev: Floats) -> tuple[Floats, Floats, Saved]:
    h = np.tanh(gi + gh)
    return h, c_prev, (h,)


def _rnn_tanh_back(
    saved: Saved, h_prev: Floats, c_prev: Floats, dh: Floats, dc: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    (h,) = saved
    da = dh * (1.0 - h**2)
    return da, da, np.zeros_like(dh), np.zeros_like(dc)


def _rnn_relu(gi: Floats, gh: Floats, h_prev: Floats, c_prev: Floats) -> tuple[Floats, Floats, Saved]:
    a = gi + gh
    return np.maximum(a, 0.0), c_prev, (a,)


def _rnn_relu_back(
    saved: Saved, h_prev: Floats, c_prev: Floats, dh: Floats, dc: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    (a,) = saved
    da = np.where(a > 0.0, dh, 0.0)
    return da, da, np.zeros_like(dh), np.zeros_like(dc)


def _gru(gi: Floats, gh: Floats, h_prev: Floats, c_prev: Floats) -> tuple[Floats, Floats, Saved]:
    i_r, i_z, i_n = np.split(gi, 3, axis=1)
    h_r, h_z, h_n = np.split(gh, 3, axis=1)
    r = _sigmoid(i_r + h_r)
    z = _sigmoid(i_z + h_z)
    n = np.tanh(i_n + r * h_n)
    return (1.0 - z) * n + z * h_prev, c_prev, (r, z, n, h_n)


def _gru_back(
    saved: Saved, h_prev: Floats, c_prev: Floats, dh: Floats, dc: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    r, z, n, h_n = saved
    dn = dh * (1.0 - z) * (1.0 - n**2)
    dz = dh * (h_prev - n) * z * (1.0 - z)
    dr = dn * h_n * r * (1.0 - r)
    return np.hstack([dr, dz, dn]), np.hstack([dr, dz, dn * r]), dh * z, np.zeros_like(dc)


def _lstm(gi: Floats, gh: Floats, h_prev: Floats, c_prev: Floats) -> tuple[Floats, Floats, Saved]:
    a_i, a_f, a_g, a_o = np.split(gi + gh, 4, axis=1)
    i, f, g, o = _sigmoid(a_i), _sigmoid(a_f), np.tanh(a_g), _sigmoid(a_o)
    c = f * c_prev + i * g
    return o * np.tanh(c), c, (i, f, g, o, c)


def _lstm_back(
    saved: Saved, h_prev: Floats, c_prev: Floats, dh: Floats, dc: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    i, f, g, o, c = saved
    dc = dc + dh * o * (1.0 - np.tanh(c) ** 2)
    di = dc * g * i * (1.0 - i)
    df = dc * c_prev * f * (1.0 - f)
    dg = dc * i * (1.0 - g**2)
    do = dh * np.tanh(c) * o * (1.0 - o)
    da = np.hstack([di, df, dg, do])
    return da, da, np.zeros_like(dh), dc * f


_STEPS: dict[str, tuple[Step, StepBack]] = {
    "rnn_tanh": (_rnn_tanh, _rnn_tanh_back),
    "rnn_relu": (_rnn_relu, _rnn_relu_back),
    "gru": (_gru, _gru_back),
    "lstm": (_lstm, _lstm_back),
}


@dataclass(frozen=True)
class _Moment:
    """What one step of one direction leaves for the way back."""

    t: int
    h_prev: Floats
    c_prev: Floats
    saved: Saved


class ReferenceRecurrentLayer:
    """`kernels.interface.RecurrentLayer`, one step at a time."""

    def __init__(self, shape: RecurrentShape):
        self.shape = shape
        self._step, self._step_back = _STEPS[shape.cell]
        self._weights: dict[str, Floats] | None = None
        self._moments: dict[str, list[_Moment]] = {}

    def pack(self, weights: Mapping[str, Any]) -> None:
        check_weights(self.shape, weights, FLOATS)
        self._weights = {name: np.array(weights[name], np.float64) for name in self.shape.parameter_shapes()}

    def infer(self, x: Any, lengths: Any, out: Any) -> None:
        self._run(x, lengths, out)

    def forward(self, x: Any, lengths: Any, out: Any) -> None:
        self._moments = self._run(x, lengths, out)

    def backward(
        self,
        x: Any,
        lengths: Any,
        out: Any,
        out_gradient: Any,
        gradients: Mapping[str, Any],
        x_gradient: Any | None,
    ) -> None:
        check_backward(self.shape, x, lengths, out, out_gradient, gradients, x_gradient, FLOATS)
        if not self._moments:
            raise RuntimeError("backward needs a forward before it")
        x, out_gradient = _without_padding(x, lengths), _without_padding(out_gradient, lengths)
        dx = np.zeros_like(x)
        for index, direction in enumerate(self.shape.directions):
            columns = slice(index * self.shape.hidden, (index + 1) * self.shape.hidden)
            found = self._through_time(direction, x, lengths, out_gradient[:, :, columns], dx)
            for name, gradient in found.items():
                gradients[f"{direction}.{name}"][...] = gradient
        if x_gradient is not None:
            x_gradient[...] = dx

    def _run(self, x: Any, lengths: Any, out: Any) -> dict[str, list[_Moment]]:
        check_sequence(self.shape, x, lengths, out, FLOATS)
        x = _without_padding(x, lengths)
        moments: dict[str, list[_Moment]] = {}
        for index, direction in enumerate(self.shape.directions):
            h_all, moments[direction] = self._run_direction(direction, x, lengths)
            out[:, :, index * self.shape.hidden : (index + 1) * self.shape.hidden] = h_all
        return moments

    def _run_direction(self, direction: str, x: Floats, lengths: Any) -> tuple[Floats, list[_Moment]]:
        """All h [T, B, H] of one direction. A state is zero until its utterance has begun, so that the backward
        direction starts at each utterance's own last frame, and again once it has ended."""
        W_ih, W_hh, b_ih, b_hh = self._direction_weights(direction)
        T, B = x.shape[:2]
        h = np.zeros((B, self.shape.hidden))
        c = np.zeros((B, self.shape.hidden))
        h_all = np.zeros((T, B, self.shape.hidden))
        moments = []
        for t in range(T) if direction == "forward" else reversed(range(T)):
            running = (t < lengths)[:, None]
            h_prev, c_prev = h, c
            h, c, saved = self._step(x[t] @ W_ih.T + b_ih, h_prev @ W_hh.T + b_hh, h_prev, c_prev)
            h, c = np.where(running, h, 0.0), np.where(running, c, 0.0)
            h_all[t] = h
            moments.append(_Moment(t, h_prev, c_prev, saved))
        return h_all, moments

    def _through_time(
        self, direction: str, x: Floats, lengths: Any, out_gradient: Floats, dx: Floats
    ) -> dict[str, Floats]:
        """The gradients of one direction's weights; adds its part to `dx`."""
        W_ih, W_hh, b_ih, b_hh = self._direction_weights(direction)
        dW_ih, dW_hh, db_ih, db_hh = (np.zeros_like(weight) for weight in (W_ih, W_hh, b_ih, b_hh))
        dh = np.zeros((x.shape[1], self.shape.hidden))
        dc = np.zeros_like(dh)
        for moment in reversed(self._moments[direction]):
            t = moment.t
            running = (t < lengths)[:, None]
            dh = np.where(running, dh + out_gradient[t], 0.0)
            dc = np.where(running, dc, 0.0)
            dgi, dgh, dh, dc = self._step_back(moment.saved, moment.h_prev, moment.c_prev, dh, dc)
            dh = dh + dgh @ W_hh
            dx[t] += dgi @ W_ih
            dW_ih += dgi.T @ x[t]
            dW_hh += dgh.T @ moment.h_prev
            db_ih += dgi.sum(axis=0)
            db_hh += dgh.sum(axis=0)
        return {"weight_ih": dW_ih, "weight_hh": dW_hh, "bias_ih": db_ih, "bias_hh": db_hh}

    def _direction_weights(self, direction: str) -> tuple[Floats, Floats, Floats, Floats]:
        if self._weights is None:
            raise RuntimeError("the layer has no weights: call pack first")
        w = self._weights
        return (
            w[f"{direction}.weight_ih"],
            w[f"{direction}.weight_hh"],
            w[f"{direction}.bias_ih"],
            w[f"{direction}.bias_hh"],
        )


class ReferenceDenseLayer:
    """`kernels.interface.DenseLayer`."""

    def __init__(self, inputs: int, outputs: int):
        self.inputs, self.outputs = inputs, outputs
        self._weight: Floats = np.zeros((outputs, inputs))
        self._bias: Floats = np.zeros(outputs)

    def pack(self, weight: Any, bias: Any) -> None:
        check_array("weight", weight, (self.outputs, self.inputs), FLOATS)
        check_array("bias", bias, (self.outputs,), FLOATS)
        self._weight, self._bias = np.array(weight, np.float64), np.array(bias, np.float64)

    def forward(self, x: Any, out: Any) -> None:
        check_dense(x, out, self.inputs, self.outputs, dtypes=FLOATS)
        out[...] = np.asarray(x, np.float64) @ self._weight.T + self._bias

    def backward(
        self, x: Any, out_gradient: Any, weight_gradient: Any, bias_gradient: Any, x_gradient: Any | None
    ) -> None:
        check_dense(x, out_gradient, self.inputs, self.outputs, "out_gradient", FLOATS)
        check_array("weight_gradient", weight_gradient, (self.outputs, self.inputs), FLOATS)
        check_array("bias_gradient", bias_gradient, (self.outputs,), FLOATS)
        dy = np.asarray(out_gradient, np.float64)
        weight_gradient[...] = np.einsum("tbn,tbd->nd", dy, x)
        bias_gradient[...] = dy.sum(axis=(0, 1))
        if x_gradient is not None:
            x_gradient[...] = dy @ self._weight


class ReferenceCtcLoss:
    """`kernels.interface.CtcLoss`, one utterance after the other."""

    def __call__(
        self, logits: Any, lengths: Any, labels: Any, label_lengths: Any, gradient: Any | None
    ) -> NDArray[np.float64]:
        check_ctc(logits, lengths, labels, label_lengths, gradient, FLOATS)
        if gradient is not None:
            gradient[...] = 0.0
        losses = np.zeros(len(lengths))
        for b, (T, S) in enumerate(zip(lengths, label_lengths, strict=True)):
            losses[b], found = _ctc(np.array(logits[:T, b], np.float64), labels[b, :S])
            if gradient is not None:
                gradient[:T, b] = found
        return losses


def _ctc(logits: Floats, labels: NDArray[np.int32]) -> tuple[float, Floats]:
    """Loss and gradient [T, C] of one utterance (Graves et al., ICML 2006, equations 5 to 16), in log space.

    z is the labels with a blank before, between and after them; `skips[i]` tells whether z_i may follow z_{i-2}
    """
    if not np.isfinite(logits).all():
        return np.nan, np.zeros_like(logits)
    log_y = _log_softmax(logits)
    z = np.zeros(2 * len(labels) + 1, np.int64)
    z[1::2] = labels
    skips = np.zeros(len(z), bool)
    skips[3::2] = labels[1:] != labels[:-1]
    alpha = _log_alpha(log_y[:, z], skips)
    beta = _log_beta(log_y[:, z], skips)
    log_p = np.logaddexp.reduce(alpha[-1, -2:])  # a path ends in the last label or the blank after it
    if np.isneginf(log_p):
        return np.inf, np.zeros_like(logits)
    occupied = np.exp(alpha + beta - log_p)  # [T, len(z)]: the probability that the path is in i at t
    gradient = np.exp(log_y)
    for i, label in enumerate(z):
        gradient[:, label] -= occupied[:, i]
    return -float(log_p), gradient


def _log_alpha(log_y: Floats, skips: NDArray[np.bool_]) -> Floats:
    """alpha[t, i] = y[t, z_i] (alpha[t-1, i] + alpha[t-1, i-1] + skips_i alpha[t-1, i-2]); starts in i = 0 or 1."""
    alpha = np.full(log_y.shape, -np.inf)
    alpha[0, :2] = log_y[0, :2]
    for t in range(1, len(log_y)):
        before = alpha[t - 1]
        total = before.copy()
        total[1:] = np.logaddexp(total[1:], before[:-1])
        total[2:] = np.logaddexp(total[2:], np.where(skips[2:], before[:-2], -np.inf))
        alpha[t] = total + log_y[t]
    return alpha


def _log_beta(log_y: Floats, skips: NDArray[np.bool_]) -> Floats:
    """beta[t, i] = sum over the i' that may follow i of beta[t+1, i'] y[t+1, z_i']; ends in the last two i."""
    beta = np.full(log_y.shape, -np.inf)
    beta[-1, -2:] = 0.0
    for t in reversed(range(len(log_y) - 1)):
        after = beta[t + 1] + log_y[t + 1]
        total = after.copy()
        total[:-1] = np.logaddexp(total[:-1], after[1:])
        total[:-2] = np.logaddexp(total[:-2], np.where(skips[2:], after[2:], -np.inf))
        beta[t] = total
    return beta


class ReferenceBackend:
    """`kernels.interface.Backend` in NumPy float64."""

    name = "reference"
    threads = 1

    def describe(self) -> str:
        return "reference (NumPy float64, slow: for judging other backends)"

    def explain(self, shape: RecurrentShape, batch: int) -> str:
        return "one utterance and one step after the other"

    def to_device(self, host: np.ndarray) -> np.ndarray:
        if np.issubdtype(host.dtype, np.floating):
            return np.array(host, np.float64, order="C")
        return np.ascontiguousarray(host)

    def to_host(self, array: np.ndarray) -> np.ndarray:
        return array

    def resident(self, vector: np.ndarray) -> np.ndarray:
        return vector

    def empty(self, shape: tuple[int, ...]) -> Floats:
        return np.empty(shape)

    def zeros(self, shape: tuple[int, ...]) -> Floats:
        return np.zeros(shape)

    def recurrent(self, shape: RecurrentShape) -> ReferenceRecurrentLayer:
        return ReferenceRecurrentLayer(shape)

    def dense(self, inputs: int, outputs: int) -> ReferenceDenseLayer:
        return ReferenceDenseLayer(inputs, outputs)

    def ctc(self) -> ReferenceCtcLoss:
        return ReferenceCtcLoss()

    def stack_frames(self, x: Any, lengths: Any, count: int, out: Any) -> None:
        check_stack_frames(x, lengths, count, out, FLOATS)
        out[...] = 0.0
        for b, T in enumerate(lengths):
            last = np.minimum(np.arange(-(-T // count) * count), T - 1)
            out[: len(last) // count, b] = x[last, b].reshape(-1, out.shape[2])

    def log_softmax(self, x: Any, out: Any) -> None:
        check_same("out", out, x, FLOATS)
        out[...] = _log_softmax(np.asarray(x, np.float64))

    def agree(self, logits: Any, lengths: Any, share: float, gradient: Any) -> None:
        check_pairs(logits, lengths, gradient, FLOATS)
        p = np.exp(_log_softmax(np.asarray(logits, np.float64)))
        apart = p[:, 0::2] - p[:, 1::2]
        apart = share * _without_padding(apart, lengths[::2])
        gradient[:, 0::2] += apart
        gradient[:, 1::2] -= apart

    def best(self, log_probs: Any) -> tuple[np.ndarray, np.ndarray]:
        check_frames("log_probs", log_probs, FLOATS)
        labels = log_probs.argmax(axis=2)
        return labels.astype(np.int32), np.take_along_axis(log_probs, labels[:, :, None], axis=2)[:, :, 0]

    def dropout(self, x: Any, out: Any, rate: float, seed: int) -> None:
        check_rate(rate)
        check_same("out", out, x, FLOATS)
        z = np.uint64(seed % 2**64) + np.arange(1, x.size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        keep = (z >> np.uint64(40)) >= np.uint64(round(rate * 2**24))
        out[...] = np.where(keep.reshape(x.shape), np.asarray(x, np.float64) / (1.0 - rate), 0.0)

    def axpy(self, scale: float, x: Any, y: Any) -> None:
        check_same("y", y, x, FLOATS)
        y[...] = y + scale * np.asarray(x, np.float64)

    def sgd_step(
        self,
        weights: Any,
        gradient: Any,
        velocity: Any,
        rate: float,
        momentum: float,
        scale: float,
        weight_decay: float = 0.0,
    ) -> None:
        check_sgd(weights, gradient, velocity, FLOATS)
        g = scale * np.asarray(gradient, np.float64) + weight_decay * np.asarray(weights, np.float64)
        v = momentum * np.asarray(velocity, np.float64) + g
        velocity[...] = v
        weights[...] = weights - rate * (g + momentum * v)

    def norm(self, vector: Any) -> float:
        check_vector("vector", vector, FLOATS)
        return float(np.sqrt(np.sum(np.square(vector, dtype=np.float64))))


def _log_softmax(x: Floats) -> Floats:
    shifted = x - x.max(axis=-1, keepdims=True)
    log_y: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_y


def _without_padding(x: Any, lengths: Any) -> Floats:
    """A float64 copy with zeros beyond the lengths, whatever stood there."""
    running = np.arange(x.shape[0])[:, None] < lengths
    masked: Floats = np.where(running[:, :, None], np.asarray(x, np.float64), 0.0)
    return masked
