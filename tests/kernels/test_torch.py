"""Against an independent implementation, where it is installed: PyTorch in float64."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import CELL_NAMES, Case, assert_close, make_case, run_layer
from test_ctc import make_batch, run_ctc

from kernels.interface import Backend

torch = pytest.importorskip("torch")

TOLERANCE = {"reference": 1e-12}  # of the largest value; other backends compute in float32


def make_module(case: Case) -> torch.nn.Module:
    """PyTorch's layer with the weights of the case."""
    shape = case.shape
    kinds = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn_tanh": torch.nn.RNN, "rnn_relu": torch.nn.RNN}
    options = {"nonlinearity": shape.cell[4:]} if shape.cell.startswith("rnn") else {}
    module = kinds[shape.cell](shape.inputs, shape.hidden, bidirectional=shape.bidirectional, **options).double()
    with torch.no_grad():
        for name, weight in case.weights.items():
            getattr(module, torch_name(name)).copy_(torch.from_numpy(weight))
    return module


def torch_name(name: str) -> str:
    direction, rest = name.split(".")
    return f"{rest}_l0" + ("_reverse" if direction == "backward" else "")


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("size", ["unequal lengths", "frames beyond the longest", "one frame"])
def test_layers(backend: Backend, cell: str, bidirectional: bool, size: str) -> None:
    case = make_case(cell, bidirectional, size)
    module = make_module(case)
    x = torch.from_numpy(case.x).double().requires_grad_()
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.from_numpy(case.lengths))
    out, _ = torch.nn.utils.rnn.pad_packed_sequence(module(packed)[0], total_length=len(case.x))
    out.backward(torch.from_numpy(case.out_gradient).double())

    found = run_layer(backend, case)
    assert_close(found.out, out.detach().numpy(), TOLERANCE.get(backend.name, 2e-6), "out")
    assert_close(found.x_gradient, x.grad.numpy(), TOLERANCE.get(backend.name, 1e-5), "x_gradient")
    for name, gradient in found.gradients.items():
        expected = getattr(module, torch_name(name)).grad.numpy()
        assert_close(gradient, expected, TOLERANCE.get(backend.name, 1e-5), name)


def test_ctc(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    labels = [rng.integers(1, 7, 9).tolist(), [3, 3, 3], [], [1, 2]]
    batch = make_batch(2 * rng.standard_normal((25, 4, 7)), [25, 20, 6, 2], labels)
    losses, gradient = run_ctc(backend, batch)
    logits = torch.from_numpy(batch.logits).double().requires_grad_()
    expected = torch.nn.functional.ctc_loss(
        logits.log_softmax(2),
        torch.from_numpy(batch.labels),
        torch.from_numpy(batch.lengths),
        torch.from_numpy(batch.label_lengths),
        reduction="none",
    )
    expected.sum().backward()
    np.testing.assert_allclose(losses, expected.detach().numpy(), rtol=TOLERANCE.get(backend.name, 1e-6))
    np.testing.assert_allclose(gradient, logits.grad.numpy(), atol=TOLERANCE.get(backend.name, 1e-6))


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_sgd(backend: Backend, weight_decay: float) -> None:
    rng = np.random.default_rng(1)
    start = rng.standard_normal(1003).astype(np.float32)
    parameter = torch.nn.Parameter(torch.from_numpy(start).double())
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9, nesterov=True, weight_decay=weight_decay)
    weights, velocity = backend.to_device(start.copy()), backend.zeros(start.shape)
    for step in range(6):
        gradient = rng.standard_normal(start.shape).astype(np.float32)
        optimizer.param_groups[0]["lr"] = rate = 0.1 / (step + 1)
        parameter.grad = torch.from_numpy(gradient).double() * 0.25
        optimizer.step()
        backend.sgd_step(weights, backend.to_device(gradient), velocity, rate, 0.9, 0.25, weight_decay)
    expected = parameter.detach().numpy()
    assert_close(backend.to_host(weights), expected, TOLERANCE.get(backend.name, 1e-6), "weights")
