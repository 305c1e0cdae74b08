"""Rows of results as a table for a person, as JSON, and as Markdown for the docs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

HEADINGS = ("case", "ours ms", "rival", "rival ms", "ratio", "target", "wall", "GFLOP/s", "of peak", "met")


@dataclass(frozen=True)
class Row:
    """We and one rival at one case.

    ours_ms, rival_ms : medians by `clock` ("cpu", "wall"); None where memory is compared
    ratio : the rival's figure / ours
    gflops, peak_fraction : of ours, and as a share of the machine's peak in the same run
    target, peak_target : least ratio and least share that we want
    ours_wall_ms ... rival_cpu_ms : both clocks
    ours_mb, rival_mb : memory that the task adds
    note : a word more
    """

    case: str
    ours_ms: float | None
    rival: str | None
    rival_ms: float | None
    ratio: float | None
    gflops: float | None = None
    peak_fraction: float | None = None
    clock: str = "cpu"
    target: float | None = None
    peak_target: float | None = None
    ours_wall_ms: float | None = None
    rival_wall_ms: float | None = None
    ours_cpu_ms: float | None = None
    rival_cpu_ms: float | None = None
    ours_mb: float | None = None
    rival_mb: float | None = None
    peak_gflops: float | None = None
    rounds: int | None = None
    note: str = ""

    @property
    def wall_ratio(self) -> float | None:
        return self.rival_wall_ms / self.ours_wall_ms if self.rival_wall_ms and self.ours_wall_ms else None

    @property
    def met(self) -> bool | None:
        """Whether every target of this row is met; None where it has none."""
        pairs = [(self.ratio, self.target), (self.peak_fraction, self.peak_target)]
        reached = [value is not None and value >= least for value, least in pairs if least is not None]
        return all(reached) if reached else None


def as_json(rows: Sequence[Row]) -> str:
    return json.dumps([asdict(row) | {"wall_ratio": row.wall_ratio, "met": row.met} for row in rows], indent=1)


def print_table(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = 140
    table = Table()
    for index, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if index in (0, 2, 9) else "right", no_wrap=index == 0)
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)


def as_markdown(rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(HEADINGS) + " |", "| " + " | ".join(_rule(i) for i in range(len(HEADINGS))) + " |"]
    return "\n".join(lines + ["| " + " | ".join(_cells(row)) + " |" for row in rows])


def _rule(column: int) -> str:
    return "---" if column in (0, 2, 9) else "---:"


def _cells(row: Row) -> list[str]:
    """`wall` is the ratio by the other clock where the ratio itself is by CPU time."""
    unit = " MB" if row.ours_mb is not None else ""
    targets = [] if row.target is None else [f"{row.target:.3g}"]
    targets += [] if row.peak_target is None else [f"{row.peak_target:.0%}"]
    return [
        row.case,
        _number(row.ours_mb if unit else row.ours_ms) + unit,
        row.rival or "",
        _number(row.rival_mb if unit else row.rival_ms) + unit,
        _ratio(row.ratio),
        ", ".join(targets),
        _ratio(row.wall_ratio) if row.clock == "cpu" else "as ratio",
        _number(row.gflops),
        "" if row.peak_fraction is None else f"{row.peak_fraction:.0%}",
        {True: "yes", False: "no", None: ""}[row.met] + (f" ({row.note})" if row.note else ""),
    ]


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _number(value: float | None) -> str:
    """Three significant digits, but no exponent."""
    if value is None:
        return ""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def peaks_line(rows: Sequence[Row]) -> str:
    """The machine's peak as measured."""
    peaks = [row.peak_gflops for row in rows if row.peak_gflops]
    return f"FMA peak of one core in this run: {max(peaks):.0f} GFLOP/s" if peaks else ""
