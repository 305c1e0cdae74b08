"""What every backend refuses, said once: shapes, dtypes, layouts and lengths that break `kernels.interface`.

Each function returns nothing or raises ValueError with one sentence: what, the value, the rule. `dtypes` are the
floating types that a backend computes with: float32, and also float64 for the reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kernels.interface import RecurrentShape

FLOAT32: tuple[type[np.floating[Any]], ...] = (np.float32,)
FLOATS: tuple[type[np.floating[Any]], ...] = (np.float32, np.float64)

Shape = tuple[int | None, ...]  # None: any size of at least 1


def check_array(name: str, array: Any, shape: Shape, dtypes: tuple[type[Any], ...] = FLOAT32) -> None:
    """One C-contiguous array of the given shape and one of the given dtypes."""
    dtype, found = getattr(array, "dtype", None), getattr(array, "shape", None)
    if dtype is None or found is None:
        raise ValueError(f"{name} must be an array, not {type(array).__name__}")
    if dtype not in dtypes:
        raise ValueError(f"{name} must be {' or '.join(kind.__name__ for kind in dtypes)}, not {dtype}")
    fits = len(found) == len(shape) and all(
        size >= 1 if rule is None else size == rule for size, rule in zip(found, shape, strict=True)
    )
    if not fits:
        rules = ", ".join("at least 1" if rule is None else str(rule) for rule in shape)
        raise ValueError(f"{name} must have the shape [{rules}], not {list(found)}")
    if not array.flags["C_CONTIGUOUS"]:
        raise ValueError(f"{name} must be C-contiguous: copy it with numpy.ascontiguousarray")


def check_lengths(lengths: Any, frames: int, batch: int) -> None:
    """`lengths` int32 [B], sorted longest first, each in 1..T."""
    check_array("lengths", lengths, (batch,), (np.int32,))
    if lengths.min() < 1 or lengths.max() > frames:
        raise ValueError(f"each length must be in 1..{frames}, the frames of the batch, not {_list(lengths)}")
    if np.any(lengths[1:] > lengths[:-1]):
        raise ValueError(f"lengths must be sorted longest first, not {_list(lengths)}")


def check_weights(shape: RecurrentShape, weights: Mapping[str, Any], dtypes: tuple[type[Any], ...] = FLOAT32) -> None:
    """The weights of a recurrent layer, or their gradients."""
    _check_named("weights", shape, weights, dtypes)


def check_sequence(
    shape: RecurrentShape, x: Any, lengths: Any, out: Any, dtypes: tuple[type[Any], ...] = FLOAT32
) -> None:
    """The arguments of `RecurrentLayer.infer` and `forward`."""
    check_array("x", x, (None, None, shape.inputs), dtypes)
    check_lengths(lengths, x.shape[0], x.shape[1])
    check_array("out", out, (*x.shape[:2], shape.outputs), dtypes)


def check_backward(
    shape: RecurrentShape,
    x: Any,
    lengths: Any,
    out: Any,
    out_gradient: Any,
    gradients: Mapping[str, Any],
    x_gradient: Any | None,
    dtypes: tuple[type[Any], ...] = FLOAT32,
) -> None:
    """The arguments of `RecurrentLayer.backward`."""
    check_sequence(shape, x, lengths, out, dtypes)
    check_array("out_gradient", out_gradient, out.shape, dtypes)
    _check_named("gradients", shape, gradients, dtypes)
    if x_gradient is not None:
        check_array("x_gradient", x_gradient, x.shape, dtypes)


def check_dense(
    x: Any, out: Any, inputs: int, outputs: int, name: str = "out", dtypes: tuple[type[Any], ...] = FLOAT32
) -> None:
    """`x [T, B, inputs]` and `out`, or its gradient, `[T, B, outputs]`."""
    check_array("x", x, (None, None, inputs), dtypes)
    check_array(name, out, (*x.shape[:2], outputs), dtypes)


def check_ctc(
    logits: Any,
    lengths: Any,
    labels: Any,
    label_lengths: Any,
    gradient: Any | None,
    dtypes: tuple[type[Any], ...] = FLOAT32,
) -> None:
    """The arguments of `CtcLoss.__call__`. Labels beyond a row's label length may be anything."""
    check_array("logits", logits, (None, None, None), dtypes)
    frames, batch, classes = logits.shape
    check_lengths(lengths, frames, batch)
    width = labels.shape[1] if getattr(labels, "ndim", 0) == 2 else None
    check_array("labels", labels, (batch, width), (np.int32,))
    check_array("label_lengths", label_lengths, (batch,), (np.int32,))
    columns = labels.shape[1]
    if label_lengths.min() < 0 or label_lengths.max() > columns:
        raise ValueError(f"each label length must be in 0..{columns}, not {_list(label_lengths)}")
    counted = labels[np.arange(columns) < label_lengths[:, None]]
    if counted.size and (counted.min() < 1 or counted.max() >= classes):
        raise ValueError(f"labels must be in 1..{classes - 1}, not {counted.min()}..{counted.max()}: 0 is the blank")
    if gradient is not None:
        check_array("gradient", gradient, logits.shape, dtypes)


def check_pairs(logits: Any, lengths: Any, gradient: Any, dtypes: tuple[type[Any], ...] = FLOAT32) -> None:
    """The arguments of `Backend.agree`: an even number of columns, the two of a pair of one length."""
    check_array("logits", logits, (None, None, None), dtypes)
    frames, batch, _ = logits.shape
    check_lengths(lengths, frames, batch)
    if batch % 2 or np.any(lengths[0::2] != lengths[1::2]):
        raise ValueError(f"columns must be pairs of one length, not of the lengths {_list(lengths)}")
    check_array("gradient", gradient, logits.shape, dtypes)


def check_stack_frames(x: Any, lengths: Any, count: int, out: Any, dtypes: tuple[type[Any], ...] = FLOAT32) -> None:
    """The arguments of `Backend.stack_frames`."""
    if count < 1:
        raise ValueError(f"the count of frames to stack must be at least 1, not {count}")
    check_array("x", x, (None, None, None), dtypes)
    frames, batch, values = x.shape
    check_lengths(lengths, frames, batch)
    check_array("out", out, (-(-frames // count), batch, count * values), dtypes)


def check_same(name: str, array: Any, like: Any, dtypes: tuple[type[Any], ...] = FLOAT32) -> None:
    """Two arrays of the same shape, of any rank: `x`, and the one named."""
    check_array("x", like, like.shape, dtypes)
    check_array(name, array, like.shape, dtypes)


def check_frames(name: str, array: Any, dtypes: tuple[type[Any], ...] = FLOAT32) -> None:
    """One array `[T, B, C]` of any size."""
    check_array(name, array, (None, None, None), dtypes)


def check_rate(rate: float) -> None:
    """A dropout rate."""
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"the dropout rate must be at least 0 and below 1, not {rate}")


def check_sgd(weights: Any, gradient: Any, velocity: Any, dtypes: tuple[type[Any], ...] = FLOAT32) -> None:
    """Three flat vectors of one size."""
    check_vector("weights", weights, dtypes)
    check_array("gradient", gradient, weights.shape, dtypes)
    check_array("velocity", velocity, weights.shape, dtypes)


def check_vector(name: str, vector: Any, dtypes: tuple[type[Any], ...] = FLOAT32) -> None:
    """A flat vector."""
    size = vector.shape[0] if getattr(vector, "ndim", 0) == 1 else None
    check_array(name, vector, (size,), dtypes)


def _check_named(what: str, shape: RecurrentShape, arrays: Mapping[str, Any], dtypes: tuple[type[Any], ...]) -> None:
    rules = shape.parameter_shapes()
    missing = [name for name in rules if name not in arrays]
    if missing:
        raise ValueError(f"{what} lack {', '.join(missing)}")
    for name, rule in rules.items():
        check_array(f"{what}[{name!r}]", arrays[name], rule, dtypes)


def _list(values: Any) -> str:
    """The first few values, for a message."""
    shown = ", ".join(str(value) for value in values[:8])
    return f"[{shown}, ...]" if len(values) > 8 else f"[{shown}]"
