"""PyTorch's side of each task, at its best settings: oneDNN, inference mode, its own threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.jobs import NARROW_INPUT, Job, figures, layer_data, library, loss_data

MODULES = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}


def open_torch(threads: int) -> Any:
    torch = library("torch")
    torch.set_num_threads(threads)
    return torch


def recurrent_module(torch: Any, cell: str, inputs: int, hidden: int, layers: int = 1) -> Any:
    """A bidirectional stack of PyTorch's own layers."""
    options = {"nonlinearity": cell.removeprefix("rnn_")} if cell.startswith("rnn_") else {}
    return getattr(torch.nn, MODULES[cell])(inputs, hidden, layers, bidirectional=True, **options)


def copy_weights(torch: Any, module: Any, layer: int, weights: dict[str, np.ndarray]) -> None:
    """Weights named as ours into one layer of a stack."""
    with torch.no_grad():
        for name, weight in weights.items():
            direction, kind = name.split(".")
            suffix = "_reverse" if direction == "backward" else ""
            getattr(module, f"{kind}_l{layer}{suffix}").copy_(torch.from_numpy(weight))


def _layer(threads: int, cell: str, sizes: list[int]) -> tuple[Any, Any, Any, Any]:
    torch = open_torch(threads)
    data = layer_data(cell, sizes)
    module = recurrent_module(torch, cell, sizes[2], sizes[3])
    copy_weights(torch, module, 0, data.weights)
    return torch, module, torch.from_numpy(data.x), torch.from_numpy(data.out_gradient)


def train_layer(threads: int, cell: str, sizes: list[int]) -> Job:
    _, module, x, out_gradient = _layer(threads, cell, sizes)
    x.requires_grad_(sizes[2] > NARROW_INPUT)

    def run(part: int) -> Any:
        module.zero_grad(set_to_none=True)
        x.grad = None
        out, _ = module(x)
        out.backward(out_gradient)
        return out

    out = run(0).detach()
    checked = [out, module.weight_hh_l0.grad, module.weight_ih_l0_reverse.grad]
    return Job(run, figures(*checked, *([] if x.grad is None else [x.grad])))


def infer_layer(threads: int, cell: str, sizes: list[int]) -> Job:
    torch, module, x, _ = _layer(threads, cell, sizes)
    module.eval()

    def run(part: int) -> Any:
        with torch.inference_mode():
            return module(x)[0]

    return Job(run, figures(run(0)))


def ctc(threads: int, sizes: list[int]) -> Job:
    torch = open_torch(threads)
    data = loss_data(sizes)
    T, B, _, S = sizes
    logits, labels = torch.from_numpy(data.logits).requires_grad_(True), torch.from_numpy(data.labels).long()
    lengths, label_lengths = torch.full((B,), T), torch.full((B,), S)

    def run(part: int) -> Any:
        logits.grad = None
        log_probs = torch.nn.functional.log_softmax(logits, 2)
        losses = torch.nn.functional.ctc_loss(log_probs, labels, lengths, label_lengths, reduction="none")
        losses.sum().backward()
        return losses

    losses = run(0).detach()
    return Job(run, figures(losses, logits.grad))


def nothing(threads: int) -> Job:
    """Only the import, for its memory."""
    open_torch(threads)
    return Job(lambda part: None)


TASKS: dict[str, Any] = {"nothing": nothing, "train layer": train_layer, "infer layer": infer_layer, "ctc": ctc}
