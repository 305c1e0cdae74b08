"""One case: a round each in turn for us and our rivals, until rounds or time are over; then medians.

What disturbs the machine disturbs the neighbours of a round alike, so ratios of medians are steadier than times.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from time import monotonic

from benchmarks.cases import CLOCKS, Case, Clock, Rival
from benchmarks.jobs import MissingError
from benchmarks.processes import Contender, ContenderError, Process
from benchmarks.report import Row

ROUND_SECONDS = 0.1  # a contender runs a short task several times in a round
MOST_REPEATS = 20
SLOW_SECONDS = 0.5  # a task that takes longer is not slowed much by cold caches: no untimed run before it
BUSY_LOAD = 0.5  # jobs, as the system averages them over a minute
AGREEMENT = 1e-3  # relative, of the contenders' results
INSTALL = {
    "pyctcdecode": "--no-deps pyctcdecode pygtrie kenlm",  # it asks for a NumPy below 2, but runs with later ones
    "flashlight": "flashlight-text kenlm",
}


def say(message: str) -> None:
    print(f"benchmark: {message}", file=sys.stderr, flush=True)


def warn_of_load() -> None:
    """Rivals that wait for their threads at barriers suffer from other jobs far more than we do."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > BUSY_LOAD:
        say(f"other jobs run on this machine (load {load:.1f}): do not trust wall times at several threads")


@dataclass(frozen=True)
class Limits:
    """Of one case: so many rounds, but none begins after `end` (monotonic seconds), save the first."""

    rounds: int
    end: float

    def over(self) -> bool:
        return monotonic() > self.end


class Contestant:
    """A contender with the case's task ready, and its timings."""

    def __init__(self, process: Process, case: Case):
        answer = process.prepare(case.task, case.arguments)
        self.check: list[float] = answer["check"]
        self.parts: int = answer["parts"]
        self.flops: list[float] = answer["flops"]
        self.sound: list[float] = answer["sound"]
        self.note: str = answer["note"]
        self.timings: dict[int, list[tuple[float, float, float]]] = {part: [] for part in range(self.parts)}
        self._process = process

    def run(self, part: int) -> None:
        """One round of a part."""
        expected = min((wall for wall, *_ in self.timings[part]), default=SLOW_SECONDS)
        repeat = max(1, min(MOST_REPEATS, int(ROUND_SECONDS / max(expected, 1e-9))))
        answer = self._process.ask(do="time", part=part, repeat=repeat, warm=expected < SLOW_SECONDS)
        self.timings[part] += answer["timings"]

    def seconds(self, clock: Clock, parts: Sequence[int]) -> float:
        """The sum over parts of the median time of each."""
        index = CLOCKS.index(clock)
        return sum(median(timing[index] for timing in self.timings[part]) for part in parts)


@dataclass
class Arena:
    """The processes started so far, and what was told to be missing."""

    processes: dict[Contender, Process] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)

    def compare(self, case: Case, limits: Limits) -> list[Row]:
        """A row for each rival that is installed; where there is none, one without a rival."""
        if case.memory:
            return self._compare_memory(case)
        ours = Contestant(self._process(case.ours), case)
        rivals = {rival: self._contestant(rival.contender, case) for rival in case.rivals}
        present = {rival: contestant for rival, contestant in rivals.items() if contestant}
        parts, peak = self._rounds(case, [ours, *present.values()], limits)
        scene = Scene(case, ours, parts, peak)
        rows = [scene.row(rival, contestant) for rival, contestant in present.items()]
        return rows if rows and not case.beside_sound else [scene.row_alone(), *rows]

    def close(self) -> None:
        for process in self.processes.values():
            process.close()

    def _rounds(self, case: Case, contestants: list[Contestant], limits: Limits) -> tuple[list[int], float | None]:
        """Run the rounds; returns the parts that were run by all, and the peak of a core among those rounds, None
        where the case runs on no core."""
        done: list[int] = []
        peaks: list[float] = []
        for number in range(limits.rounds):
            for part in range(contestants[0].parts):
                if done and limits.over():
                    return done, median(peaks) if peaks else None
                if case.clock != "device":
                    peaks.append(self._process(case.ours).ask(do="peak")["gflops"])
                first = (number + part) % len(contestants)
                for contestant in contestants[first:] + contestants[:first]:
                    contestant.run(part)
                if number == 0:
                    done.append(part)
        return done, median(peaks) if peaks else None

    def _contestant(self, contender: Contender, case: Case) -> Contestant | None:
        """None, and named on stderr, where the rival is not installed or fails."""
        try:
            return Contestant(self._process(contender), case)
        except MissingError as error:
            install = INSTALL.get(contender.library, "'asr-from-sound[bench]'")
            message = f"{error} is not installed, so {contender.library} is left out: pip install {install}"
            if message not in self.missing:
                self.missing.add(message)
                say(message)
        except ContenderError as error:
            say(f"{case.name}: {contender.library} failed and is left out: {error}")
        return None

    def _process(self, contender: Contender) -> Process:
        if contender not in self.processes:
            self.processes[contender] = Process(contender)
        return self.processes[contender]

    def _compare_memory(self, case: Case) -> list[Row]:
        """What two runs add to a fresh process at most."""
        rivals = [rival for rival in case.rivals if self._contestant(rival.contender, case)]
        mine = _memory(case.ours, case)
        rows = []
        for rival in rivals:
            their = _memory(rival.contender, case)
            row = Row(case.name, None, rival.contender.name, None, their / mine, clock="memory", target=rival.target)
            rows.append(replace(row, ours_mb=mine, rival_mb=their))
        return rows or [Row(case.name, None, None, None, None, clock="memory", ours_mb=mine)]


def _memory(contender: Contender, case: Case) -> float:
    """MB that a task adds at most to a process that has imported its library; compiling is not counted."""
    while True:
        process = Process(contender)
        try:
            process.prepare("nothing", {})
            before = process.ask(do="memory")["now"]
            process.prepare(case.task, case.arguments)
            process.ask(do="time", part=0, repeat=1, warm=True)
            after = process.ask(do="memory")
        finally:
            process.close()
        if not after["compilations"]:
            return float(after["peak"] - before)


@dataclass(frozen=True)
class Scene:
    """What all rows of a case share: our timings, the parts that count, GFLOP/s of a core at its peak (or None)."""

    case: Case
    ours: Contestant
    parts: Sequence[int]
    peak: float | None

    def row(self, rival: Rival, theirs: Contestant) -> Row:
        """We and a rival."""
        mine, their = (contestant.seconds(rival.clock, self.parts) for contestant in (self.ours, theirs))
        difference = _difference(self.ours.check, theirs.check)
        row = self._row(rival.clock)
        return replace(
            row,
            rival=rival.contender.name,
            rival_ms=self._milliseconds(theirs, rival.clock),
            ratio=their / mine,
            target=rival.target,
            difference=difference,
            failed="another result" if (difference or 0.0) > AGREEMENT else "",
            rival_wall_ms=self._milliseconds(theirs, "wall"),
            rival_cpu_ms=self._milliseconds(theirs, "cpu"),
            note=", theirs ".join(note for note in (row.note, theirs.note) if note),
        )

    def row_alone(self) -> Row:
        """We alone, or beside the sound's own duration."""
        if not self.ours.sound:
            return self._row(self.case.clock)
        duration = sum(self.ours.sound[part] for part in self.parts)
        return replace(
            self._row(self.case.clock),
            rival="real time",
            rival_ms=duration * 1e3,
            ratio=duration / self.ours.seconds(self.case.clock, self.parts),
            target=self.case.real_time,
            rival_wall_ms=duration * 1e3,
            rival_cpu_ms=duration * 1e3,
        )

    def _row(self, clock: Clock) -> Row:
        seconds = self.ours.seconds(clock, self.parts)
        flops = sum(self.ours.flops[part] for part in self.parts) if self.ours.flops else 0.0
        gflops = flops / seconds / 1e9 or None
        peak = self.peak and self.peak * (self.case.ours.threads if clock == "wall" else 1)
        some = f"{len(self.parts)} of {self.ours.parts} parts" if len(self.parts) < self.ours.parts else ""
        return Row(
            self.case.name,
            self._milliseconds(self.ours, clock),
            None,
            None,
            None,
            gflops,
            gflops / peak if gflops and peak else None,
            clock=clock,
            peak_target=self.case.peak_target,
            ours_wall_ms=self._milliseconds(self.ours, "wall"),
            ours_cpu_ms=self._milliseconds(self.ours, "cpu"),
            peak_gflops=peak,
            rounds=min(len(self.ours.timings[part]) for part in self.parts),
            note=", ".join(text for text in (some, self.ours.note) if text),
        )

    def _milliseconds(self, contestant: Contestant, clock: Clock) -> float:
        seconds = contestant.seconds(clock, self.parts)
        if self.case.per_hour:
            seconds *= 3600 / sum(self.ours.sound[part] for part in self.parts)
        return seconds * 1e3


def _difference(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """The largest relative difference; two that compute different things must not be compared."""
    pairs = zip(ours, theirs, strict=True)
    return max((abs(mine - their) / max(abs(mine), abs(their), 1e-30) for mine, their in pairs), default=None)
