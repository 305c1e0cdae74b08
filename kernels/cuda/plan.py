"""How a recurrent layer is cut over a GPU: which blocks there are, and what each thread of them multiplies.

A block has one direction, `units` hidden units and `rows` utterances. On the way forward it needs the whole state of
its utterances and gives `gates` sums for each of its units, so its threads split the sum over the state; on the way
back it has the derivatives of its own units and gives their share of every unit's, so its threads split the units.
Both keep the block's slice of the recurrent weights in shared memory for the whole sequence where it fits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from functools import cached_property
from itertools import product

FLOAT = 4  # bytes
QUAD = 4  # floats of one access
CELLS_OF_A_THREAD = 2  # units and utterances whose cells one thread runs, at most
REGISTERS, OF_A_THREAD = 65536, 168  # of a multiprocessor, and what the kernels need for each thread
RESERVED = 1024  # bytes of shared memory that the system takes for itself in each block
REGISTER_TILES = ((8, 8), (8, 4), (4, 4))  # rows by units of the way back, the best first


@dataclass(frozen=True)
class Limits:
    """What one GPU has.

    multiprocessors : how many work at once
    shared_bytes : shared memory that one block may have, after opting in
    capability : its generation, (9, 0) for Hopper
    threads : sizes of a block to choose from
    """

    multiprocessors: int
    shared_bytes: int
    capability: tuple[int, int]
    threads: tuple[int, ...] = (64, 128, 256)

    def holds(self, tiling: Tiling) -> int:
        """How many of its blocks fit on the device at once, by their shared memory and registers."""
        by_memory = (self.shared_bytes + RESERVED) // (tiling.bytes + RESERVED)
        return self.multiprocessors * min(by_memory, REGISTERS // (tiling.threads * OF_A_THREAD))


@dataclass(frozen=True)
class Tiling:
    """One kernel's constants.

    gates : recurrent products for each unit
    hidden : H, the layer's units for each direction
    units, rows : of a block; multiples of 4
    threads : of a block
    chunk : states staged at a time on the way forward, rows of `[chunk, rows]`
    held : whether the block's weights stay in shared memory
    """

    gates: int
    hidden: int
    units: int
    rows: int
    threads: int
    chunk: int
    held: bool

    @property
    def key(self) -> str:
        """All of its sizes, for a file's name."""
        return "-".join(str(int(value)) for value in astuple(self))

    @property
    def slices(self) -> int:
        """Blocks that share a direction and utterances: they exchange their states at each step."""
        return -(-self.hidden // self.units)

    @property
    def padded(self) -> int:
        """Hidden units, those beyond H included that fill the last slice."""
        return self.slices * self.units

    @property
    def weights(self) -> int:
        """Floats of a block's slice of the recurrent weights."""
        return self.padded * self.gates * self.units

    @property
    def tile_rows(self) -> int:
        """Rows of a thread's register tile on the way forward; its columns are 4 units' gates."""
        return 8 if self.gates == 1 and self.rows % 8 == 0 else 4

    @property
    def splits(self) -> int:
        """Parts of the sum over the state, on the way forward."""
        return max(1, self.threads // ((self.units // QUAD) * (self.rows // self.tile_rows)))

    @property
    def partial_stride(self) -> int:
        """Floats of a row of partial sums: one unit's width more than there are, against bank conflicts."""
        return (self.gates + 1) * self.units

    @property
    def forward_floats(self) -> int:
        """Shared memory of the way forward: weights, then states or partial sums."""
        work = max(self.chunk * self.rows, self.splits * self.rows * self.partial_stride)
        return (self.weights if self.held else 0) + work

    @cached_property
    def back_tile(self) -> tuple[int, int]:
        """Rows and units of a thread's register tile on the way back: the largest that leaves no thread idle."""
        for rows, units in REGISTER_TILES:
            fits = self.rows % rows == 0 and self.padded % units == 0
            if fits and (self.rows // rows) * (self.padded // units) >= self.threads:
                return rows, units
        return QUAD, QUAD

    @property
    def backward_floats(self) -> int:
        """Shared memory of the way back: weights, then the own units' derivatives."""
        return (self.weights if self.held else 0) + self.gates * self.units * self.rows

    @property
    def bytes(self) -> int:
        """Shared memory of a block, whichever way."""
        return max(self.forward_floats, self.backward_floats) * FLOAT


@dataclass(frozen=True)
class Plan:
    """A tiling, and the blocks of one batch.

    persistent : one launch for all steps, in which the blocks wait for each other; else one launch a step
    """

    tiling: Tiling
    directions: int
    batch: int
    persistent: bool

    @property
    def batch_slices(self) -> int:
        return -(-self.batch // self.tiling.rows)

    @property
    def groups(self) -> int:
        """Sets of blocks that exchange states."""
        return self.batch_slices * self.directions

    @property
    def grid(self) -> tuple[int, int, int]:
        return self.tiling.slices, self.batch_slices, self.directions

    @property
    def blocks(self) -> int:
        return self.tiling.slices * self.groups

    def describe(self) -> str:
        t = self.tiling
        weights = "in shared memory" if t.held else "read at each step"
        mode = "persistent, one launch" if self.persistent else "stepwise, launches as a CUDA graph"
        return (
            f"{mode}; {self.blocks} blocks of {t.units} units x {t.rows} utterances, {t.threads} threads, "
            f"{t.bytes / 1024:.0f} KB of shared memory, recurrent weights {weights}"
        )


def candidates(gates: int, hidden: int, batch: int, limits: Limits) -> Iterator[Tiling]:
    """All tilings whose blocks the device can hold one by one."""
    for units, rows, threads, held in product((4, 8, 16, 32), (4, 8, 16, 32), limits.threads, (True, False)):
        too_wide = units >= 2 * hidden or rows >= 2 * batch
        if (too_wide and max(units, rows) > QUAD) or units * rows > CELLS_OF_A_THREAD * threads:
            continue
        padded = units * -(-hidden // units)
        for chunk in {padded, *(size for size in (64, 128, 256) if size < padded)}:
            tiling = Tiling(gates, hidden, units, rows, threads, chunk, held)
            if tiling.bytes <= limits.shared_bytes:
                yield tiling


def cost(plan: Plan, multiprocessors: int) -> float:
    """Clocks of a step forward and a step back, about: what decides between tilings, not what to expect.

    Of one multiprocessor: 128 multiply-adds, 128 bytes of shared memory and 24 bytes of second-level cache each clock.
    """
    t = plan.tiling
    width = QUAD * t.gates
    products = t.padded * t.rows * t.gates * t.units
    quads = 4.0  # clocks of a warp's wide load from shared memory
    loads_forward = quads * (t.gates + t.tile_rows / QUAD) / (t.tile_rows * width)
    rows, units = t.back_tile
    loads_back = quads * (rows + units) / QUAD / (rows * units)
    busy = t.threads / (t.threads + 32)  # a warp's loads hide behind the others' products
    multiply = products / 32 / busy * (max(1 / 4, loads_forward) + max(1 / 4, loads_back))
    again = not (t.held and plan.persistent)  # the weights come at each step
    from_cache = 2 * t.weights * FLOAT / 24 if again else 0
    staging = t.padded * t.rows * FLOAT / 24 + 500 * -(-t.padded // t.chunk)
    exchange = 2 * t.padded * t.rows * FLOAT / 24
    partial = 2 * t.splits * t.rows * t.gates * t.units * FLOAT / 128
    return -(-plan.blocks // multiprocessors) * (multiply + from_cache + staging + exchange + partial)


def choose(gates: int, hidden: int, batch: int, directions: int, limits: Limits, persistent: bool) -> Plan | None:
    """The best plan, among the persistent ones or among the stepwise; None where no persistent one fits.

    A persistent plan needs all its blocks on the device at once, unless each is alone in its group and waits for
    nobody; and it gains by weights that stay in shared memory.
    """
    best, least = None, math.inf
    for tiling in candidates(gates, hidden, batch, limits):
        plan = Plan(tiling, directions, batch, persistent)
        waits = tiling.slices > 1
        if persistent and (not tiling.held or (waits and plan.blocks > limits.holds(tiling))):
            continue
        clocks = cost(plan, limits.multiprocessors)
        if clocks < least:
            best, least = plan, clocks
    return best
