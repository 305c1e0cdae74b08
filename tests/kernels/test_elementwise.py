"""Dense layers, log-softmax, frame stacking, dropout, the optimiser's step, the norm, and the backend itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import EXECUTED, SIMULATED, assert_close, fresh

from kernels import BackendUnavailableError, open_backend
from kernels.interface import Backend
from kernels.reference import ReferenceBackend

LARGE = [] if SIMULATED else [(33, 2, 13, 30)] if EXECUTED else [(33, 2, 13, 30), (33, 2, 130, 70)]


@pytest.mark.parametrize(("T", "B", "D", "N"), [(1, 1, 1, 1), (7, 3, 5, 2), *LARGE])
def test_dense(backend: Backend, T: int, B: int, D: int, N: int) -> None:
    rng = np.random.default_rng(0)
    weight, bias, x, dy = (
        rng.standard_normal(shape).astype(np.float32) for shape in [(N, D), (N,), (T, B, D), (T, B, N)]
    )
    layer = backend.dense(D, N)
    layer.pack(backend.to_device(weight), backend.to_device(bias))
    out, dweight, dbias, dx = (fresh(backend, shape) for shape in [(T, B, N), (N, D), (N,), (T, B, D)])
    layer.forward(backend.to_device(x), out)
    layer.backward(backend.to_device(x), backend.to_device(dy), dweight, dbias, dx)
    wide = [array.astype(np.float64) for array in (weight, bias, x, dy)]
    expected = [
        np.einsum("tbd,nd->tbn", wide[2], wide[0]) + wide[1],
        np.einsum("tbn,tbd->nd", wide[3], wide[2]),
        np.einsum("tbn->n", wide[3]),
        np.einsum("tbn,nd->tbd", wide[3], wide[0]),
    ]
    for found, right in zip((out, dweight, dbias, dx), expected, strict=True):
        assert_close(backend.to_host(found), right, 2e-6)

    again = fresh(backend, (N, D))
    layer.backward(backend.to_device(x), backend.to_device(dy), again, dbias, None)
    np.testing.assert_array_equal(backend.to_host(again), backend.to_host(dweight))


def test_dense_takes_changed_weights(backend: Backend) -> None:
    layer, x, out = backend.dense(2, 1), backend.to_device(np.ones((1, 1, 2), np.float32)), backend.zeros((1, 1, 1))
    for weight, bias, expected in [((1, 2), 3, 6), ((-1, 0.5), 0, -0.5)]:
        layer.pack(backend.to_device(np.array([weight], np.float32)), backend.to_device(np.array([bias], np.float32)))
        layer.forward(x, out)
        assert backend.to_host(out).item() == expected


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 2), (40, 2, 29)])
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e30])
def test_log_softmax(backend: Backend, shape: tuple[int, ...], scale: float) -> None:
    x = (scale * np.random.default_rng(1).standard_normal(shape)).astype(np.float32)
    out = fresh(backend, shape)
    backend.log_softmax(backend.to_device(x), out)
    found = backend.to_host(out)
    shifted = x.astype(np.float64) - x.max(axis=-1, keepdims=True)
    expected = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    assert_close(found, expected, 1e-6)
    np.testing.assert_allclose(np.exp(found.astype(np.float64)).sum(axis=-1), 1.0, atol=2e-6)
    in_place = backend.to_device(x.copy())
    backend.log_softmax(in_place, in_place)
    np.testing.assert_array_equal(backend.to_host(in_place), found)


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 2), (7, 2, 29)])
def test_best(backend: Backend, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(11)
    for x in (rng.standard_normal(shape), rng.integers(-2, 0, shape)):  # the second is full of equal values
        labels, values = backend.best(backend.to_device(x.astype(np.float32)))
        assert isinstance(labels, np.ndarray)
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, x.argmax(axis=2))
        np.testing.assert_array_equal(values, x.max(axis=2).astype(np.float32))


def test_best_of_frames_that_are_not_numbers_is_a_class(backend: Backend) -> None:
    labels, _ = backend.best(backend.to_device(np.full((2, 3, 5), np.nan, np.float32)))
    assert ((labels >= 0) & (labels < 5)).all()


@pytest.mark.parametrize("count", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("garbage", [0.0, np.nan])
def test_stack_frames(backend: Backend, count: int, garbage: float) -> None:
    T, lengths, D = 14, np.array([13, 9, 6, 1], np.int32), 3
    x = np.random.default_rng(2).standard_normal((T, 4, D)).astype(np.float32)
    x[np.arange(T)[:, None] >= lengths] = garbage
    steps = -(-T // count)
    expected = np.zeros((steps, 4, count * D), np.float32)
    for b, length in enumerate(lengths):
        for step in range(-(-length // count)):
            frames = [min(step * count + k, length - 1) for k in range(count)]
            expected[step, b] = np.concatenate([x[frame, b] for frame in frames])
    out = fresh(backend, expected.shape)
    backend.stack_frames(backend.to_device(x), lengths, count, out)
    np.testing.assert_array_equal(backend.to_host(out), expected)


def drop(backend: Backend, x: np.ndarray, rate: float, seed: int) -> np.ndarray:
    out = fresh(backend, x.shape)
    backend.dropout(backend.to_device(x), out, rate, seed)
    return backend.to_host(out).copy()


def test_dropout_by_hand(backend: Backend) -> None:
    """The first five outputs of splitmix64 from the seed 0, as published with xoshiro's reference code, begin with
    E220.., 6E78.., 06C4.., F88B.., 1B39..: at rate 1/2 the values whose top bit is set stay, and are doubled."""
    x = np.array([1, 2, 3, 4, 5], np.float32)
    np.testing.assert_array_equal(drop(backend, x, 0.5, 0), [2, 0, 0, 8, 0])


@settings(max_examples=30, deadline=None)
@given(
    rate=st.floats(0, 0.99),
    seed=st.integers(0, 2**64 - 1),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 7)),
)
def test_dropout_is_the_same_everywhere(rate: float, seed: int, shape: tuple[int, ...]) -> None:
    x = np.linspace(-3, 4, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    expected = drop(open_backend("reference"), x, rate, seed)
    for threads in (1, 2, 3):
        found = drop(open_backend("cpu", threads=threads), x, rate, seed)
        np.testing.assert_array_equal(found == 0, expected == 0)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_dropout_rate(backend: Backend, rate: float) -> None:
    """The share that is dropped, within four standard deviations; the mean stays."""
    x = np.ones(2_000 if SIMULATED else 100_000, np.float32)
    found = drop(backend, x, rate, 12345)
    deviation = np.sqrt(rate * (1 - rate) / len(x))
    assert abs((found == 0).mean() - rate) <= 4 * deviation
    np.testing.assert_allclose(found[found != 0], 1 / (1 - rate), rtol=1e-6)


def test_dropout_is_a_function_of_the_seed(backend: Backend) -> None:
    rng = np.random.default_rng(3)
    x, gradient = rng.standard_normal((2, 50, 4, 6)).astype(np.float32)
    first = drop(backend, x, 0.4, 7)
    np.testing.assert_array_equal(drop(backend, x, 0.4, 7), first)
    np.testing.assert_array_equal(drop(backend, gradient, 0.4, 7) == 0, first == 0)  # backward: the same mask
    in_place = backend.to_device(x.copy())
    backend.dropout(in_place, in_place, 0.4, 7)
    np.testing.assert_array_equal(backend.to_host(in_place), first)
    agreement = ((drop(backend, x, 0.4, 8) == 0) == (first == 0)).mean()
    assert abs(agreement - (0.4**2 + 0.6**2)) < 0.1  # another seed, an independent mask


@pytest.mark.parametrize("shape", [(1,), (7,), (5, 3, 67)], ids=str)
def test_axpy(backend: Backend, shape: tuple[int, ...]) -> None:
    x, before = np.random.default_rng(15).standard_normal((2, *shape)).astype(np.float32)
    y = backend.to_device(before.copy())
    backend.axpy(-0.3, backend.to_device(x), y)
    assert_close(backend.to_host(y), before + np.float32(-0.3) * x.astype(np.float64), 1e-6)
    with pytest.raises(ValueError, match="y must have the shape"):
        backend.axpy(1.0, y, backend.zeros((2,)))


PAIRS = [(1, [1, 1]), (5, [5, 5, 2, 2]), (9, [9, 9, 9, 9, 4, 4])]


@pytest.mark.parametrize(("T", "lengths"), PAIRS, ids=str)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_agree(backend: Backend, T: int, lengths: list[int], scale: float) -> None:
    """Columns 2i and 2i + 1 by p - q and q - p, only within the lengths; what stands beyond may be anything."""
    rng = np.random.default_rng(16)
    x = (scale * rng.standard_normal((T, len(lengths), 29))).astype(np.float32)
    before = rng.standard_normal(x.shape).astype(np.float32)
    p = np.exp(x.astype(np.float64) - x.max(axis=2, keepdims=True))
    p /= p.sum(axis=2, keepdims=True)
    expected = before.astype(np.float64)
    for b, length in enumerate(lengths):
        expected[:length, b] += 0.3 * (p[:length, b] - p[:length, b ^ 1])
        x[length:, b] = np.nan
    gradient = backend.to_device(before.copy())
    backend.agree(backend.to_device(x), np.array(lengths, np.int32), 0.3, gradient)
    assert_close(backend.to_host(gradient), expected, 1e-6)


def test_agree_is_the_derivative_of_both_divergences_with_the_other_side_given() -> None:
    backend, rng = ReferenceBackend(), np.random.default_rng(17)
    x, step = rng.standard_normal((3, 2, 4)), 1e-6
    given = np.exp(x) / np.exp(x).sum(axis=2, keepdims=True)

    def divergence(logits: np.ndarray) -> float:
        log_p = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
        return float((given[:, ::-1] * (np.log(given[:, ::-1]) - log_p))[:2].sum())

    gradient = np.zeros_like(x)
    backend.agree(x, np.array([2, 2], np.int32), 0.7, gradient)
    for place in np.ndindex(x.shape):
        moved = np.zeros_like(x)
        moved[place] = step
        slope = (divergence(x + moved) - divergence(x - moved)) / (2 * step)
        assert gradient[place] == pytest.approx(0.7 * slope, abs=1e-8)


@pytest.mark.parametrize("lengths", [[3, 2], [3, 3, 3]], ids=str)
def test_agree_wants_pairs(backend: Backend, lengths: list[int]) -> None:
    x = backend.zeros((3, len(lengths), 5))
    with pytest.raises(ValueError, match="columns must be pairs of one length"):
        backend.agree(x, np.array(lengths, np.int32), 0.3, backend.zeros((3, len(lengths), 5)))


@pytest.mark.parametrize("size", [1, 7, 1003])
def test_sgd_step(backend: Backend, size: int) -> None:
    rng = np.random.default_rng(4)
    start, gradient, before = rng.standard_normal((3, size)).astype(np.float32)
    weights, velocity = backend.to_device(start.copy()), backend.to_device(before.copy())
    backend.sgd_step(weights, backend.to_device(gradient), velocity, 0.1, 0.9, 0.5, 0.01)
    g = 0.5 * gradient.astype(np.float64) + 0.01 * start
    v = 0.9 * before + g
    assert_close(backend.to_host(velocity), v, 1e-6)
    assert_close(backend.to_host(weights), start - 0.1 * (g + 0.9 * v), 1e-6)


def test_sgd_step_on_a_part_of_vectors(backend: Backend) -> None:
    """A part may begin where wide reads and writes cannot."""
    start, gradient, before = np.random.default_rng(12).standard_normal((3, 23)).astype(np.float32)
    whole = [backend.to_device(array.copy()) for array in (start, gradient, before)]
    backend.sgd_step(*(array[1:] for array in whole), 0.1, 0.9, 0.5, 0.01)
    weights, velocity = backend.to_host(whole[0]), backend.to_host(whole[2])
    v = 0.9 * before + 0.5 * gradient.astype(np.float64) + 0.01 * start
    assert_close(velocity[1:], v[1:], 1e-6)
    assert_close(weights[1:], (start - 0.1 * (v - 0.9 * before + 0.9 * v))[1:], 1e-6)
    assert weights[0] == start[0]
    assert velocity[0] == before[0]


def test_norm(backend: Backend) -> None:
    def norm(values: np.ndarray) -> float:
        return backend.norm(backend.to_device(values.astype(np.float32)))

    assert norm(np.array([3.0, -4.0])) == 5.0
    assert norm(np.zeros(9)) == 0.0
    assert norm(np.full(4, 1e30)) == pytest.approx(2e30, rel=1e-6)  # its squares do not fit float32
    assert norm(np.full(100_001, 0.1)) == pytest.approx(np.float32(0.1) * np.sqrt(100_001), rel=1e-7)
    for size in (1, 7, 8, 9, 16):
        assert norm(np.ones(size)) == pytest.approx(np.sqrt(size), rel=1e-12)
        assert np.isnan(norm(np.append(np.ones(size), np.nan)))
    assert norm(np.array([np.inf, 1.0])) == np.inf


@pytest.mark.parametrize("decades", [(-45, -30), (-20, -8), (-14, 14), (-3, 3), (8, 18), (30, 38), (-45, 38)], ids=str)
@pytest.mark.parametrize("size", [13, 4096 if SIMULATED else 100_003])
def test_norm_of_any_magnitudes(backend: Backend, decades: tuple[int, int], size: int) -> None:
    """Squares below and above float32's range, and sums of many that are each far below the whole."""
    rng = np.random.default_rng(13)
    vector = (rng.choice([-1, 1], size) * 10 ** rng.uniform(*decades, size)).astype(np.float32)
    expected = np.sqrt(np.square(vector, dtype=np.float64).sum())
    assert backend.norm(backend.to_device(vector)) == pytest.approx(expected, rel=1e-12)


def test_packed_rows(fast: Backend) -> None:
    """Rows without the padding between them, and back with zeros in its place."""
    if fast.name != "cuda":
        pytest.skip("the CPU packs rows within its kernels")
    from kernels.cuda.elementwise import pack_rows, unpack_rows

    device, (T, B, D), lengths = fast.device, (5, 3, 7), np.array([5, 4, 1])
    x = np.random.default_rng(14).standard_normal((T * B, D)).astype(np.float32)
    inside = np.arange(T)[:, None] < lengths
    places = np.flatnonzero(inside).astype(np.int32)
    x[~inside.reshape(-1)] = np.nan
    packed, back = device.empty((len(places) * D,)), device.empty((T * B * D,))
    device.spread(pack_rows, packed.size, device.upload(x.reshape(-1)), device.upload(places), packed, len(places), D)
    np.testing.assert_array_equal(device.download(packed).reshape(-1, D), x[places])
    rows_of = np.where(inside, np.cumsum(inside).reshape(T, B) - 1, -1).astype(np.int32)
    device.spread(unpack_rows, back.size, packed, device.upload(rows_of.reshape(-1)), back, back.size, D)
    np.testing.assert_array_equal(device.download(back).reshape(-1, D), np.nan_to_num(x))


def test_arrays(backend: Backend) -> None:
    assert backend.to_host(backend.zeros((2, 3))).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert backend.to_host(backend.empty((4, 1, 2))).shape == (4, 1, 2)
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    np.testing.assert_array_equal(backend.to_host(backend.to_device(turned)), turned)
    assert backend.to_host(backend.to_device(np.array([1, 2], np.int32))).dtype == np.int32
    assert backend.name in backend.describe()


def test_open_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_backend("cpu", threads=3).threads == 3
    assert open_backend("cpu").threads >= 1
    with pytest.raises(ValueError, match="threads must be at least 1, not 0"):
        open_backend("cpu", threads=0)
    with pytest.raises(ValueError, match="unknown backend 'gpu'; choose auto, cpu"):
        open_backend("gpu")
    monkeypatch.setenv("ASR_BACKEND", "reference")
    assert open_backend().name == "reference"
    assert open_backend("cpu").name == "cpu"
    monkeypatch.delenv("ASR_BACKEND")
    assert open_backend().name == open_backend("auto").name


def test_a_missing_gpu_is_a_sentence_with_a_remedy() -> None:
    try:
        open_backend("cuda")
    except BackendUnavailableError as error:
        message = str(error)
    else:
        pytest.skip("this machine has a GPU")
    assert "cpu" in message
    assert "\n" not in message
