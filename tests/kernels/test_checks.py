"""What breaks the interface's rules is refused in one sentence, by every backend in the same words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kernel_cases import make_case, packed_layer

from kernels.interface import Backend, RecurrentShape

Arguments = dict[str, Any]


def int32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def placed(backend: Backend, given: Any, host: tuple[str, ...] = ("lengths", "labels", "label_lengths")) -> Any:
    """Arguments, by name or one array, on the backend's device; what stays on the host or is no good stays as it is."""
    if isinstance(given, dict):
        return {name: value if name in host else placed(backend, value) for name, value in given.items()}
    good = isinstance(given, np.ndarray) and given.flags["C_CONTIGUOUS"] and given.size and backend.name == "cuda"
    return backend.to_device(given) if good else given


def refused(message: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=message) as error:
        call()
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 200


BAD_SEQUENCES: dict[str, tuple[Arguments, str]] = {
    "unsorted": ({"lengths": int32(4, 9, 9, 1)}, r"lengths must be sorted longest first, not \[4, 9, 9, 1\]"),
    "zero length": ({"lengths": int32(9, 9, 4, 0)}, r"each length must be in 1\.\.9"),
    "negative length": ({"lengths": int32(9, 9, 4, -2)}, r"each length must be in 1\.\.9"),
    "longer than the batch": ({"lengths": int32(10, 9, 4, 1)}, r"each length must be in 1\.\.9"),
    "too few lengths": ({"lengths": int32(9, 9, 4)}, r"lengths must have the shape \[4\], not \[3\]"),
    "lengths of int64": ({"lengths": np.array([9, 9, 4, 1])}, "lengths must be int32, not int64"),
    "lengths in a list": ({"lengths": [9, 9, 4, 1]}, "lengths must be an array, not list"),
    "x of float16": ({"x": np.zeros((9, 4, 7), np.float16)}, "x must be float32.*, not float16"),
    "x of integers": ({"x": np.zeros((9, 4, 7), np.int32)}, "x must be float32.*, not int32"),
    "x of the wrong width": ({"x": np.zeros((9, 4, 6), np.float32)}, r"x must have the shape .*7\], not \[9, 4, 6\]"),
    "x without a batch": ({"x": np.zeros((9, 7), np.float32)}, r"x must have the shape .*, not \[9, 7\]"),
    "no frames": ({"x": np.zeros((0, 4, 7), np.float32)}, r"x must have the shape .*, not \[0, 4, 7\]"),
    "x transposed": ({"x": np.zeros((4, 9, 7), np.float32).swapaxes(0, 1)}, "x must be C-contiguous"),
    "out too narrow": ({"out": np.zeros((9, 4, 5), np.float32)}, r"out must have the shape \[9, 4, 10\]"),
    "out too short": ({"out": np.zeros((8, 4, 10), np.float32)}, r"out must have the shape \[9, 4, 10\]"),
}


def good_sequence() -> Arguments:
    return {
        "x": np.zeros((9, 4, 7), np.float32),
        "lengths": int32(9, 9, 4, 1),
        "out": np.zeros((9, 4, 10), np.float32),
    }


@pytest.mark.parametrize("name", BAD_SEQUENCES)
@pytest.mark.parametrize("method", ["infer", "forward"])
def test_recurrent(backend: Backend, name: str, method: str) -> None:
    shape = RecurrentShape("gru", 7, 5)
    layer = backend.recurrent(shape)
    weights = {name: np.zeros(size, np.float32) for name, size in shape.parameter_shapes().items()}
    layer.pack(placed(backend, weights))
    bad, message = BAD_SEQUENCES[name]
    run = getattr(layer, method)
    refused(message, lambda: run(**placed(backend, good_sequence() | bad)))
    run(**placed(backend, good_sequence()))


BAD_BACKWARDS: dict[str, tuple[Arguments, str]] = {
    "out_gradient of one direction": (
        {"out_gradient": np.zeros((9, 4, 5), np.float32)},
        r"out_gradient must have the shape \[9, 4, 10\]",
    ),
    "x_gradient too wide": ({"x_gradient": np.zeros((9, 4, 8), np.float32)}, r"x_gradient must have the shape"),
    "no gradients": ({"gradients": {}}, "gradients lack forward.weight_ih"),
}


@pytest.mark.parametrize("name", BAD_BACKWARDS)
def test_recurrent_backward(backend: Backend, name: str) -> None:
    shape = RecurrentShape("gru", 7, 5)
    layer = backend.recurrent(shape)
    weights = {name: np.zeros(size, np.float32) for name, size in shape.parameter_shapes().items()}
    layer.pack(placed(backend, weights))
    layer.forward(**placed(backend, good_sequence()))
    good = good_sequence() | {
        "out_gradient": np.zeros((9, 4, 10), np.float32),
        "gradients": {name: np.empty(size, np.float32) for name, size in shape.parameter_shapes().items()},
        "x_gradient": np.empty((9, 4, 7), np.float32),
    }
    bad, message = BAD_BACKWARDS[name]
    refused(message, lambda: layer.backward(**placed(backend, good | bad)))
    layer.backward(**placed(backend, good))


def test_weights(backend: Backend) -> None:
    case = make_case("lstm", False, "one frame")
    layer = packed_layer(backend, case)
    missing = {name: weight for name, weight in case.weights.items() if name != "forward.bias_hh"}
    refused("weights lack forward.bias_hh", lambda: layer.pack(missing))
    flat = case.weights | {"forward.weight_hh": np.zeros((20, 6), np.float32)}
    rule = re.escape(str(list(case.weights["forward.weight_hh"].shape)))
    refused(rf"weights\['forward.weight_hh'\] must have the shape {rule}, not \[20, 6\]", lambda: layer.pack(flat))


def test_shapes_of_layers() -> None:
    refused("unknown cell 'lsmt'; choose one of .*lstm", lambda: RecurrentShape("lsmt", 3, 3))
    refused("inputs and hidden must be at least 1", lambda: RecurrentShape("lstm", 0, 3))
    refused("inputs and hidden must be at least 1", lambda: RecurrentShape("lstm", 3, 0))


BAD_CTC: dict[str, tuple[Arguments, str]] = {
    "blank as a label": ({"labels": np.array([[1, 0], [1, 2]], np.int32)}, r"labels must be in 1\.\.3"),
    "label of no class": ({"labels": np.array([[1, 2], [4, 2]], np.int32)}, r"labels must be in 1\.\.3, not 1\.\.4"),
    "negative label": ({"labels": np.array([[1, -1], [1, 2]], np.int32)}, r"labels must be in 1\.\.3, not -1\.\.2"),
    "labels of int64": ({"labels": np.array([[1, 2], [1, 2]])}, "labels must be int32, not int64"),
    "labels in a row": ({"labels": int32(1, 2)}, "labels must have the shape"),
    "too few rows": ({"labels": np.array([[1, 2]], np.int32)}, r"labels must have the shape \[2, 2\], not \[1, 2\]"),
    "label length beyond the row": ({"label_lengths": int32(3, 2)}, r"each label length must be in 0\.\.2"),
    "negative label length": ({"label_lengths": int32(2, -1)}, r"each label length must be in 0\.\.2"),
    "unsorted lengths": ({"lengths": int32(4, 5)}, "lengths must be sorted longest first"),
    "zero length": ({"lengths": int32(5, 0)}, r"each length must be in 1\.\.5"),
    "gradient of another shape": ({"gradient": np.zeros((5, 2, 3), np.float32)}, "gradient must have the shape"),
    "logits of integers": ({"logits": np.zeros((5, 2, 4), np.int32)}, "logits must be float32"),
}


@pytest.mark.parametrize("name", BAD_CTC)
def test_ctc(backend: Backend, name: str) -> None:
    good: Arguments = {
        "logits": np.zeros((5, 2, 4), np.float32),
        "lengths": int32(5, 4),
        "labels": np.array([[1, 2], [1, 2]], np.int32),
        "label_lengths": int32(2, 2),
        "gradient": np.zeros((5, 2, 4), np.float32),
    }
    bad, message = BAD_CTC[name]
    refused(message, lambda: backend.ctc()(**placed(backend, good | bad)))
    assert np.isfinite(backend.ctc()(**placed(backend, good))).all()


def test_stack_frames(backend: Backend) -> None:
    x, lengths, out = backend.zeros((5, 2, 3)), int32(5, 4), backend.zeros((3, 2, 6))
    backend.stack_frames(x, lengths, 2, out)
    refused("frames to stack must be at least 1, not 0", lambda: backend.stack_frames(x, lengths, 0, out))
    refused(r"out must have the shape \[2, 2, 9\]", lambda: backend.stack_frames(x, lengths, 3, out))
    refused("sorted longest first", lambda: backend.stack_frames(x, int32(4, 5), 2, out))


def test_dense(backend: Backend) -> None:
    layer = backend.dense(3, 4)
    refused(r"weight must have the shape \[4, 3\]", lambda: layer.pack(np.zeros((3, 4), np.float32), np.zeros(4)))
    layer.pack(backend.zeros((4, 3)), backend.zeros((4,)))
    x, out = backend.zeros((5, 2, 3)), backend.zeros((5, 2, 4))
    refused(r"x must have the shape", lambda: layer.forward(np.zeros((5, 2, 4), np.float32), out))
    refused(r"out must have the shape \[5, 2, 4\]", lambda: layer.forward(x, np.zeros((5, 1, 4), np.float32)))
    layer.forward(x, out)


def test_elementwise(backend: Backend) -> None:
    x = np.zeros((2, 3), np.float32)
    refused("out must have the shape", lambda: backend.log_softmax(x, np.zeros((3, 2), np.float32)))
    refused("log_probs must have the shape", lambda: backend.best(x))
    refused("out must have the shape", lambda: backend.dropout(x, np.zeros((3, 2), np.float32), 0.5, 1))
    for rate in (-0.1, 1.0, np.nan):
        refused("the dropout rate must be at least 0 and below 1", lambda rate=rate: backend.dropout(x, x, rate, 1))


def test_flat_vectors(backend: Backend) -> None:
    v, short = np.zeros(6, np.float32), np.zeros(5, np.float32)
    refused(r"gradient must have the shape \[6\]", lambda: backend.sgd_step(v, short, v, 0.1, 0.9, 1.0))
    refused(r"velocity must have the shape \[6\]", lambda: backend.sgd_step(v, v, short, 0.1, 0.9, 1.0))
    refused("weights must have the shape", lambda: backend.sgd_step(v.reshape(2, 3), v, v, 0.1, 0.9, 1.0))
    refused("vector must have the shape", lambda: backend.norm(v.reshape(2, 3)))
