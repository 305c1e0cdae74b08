"""How long a recurrent layer should take on a GPU: from operations and bytes, and from the instructions of its kernels.

Nothing here is measured. The floor is what the arithmetic or the memory alone would take at the machine's peak. The
estimate follows one step of time through a block: staging the states, the products' loop as the assembler made it
(`tests/ptx/static_snapshot.txt`), the sums of its parts, the cell, the meeting of the blocks. Figures of the machines
are NVIDIA's; latencies are what others measured on like chips, and each has a range, which becomes the estimate's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from benchmarks.ours import layer_flops
from kernels.cells import CELLS
from kernels.cuda.plan import FLOAT, QUAD, Limits, Plan, Tiling, choose

SNAPSHOT = Path(__file__).resolve().parents[2] / "tests" / "ptx" / "static_snapshot.txt"
WARP = 32
SCHEDULERS = 4  # of a multiprocessor; each starts an instruction of a warp every clock
LANES = 128  # multiply-adds of a multiprocessor in a clock
SHARED_BYTES = 128  # of shared memory, of a multiprocessor in a clock
SECTOR = 32  # bytes: the least that the second-level cache gives
COLUMNS_KEPT = 5  # values of a unit and step that the way back needs: four gates and the memory

Way = Literal["forward", "backward"]


@dataclass(frozen=True)
class Machine:
    """A GPU.

    multiprocessors, clock : and GHz under load
    shared_bytes : shared memory of one block at most
    architecture : the snapshot's name of its code
    memory, cache : bytes a nanosecond of the device's memory, and of the second-level cache for all multiprocessors
    """

    name: str
    multiprocessors: int
    clock: float
    shared_bytes: int
    architecture: str
    memory: float
    cache: float

    @property
    def peak(self) -> float:
        """GFLOP/s in float32."""
        return self.multiprocessors * LANES * 2 * self.clock

    @property
    def limits(self) -> Limits:
        major, minor = divmod(int(self.architecture.removeprefix("sm_")), 10)
        return Limits(self.multiprocessors, self.shared_bytes, (major, minor))


MACHINES = {
    machine.name: machine
    for machine in (
        Machine("H100 SXM", 132, 1.755, 227 << 10, "sm_90", 3350, 5500),
        Machine("H200", 132, 1.755, 227 << 10, "sm_90", 4800, 5500),
        Machine("A100 SXM", 108, 1.41, 163 << 10, "sm_80", 1555, 4500),
        Machine("RTX 5090", 170, 2.41, 99 << 10, "sm_120", 1790, 6500),
    )
}


@dataclass(frozen=True)
class Latencies:
    """What no data sheet says.

    cache : clocks for a load that the second-level cache answers (260 to 300 on A100 and H100 in published tests)
    shared : clocks for a load from shared memory
    cell : clocks of the cell and its own loads and stores, a chain of about 60 dependent operations
    barrier : nanoseconds from the last block's arrival until all go on: a release, an atomic, a poll
    launch : nanoseconds between kernels that follow each other in a stream or a graph
    product : share of the peak that large products reach
    walk : clocks of a frame of the CTC loss: a sum of three masses, their scale, a row handed on through shared memory
    host : nanoseconds that the host takes for a launch
    """

    cache: float
    shared: float
    cell: float
    barrier: float
    launch: float
    product: float
    walk: float
    host: float


LIKELY = Latencies(cache=280, shared=30, cell=600, barrier=1200, launch=1500, product=0.75, walk=350, host=18000)
BEST = Latencies(cache=250, shared=25, cell=400, barrier=800, launch=1000, product=0.85, walk=220, host=8000)
WORST = Latencies(cache=330, shared=33, cell=900, barrier=2000, launch=2500, product=0.60, walk=600, host=30000)
LAUNCHES = {"infer": 7, "train": 32}  # of a bidirectional layer, as `kernels.cuda.device.Counters` counts them
CTC_LAUNCHES, UPDATE_LAUNCHES = 4, 10  # of a loss, and of an update beside its layers and its loss


@dataclass(frozen=True)
class Loop:
    """What the snapshot says of a kernel of time steps.

    multiply_adds, instructions : of one pass of the products' loop, for a warp
    ahead, ahead128 : loads of the device's memory that a thread has under way together, of 32 and of 128 bits
    """

    multiply_adds: int
    instructions: int
    ahead: int
    ahead128: int


def loops(path: Path = SNAPSHOT) -> dict[tuple[str, str], Loop]:
    """(kernel, architecture) -> its loop, of each kernel in the snapshot that has one."""
    _, headings, *rows = path.read_text().splitlines()
    names = headings.split()
    found = {}
    for row in rows:
        kernel, architecture, *values = re.split(r"  +", row.strip())
        counts = dict(zip(names[2:], map(int, values), strict=True))
        if counts["loop_ffma"]:
            found[kernel, architecture] = Loop(
                counts["loop_ffma"], counts["loop_instructions"], counts["ahead"], counts["ahead128"]
            )
    return found


@dataclass(frozen=True)
class Step:
    """Microseconds of one step of time, part by part.

    products : states by recurrent weights
    exchange : reading what other blocks wrote, and on the way back writing for them
    sums : adding the parts of a sum over the threads of a block; none on the way back
    cell : the cell, with its own loads and stores
    meeting : of the blocks, or the launch of the next step
    """

    products: float
    exchange: float
    sums: float
    cell: float
    meeting: float

    @property
    def total(self) -> float:
        return self.products + self.exchange + self.sums + self.cell + self.meeting


@dataclass(frozen=True)
class Prospect:
    """One plan on one machine, with one opinion of its latencies."""

    machine: Machine
    plan: Plan
    kernels: Mapping[Way, Loop]
    latencies: Latencies = LIKELY

    @property
    def blocks_together(self) -> int:
        """Blocks that share a multiprocessor, where there are more blocks than multiprocessors."""
        return -(-self.plan.blocks // self.machine.multiprocessors)

    def step(self, way: Way) -> Step:
        """How long one step of time takes."""
        products, exchange, sums = self._forward() if way == "forward" else self._backward()
        tiling, each = self.plan.tiling, 1 / self.machine.clock / 1e3  # microseconds of a clock
        meeting = self.latencies.barrier
        if not self.plan.persistent:
            meeting = self.latencies.launch
            exchange += self._from_cache(tiling.weights * FLOAT, 1) if tiling.held else 0.0
        return Step(products * each, exchange * each, sums * each, self.latencies.cell * each, meeting / 1e3)

    def _forward(self) -> tuple[float, float, float]:
        """Clocks of products, exchange and sums."""
        t = self.plan.tiling
        unit_quads, tiles = t.units // QUAD, t.rows // t.tile_rows
        busy = min(t.threads, unit_quads * tiles * t.splits)
        waves = self._wavefronts(
            [lane % unit_quads * QUAD + lane // (unit_quads * tiles) * t.gates * t.units for lane in range(WARP)]
        ) * t.gates + self._wavefronts(
            [lane // unit_quads % tiles * t.tile_rows + lane // (unit_quads * tiles) * t.rows for lane in range(WARP)]
        ) * (t.tile_rows // QUAD)
        products = self._loop("forward", t.padded / t.splits, t.tile_rows * QUAD * t.gates, busy, waves)
        quads = t.padded * t.rows / QUAD
        rounds = -(-quads // (t.threads * self.kernels["forward"].ahead128))
        exchange = self._from_cache(t.padded * t.rows * FLOAT, rounds)
        parts = t.splits * t.rows * t.gates * t.units * FLOAT / SHARED_BYTES
        sums = 2 * parts * self.blocks_together + 2 * self.latencies.shared + t.splits * t.gates
        return products, exchange, sums

    def _backward(self) -> tuple[float, float, float]:
        t = self.plan.tiling
        rows, units = t.back_tile
        tiles = (t.rows // rows) * (t.padded // units)
        busy, passes = min(t.threads, tiles), -(-tiles // t.threads)
        across = t.padded // units
        waves = self._wavefronts([lane % across * QUAD for lane in range(WARP)]) * (units // QUAD)
        waves += self._wavefronts([lane // across * rows for lane in range(WARP)]) * (rows // QUAD)
        products = self._loop("backward", passes * t.gates * t.units, rows * units, busy, waves)
        cells = -(-t.units * t.rows // t.threads)  # of a thread
        rounds = cells * -(-t.slices // self.kernels["backward"].ahead)
        read = t.slices * t.rows * max(t.units * FLOAT, SECTOR)
        exchange = self._from_cache(read, rounds) + self._from_cache(t.padded * t.rows * FLOAT, 1)
        return products, exchange, 0.0

    def _loop(self, way: Way, depth: float, tile: int, threads: int, waves: float) -> float:
        """Clocks of the products' loop: as many as its instructions take to start, its loads to be served, or a warp
        that has its scheduler for itself to wait for them."""
        loop, t = self.kernels[way], self.plan.tiling
        passes = depth * tile / loop.multiply_adds
        warps = -(-threads // WARP) * self.blocks_together
        started = -(-warps // SCHEDULERS) * loop.instructions
        alone = loop.instructions + self.latencies.shared
        served = warps * waves * loop.multiply_adds / tile
        weights = 0.0 if t.held else self._from_cache(t.weights * FLOAT, 1)
        return passes * max(started, alone, served) + weights

    def _from_cache(self, size: float, rounds: float) -> float:
        """Clocks for so many bytes of a block from the second-level cache, in rounds that wait for each other."""
        rate = self.machine.cache / self.machine.clock / self.machine.multiprocessors  # bytes a clock
        return max(rounds * self.latencies.cache, size * self.blocks_together / rate + self.latencies.cache)

    @staticmethod
    def _wavefronts(places: Sequence[int]) -> int:
        """Clocks in which shared memory serves a warp's loads of 128 bits, from the first float of each lane.

        Half a warp at a time, in one clock where neighbours or second neighbours want the same, else in two, and more
        where different quads fall on the same banks.
        """
        total = 0
        for half in (places[:16], places[16:]):
            paired = any(all(half[i] == half[i ^ step] for i in range(16)) for step in (1, 2))
            for part in [half] if paired else [half[:8], half[8:]]:
                banks: dict[int, set[int]] = {}
                for place in part:
                    banks.setdefault(place // QUAD % 8, set()).add(place)
                total += max(map(len, banks.values()))
        return total


@dataclass(frozen=True)
class Shape:
    """A bidirectional LSTM layer: `T` steps, `B` utterances, `D` inputs, `H` units."""

    T: int
    B: int
    D: int
    H: int

    @property
    def name(self) -> str:
        return f"{self.T},{self.B},{self.D},{self.H}"

    def flops(self, train: bool) -> float:
        return layer_flops("lstm", self.T * self.B, self.D, self.H, train, input_gradient=self.D > self.H)

    def bytes(self, train: bool) -> float:
        """What must come from the device's memory or go there: input, output, and what the way back needs."""
        states, gates = 2 * self.H, 4 * 2 * self.H
        values = self.D + states + gates * (2 if not train else 3)
        if train:
            values += gates * 3 + 3 * states + COLUMNS_KEPT * states + self.D
        return float(values * self.T * self.B * FLOAT)


def plan_for(machine: Machine, B: int, H: int) -> Plan:
    """As a layer chooses it on this machine."""
    gates = CELLS["lstm"].gates
    plan = choose(gates, H, B, 2, machine.limits, True) or choose(gates, H, B, 2, machine.limits, False)
    assert plan is not None
    return plan


def step_floor(machine: Machine, B: int, H: int) -> float:
    """Microseconds of a step's recurrent products at the machine's peak, both directions."""
    return 2.0 * 2 * B * 4 * H * H / machine.peak / 1e3


def layer_floor(machine: Machine, shape: Shape, train: bool) -> float:
    """Milliseconds at the machine's peak of operations or of its memory's bytes, whichever is longer."""
    return max(shape.flops(train) / machine.peak, shape.bytes(train) / machine.memory) / 1e6


@dataclass(frozen=True)
class Time:
    """Milliseconds of something on the device, and of the host while it launches that; the longer counts."""

    device: float
    host: float

    @property
    def total(self) -> float:
        return max(self.device, self.host)

    def __add__(self, other: Time) -> Time:
        return Time(self.device + other.device, self.host + other.host)


def layer_time(prospect: Prospect, shape: Shape, train: bool) -> Time:
    """The steps, the large products, the bytes moved besides, and the launches between."""
    ways: tuple[Way, ...] = ("forward", "backward") if train else ("forward",)
    steps = shape.T * sum(prospect.step(way).total for way in ways) / 1e3
    recurrent = len(ways) * 2.0 * shape.T * shape.B * 2 * 4 * shape.H**2
    machine, latencies = prospect.machine, prospect.latencies
    products = (shape.flops(train) - recurrent) / (machine.peak * latencies.product) / 1e6
    moved = shape.bytes(train) / machine.memory / 1e6
    launches = LAUNCHES["train" if train else "infer"]
    return Time(steps + products + moved + launches * latencies.launch / 1e6, launches * latencies.host / 1e6)


@dataclass(frozen=True)
class Loss:
    """A CTC loss with its gradient: `T` frames, `B` utterances, `C` classes, `S` labels each."""

    T: int
    B: int
    C: int
    S: int

    @property
    def floor(self) -> float:
        """Bytes: logits read, gradients written, both rows of masses of each frame written and read."""
        return float((2 * self.C + 4 * (2 * self.S + 1)) * self.T * self.B * FLOAT)


def loss_time(machine: Machine, latencies: Latencies, loss: Loss) -> Time:
    """All utterances and both directions of time walk at once, each frame after the one before."""
    walk = loss.T * latencies.walk / machine.clock / 1e6
    moved = 3 * loss.floor / machine.memory / 1e6
    return Time(walk + moved + CTC_LAUNCHES * latencies.launch / 1e6, CTC_LAUNCHES * latencies.host / 1e6)


def kernels_of(machine: Machine, B: int, H: int, known: Mapping[tuple[str, str], Loop]) -> dict[Way, Loop]:
    """The two kernels of a layer. KeyError where the snapshot has none."""
    return {
        "forward": known[f"forward lstm {B},{H}", machine.architecture],
        "backward": known[f"backward lstm {B},{H}", machine.architecture],
    }


@dataclass(frozen=True)
class Update:
    """A training step of a network: recurrent layers, an output layer, the loss, clipping and SGD.

    weights : of all layers; SGD reads and writes them, the gradients and the velocity
    """

    layers: tuple[Shape, ...]
    loss: Loss
    weights: int

    @property
    def output_flops(self) -> float:
        last = self.layers[-1]
        return 3 * 2.0 * last.T * last.B * 2 * last.H * self.loss.C

    @property
    def moved(self) -> float:
        """Bytes of the optimiser's step, and of the gradient's norm."""
        return 6.0 * self.weights * FLOAT

    def floor(self, machine: Machine) -> float:
        """Milliseconds."""
        layers = sum(layer_floor(machine, shape, True) for shape in self.layers)
        return layers + (self.output_flops / machine.peak + (self.moved + self.loss.floor) / machine.memory) / 1e6

    def time(self, prospect: Prospect) -> Time:
        """Where all layers have one plan."""
        machine, latencies = prospect.machine, prospect.latencies
        total = loss_time(machine, latencies, self.loss)
        for shape in self.layers:
            total += layer_time(prospect, shape, True)
        rest = self.output_flops / (machine.peak * latencies.product) / 1e6 + self.moved / machine.memory / 1e6
        return total + Time(rest, UPDATE_LAUNCHES * latencies.host / 1e6)


def an4_update() -> Update:
    """The longest batch of `speech.write_synthetic`."""
    T, B, H, C, S = 255, 16, 256, 29, 30
    layers = tuple(Shape(T, B, D, H) for D in (120, 2 * H, 2 * H))
    weights = sum(2 * 4 * H * (layer.D + H + 2) for layer in layers) + C * (2 * H + 1)
    return Update(layers, Loss(T, B, C, S), weights)


HEADINGS = (
    "T,B,D,H",
    "blocks",
    "floor of a step, us",
    "forward step, us",
    "backward step, us",
    "inference: floor, ms",
    "estimate",
    "training step: floor, ms",
    "estimate",
)


def table(machine: Machine, shapes: Sequence[Shape], known: Mapping[tuple[str, str], Loop]) -> str:
    """Markdown: floors, and estimates with their ranges."""
    rows = [_row(machine, shape, known) for shape in shapes]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (HEADINGS, ["---"] * len(HEADINGS), *rows))


def _row(machine: Machine, shape: Shape, known: Mapping[tuple[str, str], Loop]) -> list[str]:
    plan = plan_for(machine, shape.B, shape.H)
    likely = Prospect(machine, plan, kernels_of(machine, shape.B, shape.H, known))
    every = [likely, *(replace(likely, latencies=latencies) for latencies in (BEST, WORST))]
    infer, train = ([layer_time(prospect, shape, train).total for prospect in every] for train in (False, True))
    return [
        shape.name,
        _blocks(plan.tiling, plan),
        f"{step_floor(machine, shape.B, shape.H):.2f}",
        _range([prospect.step("forward").total for prospect in every]),
        _range([prospect.step("backward").total for prospect in every]),
        f"{layer_floor(machine, shape, False):.2f}",
        _range(infer),
        f"{layer_floor(machine, shape, True):.2f}",
        _range(train),
    ]


def _blocks(tiling: Tiling, plan: Plan) -> str:
    mode = "persistent" if plan.persistent else "stepwise"
    return f"{plan.blocks} of {tiling.units} x {tiling.rows}, {tiling.threads} threads, {mode}"


def _range(values: Sequence[float], digits: int = 1) -> str:
    """What is likely, and within which bounds."""
    likely, best, worst = (f"{value:.{digits}f}" for value in values)
    return f"{likely} ({best} to {worst})"


def steps_table(machine: Machine, sizes: Sequence[tuple[int, int]], known: Mapping[tuple[str, str], Loop]) -> str:
    """Markdown: a step of time, part by part."""
    names = [field.name for field in fields(Step)]
    rows = [["B,H", "way", *names, "total, us"], ["---"] * (len(names) + 3)]
    for B, H in sizes:
        prospect = Prospect(machine, plan_for(machine, B, H), kernels_of(machine, B, H, known))
        ways: tuple[Way, ...] = ("forward", "backward")
        for way in ways:
            step = prospect.step(way)
            rows.append([f"{B},{H}", way, *(f"{getattr(step, name):.2f}" for name in names), f"{step.total:.2f}"])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def others_table(machine: Machine, losses: Sequence[Loss], known: Mapping[tuple[str, str], Loop]) -> str:
    """Markdown: CTC losses, and the training step of AN4's network."""
    rows = [["what", "floor, ms", "estimate, ms"], ["---"] * 3]
    for loss in losses:
        times = [loss_time(machine, latencies, loss).total for latencies in (LIKELY, BEST, WORST)]
        name = f"CTC {loss.T},{loss.B},{loss.C},{loss.S}"
        rows.append([name, f"{loss.floor / machine.memory / 1e6:.3f}", _range(times, 2)])
    update = an4_update()
    B, H = update.layers[0].B, update.layers[0].H
    likely = Prospect(machine, plan_for(machine, B, H), kernels_of(machine, B, H, known))
    times = [update.time(replace(likely, latencies=latencies)).total for latencies in (LIKELY, BEST, WORST)]
    rows.append(["training step of AN4's network", f"{update.floor(machine):.2f}", _range(times)])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def tables(machine: Machine, layers: Sequence[Sequence[int]], losses: Sequence[Sequence[int]]) -> str:
    """All of it, for one machine."""
    known = loops()
    shapes = [Shape(*sizes) for sizes in layers]
    sizes = list(dict.fromkeys((shape.B, shape.H) for shape in shapes))
    head = f"{machine.name}: {machine.multiprocessors} multiprocessors at {machine.clock} GHz, "
    head += f"{machine.peak / 1e3:.0f} TFLOP/s in float32, {machine.memory / 1e3:.1f} TB/s of memory."
    parts = [table(machine, shapes, known), steps_table(machine, sizes, known)]
    return "\n\n".join([head, *parts, others_table(machine, [Loss(*loss) for loss in losses], known)])
