"""Rows of results as a table for a person, as JSON, and as Markdown for the docs."""

from __future__ import annotations

import json
import math
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib import metadata
from pathlib import Path

from kernels.cpu.target import LANES
from kernels.cpu.team import available_threads

HEADINGS = (
    "case",
    "rival",
    "ours ms",
    "rival ms",
    "clock",
    "ratio",
    "target",
    "met",
    "wall ratio",
    "GFLOP/s",
    "of peak",
    "differ",
    "note",
)
VERSIONS = ("numba", "llvmlite", "numpy", "torch", "onnxruntime", "librosa", "pyctcdecode", "flashlight-text", "kenlm")
LEFT = ("case", "rival", "clock", "met", "note")


@dataclass(frozen=True)
class Row:
    """We and one rival at one case.

    ours_ms, rival_ms : medians by `clock` ("cpu", "wall", "device"); None where memory is compared
    ratio : the rival's figure / ours
    gflops, peak_fraction : of ours, and as a share of the machine's peak in the same run
    target, peak_target : least ratio and least share that we want
    ours_wall_ms ... rival_cpu_ms : both clocks
    ours_mb, rival_mb : memory that the task adds
    peak_gflops : of as many cores as `gflops` could use
    rounds : whose medians the times are
    difference : largest relative difference of the two results; where it is above AGREEMENT the row has failed
    failed : why this row must not count; "" where nothing is wrong
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
    difference: float | None = None
    failed: str = ""
    note: str = ""

    @property
    def wall_ratio(self) -> float | None:
        return self.rival_wall_ms / self.ours_wall_ms if self.rival_wall_ms and self.ours_wall_ms else None

    @property
    def met(self) -> bool | None:
        """Whether every target of this row is met; None where it has none."""
        pairs = [(self.ratio, self.target), (self.peak_fraction, self.peak_target)]
        reached = [value is not None and value >= least for value, least in pairs if least is not None]
        if self.failed:
            return False
        return all(reached) if reached else None


def as_json(rows: Sequence[Row]) -> str:
    return json.dumps([asdict(row) | {"wall_ratio": row.wall_ratio, "met": row.met} for row in rows], indent=1)


def print_table(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = 200
    table = Table()
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in LEFT else "right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)


def as_markdown(rows: Sequence[Row]) -> str:
    rule = ["---" if heading in LEFT else "---:" for heading in HEADINGS]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (HEADINGS, rule, *map(_cells, rows)))


def _cells(row: Row) -> list[str]:
    unit = "" if row.ours_mb is None else " MB"
    targets = [] if row.target is None else [f"{row.target:.3g}"]
    targets += [] if row.peak_target is None else [f"{row.peak_target:.0%}"]
    return [
        row.case,
        row.rival or "",
        _number(row.ours_mb if unit else row.ours_ms) + unit,
        _number(row.rival_mb if unit else row.rival_ms) + unit,
        row.clock,
        _ratio(row.ratio),
        ", ".join(targets),
        {True: "yes", False: "no", None: ""}[row.met],
        _ratio(row.wall_ratio) if row.clock != "wall" else "",
        _number(row.gflops),
        "" if row.peak_fraction is None else f"{row.peak_fraction:.0%} of {row.peak_gflops:.0f}",
        "" if row.difference is None else f"{row.difference:.0e}",
        ", ".join(text for text in (row.failed, row.note) if text),
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


def machine() -> str:
    """What the figures of a document were measured on, and with which versions."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else []
    processor = names[0] if names else platform.processor() or platform.machine()
    features = f"{LANES} float32 lanes, {available_threads()} cores"
    versions = ", ".join(f"{package} {version}" for package in VERSIONS if (version := _version(package)))
    return f"{processor} ({features}); Python {platform.python_version()}, {versions}; {date.today().isoformat()}."


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def marked(text: str, name: str) -> bool:
    """Whether a document has a place for the table of this name."""
    return 0 <= text.find(_mark(name)) < text.find(_mark(f"end of {name}"))


def fill(text: str, name: str, table: str) -> str:
    """The document with what stands between the marks of `name` replaced."""
    before, rest = text.split(_mark(name), 1)
    after = rest.split(_mark(f"end of {name}"), 1)[1]
    return f"{before}{_mark(name)}\n\n{table}\n\n{_mark(f'end of {name}')}{after}"


def _mark(name: str) -> str:
    return f"<!-- {name} -->"
