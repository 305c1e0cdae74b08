"""What only the CUDA backend has: arrays that stay on the device, counted transfers, and a network trained there."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from kernel_cases import assert_close

from asr.network import Network, NetworkConfig
from kernels import BackendUnavailableError, DeviceMemoryError, open_backend
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


def test_cuda_plans_a_batch_anew_where_memory_was_full_for_another(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from kernels.cuda.recurrence import Planner  # where there is no CUDA it cannot be imported

    planner = Planner(cuda.device)
    few, many = np.array([3, 2, 2], np.int32), np.array([9, 1, 1], np.int32)

    def tables(lengths: np.ndarray) -> list[list[int]]:
        frames = planner.frames(lengths, int(lengths[0]), 2)
        each = frames.lengths, frames.offsets, frames.places, frames.rows, *frames.before
        return [cuda.to_host(table).tolist() for table in each]

    expected = tables(few)
    empty, room = cuda.device.empty, iter([True])

    def full(shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
        if not next(room, False):
            raise DeviceMemoryError(4, 0, 4)
        return empty(shape, dtype)

    monkeypatch.setattr(cuda.device, "empty", full)
    with pytest.raises(DeviceMemoryError):
        tables(many)
    monkeypatch.undo()
    assert tables(few) == expected
