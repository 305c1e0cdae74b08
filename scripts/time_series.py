"""`kernels` alone, without speech: forecast a chaotic series, one output value per sequence.

    python scripts/time_series.py

The series is Mackey and Glass's (Science 1977), with noise. An LSTM reads 48 values; a dense layer turns its last
output into a forecast of the value 6 steps on; the squared error flows back through time, and SGD with Nesterov
momentum moves the weights. Prints the error on unseen windows beside that of the naive forecast, "as now".
"""

from __future__ import annotations

import numpy as np

from kernels import open_backend
from kernels.interface import RecurrentShape

WINDOW, AHEAD = 48, 6  # steps
BATCH, EPOCHS = 64, 15
RATE, MOMENTUM = 0.05, 0.9


def mackey_glass(length: int, rng: np.random.Generator) -> np.ndarray:
    """x' = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x, sampled once per unit of time; mean 0, variance 1."""
    x = np.full(length + 200, 1.2)
    for t in range(17, len(x) - 1):
        x[t + 1] = x[t] + 0.2 * x[t - 17] / (1 + x[t - 17] ** 10) - 0.1 * x[t]
    x = x[200:] + rng.normal(0, 0.02, length)
    return np.asarray((x - x.mean()) / x.std(), np.float32)


def windows(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inputs `[T, N, 1]`, time first, and the values to forecast `[N]`."""
    views = np.lib.stride_tricks.sliding_window_view(series, WINDOW + AHEAD)
    return np.ascontiguousarray(views[:, :WINDOW].T[:, :, None]), np.ascontiguousarray(views[:, -1])


class Forecaster:
    """A recurrent layer and a dense one, with all weights in one flat vector."""

    def __init__(self, hidden: int, rng: np.random.Generator):
        self.backend = open_backend("cpu")
        shape = RecurrentShape("lstm", inputs=1, hidden=hidden, bidirectional=False)
        self.recurrent, self.dense = self.backend.recurrent(shape), self.backend.dense(hidden, 1)
        self.shapes = shape.parameter_shapes() | {"weight": (1, hidden), "bias": (1,)}
        size = sum(int(np.prod(shape)) for shape in self.shapes.values())
        self.vector = rng.uniform(-1, 1, size).astype(np.float32) / np.sqrt(np.float32(hidden))
        self.gradient, self.velocity = np.zeros_like(self.vector), np.zeros_like(self.vector)
        self.weights, self.gradients = self.views(self.vector), self.views(self.gradient)
        self.pack()

    def views(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()])[:-1]
        parts = np.split(vector, ends)
        return {name: part.reshape(shape) for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)}

    def pack(self) -> None:
        self.recurrent.pack(self.weights)
        self.dense.pack(self.weights["weight"], self.weights["bias"])

    def forward(self, x: np.ndarray, training: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lengths `[B]`, the layer's outputs `[T, B, H]`, and the forecasts `[1, B, 1]`."""
        T, B, _ = x.shape
        lengths = np.full(B, T, np.int32)
        out = self.backend.empty((T, B, self.recurrent.shape.outputs))
        (self.recurrent.forward if training else self.recurrent.infer)(x, lengths, out)
        y = self.backend.empty((1, B, 1))
        self.dense.forward(out[-1:], y)
        return lengths, out, y

    def train_on(self, x: np.ndarray, target: np.ndarray, rate: float) -> None:
        """One SGD step on the mean squared error."""
        lengths, out, y = self.forward(x, training=True)
        dy = 2 * (y - target[None, :, None]) / np.float32(len(target))
        d_out = self.backend.zeros(out.shape)  # nothing flows into any output but the last
        self.dense.backward(out[-1:], dy, self.gradients["weight"], self.gradients["bias"], d_out[-1:])
        self.recurrent.backward(x, lengths, out, d_out, self.gradients, None)
        scale = 1 / max(1.0, self.backend.norm(self.gradient))  # clipped to norm 1
        self.backend.sgd_step(self.vector, self.gradient, self.velocity, rate, MOMENTUM, scale)
        self.pack()

    def error(self, x: np.ndarray, target: np.ndarray) -> float:
        """Root mean squared error; the series has deviation 1."""
        return float(np.sqrt(np.mean((self.forward(x)[2].ravel() - target) ** 2)))


def main() -> None:
    rng = np.random.default_rng(1)
    series = mackey_glass(6000, rng)
    (x, target), (unseen, truth) = windows(series[:5000]), windows(series[5000:])
    model = Forecaster(hidden=32, rng=rng)
    print(f"naive forecast: error {np.sqrt(np.mean((unseen[-1].ravel() - truth) ** 2)):.3f}")
    print(f"untrained LSTM: error {model.error(unseen, truth):.3f}")
    for epoch in range(EPOCHS):
        rate = RATE * (1 - epoch / EPOCHS)
        for batch in np.array_split(rng.permutation(len(target)), len(target) // BATCH):
            model.train_on(np.ascontiguousarray(x[:, batch]), target[batch], rate)
        print(f"epoch {epoch + 1:2}: error {model.error(unseen, truth):.3f}")


if __name__ == "__main__":
    main()
