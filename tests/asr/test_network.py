"""Dropout of recurrent weights, the middle layer's loss and two hearings, of which no layer knows."""

import dataclasses

import numpy as np
import pytest

from asr.backends import open_backend
from asr.errors import UsageError
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


def test_a_batch_that_is_refused_leaves_no_weight_dropped() -> None:
    net = network(0.5)
    before = net.log_probs(FRAMES, LENGTHS)
    with pytest.raises(ValueError, match="label"):
        net.loss_and_gradient(FRAMES, LENGTHS, np.full_like(LABELS, 99), LABEL_LENGTHS, 1)
    np.testing.assert_array_equal(net.log_probs(FRAMES, LENGTHS), before)


def test_losses_and_best_labels_are_those_of_the_log_probabilities() -> None:
    net = network(0.0)
    log_probs, losses = net.log_probs(FRAMES, LENGTHS), net.losses(FRAMES, LENGTHS, LABELS, LABEL_LENGTHS)
    found, *best = net.losses_and_best(FRAMES, LENGTHS, LABELS, LABEL_LENGTHS)
    np.testing.assert_array_equal(found, losses)
    np.testing.assert_allclose(losses, step(net, 1), rtol=1e-6)
    for labels, values in (best, net.best(FRAMES, LENGTHS)):
        for b, T in enumerate(net.steps(LENGTHS)):
            np.testing.assert_array_equal(labels[:T, b], log_probs[:T, b].argmax(axis=1))
            np.testing.assert_array_equal(values[:T, b], log_probs[:T, b].max(axis=1))


def deep(
    layers: int, middle: int = 0, backend: str = "cpu", dropout: float = 0.3, outputs: int = 5, after: int = 0
) -> Network:
    config = NetworkConfig(
        inputs=4,
        outputs=outputs,
        layers=layers,
        hidden=6,
        stack=1,
        dropout=dropout,
        middle=middle,
        intermediate=0.4 if middle else 0.0,
        intermediate_after=after,
    )
    return Network(config, Network.initial(config, np.random.default_rng(2)), open_backend(backend, 1))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(
    ("layers", "after", "below"),
    [(2, 0, 1), (3, 0, 1), (4, 0, 2), (5, 0, 2), (4, 1, 1), (4, 3, 3), (3, 3, 3), (1, 1, 1)],
)
def test_the_middle_layers_loss_is_that_of_the_network_that_ends_there(
    layers: int, after: int, below: int, backend: str
) -> None:
    """Its gradient, by weight, is added to that of the whole; the loss that is told and what is heard are the same."""
    net, whole, half = (
        deep(layers, 8, backend, after=after),
        deep(layers, 0, backend),
        deep(below, 0, backend, outputs=8),
    )
    labels, lengths = np.array([[7, 6, 5, 7], [6, 5, 0, 0]], np.int32), np.array([4, 2], np.int32)
    for name in whole.parameters:
        whole.parameters[name][...] = net.parameters[name]
    for name in half.parameters:
        half.parameters[name][...] = net.parameters[name.replace("output", "middle")]
    whole.pack()
    half.pack()
    losses = net.loss_and_gradient(FRAMES, LENGTHS, LABELS, LABEL_LENGTHS, 5, (labels, lengths))
    np.testing.assert_allclose(losses, step(whole, 5), rtol=1e-6)
    half.loss_and_gradient(FRAMES, LENGTHS, labels, lengths, 5)
    for name in net.parameters:
        expected = whole.gradient[name] if name in whole.parameters else 0.0
        if not name.startswith("output") and name.replace("middle", "output") in half.parameters:
            expected = expected + 0.4 * half.gradient[name.replace("middle", "output")]
        np.testing.assert_allclose(net.gradient[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(net.log_probs(FRAMES, LENGTHS), whole.log_probs(FRAMES, LENGTHS))


def test_the_middle_layer_learns_the_same_labels_unless_others_are_given() -> None:
    net = deep(3, 5)
    step(net, 1)
    same = net.gradient.vector.copy()
    net.loss_and_gradient(FRAMES, LENGTHS, LABELS, LABEL_LENGTHS, 1, (LABELS, LABEL_LENGTHS))
    np.testing.assert_array_equal(net.gradient.vector, same)
    net.loss_and_gradient(FRAMES, LENGTHS, LABELS, LABEL_LENGTHS, 1, (LABELS[::-1].copy(), LABEL_LENGTHS[::-1].copy()))
    assert np.any(net.gradient.vector != same)


def test_an_utterance_that_does_not_fit_adds_nothing_in_the_middle_either() -> None:
    net, labels = deep(4, 5, dropout=0.0), np.tile(np.array([1, 2], np.int32), (2, 4))
    losses = net.loss_and_gradient(FRAMES, LENGTHS, labels, np.array([8, 8], np.int32), 3)
    assert losses[1] == np.inf
    together = net.gradient.vector.copy()
    net.loss_and_gradient(FRAMES[:, :1], LENGTHS[:1], labels[:1], np.array([8], np.int32), 3)
    np.testing.assert_allclose(together, net.gradient.vector, rtol=1e-4, atol=1e-6)
    assert np.any(together != 0)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_two_hearings_are_drawn_together_at_both_outputs(backend: str) -> None:
    """In proportion to the weight; not at all where they are the same; the losses that are told are those of each."""
    frames = np.random.default_rng(3).standard_normal((7, 4, 4)).astype(np.float32)
    lengths, twice = np.array([7, 7, 5, 5], np.int32), (LABELS.repeat(2, axis=0), LABEL_LENGTHS.repeat(2))

    def gradient(weight: float, middle: float, heard: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        config = dataclasses.replace(deep(3, 5, backend, dropout=0.0).config, consistency=weight, intermediate=middle)
        net = Network(config, Network.initial(config, np.random.default_rng(2)), open_backend(backend, 1))
        losses = net.loss_and_gradient(heard, lengths, *twice, 1)
        return losses, {name: value.astype(np.float64) for name, value in net.gradient.items()}

    losses, plain = gradient(0.0, 0.4, frames)
    of_some, some = gradient(0.1, 0.4, frames)
    np.testing.assert_array_equal(of_some, losses)
    _, more = gradient(0.3, 0.4, frames)
    for name in plain:
        apart = some[name] - plain[name]
        if name in ("output.bias", "middle.bias"):
            assert np.abs(apart).max() < 1e-5, name  # what one hearing is drawn by, the other is drawn by against it
        else:
            assert np.abs(apart).max() > 1e-4, name
        np.testing.assert_allclose(more[name] - plain[name], 3 * apart, rtol=1e-3, atol=1e-5, err_msg=name)
    same = frames[:, [0, 0, 2, 2]]
    for name, value in gradient(0.3, 0.4, same)[1].items():
        np.testing.assert_allclose(value, gradient(0.0, 0.4, same)[1][name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_the_weight_of_consistency_is_not_below_nothing() -> None:
    with pytest.raises(UsageError, match=r"consistency: -0\.1 is below 0"):
        NetworkConfig(inputs=4, outputs=5, consistency=-0.1)


def test_a_single_layer_has_no_middle() -> None:
    with pytest.raises(UsageError, match="intermediate: a single layer has no middle"):
        deep(1, 5)
    with pytest.raises(UsageError, match=r"intermediate_after: 4 is not within 0\.\.3"):
        deep(3, 5, after=4)
