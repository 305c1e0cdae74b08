"""What is compared, and the ratios that we want to reach."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

from asr.errors import UsageError
from benchmarks.processes import Contender
from kernels.cells import CELLS

Clock = Literal["cpu", "wall", "device"]
CLOCKS: tuple[Clock, ...] = ("wall", "cpu", "device")  # in the order of a timing
Item = TypeVar("Item", bound="Named")

# T, B, D, H -> least ratio of a training step to torch, of inference to torch and to onnxruntime
LAYERS = {
    (500, 16, 39, 128): (2.2, 1.35, 1.6),
    (500, 16, 256, 128): (1.9, 1.25, 1.4),
    (500, 16, 39, 256): (1.8, 1.25, 1.4),
    (500, 16, 512, 256): (1.5, 1.3, 1.3),
    (800, 1, 39, 256): (1.5, 1.5, 1.3),
    (800, 1, 512, 256): (1.25, 1.25, 1.2),
    (1000, 32, 512, 512): (1.35, 1.15, 1.2),
}
TWO_THREADS = ((500, 16, 39, 128), (500, 16, 39, 256), (500, 16, 512, 256), (800, 1, 39, 256))
MEMORY = ((500, 16, 39, 256), (500, 16, 512, 256), (1000, 32, 512, 512))
OTHER_CELLS = (500, 16, 39, 256)
LOSSES = {(500, 16, 29, 60): 25.0, (1000, 32, 29, 150): 25.0, (1500, 32, 1000, 100): 10.0}  # T, B, C, S -> ratio
LANES = (16, 8, 4)
SECOND_THREAD = 1 / 1.1  # a second thread may cost a tenth more CPU time in all
TILE_PEAK = 0.88
EPOCHS = {"packed": 2.0, "padded": 1.5}  # how PyTorch takes batches of unequal lengths -> ratio
REAL_TIME = 300.0  # on two cores
STEP_PEAK = 0.75  # at H >= 256, B >= 16
BEAMS = (1, 8, 32, 100)
DECODED = 500.0  # times real time, with the usual beam and a word 3-gram
USUAL_BEAM = 32
KNOWLEDGE = {  # what a decoder is told of texts -> who else can be told that
    "sound alone": ("pyctcdecode", "flashlight"),
    "3-gram": ("pyctcdecode",),
    "lexicon": ("flashlight",),
    "3-gram and lexicon": ("flashlight",),
    "hot words": ("pyctcdecode",),
}


@dataclass(frozen=True)
class Rival:
    """Whom a case is compared with.

    clock : what the ratio is of: at one thread CPU time of the process, which other jobs on the machine disturb
        little; wall time at several, where waiting counts; the device's own time where there is one
    target : least ratio of its time to ours, None where none was set
    """

    contender: Contender
    clock: Clock
    target: float | None = None


@dataclass(frozen=True)
class Case:
    """One task for us and our rivals.

    peak_target : least share of the machine's peak
    per_hour : give times for an hour of sound
    memory : compare memory, not time
    real_time : least ratio of the sound's duration to our time
    beside_sound : compare with the sound's duration beside all rivals, not only where there is none
    clock : of our time where there is no rival; "device" also says that no core's peak is measured
    """

    name: str
    task: str
    arguments: Mapping[str, Any]
    ours: Contender
    rivals: tuple[Rival, ...]
    peak_target: float | None = None
    per_hour: bool = False
    memory: bool = False
    real_time: float | None = None
    beside_sound: bool = False
    clock: Clock = "cpu"


def clock(threads: int) -> Clock:
    return "cpu" if threads == 1 else "wall"


class Named(Protocol):
    """What `--cases` chooses from."""

    @property
    def name(self) -> str: ...


def chosen(cases: Sequence[Item], patterns: Sequence[str]) -> list[Item]:
    """Cases whose whole name one of the patterns matches (`*`, `?`), or that hold one without such marks; all where
    there is no pattern. UsageError for a pattern that chooses none."""
    found: set[str] = set()
    for pattern in patterns:
        glob = pattern if any(mark in pattern for mark in "*?") else f"*{pattern}*"
        names = fnmatch.filter((case.name for case in cases), glob)
        if not names:
            raise UsageError(f"--cases {pattern}: there is none so named; choose from: {_listed(cases)}")
        found.update(names)
    return [case for case in cases if case.name in found or not patterns]


def _listed(cases: Sequence[Named]) -> str:
    return "; ".join(case.name for case in cases)


def recurrence(threads: int) -> list[Case]:
    """Every case of one layer, most of them at `threads` threads."""
    cases = [_tile(lanes) for lanes in LANES]
    for sizes, (train, infer_torch, infer_onnx) in LAYERS.items():
        cases += [_train("lstm", sizes, threads, train), _infer(sizes, threads, infer_torch, infer_onnx)]
    cases += [_train(cell, OTHER_CELLS, threads, 1.8) for cell in CELLS if cell != "lstm"]
    for sizes in TWO_THREADS:
        cases += [_train("lstm", sizes, 2, 1.0, second=True), _infer(sizes, 2, 1.0, 1.0, second=True)]
    return cases + [_memory(sizes, threads) for sizes in MEMORY]


def ctc(threads: int) -> list[Case]:
    return [
        Case(
            f"ctc {comma(sizes)}{_suffix(count)}",
            "ctc",
            {"sizes": sizes},
            Contender("ours", count),
            (Rival(Contender("torch", count), clock(count), target if count == 1 else 1.0),),
        )
        for count in dict.fromkeys((threads, 2))
        for sizes, target in LOSSES.items()
    ]


def train_step(threads: int, folder: str) -> list[Case]:
    """Updates of a whole network over the batches that `speech.write_training` left in a folder."""
    cases = [
        _network(
            f"epoch, {kind}{_suffix(count)}",
            "train network",
            folder,
            count,
            (("torch", target if count == 1 else 1.0),),
            packed=kind == "packed",
        )
        for count in dict.fromkeys((threads, 2))
        for kind, target in EPOCHS.items()
    ]
    memory = _network("update memory", "train network", folder, threads, (("torch", 1.0),), packed=True)
    return [*cases, replace(memory, memory=True)]


def transcribe(threads: int, folder: str, model: str, listing: str) -> list[Case]:
    """Files to texts, and the network alone over the batches in a folder."""
    counts = tuple(dict.fromkeys((threads, 2)))
    arguments = {"model": model, "listing": listing}
    files = [
        Case(
            f"files{_suffix(count)}",
            "transcribe files",
            arguments,
            Contender("ours", count),
            (),
            real_time=REAL_TIME if count == 2 else None,
            clock="wall",
        )
        for count in counts
    ]
    rivals = (("onnxruntime", 1.2), ("torch", None))
    return files + [_network(f"network{_suffix(n)}", "infer network", folder, n, rivals) for n in counts]


def decode(threads: int, folder: str, floor: float) -> list[Case]:
    """Decoding what `decoding.write_decoding` left in a folder; at the usual beam on two threads and by memory too."""
    arguments = {"folder": folder, "floor": floor}
    cases = [_decode(kind, beam, threads, arguments) for kind in KNOWLEDGE for beam in BEAMS]
    cases += [_decode(kind, USUAL_BEAM, 2, arguments) for kind in KNOWLEDGE if threads != 2]
    memory = [_decode(kind, BEAMS[-1], threads, arguments) for kind in ("sound alone", "3-gram", "3-gram and lexicon")]
    return cases + [replace(case, name=f"{case.name} memory", memory=True) for case in memory]


def _decode(kind: str, beam: int, threads: int, arguments: Mapping[str, Any]) -> Case:
    """The ratio is of CPU time at two threads too: how much more than one it takes; rivals have one alone."""
    rivals = [Rival(Contender(library), "cpu") for library in KNOWLEDGE[kind] if threads == 1]
    if threads > 1:
        rivals.append(Rival(Contender("ours"), "cpu", SECOND_THREAD))
    known = {"language": "3-gram" in kind, "lexicon": "lexicon" in kind, "hot": "hot" in kind}
    return Case(
        f"{kind}, beam {beam}{_suffix(threads)}",
        "decode",
        {**arguments, "beam": beam, **known},
        Contender("ours", threads),
        tuple(rivals),
        real_time=DECODED if (kind, beam, threads) == ("3-gram", USUAL_BEAM, 1) else None,
        beside_sound=True,
    )


def features(listing: str) -> list[Case]:
    rival = Rival(Contender("librosa"), "cpu", None)
    return [Case("mfcc, an hour", "features", {"listing": listing}, Contender("ours"), (rival,), per_hour=True)]


def _network(
    name: str, task: str, folder: str, threads: int, rivals: Iterable[tuple[str, float | None]], **arguments: Any
) -> Case:
    against = tuple(Rival(Contender(library, threads), clock(threads), target) for library, target in rivals)
    return Case(name, task, {"folder": folder} | arguments, Contender("ours", threads), against)


def _train(cell: str, sizes: tuple[int, ...], threads: int, target: float, second: bool = False) -> Case:
    rivals = [Rival(Contender("torch", threads), clock(threads), target)]
    if second:
        rivals.append(Rival(Contender("ours"), "cpu", SECOND_THREAD))
    return Case(
        f"{cell} {comma(sizes)} train{_suffix(threads)}",
        "train layer",
        {"cell": cell, "sizes": sizes},
        Contender("ours", threads),
        tuple(rivals),
        STEP_PEAK if sizes[3] >= 256 and sizes[1] >= 16 and threads == 1 and cell == "lstm" else None,
    )


def _infer(sizes: tuple[int, ...], threads: int, torch_target: float, onnx_target: float, second: bool = False) -> Case:
    rivals = [
        Rival(Contender("torch", threads), clock(threads), torch_target),
        Rival(Contender("onnxruntime", threads), clock(threads), onnx_target),
    ]
    if second:
        rivals.append(Rival(Contender("ours"), "cpu", SECOND_THREAD))
    return Case(
        f"lstm {comma(sizes)} infer{_suffix(threads)}",
        "infer layer",
        {"cell": "lstm", "sizes": sizes},
        Contender("ours", threads),
        tuple(rivals),
    )


def _tile(lanes: int) -> Case:
    """Not narrower than it was compiled for, but the code for another processor, on this one."""
    ours = Contender("ours", 1, (("ASR_VECTOR_LANES", str(lanes)),))
    return Case(f"tile {lanes} lanes", "bare tile", {}, ours, (), peak_target=TILE_PEAK if lanes > 4 else None)


def _memory(sizes: tuple[int, ...], threads: int) -> Case:
    return Case(
        f"lstm {comma(sizes)} train memory{_suffix(threads)}",
        "train layer",
        {"cell": "lstm", "sizes": sizes},
        Contender("ours", threads),
        (Rival(Contender("torch", threads), "cpu", 1.0),),
        memory=True,
    )


def comma(sizes: tuple[int, ...]) -> str:
    """Sizes as a case's name has them."""
    return ",".join(map(str, sizes))


def _suffix(threads: int) -> str:
    return "" if threads == 1 else f" {threads} threads"
