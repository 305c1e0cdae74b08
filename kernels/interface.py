"""What a backend can do: the one page between mathematics and machine.

Sequences are time-major, `[T, B, D]`, C-contiguous float32. `lengths` is int32 `[B]`, each at least 1,
sorted longest first, so that the utterances still running at any time step are a prefix of the batch.
Lengths and labels are NumPy arrays on every backend: they decide what is launched.
The caller may put anything beyond a length: no operation reads it into a result, and what an operation
writes there is zero.

Arrays belong to their backend: on the CPU an `Array` is a `numpy.ndarray`, on another device it stays
there until `to_host`. Operations write into arrays that the caller owns (`out`, `gradients`, ...) and
return nothing large. An object made by `recurrent`, `dense` or `ctc` owns its packed weights and its
workspace, which grows to the largest batch seen and is reused; it belongs to one thread at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kernels.cells import CELLS

Array = Any  # numpy.ndarray on the CPU, a device array elsewhere

DIRECTIONS = ("forward", "backward")


@dataclass(frozen=True)
class RecurrentShape:
    """The sizes of one recurrent layer.

    Parameters
    ----------
    cell : a name in `kernels.cells.CELLS`
    inputs : D > 0, values per input frame
    hidden : H > 0, units per direction
    bidirectional : two directions, whose outputs stand side by side as `[T, B, 2 H]`
    """

    cell: str
    inputs: int
    hidden: int
    bidirectional: bool = True

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ValueError(f"unknown cell {self.cell!r}; choose one of {', '.join(CELLS)}")
        if self.inputs < 1 or self.hidden < 1:
            raise ValueError(f"inputs and hidden must be at least 1, not {self.inputs} and {self.hidden}")

    @property
    def directions(self) -> tuple[str, ...]:
        return DIRECTIONS if self.bidirectional else DIRECTIONS[:1]

    @property
    def outputs(self) -> int:
        """Values per output frame: H for each direction."""
        return self.hidden * len(self.directions)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each weight, as PyTorch has them (G gates): `forward.weight_ih [G H, D]`,
        `forward.weight_hh [G H, H]`, `forward.bias_ih [G H]`, `forward.bias_hh [G H]`, then `backward.*`.
        """
        rows = CELLS[self.cell].gates * self.hidden
        shapes: dict[str, tuple[int, ...]] = {}
        for direction in self.directions:
            shapes[f"{direction}.weight_ih"] = (rows, self.inputs)
            shapes[f"{direction}.weight_hh"] = (rows, self.hidden)
            shapes[f"{direction}.bias_ih"] = (rows,)
            shapes[f"{direction}.bias_hh"] = (rows,)
        return shapes


class RecurrentLayer(Protocol):
    """A recurrent layer over a batch of unequal lengths; the backward direction of an utterance starts
    at that utterance's own last frame. Initial states are zero."""

    shape: RecurrentShape

    def pack(self, weights: Mapping[str, Array]) -> None:
        """Take the weights (named as in `parameter_shapes`); call it again after they changed."""

    def infer(self, x: Array, lengths: Array, out: Array) -> None:
        """`x [T, B, D]` -> `out [T, B, outputs]`, keeping nothing for a backward pass."""

    def forward(self, x: Array, lengths: Array, out: Array) -> None:
        """As `infer`, and keeps what `backward` needs."""

    def backward(
        self,
        x: Array,
        lengths: Array,
        out: Array,
        out_gradient: Array,
        gradients: Mapping[str, Array],
        x_gradient: Array | None,
    ) -> None:
        """Back-propagation through time of the latest `forward`, whose `x`, `lengths` and `out` are given again.

        Reads `out_gradient [T, B, outputs]`; overwrites each of `gradients` (named and shaped as the
        weights) and `x_gradient [T, B, D]`, which is skipped when None.
        """


class DenseLayer(Protocol):
    """`y = x W^T + b` for each frame: `weight [N, D]`, `bias [N]`."""

    def pack(self, weight: Array, bias: Array) -> None:
        """Take the weights; call it again after they changed."""

    def forward(self, x: Array, out: Array) -> None:
        """`x [T, B, D]` -> `out [T, B, N]`."""

    def backward(
        self, x: Array, out_gradient: Array, weight_gradient: Array, bias_gradient: Array, x_gradient: Array | None
    ) -> None:
        """Overwrites the gradients. `out_gradient` must be zero beyond the lengths (`CtcLoss` writes it so),
        and `x` finite there."""


class CtcLoss(Protocol):
    """Connectionist temporal classification (Graves et al., ICML 2006); the blank is label 0."""

    def __call__(
        self, logits: Array, lengths: Array, labels: Array, label_lengths: Array, gradient: Array | None
    ) -> np.ndarray:
        """Negative log-likelihood of each label sequence, float64 `[B]` on the host.

        `logits [T, B, C]`, unnormalised; `labels` int32 `[B, S]` in 1..C-1, the first `label_lengths[b]`
        of a row counted. `gradient [T, B, C]` is overwritten by the derivative of the sum of the losses
        with respect to the logits. An infeasible sequence (fewer frames than labels plus repeats) has loss
        infinity and gradient zero, and so has one whose logits are not finite, with loss NaN.
        """


class Backend(Protocol):
    """One machine that can run a network."""

    name: str
    threads: int

    def describe(self) -> str:
        """For a person, on one line: device, threads, width."""

    def explain(self, shape: RecurrentShape, batch: int) -> str:
        """For a person, on one line: how a recurrent layer of this shape runs with so many utterances at once."""

    def to_device(self, host: np.ndarray) -> Array:
        """A copy on the device (on the CPU: the array itself, made contiguous)."""

    def to_host(self, array: Array) -> np.ndarray:
        """A copy on the host (on the CPU: the array itself)."""

    def resident(self, vector: np.ndarray) -> Array:
        """A float32 vector where the backend computes: on the CPU the very same, elsewhere a copy on the device."""

    def empty(self, shape: tuple[int, ...]) -> Array:
        """A float32 array, not initialised."""

    def zeros(self, shape: tuple[int, ...]) -> Array:
        """A float32 array of zeros."""

    def recurrent(self, shape: RecurrentShape) -> RecurrentLayer:
        """A layer without weights yet: call its `pack`."""

    def dense(self, inputs: int, outputs: int) -> DenseLayer:
        """A layer without weights yet: call its `pack`."""

    def ctc(self) -> CtcLoss:
        """A loss with its own workspace."""

    def stack_frames(self, x: Array, lengths: Array, count: int, out: Array) -> None:
        """`out [ceil(T/count), B, count D]`: each `count` frames side by side; a last incomplete group
        repeats the utterance's last frame. `lengths` are those of `x`."""

    def log_softmax(self, x: Array, out: Array) -> None:
        """Natural log-probabilities over the last axis; `out` may be `x`."""

    def agree(self, logits: Array, lengths: Array, share: float, gradient: Array) -> None:
        """Draw pairs of columns together: 2i and 2i + 1 of `logits [T, B, C]` are one utterance, heard in two ways.

        To `gradient [T, B, C]` is added `share` times the derivative, with respect to the logits, of the sum over
        their steps of KL(q || p), where p is the softmax of either and q that of the other, taken as given: p - q.
        Nothing is added beyond the lengths, which are the same for both of a pair.
        """

    def best(self, log_probs: Array) -> tuple[np.ndarray, np.ndarray]:
        """The likeliest class of each frame of `[T, B, C]`, the first of equals, int32 `[T, B]`, and its value, float32
        `[T, B]` (float64 in the reference). Both are on the host: greedy decoding needs nothing else of them.

        Of a frame whose values are not numbers, such as may stand beyond a length, any class.
        """

    def dropout(self, x: Array, out: Array, rate: float, seed: int) -> None:
        """Each value is 0 with probability `rate` (0 <= rate < 1), else divided by `1 - rate`; `out` may be `x`.

        Whether the value at flat index i stays is a function of (seed, i) alone, the same on every
        backend: the backward pass applies the same call to the gradient and nothing is stored.
        """

    def axpy(self, scale: float, x: Array, y: Array) -> None:
        """y += scale x, of one shape; `x` may be `y` (the name is BLAS's)."""

    def sgd_step(
        self,
        weights: Array,
        gradient: Array,
        velocity: Array,
        rate: float,
        momentum: float,
        scale: float,
        weight_decay: float = 0.0,
    ) -> None:
        """Nesterov momentum on flat vectors, in place (Sutskever et al., ICML 2013, in PyTorch's form):

        g = scale * gradient + weight_decay * weights;  v = momentum * v + g;  weights -= rate * (g + momentum * v)
        """

    def norm(self, vector: Array) -> float:
        """Euclidean norm, accumulated in float64."""
