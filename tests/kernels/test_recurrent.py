"""Recurrent layers: the fast ones against the reference, the reference against finite differences."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from kernel_cases import (
    CELL_NAMES,
    EXECUTED,
    SIMULATED,
    SIZES,
    Case,
    assert_close,
    assert_same_bits,
    fresh,
    make_case,
    make_weights,
    packed_layer,
    run_layer,
)

from kernels import open_backend
from kernels.interface import Backend, RecurrentShape

FORWARD = 2e-6  # largest error of float32 against float64
GRADIENT = 1e-5

each_cell = pytest.mark.parametrize("cell", CELL_NAMES)
each_direction = pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])


@each_cell
@each_direction
@pytest.mark.parametrize("size", SIZES)
def test_equals_the_reference(fast: Backend, reference: Backend, cell: str, bidirectional: bool, size: str) -> None:
    case = make_case(cell, bidirectional, size)
    found, expected = run_layer(fast, case), run_layer(reference, case)
    assert_close(found.inferred, expected.inferred, FORWARD, "infer")
    assert_close(found.out, expected.out, FORWARD, "forward")
    assert_close(found.x_gradient, expected.x_gradient, GRADIENT, "x_gradient")
    for name, gradient in expected.gradients.items():
        assert_close(found.gradients[name], gradient, GRADIENT, name)


@each_cell
@each_direction
@pytest.mark.parametrize("size", SIZES)
def test_infer_is_forward_and_both_are_zero_beyond_the_lengths(
    backend: Backend, cell: str, bidirectional: bool, size: str
) -> None:
    case = make_case(cell, bidirectional, size)
    found = run_layer(backend, case)
    np.testing.assert_array_equal(found.inferred, found.out)
    assert not found.out[case.padding].any()
    assert not found.x_gradient[case.padding].any()
    assert found.out[~case.padding].any()


@each_cell
@each_direction
def test_reference_gradients_are_finite_differences(reference: Backend, cell: str, bidirectional: bool) -> None:
    rng = np.random.default_rng(3)
    shape = RecurrentShape(cell, 2, 3, bidirectional)
    case = Case(
        shape,
        make_weights(shape, rng),
        rng.standard_normal((4, 2, 2), np.float32),
        np.array([4, 2], np.int32),
        rng.standard_normal((4, 2, shape.outputs), np.float32),
    )
    found = run_layer(reference, case)
    inputs = {"x": case.x.astype(np.float64)} | {name: w.astype(np.float64) for name, w in case.weights.items()}
    gradients = {"x": found.x_gradient, **found.gradients}

    def loss() -> float:
        layer = reference.recurrent(shape)
        layer.pack({name: inputs[name] for name in case.weights})
        out = reference.zeros(case.out_gradient.shape)
        layer.infer(inputs["x"], case.lengths, out)
        return float((out * case.out_gradient).sum())

    for name, array in inputs.items():
        for index in np.ndindex(array.shape):
            assert_close(gradients[name][index], central_difference(loss, array, index), 1e-8, f"{name}{index}")


def central_difference(loss, array: np.ndarray, index: tuple[int, ...], step: float = 1e-5) -> np.ndarray:
    before = array[index]
    array[index] = before + step
    above = loss()
    array[index] = before - step
    below = loss()
    array[index] = before
    return np.asarray((above - below) / (2 * step))


@each_cell
@each_direction
@pytest.mark.parametrize("size", ["unequal lengths", "frames beyond the longest", "wide batch"])
@pytest.mark.parametrize("garbage", [np.nan] if SIMULATED else [np.nan, np.inf, -3e38])
def test_padding_changes_nothing(backend: Backend, cell: str, bidirectional: bool, size: str, garbage: float) -> None:
    case = make_case(cell, bidirectional, size)
    x, out_gradient = case.x.copy(), case.out_gradient.copy()
    x[case.padding] = garbage
    out_gradient[case.padding] = garbage
    expected = run_layer(backend, case)
    found = run_layer(backend, replace(case, x=x, out_gradient=out_gradient))
    assert_same_bits(found, expected)


@each_cell
@each_direction
def test_an_utterance_alone_is_the_same_as_in_a_batch(backend: Backend, cell: str, bidirectional: bool) -> None:
    case = make_case(cell, bidirectional, "unequal lengths")
    together = run_layer(backend, case)
    total = {name: np.zeros(size) for name, size in case.shape.parameter_shapes().items()}
    for b, length in enumerate(case.lengths):
        alone = Case(
            case.shape,
            case.weights,
            case.x[:length, b : b + 1].copy(),
            case.lengths[b : b + 1],
            case.out_gradient[:length, b : b + 1].copy(),
        )
        found = run_layer(backend, alone)
        assert_close(found.inferred, together.inferred[:length, b : b + 1], 1e-6, f"utterance {b}")
        assert_close(found.out, together.out[:length, b : b + 1], 1e-6, f"utterance {b}")
        assert_close(found.x_gradient, together.x_gradient[:length, b : b + 1], 1e-6, f"utterance {b}")
        for name, gradient in found.gradients.items():
            total[name] += gradient
    for name, gradient in together.gradients.items():
        assert_close(gradient, total[name], GRADIENT, name)


@each_cell
def test_the_backward_direction_is_the_forward_one_on_reversed_utterances(backend: Backend, cell: str) -> None:
    case = make_case(cell, True, "unequal lengths")
    mirrored = {name: case.weights[f"{flipped}.{rest}"] for name in case.weights for flipped, rest in [_flip(name)]}
    x = case.x.copy()
    for b, length in enumerate(case.lengths):
        x[:length, b] = case.x[:length, b][::-1]
    found = run_layer(backend, replace(case, x=x, weights=mirrored)).out
    expected = run_layer(backend, case).out
    H = case.shape.hidden
    for b, length in enumerate(case.lengths):
        turned = np.concatenate([found[:length, b, H:], found[:length, b, :H]], axis=1)[::-1]
        assert_close(turned, expected[:length, b], 1e-6, f"utterance {b}")


def _flip(name: str) -> tuple[str, str]:
    direction, rest = name.split(".")
    return {"forward": "backward", "backward": "forward"}[direction], rest


@each_cell
@each_direction
def test_batches_may_grow_and_shrink(backend: Backend, cell: str, bidirectional: bool) -> None:
    """One layer sees small, long, wide and small again: a workspace that is reused leaves no trace."""
    small = make_case(cell, bidirectional, "unequal lengths")
    D = small.shape.inputs
    rng = np.random.default_rng(1)

    def other(T: int, lengths: tuple[int, ...]) -> Case:
        x = rng.standard_normal((T, len(lengths), D), np.float32)
        gradient = rng.standard_normal((T, len(lengths), small.shape.outputs), np.float32)
        return replace(small, x=x, lengths=np.array(lengths, np.int32), out_gradient=gradient)

    layer = packed_layer(backend, small)
    first = run_layer(backend, small, layer)
    long = other(6, (6, 3)) if SIMULATED else other(40, (40, 3))
    for case in (long, other(6, (6,) * 12), other(2, (1,)), other(1, (1, 1))):
        assert_close(run_layer(backend, case, layer).out, run_layer(backend, case).out, 1e-6)
    assert_same_bits(run_layer(backend, small, layer), first)


@each_cell
def test_repeated_steps_use_no_more_memory(backend: Backend, cell: str) -> None:
    case = make_case(cell, True, "long")
    layer = packed_layer(backend, case)
    expected = run_layer(backend, case, layer)
    tracemalloc.start()
    try:
        run_layer(backend, case, layer)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5):
            found = run_layer(backend, case, layer)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert_same_bits(found, expected)
    held = sum(array.nbytes for array in found.arrays().values())
    assert after - before < held + 100_000  # the result still alive, and small objects: a leak holds five of them


@each_cell
def test_pack_takes_changed_weights(backend: Backend, cell: str) -> None:
    case = make_case(cell, True, "unequal lengths")
    changed = replace(case, weights={name: -2 * weight for name, weight in case.weights.items()})
    layer = packed_layer(backend, case)
    before = run_layer(backend, case, layer)
    layer.pack({name: backend.to_device(weight) for name, weight in changed.weights.items()})
    after = run_layer(backend, case, layer)
    assert np.abs(after.out - before.out).max() > 0.01
    assert_same_bits(after, run_layer(backend, changed))


@each_cell
def test_the_gradient_by_x_may_be_left_out(backend: Backend, cell: str) -> None:
    case = make_case(cell, True, "unequal lengths")
    expected = run_layer(backend, case)
    layer = packed_layer(backend, case)
    x, lengths = backend.to_device(case.x), case.lengths
    out = fresh(backend, case.out_gradient.shape)
    gradients = {name: fresh(backend, size) for name, size in case.shape.parameter_shapes().items()}
    layer.forward(x, lengths, out)
    layer.backward(x, lengths, out, backend.to_device(case.out_gradient), gradients, None)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(backend.to_host(gradient), expected.gradients[name], name)


@each_cell
@each_direction
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(reference: Backend, cell: str, bidirectional: bool, threads: int) -> None:
    case = make_case(cell, bidirectional, "wide batch")
    backend = open_backend("cpu", threads=threads)
    assert backend.threads == threads
    found, expected = run_layer(backend, case), run_layer(open_backend("cpu", threads=1), case)
    for name, array in expected.arrays().items():
        assert_close(found.arrays()[name], array, 1e-6, name)


@each_cell
def test_large_values_stay_finite(fast: Backend, reference: Backend, cell: str) -> None:
    """Inputs that drive every gate to its end: no overflow, and the reference's values."""
    case = make_case(cell, True, "unequal lengths")
    case = replace(case, x=case.x * 1000)
    if cell == "rnn_relu":  # no bound: its outputs are as large as its inputs
        assert_close(run_layer(fast, case).out, run_layer(reference, case).out, FORWARD)
        return
    found = run_layer(fast, case)
    assert_close(found.out, run_layer(reference, case).out, 1e-4)
    assert all(np.isfinite(array).all() for array in found.arrays().values())


@each_cell
@each_direction
def test_a_bad_frame_shows_and_spares_the_other_utterances(backend: Backend, cell: str, bidirectional: bool) -> None:
    """A NaN inside an utterance is passed on, never hidden, and stays in that utterance."""
    case = make_case(cell, bidirectional, "equal lengths")
    x = case.x.copy()
    x[3, 1] = np.nan
    layer = packed_layer(backend, case)
    out = fresh(backend, case.out_gradient.shape)
    layer.infer(backend.to_device(x), case.lengths, out)
    found, expected = backend.to_host(out), run_layer(backend, case).inferred
    assert np.isnan(found[3:, 1, : case.shape.hidden]).all()
    others = [0, 2, 3]
    np.testing.assert_array_equal(found[:, others], expected[:, others])


def test_it_is_said_what_must_come_before(backend: Backend) -> None:
    case = make_case("gru", True, "one frame")
    layer = backend.recurrent(case.shape)
    x, out = backend.to_device(case.x), fresh(backend, case.out_gradient.shape)
    for run in (layer.infer, layer.forward):
        with pytest.raises(RuntimeError, match="call pack first"):
            run(x, case.lengths, out)
    layer.pack({name: backend.to_device(weight) for name, weight in case.weights.items()})
    layer.infer(x, case.lengths, out)
    gradients = {name: fresh(backend, size) for name, size in case.shape.parameter_shapes().items()}
    with pytest.raises(RuntimeError, match="needs a forward before it"):
        layer.backward(x, case.lengths, out, out, gradients, None)


@pytest.mark.parametrize("cell", ("lstm",) if EXECUTED else CELL_NAMES)
@pytest.mark.parametrize("size", ["unequal lengths"] if EXECUTED else ["unequal lengths", "equal lengths"])
def test_inference_between_forward_and_backward_changes_nothing(backend: Backend, cell: str, size: str) -> None:
    """What the way back needs is kept apart from what inference works with."""
    case, other = make_case(cell, True, size), make_case(cell, True, size, seed=1)
    expected = run_layer(backend, case)
    layer = packed_layer(backend, case)
    x, out, scratch = backend.to_device(case.x), *(fresh(backend, case.out_gradient.shape) for _ in range(2))
    gradients = {name: fresh(backend, size) for name, size in case.shape.parameter_shapes().items()}
    layer.forward(x, case.lengths, out)
    layer.infer(backend.to_device(other.x), other.lengths, scratch)
    layer.backward(x, case.lengths, out, backend.to_device(case.out_gradient), gradients, None)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(backend.to_host(gradient), expected.gradients[name], name)
