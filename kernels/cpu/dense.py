"""A dense layer and log-softmax on the CPU."""

from __future__ import annotations

import numpy as np

from kernels.checks import check_array, check_dense
from kernels.cpu.team import Team
from kernels.jit import kernel


class CpuDenseLayer:
    """`kernels.interface.DenseLayer` on the CPU, by BLAS."""

    def __init__(self, inputs: int, outputs: int, team: Team):
        self._team = team
        self._weight = np.zeros((outputs, inputs), np.float32)
        self._bias = np.zeros(outputs, np.float32)

    def pack(self, weight: np.ndarray, bias: np.ndarray) -> None:
        check_array("weight", weight, self._weight.shape)
        check_array("bias", bias, self._bias.shape)
        self._weight[:] = weight
        self._bias[:] = bias

    def forward(self, x: np.ndarray, out: np.ndarray) -> None:
        check_dense(x, out, self._weight.shape[1], self._weight.shape[0])
        flat = out.reshape(-1, out.shape[-1])
        np.matmul(x.reshape(-1, x.shape[-1]), self._weight.T, out=flat)
        flat += self._bias

    def backward(
        self,
        x: np.ndarray,
        out_gradient: np.ndarray,
        weight_gradient: np.ndarray,
        bias_gradient: np.ndarray,
        x_gradient: np.ndarray | None,
    ) -> None:
        outputs, inputs = self._weight.shape
        check_dense(x, out_gradient, inputs, outputs, "out_gradient")
        check_array("weight_gradient", weight_gradient, self._weight.shape)
        check_array("bias_gradient", bias_gradient, self._bias.shape)
        dy = out_gradient.reshape(-1, out_gradient.shape[-1])
        np.matmul(dy.T, x.reshape(-1, x.shape[-1]), out=weight_gradient)
        np.sum(dy, axis=0, out=bias_gradient)
        if x_gradient is not None:
            check_array("x_gradient", x_gradient, x.shape)
            np.matmul(dy, self._weight, out=x_gradient.reshape(-1, x_gradient.shape[-1]))


@kernel("log-softmax")
def log_softmax(x, out):
    """x, out [N, C]; float64 inside, so that a row of out sums to 1 within float32."""
    for i in range(x.shape[0]):
        top = x[i].max()
        total = 0.0
        for c in range(x.shape[1]):
            total += np.exp(np.float64(x[i, c] - top))
        shift = top + np.log(total)
        for c in range(x.shape[1]):
            out[i, c] = x[i, c] - shift
