"""How long a step of time takes on a GPU: the kernel of a recurrent layer's steps alone, forward and backward.

    python scripts/time_steps.py
    ASR_CUDA_MODE=stepwise python scripts/time_steps.py --cell gru --sizes 16,512,128

CUDA events around each launch of all steps; the median of five, divided by their number.
"""

from __future__ import annotations

from statistics import median
from typing import Annotated, Any

import numpy as np
import typer

from kernels import BackendUnavailableError, open_backend
from kernels.interface import RecurrentShape

SIZES = ["16,39,256", "64,512,256", "64,512,512"]


def main(
    cell: Annotated[str, typer.Option("--cell", help="lstm, gru, rnn_tanh or rnn_relu.")] = "lstm",
    sizes: Annotated[list[str] | None, typer.Option("--sizes", metavar="B,D,H", help="Repeatable.")] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Of each utterance.")] = 500,
    rounds: Annotated[int, typer.Option("--rounds", min=1)] = 5,
) -> None:
    """Print a line for each size."""
    try:
        backend: Any = open_backend("cuda")
    except BackendUnavailableError as error:
        raise SystemExit(f"time_steps: {error}") from None
    for text in sizes or SIZES:
        B, D, H = (int(size) for size in text.split(","))
        layer = Layer(backend, RecurrentShape(cell, D, H), steps, B)
        forward, backward = (1000 * time / steps for time in layer.milliseconds(rounds))
        print(f"{text}: forward {forward:.2f} us, backward {backward:.2f} us a step; {layer.plan}")


class Layer:
    """A layer with random weights, and a batch of B utterances of T frames."""

    def __init__(self, backend: Any, shape: RecurrentShape, T: int, B: int):
        self._device = backend.device
        self._layer = backend.recurrent(shape)
        self.plan = self._layer.plan(B).describe()
        rng = np.random.default_rng(1)
        parameters = shape.parameter_shapes()
        bound = 1 / np.sqrt(shape.hidden)
        weights = {name: rng.uniform(-bound, bound, size).astype(np.float32) for name, size in parameters.items()}
        self._layer.pack({name: backend.to_device(weight) for name, weight in weights.items()})
        x, out_gradient = ((T, B, size) for size in (shape.inputs, shape.outputs))
        self._x, self._out_gradient = (
            backend.to_device(rng.standard_normal(size, np.float32)) for size in (x, out_gradient)
        )
        self._x_gradient, self._out = backend.empty(x), backend.empty(out_gradient)
        self._gradients = {name: backend.empty(size) for name, size in parameters.items()}
        self._lengths = np.full(B, T, np.int32)

    def milliseconds(self, rounds: int) -> tuple[float, float]:
        """Of all steps forward and backward: medians over rounds, after two that warm up."""
        spent: list[float] = []
        steps = self._layer._steps
        self._layer._steps = lambda *given: spent.append(self._device.milliseconds(lambda: steps(*given)))
        for _ in range(2 + rounds):
            self._layer.forward(self._x, self._lengths, self._out)
            given = self._x, self._lengths, self._out, self._out_gradient
            self._layer.backward(*given, self._gradients, self._x_gradient)
        self._layer._steps = steps
        return median(spent[4::2]), median(spent[5::2])


if __name__ == "__main__":
    typer.run(main)
