"""Our side of each task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.jobs import NARROW_INPUT, Job, figures, layer_data, loss_data
from kernels import open_backend
from kernels.cells import CELLS


def layer_flops(cell: str, sizes: Sequence[int], train: bool) -> float:
    """Of a bidirectional layer's matrix products: one multiply and one add for each weight, row and pass."""
    T, B, D, H = sizes
    gates = CELLS[cell].gates
    forward = 2.0 * T * B * 2 * gates * H * (D + H)
    if not train:
        return forward
    backward = 2.0 * T * B * 2 * gates * H * (H + (D if D > NARROW_INPUT else 0))
    return 2 * forward + backward  # the weights' gradient has as many as the way forward


def train_layer(threads: int, cell: str, sizes: list[int]) -> Job:
    """Packing the weights, forward, backward through time: what a layer costs in a training step."""
    data = layer_data(cell, sizes)
    backend = open_backend("cpu", threads)
    layer = backend.recurrent(data.shape)
    lengths = np.full(sizes[1], sizes[0], np.int32)
    out = backend.empty(data.out_gradient.shape)
    gradients = {name: np.empty_like(weight) for name, weight in data.weights.items()}
    dx = backend.empty(data.x.shape) if sizes[2] > NARROW_INPUT else None

    def run(part: int) -> None:
        layer.pack(data.weights)
        layer.forward(data.x, lengths, out)
        layer.backward(data.x, lengths, out, data.out_gradient, gradients, dx)

    run(0)
    checked = [out, gradients["forward.weight_hh"], gradients["backward.weight_ih"]]
    return Job(run, figures(*checked, *([] if dx is None else [dx])), flops=[layer_flops(cell, sizes, train=True)])


def infer_layer(threads: int, cell: str, sizes: list[int]) -> Job:
    data = layer_data(cell, sizes)
    backend = open_backend("cpu", threads)
    layer = backend.recurrent(data.shape)
    layer.pack(data.weights)
    lengths = np.full(sizes[1], sizes[0], np.int32)
    out = backend.empty(data.out_gradient.shape)

    def run(part: int) -> None:
        layer.infer(data.x, lengths, out)

    run(0)
    return Job(run, figures(out), flops=[layer_flops(cell, sizes, train=False)])


def bare_tile(threads: int) -> Job:
    from kernels.cpu.peak import BareTile

    tile = BareTile()
    tile.run()
    return Job(lambda part: tile.run(), flops=[tile.flops])


def ctc(threads: int, sizes: list[int]) -> Job:
    """Log-softmax, loss and gradient by the logits."""
    data = loss_data(sizes)
    T, B, _, S = sizes
    loss = open_backend("cpu", threads).ctc()
    lengths, label_lengths = np.full(B, T, np.int32), np.full(B, S, np.int32)
    gradient = np.empty_like(data.logits)

    def run(part: int) -> np.ndarray:
        return loss(data.logits, lengths, data.labels, label_lengths, gradient)

    return Job(run, figures(run(0), gradient))


def nothing(threads: int) -> Job:
    """Only the import, for its memory."""
    open_backend("cpu", threads)
    return Job(lambda part: None)


TASKS: dict[str, Any] = {
    "nothing": nothing,
    "train layer": train_layer,
    "infer layer": infer_layer,
    "bare tile": bare_tile,
    "ctc": ctc,
}
