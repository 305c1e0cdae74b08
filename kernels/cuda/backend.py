"""`kernels.interface.Backend` on an NVIDIA GPU."""

from __future__ import annotations

import os

import numpy as np

from kernels.checks import (
    check_array,
    check_dense,
    check_frames,
    check_pairs,
    check_rate,
    check_same,
    check_sgd,
    check_stack_frames,
    check_vector,
)
from kernels.cpu.team import available_threads
from kernels.cuda import elementwise, rows
from kernels.cuda.ctc import CudaCtcLoss
from kernels.cuda.device import Array, Device
from kernels.cuda.product import Products, flat
from kernels.cuda.recurrence import CudaRecurrentLayer, Planner
from kernels.interface import RecurrentShape


class CudaBackend:
    """Kernels on the current GPU; `lengths` and labels stay on the host, all other arrays on the device.

    threads : of the CPU, which prepares what the GPU computes and decodes what it gave; None: all cores
    mode : how recurrent layers made from now on take their steps (`kernels.cuda.recurrence.MODES`); `$ASR_CUDA_MODE`
        or "auto". `$ASR_CUDA_TF32=1` lets cuBLAS round the factors of large products to 10 bits (TF32).
    """

    name = "cuda"

    def __init__(self, threads: int | None = None):
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self.threads = available_threads() if threads is None else threads
        self.device = Device()
        self.mode = os.environ.get("ASR_CUDA_MODE", "auto")
        self._planner = Planner(self.device)
        self._products = Products(self.device, tf32=os.environ.get("ASR_CUDA_TF32") == "1")

    def describe(self) -> str:
        return f"cuda ({self.device.describe()}; {self._products.describe()})"

    def explain(self, shape: RecurrentShape, batch: int) -> str:
        return self.recurrent(shape).plan(batch).describe()

    def to_device(self, host: np.ndarray) -> Array:
        return self.device.upload(host)

    def to_host(self, array: Array) -> np.ndarray:
        return self.device.download(array)

    def resident(self, vector: np.ndarray) -> Array:
        return self.device.upload(vector)

    def empty(self, shape: tuple[int, ...]) -> Array:
        return self.device.empty(shape)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        array = self.device.empty(shape)
        self.device.spread(elementwise.fill, array.size, flat(array), 0.0, array.size)
        return array

    def recurrent(self, shape: RecurrentShape) -> CudaRecurrentLayer:
        return CudaRecurrentLayer(shape, self.device, self._planner, self._products, self.mode)

    def dense(self, inputs: int, outputs: int) -> CudaDenseLayer:
        return CudaDenseLayer(inputs, outputs, self._products)

    def ctc(self) -> CudaCtcLoss:
        return CudaCtcLoss(self.device)

    def stack_frames(self, x: Array, lengths: np.ndarray, count: int, out: Array) -> None:
        check_stack_frames(x, lengths, count, out)
        _, B, D = x.shape
        frames = self.device.upload(lengths)
        self.device.spread(elementwise.stack_frames, out.size, flat(x), frames, count, flat(out), B, D, out.size)

    def log_softmax(self, x: Array, out: Array) -> None:
        check_same("out", out, x)
        C = x.shape[len(x.shape) - 1]
        rows.log_softmax_of(self.device, flat(x), flat(out), x.size // C, C)

    def agree(self, logits: Array, lengths: np.ndarray, share: float, gradient: Array) -> None:
        check_pairs(logits, lengths, gradient)
        T, B, C = logits.shape
        steps = self.device.upload(lengths)
        rows.agree_of(self.device, flat(logits), steps, share, flat(gradient), T * B // 2, B // 2, C)

    def best(self, log_probs: Array) -> tuple[np.ndarray, np.ndarray]:
        check_frames("log_probs", log_probs)
        T, B, C = log_probs.shape
        labels, values = rows.best_of(self.device, flat(log_probs), T * B, C)
        return labels.reshape(T, B), values.reshape(T, B)

    def dropout(self, x: Array, out: Array, rate: float, seed: int) -> None:
        check_rate(rate)
        check_same("out", out, x)
        threshold, scale = np.uint64(round(rate * 2**24)), np.float32(1.0 / (1.0 - rate))
        settings = threshold, scale, np.uint64(seed % 2**64), elementwise.quads(self.device, x.size, x, out)
        self.device.spread(elementwise.dropout, -(-x.size // 4), flat(x), flat(out), *settings, x.size)

    def axpy(self, scale: float, x: Array, y: Array) -> None:
        check_same("y", y, x)
        wide = elementwise.quads(self.device, x.size, x, y)
        self.device.spread(elementwise.axpy, -(-x.size // 4), np.float32(scale), flat(x), flat(y), wide, x.size)

    def sgd_step(
        self,
        weights: Array,
        gradient: Array,
        velocity: Array,
        rate: float,
        momentum: float,
        scale: float,
        weight_decay: float = 0.0,
    ) -> None:
        check_sgd(weights, gradient, velocity)
        arrays, size = (weights, gradient, velocity), weights.size
        settings = [np.float32(value) for value in (rate, momentum, scale, weight_decay)]
        wide = elementwise.quads(self.device, size, *arrays)
        self.device.spread(elementwise.sgd_step, -(-size // 4), *arrays, *settings, wide, size)

    def norm(self, vector: Array) -> float:
        check_vector("vector", vector)
        return elementwise.norm_of(self.device, vector)


class CudaDenseLayer:
    """`kernels.interface.DenseLayer` on the device; it refers to the weights that it was given."""

    def __init__(self, inputs: int, outputs: int, products: Products):
        self._sizes = inputs, outputs
        self._products = products

    def pack(self, weight: Array, bias: Array) -> None:
        D, N = self._sizes
        check_array("weight", weight, (N, D))
        check_array("bias", bias, (N,))
        self._weight, self._bias = flat(weight), bias

    def forward(self, x: Array, out: Array) -> None:
        D, N = self._sizes
        check_dense(x, out, D, N)
        M, y = x.shape[0] * x.shape[1], flat(out)
        self._products.repeat(self._bias, y, M, N)
        self._products.multiply((flat(x), 0, D), (self._weight, 0, D), (y, 0, N), M, N, D, b_transposed=True, add=True)

    def backward(
        self, x: Array, out_gradient: Array, weight_gradient: Array, bias_gradient: Array, x_gradient: Array | None
    ) -> None:
        D, N = self._sizes
        check_dense(x, out_gradient, D, N, "out_gradient")
        check_array("weight_gradient", weight_gradient, (N, D))
        check_array("bias_gradient", bias_gradient, (N,))
        M, dy = x.shape[0] * x.shape[1], (flat(out_gradient), 0, N)
        self._products.multiply(dy, (flat(x), 0, D), (flat(weight_gradient), 0, D), N, D, M, a_transposed=True)
        self._products.column_sums(dy, bias_gradient, 0, M, N)
        if x_gradient is not None:
            check_same("x_gradient", x_gradient, x)
            self._products.multiply(dy, (self._weight, 0, D), (flat(x_gradient), 0, D), M, D, N)
