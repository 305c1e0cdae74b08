"""What only the CUDA backend has: arrays that stay on the device, counted transfers, and a network trained there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from kernel_cases import assert_close, make_case, run_layer

from asr.network import Network, NetworkConfig
from kernels import BackendUnavailableError, open_backend
from kernels.interface import Backend

CONFIG = NetworkConfig(inputs=2, outputs=4, cell="lstm", layers=2, hidden=2, stack=2, dropout=0.25)
FRAMES, LENGTHS = np.random.default_rng(0).standard_normal((7, 3, 2)).astype(np.float32), np.array([7, 5, 4], np.int32)
LABELS, LABEL_LENGTHS = np.array([[1, 2, 3], [2, 2, 0], [3, 0, 0]], np.int32), np.array([3, 2, 1], np.int32)
STEPS = 3


@pytest.fixture
def cuda() -> Any:
    try:
        return open_backend("cuda")
    except BackendUnavailableError as error:
        pytest.skip(str(error))


def network(backend: Backend, cell: str) -> Network:
    config = NetworkConfig(**(vars(CONFIG) | {"cell": cell}))
    return Network(config, Network.initial(config, np.random.default_rng(1)), backend)


def train(backend: Backend, cell: str) -> tuple[Network, list[np.ndarray]]:
    """A few updates as the trainer makes them: the gradient clipped by its norm, Nesterov momentum."""
    net, losses = network(backend, cell), []
    for step in range(STEPS):
        losses.append(net.loss_and_gradient(FRAMES, LENGTHS, LABELS, LABEL_LENGTHS, step))
        net.step(0.1, 0.9, min(1.0, 1.0 / net.norm()), 0.001)
    return net, losses


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_cuda_trains_to_the_weights_of_the_cpu(cuda: Any, cell: str) -> None:
    cpu = open_backend("cpu", threads=1)
    (found, losses), (expected, expected_losses) = train(cuda, cell), train(cpu, cell)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    assert np.mean(losses[-1]) < np.mean(losses[0])
    start = network(cpu, cell).parameters.vector
    assert np.abs(expected.parameters.vector - start).max() > 0.01  # they did move
    np.testing.assert_allclose(cuda.to_host(found.parameters.vector), expected.parameters.vector, rtol=0, atol=1e-5)
    probabilities = found.log_probs(FRAMES, LENGTHS)
    for b, steps in enumerate(found.steps(LENGTHS)):
        assert_close(probabilities[:steps, b], expected.log_probs(FRAMES, LENGTHS)[:steps, b], 1e-4)


def test_cuda_training_step_moves_only_batch_and_results(cuda: Any) -> None:
    """Up: frames, lengths for stacking, the packed frames' 6 tables and CTC's. Down: losses, and the norm's parts."""
    net = network(cuda, "lstm")
    _ = net.gradient, net.velocity
    for expected_uploads in (1 + 1 + 6 + 1, 1 + 1 + 1):  # the second time the tables are there, of the same lengths
        before = astuple(cuda.device.counters)
        net.loss_and_gradient(FRAMES, LENGTHS, LABELS, LABEL_LENGTHS, 0)
        net.norm()
        net.step(0.1, 0.9, 1.0)
        launches, uploads, up, downloads, down = np.subtract(astuple(cuda.device.counters), before)
        assert uploads == expected_uploads
        assert downloads == 2
        assert up < FRAMES.nbytes + 700
        assert down < 8 * 3 + 8 * 256 * 32 + 1
        assert launches > 0


def test_cuda_takes_no_array_of_the_host_in_silence(cuda: Any) -> None:
    with pytest.raises(ValueError, match="copy it with to_device"):
        cuda.norm(np.ones(3, np.float32))


@pytest.mark.parametrize("call", ["infer", "backward"])
def test_cuda_says_what_must_come_before(cuda: Any, call: str) -> None:
    case = make_case("gru", True, "one frame")
    layer = cuda.recurrent(case.shape)
    x, out = cuda.to_device(case.x), cuda.zeros(case.out_gradient.shape)
    gradients = {name: cuda.zeros(size) for name, size in case.shape.parameter_shapes().items()}
    calls: dict[str, Callable[[], None]] = {
        "infer": lambda: layer.infer(x, case.lengths, out),
        "backward": lambda: layer.backward(x, case.lengths, out, out, gradients, None),
    }
    with pytest.raises(RuntimeError, match="call pack first" if call == "infer" else "needs a forward before it"):
        calls[call]()


def test_cuda_infers_between_forward_and_backward(cuda: Any) -> None:
    """What the way back needs is kept apart from what inference works with."""
    case, other = make_case("lstm", True, "unequal lengths"), make_case("lstm", True, "unequal lengths", seed=1)
    expected = run_layer(cuda, case)
    layer = cuda.recurrent(case.shape)
    layer.pack({name: cuda.to_device(weight) for name, weight in case.weights.items()})
    x, out, scratch = cuda.to_device(case.x), cuda.zeros(case.out_gradient.shape), cuda.zeros(case.out_gradient.shape)
    gradients = {name: cuda.zeros(size) for name, size in case.shape.parameter_shapes().items()}
    layer.forward(x, case.lengths, out)
    layer.infer(cuda.to_device(other.x), other.lengths, scratch)
    layer.backward(x, case.lengths, out, cuda.to_device(case.out_gradient), gradients, None)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(cuda.to_host(gradient), expected.gradients[name], name)
