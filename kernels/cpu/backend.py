"""`kernels.interface.Backend` on the CPU."""

from __future__ import annotations

from functools import partial

import numpy as np

from kernels.checks import (
    check_frames,
    check_pairs,
    check_rate,
    check_same,
    check_sgd,
    check_stack_frames,
    check_vector,
)
from kernels.cpu.ctc import CpuCtcLoss
from kernels.cpu.dense import CpuDenseLayer, agree, log_softmax
from kernels.cpu.elementwise import axpy, dropout, sgd_step, stack_frames, sum_of_squares
from kernels.cpu.recurrence import CpuRecurrentLayer
from kernels.cpu.target import LANES
from kernels.cpu.team import Team, available_threads
from kernels.interface import RecurrentShape


class CpuBackend:
    """Compiled kernels on `threads` cores (all that this process may use, when None)."""

    name = "cpu"

    def __init__(self, threads: int | None = None):
        self._team = Team(available_threads() if threads is None else threads)
        self.threads = self._team.threads

    def describe(self) -> str:
        return f"cpu, {self.threads} thread{'s' if self.threads > 1 else ''}, {LANES} lanes"

    def explain(self, shape: RecurrentShape, batch: int) -> str:
        return CpuRecurrentLayer(shape, self._team).plan(batch)

    def to_device(self, host: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(host)

    def to_host(self, array: np.ndarray) -> np.ndarray:
        return array

    def resident(self, vector: np.ndarray) -> np.ndarray:
        return vector

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.empty(shape, np.float32)

    def zeros(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape, np.float32)

    def recurrent(self, shape: RecurrentShape) -> CpuRecurrentLayer:
        return CpuRecurrentLayer(shape, self._team)

    def dense(self, inputs: int, outputs: int) -> CpuDenseLayer:
        return CpuDenseLayer(inputs, outputs, self._team)

    def ctc(self) -> CpuCtcLoss:
        return CpuCtcLoss(self._team)

    def stack_frames(self, x: np.ndarray, lengths: np.ndarray, count: int, out: np.ndarray) -> None:
        check_stack_frames(x, lengths, count, out)
        stack_frames(x, lengths, count, out)

    def log_softmax(self, x: np.ndarray, out: np.ndarray) -> None:
        check_same("out", out, x)
        C = x.shape[-1]
        self._spread(log_softmax, (x.reshape(-1, C), out.reshape(-1, C)), x.size // C)

    def agree(self, logits: np.ndarray, lengths: np.ndarray, share: float, gradient: np.ndarray) -> None:
        check_pairs(logits, lengths, gradient)
        T, B, C = logits.shape
        pairs = [array.reshape(-1, 2, C) for array in (logits, gradient)]
        self._spread(agree, (pairs[0], lengths, share, pairs[1]), T * B // 2)

    def best(self, log_probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        check_frames("log_probs", log_probs)
        labels = log_probs.argmax(axis=2)
        return labels.astype(np.int32), np.take_along_axis(log_probs, labels[:, :, None], axis=2)[:, :, 0]

    def dropout(self, x: np.ndarray, out: np.ndarray, rate: float, seed: int) -> None:
        check_rate(rate)
        check_same("out", out, x)
        args = (
            x.reshape(-1),
            out.reshape(-1),
            np.uint64(round(rate * 2**24)),
            np.float32(1.0 / (1.0 - rate)),
            np.uint64(seed % 2**64),
        )
        self._spread(dropout, args, x.size)

    def axpy(self, scale: float, x: np.ndarray, y: np.ndarray) -> None:
        check_same("y", y, x)
        self._spread(axpy, (np.float32(scale), x.reshape(-1), y.reshape(-1)), x.size)

    def sgd_step(
        self,
        weights: np.ndarray,
        gradient: np.ndarray,
        velocity: np.ndarray,
        rate: float,
        momentum: float,
        scale: float,
        weight_decay: float = 0.0,
    ) -> None:
        check_sgd(weights, gradient, velocity)
        settings = (np.float32(value) for value in (rate, momentum, scale, weight_decay))
        self._spread(sgd_step, (weights, gradient, velocity, *settings), weights.size)

    def norm(self, vector: np.ndarray) -> float:
        check_vector("vector", vector)
        return float(np.sqrt(sum_of_squares(vector)))

    def _spread(self, kernel, args, size: int) -> None:
        """Run a kernel on as many ranges of flat values, or of rows, as there are threads."""
        self._team.run([partial(kernel, *args, *bounds) for bounds in self._team.ranges(size)])
