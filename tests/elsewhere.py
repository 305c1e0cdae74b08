"""A device made of nothing: the CPU's kernels behind arrays that the host cannot look into.

What works here works with arrays that live on a GPU: whoever touches one as if it were NumPy's gets an error, whatever
crosses between host and device is a copy, and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kernels import DeviceMemoryError, open_backend
from kernels.interface import CtcLoss, DenseLayer, RecurrentLayer, RecurrentShape


class Remote:
    """An array on the device: it has a shape and a dtype, can be cut along its first axis and reshaped, no more."""

    def __init__(self, hidden: np.ndarray):
        self._hidden = hidden

    @property
    def shape(self) -> tuple[int, ...]:
        return self._hidden.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._hidden.dtype

    def __getitem__(self, cut: slice) -> Remote:
        if not isinstance(cut, slice):
            raise TypeError(f"an array of the device was read at {cut}")
        return Remote(self._hidden[cut])

    def reshape(self, *shape: Any) -> Remote:
        return Remote(self._hidden.reshape(*shape))

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("an array of the device was taken for one of the host")

    def __iter__(self) -> Any:
        raise TypeError("an array of the device was walked through")

    def __setitem__(self, *_: Any) -> None:
        raise TypeError("an array of the device was written to")


def inside(value: Any) -> Any:
    """What a device array holds; an array of the host where one of the device belongs is an error."""
    if isinstance(value, Mapping):
        return {name: inside(each) for name, each in value.items()}
    if not isinstance(value, Remote):
        raise TypeError(f"an array of the device was expected, not {type(value).__name__}")
    return value._hidden


class Elsewhere:
    """`kernels.interface.Backend`; `room` is how many bytes one array may have."""

    name = "elsewhere"

    def __init__(self, threads: int = 2, room: float = float("inf")):
        self.threads = threads
        self.room = room
        self.uploads, self.downloads = 0, 0
        self._cpu = open_backend("cpu", threads)

    def describe(self) -> str:
        return "elsewhere"

    def explain(self, shape: RecurrentShape, batch: int) -> str:
        return f"{shape.hidden} units, {batch} utterances"

    def to_device(self, host: np.ndarray) -> Remote:
        self._take(host.nbytes)
        self.uploads += 1
        return Remote(np.array(host))

    def to_host(self, array: Remote) -> np.ndarray:
        self.downloads += 1
        return np.array(inside(array))

    def resident(self, vector: np.ndarray) -> Remote:
        return self.to_device(vector)

    def empty(self, shape: tuple[int, ...]) -> Remote:
        self._take(4 * int(np.prod(shape)))
        return Remote(np.full(shape, np.nan, np.float32))

    def zeros(self, shape: tuple[int, ...]) -> Remote:
        self._take(4 * int(np.prod(shape)))
        return Remote(np.zeros(shape, np.float32))

    def recurrent(self, shape: RecurrentShape) -> RemoteRecurrentLayer:
        return RemoteRecurrentLayer(shape, self._cpu.recurrent(shape))

    def dense(self, inputs: int, outputs: int) -> RemoteDenseLayer:
        return RemoteDenseLayer(self._cpu.dense(inputs, outputs))

    def ctc(self) -> RemoteCtcLoss:
        return RemoteCtcLoss(self._cpu.ctc())

    def stack_frames(self, x: Remote, lengths: np.ndarray, count: int, out: Remote) -> None:
        self._cpu.stack_frames(inside(x), lengths, count, inside(out))

    def log_softmax(self, x: Remote, out: Remote) -> None:
        self._cpu.log_softmax(inside(x), inside(out))

    def agree(self, logits: Remote, lengths: np.ndarray, share: float, gradient: Remote) -> None:
        self._cpu.agree(inside(logits), lengths, share, inside(gradient))

    def axpy(self, scale: float, x: Remote, y: Remote) -> None:
        self._cpu.axpy(scale, inside(x), inside(y))

    def best(self, log_probs: Remote) -> tuple[np.ndarray, np.ndarray]:
        return self._cpu.best(inside(log_probs))

    def dropout(self, x: Remote, out: Remote, rate: float, seed: int) -> None:
        self._cpu.dropout(inside(x), inside(out), rate, seed)

    def sgd_step(self, weights: Remote, gradient: Remote, velocity: Remote, *settings: float) -> None:
        self._cpu.sgd_step(inside(weights), inside(gradient), inside(velocity), *settings)

    def norm(self, vector: Remote) -> float:
        return self._cpu.norm(inside(vector))

    def _take(self, size: int) -> None:
        if size > self.room:
            raise DeviceMemoryError(size, int(self.room), int(self.room))


class RemoteRecurrentLayer:
    def __init__(self, shape: RecurrentShape, layer: RecurrentLayer):
        self.shape, self._layer = shape, layer

    def pack(self, weights: Mapping[str, Remote]) -> None:
        self._layer.pack(inside(weights))

    def infer(self, x: Remote, lengths: np.ndarray, out: Remote) -> None:
        self._layer.infer(inside(x), lengths, inside(out))

    def forward(self, x: Remote, lengths: np.ndarray, out: Remote) -> None:
        self._layer.forward(inside(x), lengths, inside(out))

    def backward(
        self,
        x: Remote,
        lengths: np.ndarray,
        out: Remote,
        out_gradient: Remote,
        gradients: Mapping[str, Remote],
        x_gradient: Remote | None,
    ) -> None:
        given = None if x_gradient is None else inside(x_gradient)
        self._layer.backward(inside(x), lengths, inside(out), inside(out_gradient), inside(gradients), given)


class RemoteDenseLayer:
    def __init__(self, layer: DenseLayer):
        self._layer = layer

    def pack(self, weight: Remote, bias: Remote) -> None:
        self._layer.pack(inside(weight), inside(bias))

    def forward(self, x: Remote, out: Remote) -> None:
        self._layer.forward(inside(x), inside(out))

    def backward(
        self, x: Remote, out_gradient: Remote, weight: Remote, bias: Remote, x_gradient: Remote | None
    ) -> None:
        given = None if x_gradient is None else inside(x_gradient)
        self._layer.backward(inside(x), inside(out_gradient), inside(weight), inside(bias), given)


class RemoteCtcLoss:
    def __init__(self, loss: CtcLoss):
        self._loss = loss

    def __call__(
        self,
        logits: Remote,
        lengths: np.ndarray,
        labels: np.ndarray,
        label_lengths: np.ndarray,
        gradient: Remote | None,
    ) -> np.ndarray:
        given = None if gradient is None else inside(gradient)
        return self._loss(inside(logits), lengths, labels, label_lengths, given)
