"""A network trained on the executor, through everything above the driver, ends where the CPU's kernels end."""

from __future__ import annotations

import numpy as np
import pytest

from asr.network import Network, NetworkConfig
from kernels import DeviceMemoryError, open_backend
from kernels.interface import Backend
from ptx.driver import offline_gpu

STEPS = 20
LENGTHS, LABEL_LENGTHS = np.array([14, 14, 7, 7], np.int32), np.array([4, 4, 1, 1], np.int32)
FRAMES = np.random.default_rng(0).standard_normal((14, 4, 5)).astype(np.float32)
LABELS = np.array([[1, 2, 2, 3]] * 2 + [[2, 0, 0, 0]] * 2, np.int32)  # pairs of hearings


def config(cell: str, hidden: int = 12) -> NetworkConfig:
    shape = {"cell": cell, "layers": 2, "hidden": hidden, "stack": 2}
    return NetworkConfig(inputs=5, outputs=5, middle=5, **shape, dropout=0.25, intermediate=0.5, consistency=0.2)


def train(backend: Backend, cell: str, steps: int = STEPS) -> tuple[Network, np.ndarray, list[float]]:
    """The network, all losses [steps, B], and the gradients' norms: each step clips, and steps by momentum."""
    settings = config(cell)
    net = Network(settings, Network.initial(settings, np.random.default_rng(1)), backend)
    losses, norms = [], []
    for step in range(steps):
        losses.append(net.loss_and_gradient(FRAMES, LENGTHS, LABELS, LABEL_LENGTHS, step))
        norms.append(net.norm())
        net.step(0.05, 0.9, min(1.0, 2.0 / norms[-1]), 1e-4)
    return net, np.array(losses), norms


@pytest.mark.parametrize(("cell", "cc", "seed"), [("lstm", (9, 0), 1), ("gru", (8, 0), 2), ("rnn_tanh", (12, 0), 3)])
def test_training_ends_at_the_weights_of_the_cpu(cell: str, cc: tuple[int, int], seed: int) -> None:
    cpu, expected_losses, expected_norms = train(open_backend("cpu", threads=1), cell)
    with offline_gpu(cc, seed=seed, races=True) as gpu:
        backend = open_backend("cuda")
        net, losses, norms = train(backend, cell)
        weights = backend.to_host(net.parameters.vector)
        posteriors = net.log_probs(FRAMES, LENGTHS)
    assert losses[-1].mean() < 0.7 * losses[0].mean()
    assert max(norms) > 2.0  # it did clip
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    np.testing.assert_allclose(norms, expected_norms, rtol=1e-4)
    np.testing.assert_allclose(weights, cpu.parameters.vector, rtol=0, atol=1e-5)
    for b, steps in enumerate(net.steps(LENGTHS)):
        found, expected = (log_probs[:steps, b] for log_probs in (posteriors, cpu.log_probs(FRAMES, LENGTHS)))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert all(compiled.launches for compiled in gpu.kernels.values())
    assert any(launch.cooperative for launch in gpu.launches)


def test_where_the_blocks_cannot_be_resident_steps_are_launched_one_by_one() -> None:
    """One multiprocessor holds no persistent grid of two directions; the other mode must come to the same weights."""
    found = {}
    for multiprocessors in (132, 1):
        with offline_gpu(multiprocessors=multiprocessors) as gpu:
            backend = open_backend("cuda")
            net, losses, _ = train(backend, "lstm", 3)
            found[any(launch.cooperative for launch in gpu.launches)] = losses, backend.to_host(net.parameters.vector)
    for persistent, stepwise in zip(found[True], found[False], strict=True):
        np.testing.assert_allclose(persistent, stepwise, rtol=1e-6, atol=1e-6)


def test_full_memory_says_how_much_there_is() -> None:
    with offline_gpu(memory=100_000):
        backend = open_backend("cuda")
        with pytest.raises(DeviceMemoryError, match=r"0\.1 of 0 MB are free"):
            backend.zeros((1000, 1000))
        kept = backend.zeros((20_000,))
        with pytest.raises(DeviceMemoryError):
            backend.zeros((20_000,))
        del kept
        backend.zeros((20_000,))


def test_what_goes_on_beside_the_gpu_has_all_cores() -> None:
    with offline_gpu():
        assert open_backend("cuda").threads == open_backend("cpu").threads
        assert open_backend("cuda", threads=3).threads == 3
