"""A bidirectional recurrent layer on the CPU: `kernels.interface.RecurrentLayer`.

The work is cut into tasks that never wait for each other: one for each direction and slice of the batch. With two
threads each core has one direction and keeps its weights in its cache; with more, the batch is cut as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from kernels.cells import CELLS
from kernels.checks import check_backward, check_sequence, check_weights
from kernels.cpu.product import aligned, pack_bias, pack_weight, padded, unpack_gradient
from kernels.cpu.steps import Slice, add_rows, backward_steps, forward_steps, zero_padding
from kernels.cpu.target import COLUMNS, PANEL, ROWS
from kernels.cpu.team import Team
from kernels.interface import RecurrentShape

CHUNK_ROWS = 128  # packed rows of a chunk, if their pre-activations stay in the second-level cache (512 KB of it)
INFERRED = "inferred "  # begins the names of arrays that `infer` has of its own: `backward` needs those of `forward`
LARGE_CHUNK_ROWS = 512  # else: fewer passes over the weights' gradient


class Packing:
    """Where the frames of one slice of a batch stand without padding.

    The slice has every `stride`-th utterance from `first` on. Since a batch is sorted longest first, the
    utterances that run at time t are a prefix; row `offsets[t] + b` is frame t of the slice's utterance b.
    """

    def __init__(self, lengths: np.ndarray, first: int, stride: int, chunk_rows: int):
        own = lengths[first::stride]
        active = np.searchsorted(-own, -np.arange(own[0]), side="left")  # how many are longer than t
        self.batch = len(own)
        self.offsets = np.concatenate([[0], np.cumsum(active)]).astype(np.int64)
        self.rows = int(self.offsets[-1])
        starts, row = [0], 0
        for t, end in enumerate(self.offsets[1:].tolist()):
            if end - row > chunk_rows and t > starts[-1]:
                starts.append(t)
                row = int(self.offsets[t])
        self.chunks = np.array([*starts, len(active)], np.int64)  # the first step of each chunk, and the end
        self.slice = Slice(self.offsets, self.chunks, first, stride, len(lengths))
        self.chunk_rows = int(np.diff(self.offsets[self.chunks]).max())


class _Weights:
    """One direction's weights, packed for the way forward and the way back."""

    def __init__(self, shape: RecurrentShape):
        cell = CELLS[shape.cell]
        self.gates_x = np.array([-1 if gate is None else gate for gate in cell.from_input])
        self.gates_h = np.array([-1 if gate is None else gate for gate in cell.from_state])
        self.units_per_panel = PANEL // cell.columns
        self.panels = padded(shape.hidden, self.units_per_panel) // self.units_per_panel
        self.padded_units = self.panels * self.units_per_panel
        width = self.panels * PANEL
        self.x, self.x_back = aligned(shape.inputs * width), aligned(padded(shape.inputs, COLUMNS) * width)
        self.stride = padded(shape.hidden, max(COLUMNS, self.units_per_panel))  # of a row of states
        self.h, self.h_back = aligned(shape.hidden * width), aligned(self.stride * width)
        self.bias = aligned(width)

    def pack(self, weights: Mapping[str, np.ndarray]) -> None:
        pack_weight(weights["weight_ih"], self.gates_x, self.units_per_panel, self.x, self.x_back)
        pack_weight(weights["weight_hh"], self.gates_h, self.units_per_panel, self.h, self.h_back)
        self.bias[:] = 0
        for gates, bias in ((self.gates_x, weights["bias_ih"]), (self.gates_h, weights["bias_hh"])):
            pack_bias(bias, gates, self.units_per_panel, self.bias)


class _Task:
    """One direction over one slice: its workspace, which grows to the largest batch seen."""

    def __init__(self, shape: RecurrentShape, weights: _Weights, index: int):
        self.shape, self.weights = shape, weights
        self.reverse = index == 1
        self.column = index * weights.padded_units  # where this direction's outputs begin
        self._zeros = aligned(weights.stride)
        self._arrays: dict[str, np.ndarray] = {}

    def _array(self, name: str, size: int) -> np.ndarray:
        if name not in self._arrays or self._arrays[name].size < size:
            self._arrays[name] = aligned(size)
        return self._arrays[name][:size]

    def forward(self, packing: Packing, x: np.ndarray, out: np.ndarray, keep: bool) -> None:
        w, D, use = self.weights, self.shape.inputs, "" if keep else INFERRED
        forward_steps(self.shape.cell, keep)(
            x.reshape(-1), D, packing.slice, self.reverse, w.x, w.h, w.bias, self.shape.hidden, w.stride,
            self._array("xs", packing.chunk_rows * D),
            self._array(use + "G", (packing.rows if keep else packing.chunk_rows) * w.panels * PANEL),
            self._array(use + "cs", (packing.rows if keep else 2 * packing.batch) * w.stride),
            self._zeros, out.reshape(-1), out.shape[2], self.column,
        )  # fmt: skip

    def backward(
        self,
        packing: Packing,
        x: np.ndarray,
        out: np.ndarray,
        out_gradient: np.ndarray,
        x_gradient: np.ndarray,
        want_x: bool,
        add_x: bool,
    ) -> None:
        """Leaves the weights' gradient in `dw`."""
        w, D, H = self.weights, self.shape.inputs, self.shape.hidden
        depth = padded(D + 1, ROWS) + padded(H, ROWS)
        self.dw = self._array("dw", w.panels * depth * PANEL)
        backward_steps(self.shape.cell)(
            x.reshape(-1), D, packing.slice, self.reverse, w.x_back, w.h_back, H, w.stride,
            self._array("G", packing.rows * w.panels * PANEL),
            self._array("E", packing.chunk_rows * w.panels * PANEL),
            self._array("cs", packing.rows * w.stride),
            self._zeros, out.reshape(-1), out_gradient.reshape(-1), out.shape[2], self.column,
            self._array("dh", packing.batch * w.stride), self._array("dc", packing.batch * w.stride),
            self._array("at", (packing.chunk_rows + 3) * depth), self.dw,
            self._array("dxs", packing.chunk_rows * padded(D, COLUMNS)), x_gradient.reshape(-1), want_x, add_x,
        )  # fmt: skip

    def unpack(self, gradients: Mapping[str, np.ndarray]) -> None:
        """`dw` in the weights' own shapes."""
        w, D = self.weights, self.shape.inputs
        first_h = padded(D + 1, ROWS)
        depth = first_h + padded(self.shape.hidden, ROWS)
        for gates, kind, row, bias_row in ((w.gates_x, "ih", 0, D), (w.gates_h, "hh", first_h, D)):
            unpack_gradient(self.dw, gates, w.units_per_panel, row, depth, gradients[f"weight_{kind}"])
            bias = gradients[f"bias_{kind}"].reshape(-1, 1)
            unpack_gradient(self.dw, gates, w.units_per_panel, bias_row, depth, bias)


class CpuRecurrentLayer:
    """`kernels.interface.RecurrentLayer` on tiles."""

    def __init__(self, shape: RecurrentShape, team: Team):
        self.shape = shape
        self._team = team
        self._weights = [_Weights(shape) for _ in shape.directions]
        self._slices = max(1, -(-team.threads // len(shape.directions)))
        self._tasks = [
            [_Task(shape, weights, index) for index, weights in enumerate(self._weights)] for _ in range(self._slices)
        ]
        self._arrays: dict[str, np.ndarray] = {}
        self._packed = self._forwarded = False

    def plan(self, batch: int) -> str:
        """How so many utterances are computed, for a person."""
        slices, directions = min(self._slices, batch), len(self._weights)
        rows = f"{-(-batch // slices)} utterance{'s' if batch > slices else ''}"
        tasks = f"{directions * slices} task{'s' if directions * slices > 1 else ''}"
        return f"{tasks}, each a direction of up to {rows}; tiles of {ROWS} x {COLUMNS}"

    def pack(self, weights: Mapping[str, np.ndarray]) -> None:
        check_weights(self.shape, weights)
        self._packed = True
        self._team.run(
            [
                partial(packed.pack, _under(weights, direction))
                for packed, direction in zip(self._weights, self.shape.directions, strict=True)
            ]
        )

    def infer(self, x: np.ndarray, lengths: np.ndarray, out: np.ndarray) -> None:
        self._forward(x, lengths, out, keep=False)

    def forward(self, x: np.ndarray, lengths: np.ndarray, out: np.ndarray) -> None:
        self._forward(x, lengths, out, keep=True)

    def _packings(self, lengths: np.ndarray) -> list[Packing]:
        slices = min(self._slices, len(lengths))
        fits = CHUNK_ROWS * self._weights[0].panels * PANEL <= 2**17
        rows = CHUNK_ROWS if fits else LARGE_CHUNK_ROWS
        return [Packing(lengths, first, slices, rows) for first in range(slices)]

    def _forward(self, x: np.ndarray, lengths: np.ndarray, out: np.ndarray, keep: bool) -> None:
        check_sequence(self.shape, x, lengths, out)
        if not self._packed:
            raise RuntimeError("the layer has no weights: call pack first")
        self._forwarded |= keep
        wide = self._wide("out" if keep else INFERRED + "out", out)
        jobs = [
            partial(task.forward, packing, x, wide, keep)
            for packing, tasks in zip(self._packings(lengths), self._tasks, strict=False)
            for task in tasks
        ]
        self._team.run(jobs)
        if wide is not out:
            for own, padded_units in zip(self._by_direction(out), self._by_direction(wide), strict=True):
                own[:] = padded_units[:, :, : self.shape.hidden]
        zero_padding(out, lengths)

    def _wide(self, name: str, like: np.ndarray) -> np.ndarray:
        """An array like `out` in which the units of each direction fill whole panels: itself, where they do."""
        T, B, width = like.shape
        wide = width // self.shape.hidden * self._weights[0].padded_units
        if wide == width:
            return like
        return self._array(name, (T, B, wide))

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        size = int(np.prod(shape))
        if name not in self._arrays or self._arrays[name].size < size:
            self._arrays[name] = aligned(size)
        return self._arrays[name][:size].reshape(shape)

    def _by_direction(self, array: np.ndarray) -> list[np.ndarray]:
        return np.split(array, len(self.shape.directions), axis=2)

    def backward(
        self,
        x: np.ndarray,
        lengths: np.ndarray,
        out: np.ndarray,
        out_gradient: np.ndarray,
        gradients: Mapping[str, np.ndarray],
        x_gradient: np.ndarray | None,
    ) -> None:
        check_backward(self.shape, x, lengths, out, out_gradient, gradients, x_gradient)
        if not self._forwarded:
            raise RuntimeError("backward needs a forward before it")
        packings = self._packings(lengths)
        want = x_gradient is not None
        dx = np.empty((0, 0, 0), np.float32) if x_gradient is None else x_gradient
        # In parallel the directions may not add to one array: the second has its own, summed at the end
        parallel = want and self._team.threads > 1 and len(self.shape.directions) > 1
        second = self._array("dx", dx.shape) if parallel else dx
        wide_out, wide_gradient = self._wide("out", out), self._wide("out_gradient", out_gradient)
        if wide_gradient is not out_gradient:
            for own, padded_units in zip(
                self._by_direction(out_gradient), self._by_direction(wide_gradient), strict=True
            ):
                padded_units[:, :, : self.shape.hidden] = own
        jobs = [
            partial(
                task.backward,
                packing,
                x,
                wide_out,
                wide_gradient,
                second if index else dx,
                want,
                bool(index) and not parallel,
            )
            for packing, tasks in zip(packings, self._tasks, strict=False)
            for index, task in enumerate(tasks)
        ]
        self._team.run(jobs)
        for tasks in zip(*self._tasks[: len(packings)], strict=True):  # the slices of one direction
            for other in tasks[1:]:
                tasks[0].dw += other.dw
        self._team.run(
            [
                partial(task.unpack, _under(gradients, direction))
                for task, direction in zip(self._tasks[0], self.shape.directions, strict=True)
            ]
        )
        if parallel:
            add_rows(dx, second, lengths)
        if want:
            zero_padding(dx, lengths)


def _under(arrays: Mapping[str, np.ndarray], direction: str) -> dict[str, np.ndarray]:
    prefix = direction + "."
    return {name.removeprefix(prefix): view for name, view in arrays.items() if name.startswith(prefix)}
