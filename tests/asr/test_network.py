"""Dropout of recurrent weights, which no kernel knows of."""

import numpy as np
import pytest

from asr.backends import open_backend
from asr.network import Network, NetworkConfig

LENGTHS, LABELS, LABEL_LENGTHS = (
    np.array([9, 6], np.int32),
    np.array([[1, 2, 3], [2, 1, 0]], np.int32),
    np.array([3, 2], np.int32),
)
FRAMES = np.random.default_rng(3).standard_normal((9, 2, 4)).astype(np.float32)


def network(recurrent_dropout: float, cell: str = "lstm") -> Network:
    config = NetworkConfig(
        inputs=4, outputs=5, cell=cell, layers=2, hidden=6, stack=1, dropout=0.0, recurrent_dropout=recurrent_dropout
    )
    return Network(config, Network.initial(config, np.random.default_rng(1)), open_backend("cpu", 1))


def step(net: Network, seed: int) -> np.ndarray:
    return net.loss_and_gradient(FRAMES, LENGTHS, LABELS, LABEL_LENGTHS, seed)


def test_dropped_recurrent_weights_are_as_if_they_were_not_there() -> None:
    """Loss and gradient are those of a network in which the dropped weights are 0 and the others larger."""
    net = network(0.25)
    losses = step(net, 7)
    dropped = {name: net.gradient[name] == 0 for name in net.parameters if name.endswith("weight_hh")}
    plain = network(0.0)
    for name, gone in dropped.items():
        plain.parameters[name][...] = np.where(gone, 0, plain.parameters[name] / np.float32(0.75))
    plain.pack()
    np.testing.assert_allclose(step(plain, 7), losses, rtol=1e-6)
    for name in net.parameters:
        expected = plain.gradient[name]
        if name in dropped:
            expected = np.where(dropped[name], 0, expected / np.float32(0.75))
        np.testing.assert_allclose(net.gradient[name], expected, rtol=1e-4, atol=1e-6, err_msg=name)
    share = np.mean(np.concatenate([gone.ravel() for gone in dropped.values()]))
    assert share == pytest.approx(0.25, abs=0.05)


def test_each_update_drops_other_weights() -> None:
    net = network(0.25, "gru")
    step(net, 1)
    one = net.gradient.vector.copy()
    step(net, 2)
    assert np.any((one == 0) != (net.gradient.vector == 0))
    step(net, 1)
    np.testing.assert_array_equal(net.gradient.vector, one)


def test_what_is_recognised_knows_nothing_of_dropped_weights() -> None:
    net, plain = network(0.5), network(0.0)
    before = net.log_probs(FRAMES, LENGTHS)
    step(net, 1)
    np.testing.assert_array_equal(net.log_probs(FRAMES, LENGTHS), before)
    np.testing.assert_array_equal(plain.log_probs(FRAMES, LENGTHS), before)
