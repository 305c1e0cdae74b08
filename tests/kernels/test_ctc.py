"""CTC: by hand, by counting every path, by finite differences, against the reference."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import SIMULATED, fresh

from kernels import open_backend
from kernels.interface import Backend

LOSS = 1e-5  # relative
GRADIENT = 1e-5  # absolute: the gradient's values lie in -1..1


@dataclass(frozen=True)
class Batch:
    logits: np.ndarray  # float32 [T, B, C]
    lengths: np.ndarray
    labels: np.ndarray
    label_lengths: np.ndarray


def make_batch(logits: np.ndarray, lengths: list[int], labels: list[list[int]], filler: int = 0) -> Batch:
    """`filler` stands beyond the label lengths."""
    table = np.full((len(labels), max(len(row) for row in labels)), filler, np.int32)
    for row, given_labels in zip(table, labels, strict=True):
        row[: len(given_labels)] = given_labels
    counts = np.array([len(row) for row in labels], np.int32)
    return Batch(np.asarray(logits, np.float32), np.array(lengths, np.int32), table, counts)


def run_ctc(backend: Backend, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Losses [B] and gradient [T, B, C]; the losses without a gradient must be the same."""
    arrays = backend.to_device(batch.logits), batch.lengths, batch.labels, batch.label_lengths
    gradient = fresh(backend, batch.logits.shape)
    ctc = backend.ctc()
    losses = ctc(*arrays, gradient)
    assert losses.dtype == np.float64
    np.testing.assert_array_equal(ctc(*arrays, None), losses)
    return losses, backend.to_host(gradient).copy()


def assert_equal_ctc(backend: Backend, reference: Backend, batch: Batch) -> None:
    (losses, gradient), (expected, expected_gradient) = run_ctc(backend, batch), run_ctc(reference, batch)
    np.testing.assert_allclose(losses, expected, rtol=LOSS, atol=LOSS)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=GRADIENT)


def softmax(logits: np.ndarray) -> np.ndarray:
    y = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return y / y.sum(axis=-1, keepdims=True)


def count_paths(logits: np.ndarray, labels: list[int]) -> tuple[float, np.ndarray]:
    """Loss and gradient [T, C] of one utterance from all C^T paths."""
    y = softmax(logits)
    T, C = y.shape
    total = 0.0
    visits = np.zeros((T, C))  # probability of the paths through (t, c) that spell the labels
    for path in product(range(C), repeat=T):
        if [label for label, _ in groupby(path) if label != 0] == labels:
            probability = np.prod(y[range(T), path])
            total += probability
            visits[range(T), path] += probability
    if total == 0.0:
        return np.inf, np.zeros((T, C))
    return -np.log(total), y - visits / total


def test_by_hand(backend: Backend) -> None:
    """Two frames, the blank and two labels:

        t=0: y = (.2 .5 .3)    t=1: y = (.6 .1 .3)
    Label 1 is spelt by three paths: 1 1: .5 .1 = .05; 1 _: .5 .6 = .30; _ 1: .2 .1 = .02; in sum P = .37.
    The path is in label 1 at t=0 with (.05 + .30) / .37 = 35/37, in the blank with 2/37; at t=1 in label 1 with
    (.05 + .02) / .37 = 7/37, in the blank with 30/37. The gradient is y less these.
    """
    y = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    losses, gradient = run_ctc(backend, make_batch(np.log(y)[:, None], [2], [[1]]))
    np.testing.assert_allclose(losses, [-np.log(0.37)], rtol=1e-6)
    expected = [[0.2 - 2 / 37, 0.5 - 35 / 37, 0.3], [0.6 - 30 / 37, 0.1 - 7 / 37, 0.3]]
    np.testing.assert_allclose(gradient[:, 0], expected, atol=1e-6)


def test_repeated_labels_need_a_blank_between(backend: Backend) -> None:
    """Three frames, label sequence 1 1: the only path is 1 _ 1, so P = 1/2 1/2 1/2 with two equal classes."""
    losses, gradient = run_ctc(backend, make_batch(np.zeros((3, 1, 2)), [3], [[1, 1]]))
    np.testing.assert_allclose(losses, [3 * np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(gradient[:, 0], [[0.5, -0.5], [-0.5, 0.5], [0.5, -0.5]], atol=1e-6)


def test_an_empty_label_sequence_is_all_blanks(backend: Backend) -> None:
    logits = np.random.default_rng(0).standard_normal((5, 2, 4)).astype(np.float32)
    for labels in ([[], []], [[], [2]]):
        losses, gradient = run_ctc(backend, make_batch(logits, [5, 3], labels))
        y = softmax(logits[:, 0])
        np.testing.assert_allclose(losses[0], -np.log(y[:, 0]).sum(), rtol=LOSS)
        np.testing.assert_allclose(gradient[:, 0], y - [1, 0, 0, 0], atol=GRADIENT)


@st.composite
def small_batches(draw: st.DrawFn) -> Batch:
    C = draw(st.integers(1, 3))
    lengths = sorted(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)), reverse=True)
    T = lengths[0] + draw(st.integers(0, 1))
    one = st.lists(st.integers(1, C - 1), max_size=4) if C > 1 else st.just([])
    labels = [draw(one) for _ in lengths]
    scale = draw(st.sampled_from([0.0, 1.0, 5.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return make_batch(scale * rng.standard_normal((T, len(lengths), C)), lengths, labels)


@settings(max_examples=60, deadline=None)
@given(batch=small_batches())
@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_counting_every_path(name: str, batch: Batch) -> None:
    losses, gradient = run_ctc(open_backend(name, threads=2), batch)
    for b, T in enumerate(batch.lengths):
        labels = batch.labels[b, : batch.label_lengths[b]].tolist()
        loss, expected = count_paths(batch.logits[:T, b], labels)
        np.testing.assert_allclose(losses[b], loss, rtol=LOSS, atol=LOSS)
        np.testing.assert_allclose(gradient[:T, b], expected, atol=GRADIENT)
        assert not gradient[T:, b].any()


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    C = draw(st.integers(2, 12))
    lengths = sorted(draw(st.lists(st.integers(1, 40), min_size=1, max_size=5)), reverse=True)
    labels = [draw(st.lists(st.integers(1, C - 1), max_size=25)) for _ in lengths]
    scale = draw(st.sampled_from([0.1, 1.0, 10.0, 100.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return make_batch(scale * rng.standard_normal((lengths[0], len(lengths), C)), lengths, labels)


@settings(max_examples=60, deadline=None)
@given(batch=batches())
def test_equals_the_reference(batch: Batch) -> None:
    assert_equal_ctc(open_backend("cpu", threads=2), open_backend("reference"), batch)


def test_reference_gradient_is_finite_differences(reference: Backend) -> None:
    rng = np.random.default_rng(1)
    batch = make_batch(rng.standard_normal((6, 2, 4)), [6, 4], [[1, 1, 3], [2]])
    _, gradient = run_ctc(reference, batch)
    logits = batch.logits.astype(np.float64)
    step = 1e-5
    for index in np.ndindex(logits.shape):
        above, below = logits.copy(), logits.copy()
        above[index] += step
        below[index] -= step
        rest = batch.lengths, batch.labels, batch.label_lengths, None
        change = (reference.ctc()(above, *rest) - reference.ctc()(below, *rest)).sum()
        assert gradient[index] == pytest.approx(change / (2 * step), abs=1e-9)


def test_the_gradient_sums_to_zero_over_the_classes(backend: Backend) -> None:
    rng = np.random.default_rng(2)
    batch = make_batch(rng.standard_normal((30, 3, 9)), [30, 22, 5], [[1, 2, 2, 3], [8] * 6, []])
    _, gradient = run_ctc(backend, batch)
    np.testing.assert_allclose(gradient.sum(axis=2), 0.0, atol=1e-6)
    assert np.abs(gradient[:30, 0]).max(axis=1).min() > 1e-3  # and is not zero itself
    assert not gradient[22:, 1].any()
    assert not gradient[5:, 2].any()


@pytest.mark.parametrize(
    ("T", "labels"), [(1, [1, 2]), (2, [1, 1]), (3, [1, 2, 3, 1]), (4, [2, 2, 2]), (1, [1] * 9)], ids=str
)
def test_an_infeasible_sequence_is_infinite_and_moves_nothing(backend: Backend, T: int, labels: list[int]) -> None:
    rng = np.random.default_rng(3)
    logits = rng.standard_normal((7, 3, 4))
    batch = make_batch(logits, [7, T, T], [[1, 2], labels, [3]])
    losses, gradient = run_ctc(backend, batch)
    assert losses[1] == np.inf
    assert not gradient[:, 1].any()
    others = [0, 2]
    expected, expected_gradient = run_ctc(backend, make_batch(logits[:, others], [7, T], [[1, 2], [3]]))
    np.testing.assert_array_equal(losses[others], expected)
    np.testing.assert_array_equal(gradient[:, others], expected_gradient)


@pytest.mark.parametrize("labels", [[1, 2, 3], [1, 1, 1], [2, 3, 3, 2], [1]], ids=str)
def test_exactly_enough_frames_leave_one_path(backend: Backend, labels: list[int]) -> None:
    path = [labels[0]]
    for before, label in pairwise(labels):
        path += [0, label] if label == before else [label]
    T = len(path)
    logits = np.random.default_rng(4).standard_normal((T, 1, 4)).astype(np.float32)
    losses, gradient = run_ctc(backend, make_batch(logits, [T], [labels]))
    y = softmax(logits[:, 0])
    np.testing.assert_allclose(losses, [-np.log(y[range(T), path]).sum()], rtol=LOSS)
    np.testing.assert_allclose(gradient[:, 0], y - np.eye(4)[path], atol=GRADIENT)


@pytest.mark.parametrize("scale", [100.0, 10_000.0, 1_000_000.0])
def test_sharp_logits(fast: Backend, reference: Backend, scale: float) -> None:
    """Posteriors of 0 and 1 to the last bit, mostly on the wrong path."""
    rng = np.random.default_rng(5)
    logits = scale * rng.choice([-1.0, 1.0], (40, 4, 6))
    assert_equal_ctc(fast, reference, make_batch(logits, [40, 40, 31, 12], [[1, 2, 3] * 4, [5, 5, 5], [], [4] * 6]))


def test_a_long_utterance(fast: Backend, reference: Backend) -> None:
    rng = np.random.default_rng(6)
    less = 50 if SIMULATED else 1
    T, S = 2000 // less, 300 // less
    labels = [rng.integers(1, 29, S).tolist(), rng.integers(1, 3, S - 1).tolist()]
    assert_equal_ctc(fast, reference, make_batch(3 * rng.standard_normal((T, 2, 29)), [T, 9 * T // 20], labels))


def test_more_labels_than_a_gpu_keeps_on_chip(fast: Backend, reference: Backend) -> None:
    rng = np.random.default_rng(11)
    S = 6 if SIMULATED else 1030
    labels = [(1 + np.arange(S) % 4).tolist(), rng.integers(1, 5, S // 2).tolist()]
    T = S + S // 3
    assert_equal_ctc(fast, reference, make_batch(rng.standard_normal((T, 2, 5)), [T, T - 1], labels))


def test_more_classes_than_a_block_takes(fast: Backend, reference: Backend) -> None:
    """And many of them more than once."""
    rng = np.random.default_rng(12)
    C = 7 if SIMULATED else 100
    labels = [rng.integers(1, C, 5).tolist() * 2, [C - 1] * 3]
    assert_equal_ctc(fast, reference, make_batch(rng.standard_normal((14, 2, C)), [14, 6], labels))


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -3e38])
def test_padding_changes_nothing(backend: Backend, garbage: float) -> None:
    rng = np.random.default_rng(7)
    logits = rng.standard_normal((12, 3, 5)).astype(np.float32)
    lengths, labels = [12, 7, 1], [[1, 2, 2, 4], [3, 1], []]
    expected, expected_gradient = run_ctc(backend, make_batch(logits, lengths, labels))
    longer = np.full((15, 3, 5), garbage, np.float32)
    for b, length in enumerate(lengths):
        longer[:length, b] = logits[:length, b]
    losses, gradient = run_ctc(backend, make_batch(longer, lengths, labels, filler=-77))
    np.testing.assert_array_equal(losses, expected)
    np.testing.assert_array_equal(gradient[:12], expected_gradient)
    assert not gradient[12:].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite(backend: Backend, bad: float) -> None:
    rng = np.random.default_rng(8)
    logits = rng.standard_normal((9, 3, 5)).astype(np.float32)
    lengths, labels = [9, 8, 8], [[1, 2], [3, 3], [4]]
    expected, expected_gradient = run_ctc(backend, make_batch(logits, lengths, labels))
    logits[7, 1, 2] = bad
    losses, gradient = run_ctc(backend, make_batch(logits, lengths, labels))
    assert np.isnan(losses[1])
    assert not gradient[:, 1].any()
    np.testing.assert_array_equal(losses[[0, 2]], expected[[0, 2]])
    np.testing.assert_array_equal(gradient[:, [0, 2]], expected_gradient[:, [0, 2]])


def test_one_loss_object_takes_batches_of_any_size(backend: Backend) -> None:
    rng = np.random.default_rng(9)
    ctc = backend.ctc()
    large, longer = ((9, 3, 5, 4), (20, 1, 4, 6)) if SIMULATED else ((40, 6, 11, 15), (60, 1, 4, 20))
    for T, B, C, S in [(5, 1, 3, 2), large, (4, 2, 30, 0), (5, 1, 3, 2), longer]:
        labels = [rng.integers(1, C, S).tolist() for _ in range(B)]
        batch = make_batch(rng.standard_normal((T, B, C)), [T] * B, labels)
        gradient = fresh(backend, batch.logits.shape)
        losses = ctc(
            backend.to_device(batch.logits),
            batch.lengths,
            batch.labels,
            batch.label_lengths,
            gradient,
        )
        expected, expected_gradient = run_ctc(backend, batch)
        np.testing.assert_array_equal(losses, expected)
        np.testing.assert_array_equal(backend.to_host(gradient), expected_gradient)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(threads: int) -> None:
    rng = np.random.default_rng(10)
    batch = make_batch(rng.standard_normal((20, 5, 7)), [20, 19, 8, 8, 3], [[1] * 5, [2, 3], [], [6, 5, 4], [1, 2]])
    losses, gradient = run_ctc(open_backend("cpu", threads=threads), batch)
    expected, expected_gradient = run_ctc(open_backend("cpu", threads=1), batch)
    np.testing.assert_array_equal(losses, expected)
    np.testing.assert_array_equal(gradient, expected_gradient)
