"""The plots of docs/cells.md: how far back each cell's gradient reaches, and how each cell learns.

    python scripts/gradient_lag.py [RUN...]

`docs/images/gradient-lag.png` shows the norm of the derivative of the last output by the input k steps before it,
from the kernels' own back-propagation through time, for each cell as it starts training. Each RUN is the folder of
a training run: its trained first layer joins the plot (dashed), and its metrics.jsonl becomes a line of
`docs/images/learning-curves.png`. The input is speech: the AN4 recordings in samples/.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from starting import start

from asr import audio
from asr.errors import UsageError
from asr.features import FeatureConfig, extract
from asr.model import Model
from asr.network import Network, NetworkConfig
from kernels import open_backend
from kernels.cells import CELLS
from kernels.interface import RecurrentShape

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
STACK = 3  # frames of 10 ms in one step, if no model says otherwise
LAGS = 60  # steps
DRAWS = 20  # directions in which the last output is differentiated


def speech(features: FeatureConfig, stack: int) -> list[np.ndarray]:
    """Stacked frames `[T, D]` of the AN4 samples."""
    stacked = []
    for path in sorted((ROOT / "samples").glob("an4-*.flac")):
        frames = extract(audio.read(path, features.rate), features)
        steps = len(frames) // stack
        stacked.append(frames[: steps * stack].reshape(steps, -1))
    return stacked


def initial_weights(cell: str, inputs: int) -> dict[str, np.ndarray]:
    """One direction of a layer as training starts it."""
    config = NetworkConfig(inputs=inputs, outputs=2, cell=cell, layers=1, bidirectional=False, stack=1)
    return Network.initial(config, np.random.default_rng(1)).under("layer0")


def gradient_by_lag(cell: str, weights: Mapping[str, np.ndarray], utterances: list[np.ndarray]) -> np.ndarray:
    """`[LAGS]`: mean over utterances and directions of |d output(last) / d x(last - k)|, 1 at lag 0."""
    backend = open_backend("cpu")
    inputs, hidden = weights["forward.weight_ih"].shape[1], weights["forward.weight_hh"].shape[1]
    layer = backend.recurrent(RecurrentShape(cell, inputs, hidden, bidirectional=False))
    layer.pack(weights)
    gradients = {name: np.empty_like(weight) for name, weight in weights.items()}
    rng = np.random.default_rng(1)
    norms = np.zeros(LAGS)
    for frames in utterances:
        x = np.ascontiguousarray(np.repeat(frames[:, None], DRAWS, axis=1))
        lengths = np.full(DRAWS, len(x), np.int32)
        out, x_gradient = backend.empty((*x.shape[:2], hidden)), backend.empty(x.shape)
        layer.forward(x, lengths, out)
        out_gradient = backend.zeros(out.shape)
        out_gradient[-1] = rng.standard_normal((DRAWS, hidden))
        layer.backward(x, lengths, out, out_gradient, gradients, x_gradient)
        norms += np.linalg.norm(x_gradient[: -LAGS - 1 : -1], axis=2).mean(axis=1)
    return np.asarray(norms / norms[0])


def plot_gradients(models: list[Model]) -> None:
    """`gradient-lag.png`; models that share the plot must share their features and steps, else UsageError."""
    features = models[0].features if models else FeatureConfig(coefficients=20)
    stack = models[0].network.stack if models else STACK
    if any((model.features, model.network.stack) != (features, stack) for model in models):
        raise UsageError("these models hear other features or steps than each other; name those that share them")
    utterances = speech(features, stack)
    figure, axes = plt.subplots(figsize=(8, 5))
    colours = dict(zip(CELLS, plt.rcParams["axes.prop_cycle"].by_key()["color"], strict=False))
    for cell, colour in colours.items():
        curve = gradient_by_lag(cell, initial_weights(cell, utterances[0].shape[1]), utterances)
        axes.semilogy(np.arange(LAGS) * stack * 10, curve, color=colour, label=f"{cell}, untrained")
        print(f"{cell:9} untrained: {describe(curve, stack)}")
    for model in models:
        cell, weights = model.network.cell, model.parameters.under("layer0")
        forward = {name: weight for name, weight in weights.items() if name.startswith("forward.")}
        curve = gradient_by_lag(cell, forward, utterances)
        axes.semilogy(np.arange(LAGS) * stack * 10, curve, "--", color=colours[cell], label=f"{cell}, trained")
        print(f"{cell:9} trained:   {describe(curve, stack)}")
    axes.set(xlabel="time lag, ms", ylabel="norm of the gradient, relative to lag 0", ylim=(1e-12, 10))
    save(figure, "gradient-lag.png")


def describe(curve: np.ndarray, stack: int) -> str:
    below = np.flatnonzero(curve < 1e-3)
    reach = f"{below[0] * stack * 10} ms" if len(below) else f"more than {LAGS * stack * 10} ms"
    return f"falls to a thousandth after {reach}"


def plot_learning(runs: dict[str, Path]) -> None:
    """`learning-curves.png`: development word error rate after each epoch."""
    figure, axes = plt.subplots(figsize=(8, 5))
    for name, run in runs.items():
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        axes.plot([row["epoch"] for row in rows], [100 * row["dev_wer"] for row in rows], label=name)
        print(f"{name:9} epoch {rows[-1]['epoch']}: development WER {rows[-1]['dev_wer']:.1%}")
    axes.set(xlabel="epoch", ylabel="word error rate on development speakers, %", ylim=(0, 105))
    save(figure, "learning-curves.png")


def save(figure: Figure, name: str) -> None:
    figure.axes[0].legend()
    figure.axes[0].grid(alpha=0.3)
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGES / name, dpi=120, bbox_inches="tight")
    print(f"wrote {(IMAGES / name).relative_to(ROOT)}")


def main(*folders: str) -> None:
    runs = [Path(folder) for folder in folders]
    models = [Model.load(run / "model.safetensors") for run in runs]
    plot_gradients(models)
    if runs:
        plot_learning({model.network.cell: run for model, run in zip(models, runs, strict=True)})


if __name__ == "__main__":
    start(main, __doc__, 0)
