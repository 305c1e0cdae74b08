"""Recurrent layers on the device, one launch for each time step.

A block works for one direction, TILE utterances and TILE units: it multiplies the state by its weights, tile by tile
in shared memory, and runs the cell. What the next step needs of it goes through `out`, between launches. Step s of
an utterance of length n is its frame s forward, and n - 1 - s backward; utterances are sorted longest first, so those
that still run are a prefix.

The layer's columns stand in one array `[T, B, directions, P, H]`: first the input's products, then the values that
the cell saves, then on the way back the derivatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba import float32

from kernels.cells import CELLS
from kernels.checks import check_backward, check_sequence, check_weights
from kernels.cuda.device import TILE, Array, Device, blocks, cuda, kernel
from kernels.cuda.elementwise import add_column_bias, copy, fill
from kernels.cuda.functions import BACKWARD, FORWARD, READ, WRITE
from kernels.cuda.product import SQUARE, column_sums, columns_product, flat, rows_product
from kernels.interface import RecurrentShape
from kernels.scalar import ZERO


@cache
def _step(name: str) -> Any:
    """The kernel of a cell's step s over the first `active` utterances."""
    cell = CELLS[name]
    gates, columns_count, has_memory = cell.gates, cell.columns, cell.has_memory
    from_state = tuple(-1 if gate is None else gate for gate in cell.from_state)
    weight_shape = (gates, TILE, TILE)
    forward, read, write = FORWARD[name], READ[cell.columns], WRITE[cell.columns]

    @kernel
    def step(s, lengths, active, B, H, weight, columns, memory, out):
        h_tile = cuda.shared.array(SQUARE, float32)
        w_tile = cuda.shared.array(weight_shape, float32)
        sums = cuda.local.array(gates, float32)
        a = cuda.local.array(columns_count, float32)
        x, y, d = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.z
        u0 = cuda.blockIdx.x * TILE
        u, b = u0 + x, cuda.blockIdx.y * TILE + y
        here, before = 0, 0
        if b < active:
            t = s if d == 0 else lengths[b] - 1 - s
            here = (t * B + b) * cuda.gridDim.z + d  # the utterance's frame and direction
            before = ((t - 1 if d == 0 else t + 1) * B + b) * cuda.gridDim.z + d
        for g in range(gates):
            sums[g] = ZERO
        for k0 in range(0, H if s > 0 else 0, TILE):
            h_tile[y, x] = out[before * H + k0 + x] if b < active and k0 + x < H else ZERO
            for g in range(gates):
                inside = u0 + y < H and k0 + x < H
                w_tile[g, y, x] = weight[((d * gates + g) * H + u0 + y) * H + k0 + x] if inside else ZERO
            cuda.syncthreads()
            for k in range(TILE):
                for g in range(gates):
                    sums[g] += h_tile[y, k] * w_tile[g, x, k]
            cuda.syncthreads()
        if b < active and u < H:
            start = here * columns_count * H + u
            for p in range(columns_count):
                a[p] = columns[start + p * H]
                if from_state[p] >= 0:
                    a[p] += sums[from_state[p]]
            h_prev, c_prev = ZERO, ZERO
            if s > 0:
                h_prev = out[before * H + u]
                if has_memory:
                    c_prev = memory[before * H + u]
            h, c, saved = forward(read(a, 0, 1), h_prev, c_prev)
            write(columns, start, H, saved)
            out[here * H + u] = h
            if has_memory:
                memory[here * H + u] = c

    return step


@cache
def _step_back(name: str) -> Any:
    """The kernel of a cell's step s on the way back; `following` utterances also had a step s + 1."""
    cell = CELLS[name]
    gates, columns_count, has_memory = cell.gates, cell.columns, cell.has_memory
    state_column = tuple(cell.from_state.index(gate) for gate in range(cell.gates))
    backward, read, write = BACKWARD[name], READ[cell.columns], WRITE[cell.columns]

    @kernel
    def step_back(s, lengths, active, following, B, H, weight, columns, memory, out, out_gradient, carry_h, carry_c):
        a_tile = cuda.shared.array(SQUARE, float32)
        w_tile = cuda.shared.array(SQUARE, float32)
        x, y, d = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.z
        u = cuda.blockIdx.x * TILE + x
        b = cuda.blockIdx.y * TILE + y
        here, before, after = 0, 0, 0
        if b < active:
            t = s if d == 0 else lengths[b] - 1 - s
            here = (t * B + b) * cuda.gridDim.z + d
            before = ((t - 1 if d == 0 else t + 1) * B + b) * cuda.gridDim.z + d
            after = ((t + 1 if d == 0 else t - 1) * B + b) * cuda.gridDim.z + d
        dh = ZERO
        for g in range(gates if following > 0 else 0):
            for k0 in range(0, H, TILE):
                place = (after * columns_count + state_column[g]) * H + k0 + x
                a_tile[y, x] = columns[place] if b < following and k0 + x < H else ZERO
                inside = k0 + y < H and u < H
                w_tile[y, x] = weight[((d * gates + g) * H + k0 + y) * H + u] if inside else ZERO
                cuda.syncthreads()
                for k in range(TILE):
                    dh += a_tile[y, k] * w_tile[k, x]
                cuda.syncthreads()
        if b < active and u < H:
            carry = (b * cuda.gridDim.z + d) * H + u
            dc, h_prev, c_prev = ZERO, ZERO, ZERO
            if b < following:
                dh += carry_h[carry]
                dc = carry_c[carry]
            dh += out_gradient[here * H + u]
            if s > 0:
                h_prev = out[before * H + u]
                if has_memory:
                    c_prev = memory[before * H + u]
            start = here * columns_count * H + u
            da, dh_prev, dc_prev = backward(read(columns, start, H), h_prev, c_prev, out[here * H + u], dh, dc)
            write(columns, start, H, da)
            carry_h[carry] = dh_prev
            carry_c[carry] = dc_prev

    return step_back


@dataclass(frozen=True)
class Plan:
    """The frames of a batch.

    lengths : int32 [B] on the device
    active : for each step, how many utterances have it
    rows : int32 [R] on the device, the places t B + b of all frames
    before : for each direction the same of the frames one step before, -1 where there is none
    """

    lengths: Array
    active: tuple[int, ...]
    rows: Array
    before: tuple[Array, Array]
    count: int


class Planner:
    """Plans of batches; the layers of a network share the latest."""

    def __init__(self, device: Device):
        self._device = device
        self._key: bytes = b""
        self._plan: Plan

    def plan(self, lengths: np.ndarray) -> Plan:
        if lengths.tobytes() != self._key:
            B = len(lengths)
            t, b = np.nonzero(np.arange(lengths[0])[:, None] < lengths)
            rows = t * B + b
            before = np.where(t > 0, rows - B, -1), np.where(t + 1 < lengths[b], rows + B, -1)
            upload = [self._device.upload(array.astype(np.int32)) for array in (lengths, rows, *before)]
            active = tuple(int(count) for count in np.bincount(t))
            self._plan = Plan(upload[0], active, upload[1], (upload[2], upload[3]), len(rows))
            self._key = lengths.tobytes()
        return self._plan


class CudaRecurrentLayer:
    """`kernels.interface.RecurrentLayer` on the device."""

    def __init__(self, shape: RecurrentShape, device: Device, planner: Planner):
        self.shape = shape
        self._cell = CELLS[shape.cell]
        self._device = device
        self._planner = planner
        self._work: dict[str, Array] = {}
        self._forwarded = False

    def pack(self, weights: Mapping[str, Array]) -> None:
        """Copy the weights, the directions one after the other, and add the two biases by column."""
        check_weights(self.shape, weights)
        device, cell, H = self._device, self._cell, self.shape.hidden
        count = len(self.shape.directions)
        bias = self._grown("bias", count * cell.columns * H)
        device.spread(fill, bias.size, bias, 0.0, bias.size)
        for d, direction in enumerate(self.shape.directions):
            for name in ("weight_ih", "weight_hh"):
                weight = weights[f"{direction}.{name}"]
                packed = self._grown(name, count * weight.size)
                device.spread(copy, weight.size, flat(weight), packed, d * weight.size, weight.size)
            for name, gates in (("bias_ih", cell.from_input), ("bias_hh", cell.from_state)):
                for p, gate in _fed(gates):
                    given, place = weights[f"{direction}.{name}"], (d * cell.columns + p) * H
                    device.spread(add_column_bias, H, given, gate * H, bias, place, H)

    def infer(self, x: Array, lengths: np.ndarray, out: Array) -> None:
        check_sequence(self.shape, x, lengths, out)
        self._run(x, lengths, out, "inferred ")

    def forward(self, x: Array, lengths: np.ndarray, out: Array) -> None:
        check_sequence(self.shape, x, lengths, out)
        self._run(x, lengths, out, "")
        self._forwarded = True

    def _run(self, x: Array, lengths: np.ndarray, out: Array, use: str) -> None:
        """The input's products, then step after step; `use` names the arrays that keep columns and memory."""
        device, cell, (D, H) = self._device, self._cell, (self.shape.inputs, self.shape.hidden)
        if "weight_ih" not in self._work:
            raise RuntimeError("call pack first")
        plan, B, directions = self._planner.plan(lengths), x.shape[1], len(self.shape.directions)
        P, frames = cell.columns, x.shape[0] * B * directions
        columns = self._grown(use + "columns", frames * P * H)
        memory = self._grown(use + "memory", frames * H if cell.has_memory else 1)
        weight, bias, ld = self._work["weight_ih"], self._work["bias"], directions * P * H
        for d in range(directions):
            for p, gate in enumerate(cell.from_input):
                place = (d * P + p) * H
                w = weight, (d * cell.gates + (gate or 0)) * H * D, D
                sizes = plan.count, H, 0 if gate is None else D
                rows_product(device, (flat(x), 0, D), plan.rows, w, 1, (bias, place), (columns, place, ld), *sizes)
        y = flat(out)
        device.spread(fill, y.size, y, 0.0, y.size)
        for s, active in enumerate(plan.active):
            grid = blocks(H), blocks(active), directions
            args = plan.lengths, active, B, H, self._work["weight_hh"], columns, memory, y
            device.launch(_step(self.shape.cell), grid, SQUARE, s, *args)

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
        plan = self._planner.plan(lengths)
        self._steps_back(plan, x.shape[1], flat(out), flat(out_gradient))
        self._weight_gradients(plan, flat(x), flat(out), gradients)
        if x_gradient is not None:
            self._input_gradient(plan, flat(x_gradient))

    def _steps_back(self, plan: Plan, B: int, out: Array, out_gradient: Array) -> None:
        H, directions = self.shape.hidden, len(self.shape.directions)
        carries = [self._grown(name, B * directions * H) for name in ("carry h", "carry c")]
        arrays = *(self._work[name] for name in ("weight_hh", "columns", "memory")), out, out_gradient, *carries
        following = 0
        for s in range(len(plan.active) - 1, -1, -1):
            active = plan.active[s]
            grid = blocks(H), blocks(active), directions
            sizes = active, following, B, H
            self._device.launch(_step_back(self.shape.cell), grid, SQUARE, s, plan.lengths, *sizes, *arrays)
            following = active

    def _weight_gradients(self, plan: Plan, x: Array, out: Array, gradients: Mapping[str, Array]) -> None:
        device, cell, (D, H) = self._device, self._cell, (self.shape.inputs, self.shape.hidden)
        P, directions = cell.columns, len(self.shape.directions)
        for d, direction in enumerate(self.shape.directions):
            sources = {
                "ih": (cell.from_input, (x, 0, D), plan.rows, D),
                "hh": (cell.from_state, (out, d * H, directions * H), plan.before[d], H),
            }
            for kind, (fed, source, rows, width) in sources.items():
                weight, bias = flat(gradients[f"{direction}.weight_{kind}"]), gradients[f"{direction}.bias_{kind}"]
                for p, gate in _fed(fed):
                    da = self._work["columns"], (d * P + p) * H, directions * P * H
                    sizes = H, width, plan.count
                    columns_product(device, da, plan.rows, source, rows, weight, gate * H * width, *sizes)
                    column_sums(device, da, plan.rows, bias, gate * H, plan.count, H)

    def _input_gradient(self, plan: Plan, x_gradient: Array) -> None:
        device, cell, (D, H) = self._device, self._cell, (self.shape.inputs, self.shape.hidden)
        P, directions = cell.columns, len(self.shape.directions)
        device.spread(fill, x_gradient.size, x_gradient, 0.0, x_gradient.size)
        for d in range(directions):
            for p, gate in _fed(cell.from_input):
                da = self._work["columns"], (d * P + p) * H, directions * P * H
                w = self._work["weight_ih"], (d * cell.gates + gate) * H * D, 1
                rows_product(device, da, plan.rows, w, D, None, (x_gradient, 0, D), plan.count, D, H)

    def _grown(self, name: str, size: int) -> Array:
        """A work array of this name, made anew only when it must grow."""
        if name not in self._work or self._work[name].size < size:
            self._work[name] = self._device.empty((size,))
        return self._work[name]


def _fed(gates: tuple[int | None, ...]) -> list[tuple[int, int]]:
    """Columns and the gates that feed them."""
    return [(p, gate) for p, gate in enumerate(gates) if gate is not None]
