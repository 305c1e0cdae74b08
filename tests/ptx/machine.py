"""A launch of a kernel: its memory, its threads, and what is said where one of them goes wrong."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptx import layout, runtime, scheduler
from ptx.parser import WIDTHS, PtxKernel
from ptx.translate import Translated, translate

PATIENCE = 2000  # turns without progress
FORMATS = {8: "B", 16: "H", 32: "I", 64: "Q"}
READ_VECTORS = 1 << 24  # int32 values that remember which blocks have read a word

FAULTS = {
    layout.MISALIGNED: "misaligned access",
    layout.OUT_OF_BOUNDS: "access out of bounds",
    layout.RACE_WRITTEN: "race with a write",
    layout.RACE_READ: "race with a read",
    layout.RACE_ATOMIC: "race with an atomic operation",
    layout.DIVISION: "division by zero",
}
ENDS = {
    scheduler.DEADLOCK: "deadlock: all threads wait, or poll what nobody will write",
    scheduler.LEFT_BARRIER: "some threads of the block have left, and others wait for them at a barrier",
    scheduler.LEFT_WARP: "a thread of the warp has left, and others wait for it",
}


class KernelFaultError(Exception):
    """What would be an error, a wrong result or a hang on hardware."""


@dataclass(frozen=True)
class Options:
    """How launches run.

    seed : of the threads' order and speeds; None for one fixed order
    preempt : a thread may lose control after every access to memory
    races : look for races between blocks too
    resident : how many blocks are alive at once; None for all
    patience : turns of all blocks without progress that count as a deadlock
    """

    seed: int | None = None
    preempt: bool = False
    races: bool = False
    resident: int | None = None
    patience: int = PATIENCE


def launch(
    ptx: str,
    grid: Sequence[int],
    block: Sequence[int],
    args: Sequence[Any],
    shared: int = 0,
    options: Options | None = None,
) -> None:
    """Run a kernel with the arguments that Numba's calling convention has: a NumPy array is seven or more of them.

    Integers and floats go as the parameter's size says. KernelFaultError where something is wrong.
    """
    flat, arrays = [], []
    for arg in args:
        if isinstance(arg, np.ndarray):
            flat += [0, 0, arg.size, arg.itemsize, arg.ctypes.data, *arg.shape, *arg.strides]
            arrays.append((arg.ctypes.data, arg.ctypes.data + arg.nbytes))
        else:
            flat.append(arg)
    launch_flat(ptx, grid, block, flat, arrays, shared, options or Options())


def launch_flat(
    ptx: str,
    grid: Sequence[int],
    block: Sequence[int],
    values: Sequence[Any],
    arrays: Sequence[tuple[int, int]],
    shared: int,
    options: Options,
    name: str = "",
) -> None:
    """As `launch`, with one value for each parameter, and the begin and end of each array that may be touched.

    `name` : of the kernel, for messages
    """
    translated = translate(ptx, options.preempt, options.races)
    grid, block = ((*sizes, 1, 1)[:3] for sizes in (grid, block))
    threads = math.prod(block)
    name = name or translated.kernel.name
    if not 0 < threads <= 1024 or (translated.kernel.threads or 1024) < threads:
        raise KernelFaultError(f"{name}: blocks of {threads} threads cannot be launched")
    if math.prod(grid):
        _Launch(name, translated, grid, block, _pack(translated.kernel, values), arrays, shared, options).run()


def _pack(kernel: PtxKernel, values: Sequence[Any]) -> np.ndarray:
    """The block of parameters, uint8."""
    if len(values) != len(kernel.parameters):
        raise KernelFaultError(f"{kernel.name} has {len(kernel.parameters)} parameters and was given {len(values)}")
    packed = bytearray()
    for (offset, kind), value in zip(kernel.parameters.values(), values, strict=True):
        bits = WIDTHS[kind]
        packed += bytes(offset - len(packed))
        packed += struct.pack("<" + FORMATS[bits], _bits(value) & (2**bits - 1))
    return np.frombuffer(bytes(packed) or bytes(8), np.uint8).copy()


def _bits(value: Any) -> int:
    """A number's bits; a Python float is float32."""
    if hasattr(value, "contents") or type(value).__module__ == "ctypes":
        value = np.frombuffer(value, f"u{len(bytes(value))}")[0]
    if isinstance(value, float):
        value = np.float32(value)
    if isinstance(value, np.floating):
        return int(np.asarray(value).view(f"u{value.itemsize}"))
    return int(value)


class _Launch:
    def __init__(
        self,
        name: str,
        translated: Translated,
        grid: Sequence[int],
        block: Sequence[int],
        parameters: np.ndarray,
        arrays: Sequence[tuple[int, int]],
        shared: int,
        options: Options,
    ):
        self.name, self.translated, self.options = name, translated, options
        self.kernel = translated.kernel
        self.blocks, self.threads = math.prod(grid), math.prod(block)
        self.shared = self.kernel.shared_bytes + shared
        self.parameters = parameters
        self.sites = np.zeros(2 * max(1, translated.sites), np.int64)
        self.ranges = _merged(arrays)
        self.environments = np.zeros((self.blocks, layout.ENVIRONMENT), np.int64)
        self.states = np.zeros((self.blocks, self.threads, translated.words), np.int32)
        self._fill_states(grid, block, shared)
        self._fill_environments()

    def run(self) -> None:
        options = self.options
        report = np.zeros(2, np.int64)
        end = scheduler.run(
            self.translated.function,
            self.states,
            np.zeros((self.blocks, self.threads), np.int32),
            self.environments,
            self.locals_at,
            options.resident or self.blocks,
            -1 if options.seed is None else options.seed,
            options.patience,
            report,
        )
        if end != scheduler.DONE:
            raise KernelFaultError(self._message(end, int(report[0]), int(report[1])))

    def _fill_states(self, grid: Sequence[int], block: Sequence[int], shared: int) -> None:
        b, t = np.arange(self.blocks), np.arange(self.threads)
        self.states[:, :, layout.THREAD], self.states[:, :, layout.BLOCK] = t, b[:, None]
        place = [t % block[0], t // block[0] % block[1], t // (block[0] * block[1])]
        where = [b % grid[0], b // grid[0] % grid[1], b // (grid[0] * grid[1])]
        columns: list[Any] = [*place, *block, *(axis[:, None] for axis in where), *grid]
        columns += [t % 32, t // 32, -(-self.threads // 32), shared, self.shared]
        for k, column in enumerate(columns):
            self.states[:, :, layout.SPECIALS + k] = column

    def _fill_environments(self) -> None:
        """Shared and local memory begin as NaN: what was not written shows."""
        e = self.environments
        size, local = -(-self.shared // 16) * 16, -(-self.kernel.local_bytes // 16) * 16
        self._memory = np.full(self.blocks * (size + local * self.threads) + 16, 0xFF, np.uint8)
        begin = -(-self._memory.ctypes.data // 16) * 16
        self._records = np.zeros((self.blocks, size // 4 + 1, runtime.SHARED_RECORD), np.int32)
        self._warps = np.zeros((self.blocks, 32), np.int32)
        b = np.arange(self.blocks)
        e[:, layout.SHARED], e[:, layout.SHARED_BYTES] = begin + b * size, self.shared
        e[:, layout.SHARED_RECORDS] = self._records.ctypes.data + b * self._records[0].nbytes
        e[:, layout.INTERVAL], e[:, layout.WARP_INTERVALS] = 1, self._warps.ctypes.data + b * self._warps[0].nbytes
        e[:, layout.RANGES], e[:, layout.RANGE_COUNT] = self.ranges.ctypes.data, len(self.ranges)
        e[:, layout.SITES], e[:, layout.PARAMETERS] = self.sites.ctypes.data, self.parameters.ctypes.data
        e[:, layout.LOCAL_BYTES] = local
        self.locals_at = begin + self.blocks * size + b * local * self.threads
        if self.options.races:
            self._knowledge = _Knowledge(self.blocks, self.ranges)
            e[:, layout.RACES] = self._knowledge.words.ctypes.data

    def _message(self, end: int, block: int, thread: int) -> str:
        where = f"{self.name}, block {block}"
        if end in ENDS:
            return f"{where}: {ENDS[end]}"
        environment = self.environments[block]
        instruction = self.kernel.body[int(environment[layout.FAULT_PLACE])]
        text = getattr(instruction, "text", instruction)
        where += f", thread {thread}"
        if end == scheduler.TRAPPED:
            return f'{where}: the kernel stopped itself at "{text}"'
        address = int(environment[layout.FAULT_ADDRESS])
        return f'{where}: {FAULTS[int(environment[layout.FAULT_KIND])]} at "{text}", address {address:#x}'


class _Knowledge:
    """What the race checks between blocks remember; see `ptx.runtime`."""

    def __init__(self, blocks: int, ranges: np.ndarray):
        count = int(ranges[-1, 2] + ((ranges[-1, 1] + 3) >> 2) - (ranges[-1, 0] >> 2)) if len(ranges) else 0
        releases, vectors = 4 * blocks + 64, max(1, min(count, READ_VECTORS // blocks))
        self.arrays: dict[int, Any] = {
            runtime.RECORDS: np.zeros((count, runtime.GLOBAL_RECORD), np.int32),
            runtime.KNOWN: np.zeros((blocks, blocks), np.int32),
            runtime.PENDING: np.zeros((blocks, blocks), np.int32),
            runtime.ACQUIRERS: np.full(blocks, -1, np.int32),
            runtime.RELEASED_AT: np.zeros(releases, np.int64),
            runtime.RELEASED: np.zeros((releases, blocks), np.int32),
            runtime.VECTORS: np.zeros((vectors, blocks), np.int32),
        }
        self.words = np.zeros(runtime.KNOWLEDGE, np.int64)
        for word, array in self.arrays.items():
            self.words[word] = array.ctypes.data
        self.words[[runtime.BLOCKS, runtime.MOST_RELEASES, runtime.MOST_VECTORS]] = blocks, releases, vectors


def _merged(arrays: Sequence[tuple[int, int]]) -> np.ndarray:
    """int64 [n, 3]: begin, end and index of the first word of each array, sorted; those that overlap become one."""
    merged: list[list[int]] = []
    for begin, end in sorted(array for array in arrays if array[0] < array[1]):
        if merged and begin < merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([begin, end])
    words = 0
    table = np.zeros((len(merged), 3), np.int64)
    for row, (begin, end) in zip(table, merged, strict=True):
        row[:] = begin, end, words
        words += ((end + 3) >> 2) - (begin >> 2)
    return table
