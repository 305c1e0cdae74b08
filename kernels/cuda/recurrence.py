"""Recurrent layers on the device: large products over packed frames, and the time steps between them.

All frames of a batch stand close together in packed rows, so that the products with the input weights and those of
all weights' gradients are plain dense ones; `kernels.cuda.steps` does what lies between. Which blocks there are, and
whether one launch takes all steps, is chosen for each layer and batch size by `kernels.cuda.plan` and the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kernels.cells import CELLS
from kernels.checks import check_backward, check_sequence, check_weights
from kernels.cuda.device import FLOATS, INTEGER, INTEGERS, SIMULATED, Array, Device, blocks, cuda, kernel
from kernels.cuda.elementwise import add_column_bias, fill, pack_rows, unpack_rows
from kernels.cuda.memory import load, store
from kernels.cuda.plan import FLOAT, Plan, choose
from kernels.cuda.product import Products, flat
from kernels.cuda.steps import advance, backward_steps, clear, forward_steps
from kernels.interface import RecurrentShape
from kernels.scalar import ZERO

MODES = ("auto", "persistent", "stepwise")
STEPS_OF_GRAPH = 2 if SIMULATED else 32  # one CUDA graph takes so many steps; those beyond the last do nothing
GRAPHS = 16  # kept by a layer
FORWARD_TYPES = (INTEGERS,) * 3 + (FLOATS,) * 6 + (INTEGERS,) + (INTEGER,) * 3
BACKWARD_TYPES = (INTEGERS,) * 3 + (FLOATS,) * 7 + (INTEGERS,) + (INTEGER,) * 3


@kernel
def _pack_state_weights(weight, forward, back, begin, gates, hidden, padded, units, size):
    """One direction's `weight_hh [G, H, H]`, cut into the blocks' slices, from `begin` on and zero beyond H:
    forward [slice, k, gate, unit], back [slice, gate, unit, k]."""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        first_unit, place = i // (padded * gates * units) * units, i % (padded * gates * units)
        k, gate, unit = place // (gates * units), place // units % gates, first_unit + place % units
        inside = k < hidden and unit < hidden
        store(forward, begin + i, load(weight, (gate * hidden + unit) * hidden + k) if inside else ZERO)
        gate, unit, k = place // (units * padded), first_unit + place // padded % units, place % padded
        inside = k < hidden and unit < hidden
        store(back, begin + i, load(weight, (gate * hidden + unit) * hidden + k) if inside else ZERO)


@dataclass(frozen=True)
class Frames:
    """Where the frames of a batch stand; int32 tables on the device.

    count : R, frames of all utterances
    steps : of the longest utterance
    lengths [B], offsets [T + 1] : frame t of utterance b is packed row offsets[t] + b
    places [R] : t B + b of each packed row
    rows [T B] : the packed row of each place, -1 beyond the lengths
    before : for each direction, [R]: row of `out [T B directions, H]` with the state before each packed row, or -1
    """

    count: int
    steps: int
    lengths: Array
    offsets: Array
    places: Array
    rows: Array
    before: tuple[Array, ...]


class Planner:
    """The tables of the latest batch, which the layers of a network share; they keep their places on the device."""

    def __init__(self, device: Device):
        self._device = device
        self._tables: dict[str, Array] = {}
        self._key: tuple[bytes, int, int] = b"", 0, 0
        self._frames: Frames

    def frames(self, lengths: np.ndarray, T: int, directions: int) -> Frames:
        key = lengths.tobytes(), T, directions
        if key == self._key:
            return self._frames
        self._key = b"", 0, 0  # until all tables are there: memory may be full midway
        B = len(lengths)
        running = np.arange(lengths[0])[:, None] < lengths
        t, b = np.nonzero(running)
        offsets = np.concatenate([[0], np.cumsum(running.sum(axis=1))])
        rows = np.full(T * B, -1)
        rows[t * B + b] = np.arange(len(t))
        places = t * B + b
        before = [
            np.where(t > 0, (places - B) * directions, -1),
            np.where(t + 1 < lengths[b], (places + B) * directions + 1, -1),
        ]
        self._frames = Frames(
            count=len(t),
            steps=int(lengths[0]),
            lengths=self._table("lengths", lengths),
            offsets=self._table("offsets", offsets),
            places=self._table("places", places),
            rows=self._table("rows", rows),
            before=tuple(self._table(f"before {d}", before[d]) for d in range(directions)),
        )
        self._key = key
        return self._frames

    def _table(self, name: str, values: np.ndarray) -> Array:
        if name not in self._tables or self._tables[name].size < values.size:
            self._tables.pop(name, None)  # so that the smaller one makes room
            self._tables[name] = self._device.empty((values.size,), np.int32)
        table = self._tables[name][: values.size]
        self._device.refill(table, values.astype(np.int32))
        return table


class CudaRecurrentLayer:
    """`kernels.interface.RecurrentLayer` on the device; it refers to the weights that it was given.

    mode : "auto", or one of the other `MODES` to be used whatever is quicker
    """

    def __init__(self, shape: RecurrentShape, device: Device, planner: Planner, products: Products, mode: str = "auto"):
        if mode not in MODES:
            raise ValueError(f"unknown mode {mode!r}; choose one of {', '.join(MODES)}")
        self.shape = shape
        self.mode = mode
        self._cell = CELLS[shape.cell]
        self._device, self._planner, self._products = device, planner, products
        self._weights: dict[str, Array] = {}
        self._packed: dict[int, tuple[Array, Array]] = {}  # recurrent weights, by the units of a block
        self._work: dict[str, Array] = {}
        self._plans: dict[int, Plan] = {}
        self._graphs: dict[Any, Callable[[], None]] = {}
        self._forwarded = False

    def pack(self, weights: Mapping[str, Array]) -> None:
        """Take the weights and add the two biases by column."""
        check_weights(self.shape, weights)
        cell, H = self._cell, self.shape.hidden
        self._weights = {name: flat(weight) for name, weight in weights.items()}
        self._packed.clear()
        bias = self._grown("bias", len(self.shape.directions) * cell.columns * H)
        self._fill(bias)
        for d, direction in enumerate(self.shape.directions):
            for kind, fed in (("ih", cell.from_input), ("hh", cell.from_state)):
                for p, gate, count in _runs(fed):
                    given, place = self._weights[f"{direction}.bias_{kind}"], (d * cell.columns + p) * H
                    self._device.spread(add_column_bias, count * H, given, gate * H, bias, place, count * H)

    def plan(self, batch: int) -> Plan:
        """How a batch of this size runs. ValueError where the mode asked for cannot be had."""
        if batch not in self._plans:
            self._plans[batch] = self._chosen(batch)
        return self._plans[batch]

    def _chosen(self, batch: int) -> Plan:
        sizes = self._cell.gates, self.shape.hidden, batch, len(self.shape.directions), self._device.limits
        plan = choose(*sizes, persistent=True)
        if plan is not None and self.mode == "stepwise":
            plan = replace(plan, persistent=False)  # in the same tiling, so that it gives the same bits
        if plan is not None and self._fits(plan):
            return plan
        if self.mode == "persistent":
            raise ValueError(f"the device cannot hold all blocks of {self.shape} for a batch of {batch} at once")
        plan = choose(*sizes, persistent=False)
        if plan is None:
            raise ValueError(f"the device has too little shared memory for {self.shape}")
        self._fits(plan)
        return plan

    def _fits(self, plan: Plan) -> bool:
        """Compile a plan's kernels; whether the device holds all blocks that wait for each other."""
        t = plan.tiling
        waits = plan.persistent and t.slices > 1
        forward, back = forward_steps(self.shape.cell, t), backward_steps(self.shape.cell, t)
        resident = min(
            self._device.prepare(forward, FORWARD_TYPES, t.threads, t.forward_floats * FLOAT, waits),
            self._device.prepare(back, BACKWARD_TYPES, t.threads, t.backward_floats * FLOAT, waits),
        )
        return not waits or plan.blocks <= resident

    def infer(self, x: Array, lengths: np.ndarray, out: Array) -> None:
        check_sequence(self.shape, x, lengths, out)
        self._run(x, lengths, out, "inferred ")

    def forward(self, x: Array, lengths: np.ndarray, out: Array) -> None:
        check_sequence(self.shape, x, lengths, out)
        self._run(x, lengths, out, "")
        self._forwarded = True

    def _run(self, x: Array, lengths: np.ndarray, out: Array, use: str) -> None:
        """The input's products, then the steps; `use` names the arrays that keep what they make."""
        if not self._weights:
            raise RuntimeError("call pack first")
        cell, (D, H), (T, B, _) = self._cell, (self.shape.inputs, self.shape.hidden), x.shape
        directions = len(self.shape.directions)
        P, frames, plan = cell.columns, self._planner.frames(lengths, T, directions), self.plan(B)
        R, t = frames.count, plan.tiling
        packed = self._grown(use + "x", R * D)
        self._device.spread(pack_rows, R * D, flat(x), frames.places, packed, R, D)
        columns = self._grown(use + "columns", R * directions * P * H)
        memory = self._grown(use + "memory", R * directions * H if cell.has_memory else 1)
        for d, direction in enumerate(self.shape.directions):
            for p, gate, count in _runs(cell.from_input):
                w = self._weights[f"{direction}.weight_ih"], gate * H * D, D
                place = columns, (d * P + p) * H, directions * P * H
                self._products.multiply((packed, 0, D), w, place, R, count * H, D, b_transposed=True)
        y = flat(out)
        self._fill(y)
        exchange = self._grown("exchange forward", 2 * plan.groups * t.padded * t.rows)
        arrays = self._state_weights(plan)[0], self._work["bias"], columns, memory, y, exchange
        self._steps(plan, forward_steps(self.shape.cell, t), t.forward_floats, frames, arrays, B)

    def backward(
        self,
        x: Array,
        lengths: np.ndarray,
        out: Array,
        out_gradient: Array,
        gradients: Mapping[str, Array],
        x_gradient: Array | None,
    ) -> None:
        check_backward(self.shape, x, lengths, out, out_gradient, gradients, x_gradient)
        if not self._forwarded:
            raise RuntimeError("backward needs a forward before it, each time")
        self._forwarded = False  # the derivatives take the place of what was saved
        T, B, _ = x.shape
        frames, plan = self._planner.frames(lengths, T, len(self.shape.directions)), self.plan(B)
        t = plan.tiling
        carry = self._grown("carry", 2 * plan.blocks * t.units * t.rows)
        exchange = self._grown("exchange back", 2 * plan.groups * t.slices * t.padded * t.rows)
        own = self._state_weights(plan)[1], self._work["columns"], self._work["memory"]
        arrays = *own, flat(out), flat(out_gradient), carry, exchange
        self._steps(plan, backward_steps(self.shape.cell, t), t.backward_floats, frames, arrays, B)
        self._weight_gradients(frames, flat(out), gradients)
        if x_gradient is not None:
            self._input_gradient(frames, flat(x_gradient))

    def _steps(
        self, plan: Plan, steps: Any, shared_floats: int, frames: Frames, arrays: tuple[Array, ...], batch: int
    ) -> None:
        """All time steps, by one launch or by a graph of some, as often as it takes."""
        device, t = self._device, plan.tiling
        header, counters = self._integers("header", 1), self._integers("counters", plan.groups)
        given = header, frames.lengths, frames.offsets, *arrays, counters, batch

        def run(first: int, last: int) -> None:
            device.launch(steps, plan.grid, t.threads, *given, first, last, shared=shared_floats * FLOAT)

        def some() -> None:
            for step in range(STEPS_OF_GRAPH):
                run(step, step + 1)
            device.launch(advance, 1, 1, header, STEPS_OF_GRAPH)

        device.launch(clear, 1, 1, header, 1)
        if plan.persistent:
            device.launch(clear, 1, 1, counters, plan.groups)
            run(0, frames.steps)
            return
        key = id(steps), plan, *(device.address(array) for array in given[:-1]), batch
        if key not in self._graphs:
            if len(self._graphs) == GRAPHS:
                self._graphs.clear()
            device.launch(advance, 1, 1, header, 0)  # loaded before it is recorded
            self._graphs[key] = device.record(some)
        for _ in range(blocks(frames.steps, STEPS_OF_GRAPH)):
            self._graphs[key]()

    def _weight_gradients(self, frames: Frames, out: Array, gradients: Mapping[str, Array]) -> None:
        cell, (D, H), R = self._cell, (self.shape.inputs, self.shape.hidden), frames.count
        P, directions = cell.columns, len(self.shape.directions)
        before = self._grown("state before", R * H)
        for d, direction in enumerate(self.shape.directions):
            self._device.spread(unpack_rows, R * H, out, frames.before[d], before, R * H, H)
            sources = ("ih", cell.from_input, self._work["x"], D), ("hh", cell.from_state, before, H)
            for kind, fed, source, width in sources:
                weight, bias = flat(gradients[f"{direction}.weight_{kind}"]), gradients[f"{direction}.bias_{kind}"]
                for p, gate, count in _runs(fed):
                    da = self._work["columns"], (d * P + p) * H, directions * P * H
                    place = weight, gate * H * width, width
                    self._products.multiply(da, (source, 0, width), place, count * H, width, R, a_transposed=True)
                    self._products.column_sums(da, bias, gate * H, R, count * H)

    def _input_gradient(self, frames: Frames, x_gradient: Array) -> None:
        cell, (D, H), R = self._cell, (self.shape.inputs, self.shape.hidden), frames.count
        P, directions = cell.columns, len(self.shape.directions)
        packed = self._grown("x gradient", R * D)
        add = False
        for d, direction in enumerate(self.shape.directions):
            for p, gate, count in _runs(cell.from_input):
                da = self._work["columns"], (d * P + p) * H, directions * P * H
                w = self._weights[f"{direction}.weight_ih"], gate * H * D, D
                self._products.multiply(da, w, (packed, 0, D), R, D, count * H, add=add)
                add = True
        self._device.spread(unpack_rows, x_gradient.size, packed, frames.rows, x_gradient, x_gradient.size, D)

    def _state_weights(self, plan: Plan) -> tuple[Array, Array]:
        """The recurrent weights as the blocks of a plan take them, forward and back."""
        t, H = plan.tiling, self.shape.hidden
        if t.units not in self._packed:
            size = t.slices * t.weights
            pair = [
                self._grown(f"{way} weights, {t.units} units", size * plan.directions) for way in ("forward", "back")
            ]
            for d, direction in enumerate(self.shape.directions):
                weight = self._weights[f"{direction}.weight_hh"]
                sizes = t.gates, H, t.padded, t.units, size
                self._device.spread(_pack_state_weights, size, weight, *pair, d * size, *sizes)
            self._packed[t.units] = pair[0], pair[1]
        return self._packed[t.units]

    def _fill(self, array: Array) -> None:
        self._device.spread(fill, array.size, array, 0.0, array.size)

    def _grown(self, name: str, size: int, dtype: Any = np.float32) -> Array:
        """A work array of this name, made anew only when it must grow, after the smaller one was given back."""
        if name not in self._work or self._work[name].size < size:
            self._work.pop(name, None)
            self._work[name] = self._device.empty((size,), dtype)
        return self._work[name]

    def _integers(self, name: str, size: int) -> Array:
        return self._grown(name, size, np.int32)


def _runs(gates: tuple[int | None, ...]) -> list[tuple[int, int, int]]:
    """Columns that follow each other and are fed by gates that do: the first column, its gate, and how many."""
    runs: list[tuple[int, int, int]] = []
    for p, gate in enumerate(gates):
        if gate is None:
            continue
        if runs and runs[-1][0] + runs[-1][2] == p and runs[-1][1] + runs[-1][2] == gate:
            runs[-1] = runs[-1][0], runs[-1][1], runs[-1][2] + 1
        else:
            runs.append((p, gate, 1))
    return runs
