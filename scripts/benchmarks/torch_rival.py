"""PyTorch's side of each task, at its best settings: oneDNN or cuDNN, inference mode, its own threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.jobs import (
    CHECKED_STEPS,
    CLIP,
    MOMENTUM,
    NARROW_INPUT,
    RATE,
    Job,
    LossData,
    MissingError,
    Timer,
    figures,
    layer_data,
    library,
    load_batches,
    load_network,
    loss_data,
    stacked,
    within,
)

MODULES = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}


def open_torch(threads: int, device: str = "cpu", tf32: bool = False) -> Any:
    """The library. `tf32` lets the products on a GPU round their operands to TF32: cuDNN would do so unasked."""
    torch = library("torch")
    torch.set_num_threads(threads)
    if device == "cuda":
        if not torch.cuda.is_available():
            raise MissingError("PyTorch for CUDA")
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
    return torch


def timer(torch: Any, device: str) -> Timer | None:
    """CUDA events around what a function launches."""
    if device == "cpu":
        return None

    def timed(function: Callable[[], object]) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        function()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))

    return timed


def quickest(torch: Any, device: str, once: Callable[[], Any]) -> tuple[Callable[[int], Any], str]:
    """A task of one part, and a word on how it is launched. On a GPU cuDNN's launches, some at each time step, can take
    the host longer than the device: recorded as a CUDA graph they are one. The quicker way is taken."""
    if device == "cpu":
        return lambda part: once(), ""
    aside = torch.cuda.Stream()
    with torch.cuda.stream(aside):
        for _ in range(3):  # libraries choose their algorithms and take their memory before anything is recorded
            once()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=aside):
        out = once()

    def replay() -> Any:
        graph.replay()
        return out

    timed = timer(torch, device)
    assert timed is not None
    as_graph, plain = (min(timed(way) for _ in range(5)) for way in (replay, once))
    if as_graph < plain:
        return lambda part: replay(), f"as a CUDA graph, without {plain:.3g} ms"
    return lambda part: once(), f"without a CUDA graph, with one {as_graph:.3g} ms"


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


def _layer(threads: int, cell: str, sizes: list[int], device: str, tf32: bool) -> tuple[Any, Any, Any, Any]:
    torch = open_torch(threads, device, tf32)
    data = layer_data(cell, sizes)
    module = recurrent_module(torch, cell, sizes[2], sizes[3])
    copy_weights(torch, module, 0, data.weights)
    x, out_gradient = (torch.from_numpy(array).to(device) for array in (data.x, data.out_gradient))
    return torch, module.to(device), x, out_gradient


def train_layer(threads: int, cell: str, sizes: list[int], device: str = "cpu", tf32: bool = False) -> Job:
    torch, module, x, out_gradient = _layer(threads, cell, sizes, device, tf32)
    x.requires_grad_(sizes[2] > NARROW_INPUT)

    def once() -> Any:
        module.zero_grad(set_to_none=True)
        x.grad = None
        out, _ = module(x)
        out.backward(out_gradient)
        return out

    run, note = quickest(torch, device, once)
    out = run(0).detach()
    checked = [out, module.weight_hh_l0.grad, module.weight_ih_l0_reverse.grad, *([] if x.grad is None else [x.grad])]
    return Job(run, figures(*(array.cpu() for array in checked)), timed=timer(torch, device), note=note)


def infer_layer(threads: int, cell: str, sizes: list[int], device: str = "cpu", tf32: bool = False) -> Job:
    torch, module, x, _ = _layer(threads, cell, sizes, device, tf32)
    module.eval()

    def once() -> Any:
        with torch.inference_mode():
            return module(x)[0]

    run, note = quickest(torch, device, once)
    return Job(run, figures(run(0).cpu()), timed=timer(torch, device), note=note)


def ctc(threads: int, sizes: list[int], device: str = "cpu", tf32: bool = False) -> Job:
    torch = open_torch(threads, device, tf32)
    data = loss_data(sizes)
    T, B, _, S = sizes
    logits = torch.from_numpy(data.logits).to(device).requires_grad_(True)
    labels = torch.from_numpy(data.labels).long().to(device)
    lengths, label_lengths = torch.full((B,), T), torch.full((B,), S)

    def run(part: int) -> Any:
        logits.grad = None
        log_probs = torch.nn.functional.log_softmax(logits, 2)
        losses = torch.nn.functional.ctc_loss(log_probs, labels, lengths, label_lengths, reduction="none")
        losses.sum().backward()
        return losses

    return Job(run, _exact_figures(torch, data), timed=timer(torch, device))


def _exact_figures(torch: Any, data: LossData) -> list[float]:
    """Losses and gradient in float64: PyTorch's float32 gradient is off by 1 % over 1500 steps of 1000 labels."""
    logits = torch.from_numpy(data.logits).double().requires_grad_(True)
    T, B, _ = data.logits.shape
    labels = torch.from_numpy(data.labels).long()
    losses = torch.nn.functional.ctc_loss(
        torch.nn.functional.log_softmax(logits, 2),
        labels,
        torch.full((B,), T),
        torch.full((B,), labels.shape[1]),
        reduction="none",
    )
    losses.sum().backward()
    return figures(losses.detach(), logits.grad)


def train_network(threads: int, folder: str, packed: bool, device: str = "cpu", tf32: bool = False) -> Job:
    """The same updates. Padded batches let the backward direction begin in the padding, so their loss is another.

    For a GPU, each update brings its batch there, as ours does, here from memory that cannot be swapped out.
    """
    torch = open_torch(threads, device, tf32)
    batches = [_tensors(torch, folder, batch) for batch in load_batches(folder)]
    if device == "cuda":
        batches = [{name: tensor.pin_memory() for name, tensor in batch.items()} for batch in batches]
    lstm, dense = (module.to(device) for module in _network(torch, folder))
    parameters = [*lstm.parameters(), *dense.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=RATE, momentum=MOMENTUM, nesterov=True)

    def run(part: int) -> float:
        batch = batches[part]
        optimizer.zero_grad(set_to_none=True)
        x, labels = (batch[name].to(device, non_blocking=True) for name in ("x", "labels"))
        log_probs = _log_probs(torch, lstm, dense, x, batch["steps"] if packed else None)
        loss = torch.nn.functional.ctc_loss(log_probs, labels, batch["steps"], batch["label_lengths"], reduction="sum")
        loss = loss / batch["label_lengths"].sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        return float(loss.detach())

    losses = [run(step % len(batches)) for step in range(CHECKED_STEPS)]
    return Job(run, losses[-1:] if packed else (), len(batches), timed=timer(torch, device))


def infer_network(threads: int, folder: str) -> Job:
    torch = open_torch(threads)
    batches = [_tensors(torch, folder, batch) for batch in load_batches(folder)]
    lstm, dense = _network(torch, folder)

    def run(part: int) -> Any:
        with torch.inference_mode():
            return _log_probs(torch, lstm, dense, batches[part]["x"], batches[part]["steps"])

    return Job(run, figures(within(run(0).numpy(), batches[0]["steps"].numpy())), len(batches))


def _network(torch: Any, folder: str) -> tuple[Any, Any]:
    config, weights = load_network(folder)
    shapes = config.recurrent_shapes()
    lstm = recurrent_module(torch, config.cell, shapes[0].inputs, config.hidden, config.layers)
    for layer in range(config.layers):
        prefix = f"layer{layer}."
        own = {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
        copy_weights(torch, lstm, layer, own)
    dense = torch.nn.Linear(shapes[-1].outputs, config.outputs)
    with torch.no_grad():
        dense.weight.copy_(torch.from_numpy(weights["output.weight"]))
        dense.bias.copy_(torch.from_numpy(weights["output.bias"]))
    return lstm, dense


def _tensors(torch: Any, folder: str, batch: dict[str, np.ndarray]) -> dict[str, Any]:
    x, steps = stacked(batch["frames"], batch["lengths"], load_network(folder)[0].stack)
    arrays = {"x": x, "steps": steps, "labels": batch["labels"], "label_lengths": batch["label_lengths"]}
    return {name: torch.from_numpy(a if name == "x" else a.astype(np.int64)) for name, a in arrays.items()}


def _log_probs(torch: Any, lstm: Any, dense: Any, x: Any, steps: Any | None) -> Any:
    """[T, B, C]; with `steps`, through packed sequences."""
    rnn = torch.nn.utils.rnn
    out, _ = lstm(x if steps is None else rnn.pack_padded_sequence(x, steps))
    if steps is not None:
        out, _ = rnn.pad_packed_sequence(out, total_length=x.shape[0])
    return torch.nn.functional.log_softmax(dense(out), 2)


def nothing(threads: int) -> Job:
    """Only the import, for its memory."""
    open_torch(threads)
    return Job(lambda part: None)


TASKS: dict[str, Any] = {
    "nothing": nothing,
    "train layer": train_layer,
    "infer layer": infer_layer,
    "ctc": ctc,
    "train network": train_network,
    "infer network": infer_network,
}
