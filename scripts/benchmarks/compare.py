"""One case: a round each in turn for us and our rivals, until rounds or time are over; then medians.

What disturbs the machine disturbs the neighbours of a round alike, so ratios of medians are steadier than times.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from time import monotonic

from benchmarks.cases import Case, Clock, Rival
from benchmarks.jobs import MissingError
from benchmarks.processes import Contender, Process
from benchmarks.report import Row

ROUND_SECONDS = 0.1  # a contender runs a short task several times in a round
MOST_REPEATS = 20
SLOW_SECONDS = 0.5  # a task that takes longer is not slowed much by cold caches: no untimed run before it
AGREEMENT = 1e-3  # relative, of the contenders' results


def say(message: str) -> None:
    print(f"benchmark: {message}", file=sys.stderr, flush=True)


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
        self.timings: dict[int, list[tuple[float, float]]] = {part: [] for part in range(self.parts)}
        self._process = process

    def run(self, part: int) -> None:
        """One round of a part."""
        expected = min((wall for wall, _ in self.timings[part]), default=SLOW_SECONDS)
        repeat = max(1, min(MOST_REPEATS, int(ROUND_SECONDS / max(expected, 1e-9))))
        answer = self._process.ask(do="time", part=part, repeat=repeat, warm=expected < SLOW_SECONDS)
        self.timings[part] += answer["timings"]

    def seconds(self, clock: Clock, parts: Sequence[int]) -> float:
        """The sum over parts of the median time of each."""
        index = 0 if clock == "wall" else 1
        return sum(median(timing[index] for timing in self.timings[part]) for part in parts)


@dataclass
class Arena:
    """The processes started so far, what turned out to be missing, and the peak of one core by environment."""

    processes: dict[Contender, Process] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    peaks: dict[tuple[tuple[str, str], ...], float] = field(default_factory=dict)

    def compare(self, case: Case, limits: Limits) -> list[Row]:
        """A row for each rival that is installed; where there is none, one without a rival."""
        if case.memory:
            return self._compare_memory(case)
        ours = Contestant(self._process(case.ours), case)
        rivals = {rival: self._contestant(rival.contender, case) for rival in case.rivals}
        present = {rival: contestant for rival, contestant in rivals.items() if contestant}
        for rival, contestant in present.items():
            _check_agreement(case, rival, ours, contestant)
        parts = self._rounds(case, [ours, *present.values()], limits)
        peak = self.peaks[case.ours.environment]
        rows = [_row(case, rival, ours, contestant, parts, peak) for rival, contestant in present.items()]
        return rows or [_row(case, None, ours, None, parts, peak)]

    def close(self) -> None:
        for process in self.processes.values():
            process.close()

    def _rounds(self, case: Case, contestants: list[Contestant], limits: Limits) -> list[int]:
        """Run the rounds; returns the parts that were run by all."""
        done: list[int] = []
        for number in range(limits.rounds):
            for part in range(contestants[0].parts):
                if done and limits.over():
                    return done
                self._measure_peak(case.ours)
                first = (number + part) % len(contestants)
                for contestant in contestants[first:] + contestants[:first]:
                    contestant.run(part)
                if number == 0:
                    done.append(part)
        return done

    def _measure_peak(self, ours: Contender) -> None:
        found = self._process(ours).ask(do="peak")["gflops"]
        self.peaks[ours.environment] = max(found, self.peaks.get(ours.environment, 0.0))

    def _contestant(self, contender: Contender, case: Case) -> Contestant | None:
        """None, once named on stderr, where the rival is not installed."""
        if contender.library in self.missing:
            return None
        try:
            return Contestant(self._process(contender), case)
        except MissingError as error:
            self.missing.add(contender.library)
            say(f"{error} is not installed, so {contender.library} is left out: pip install 'asr-from-sound[bench]'")
            return None

    def _process(self, contender: Contender) -> Process:
        if contender not in self.processes:
            self.processes[contender] = Process(contender)
        return self.processes[contender]

    def _compare_memory(self, case: Case) -> list[Row]:
        """What two runs add to a fresh process at most."""
        ours = _memory(case.ours, case)
        rows = []
        for rival in case.rivals:
            if rival.contender.library in self.missing:
                continue
            try:
                theirs = _memory(rival.contender, case)
            except MissingError as error:
                self.missing.add(rival.contender.library)
                say(f"{error} is not installed, so {rival.contender.library} is left out")
                continue
            ratio = theirs / ours
            rows.append(
                Row(
                    case.name, None, rival.contender.name, None, ratio, None, None,
                    target=rival.target, clock="memory", ours_mb=ours, rival_mb=theirs,
                )
            )  # fmt: skip
        return rows


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


def _row(
    case: Case, rival: Rival | None, ours: Contestant, theirs: Contestant | None, parts: Sequence[int], peak: float
) -> Row:
    clock: Clock = rival.clock if rival else "cpu"
    mine = ours.seconds(clock, parts)
    gflops = sum(ours.flops[part] for part in parts) / mine / 1e9 if ours.flops else None
    cores = case.ours.threads if clock == "wall" else 1
    their = theirs.seconds(clock, parts) if theirs else None

    def milliseconds(contestant: Contestant | None, clock: Clock) -> float | None:
        return contestant.seconds(clock, parts) * case.scale * 1e3 if contestant else None

    return Row(
        case.name,
        milliseconds(ours, clock),
        rival.contender.name if rival else None,
        milliseconds(theirs, clock),
        their / mine if their else None,
        gflops,
        gflops / (peak * cores) if gflops else None,
        clock=clock,
        target=rival.target if rival else None,
        peak_target=case.peak_target,
        ours_wall_ms=milliseconds(ours, "wall"),
        rival_wall_ms=milliseconds(theirs, "wall"),
        ours_cpu_ms=milliseconds(ours, "cpu"),
        rival_cpu_ms=milliseconds(theirs, "cpu"),
        peak_gflops=peak,
        rounds=min(len(ours.timings[part]) for part in parts),
    )


def _check_agreement(case: Case, rival: Rival, ours: Contestant, theirs: Contestant) -> None:
    """Two that compute different things must not be compared: say so."""
    for mine, their in zip(ours.check, theirs.check, strict=True):
        if abs(mine - their) > AGREEMENT * max(abs(mine), abs(their)):
            say(f"{case.name}: {rival.contender.name} has another result ({their:.6g} where ours is {mine:.6g})")
