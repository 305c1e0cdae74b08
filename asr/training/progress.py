"""What a person sees of a training run: a live display on a terminal, plain lines elsewhere; all on stderr."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any, Protocol


class Progress(Protocol):
    """Told of a run as it goes on."""

    def message(self, text: str) -> None:
        """Something to know: one sentence."""

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """A stretch of work of `total` units begins, `done` of them done before."""

    def advance(self, amount: int, title: str | None = None, note: str = "") -> None:
        """Units of work were done."""

    def epoch(self, record: Mapping[str, Any], epochs: int) -> None:
        """An epoch has ended with this line of the metrics."""

    def end(self) -> None:
        """The stretch of work has ended."""


def automatic() -> Progress:
    """`Live` on a terminal, else `Lines`."""
    return Live() if sys.stderr.isatty() else Lines()


class Quiet:
    """Tells nothing."""

    def message(self, text: str) -> None: ...

    def begin(self, title: str, total: int, done: int = 0) -> None: ...

    def advance(self, amount: int, title: str | None = None, note: str = "") -> None: ...

    def epoch(self, record: Mapping[str, Any], epochs: int) -> None: ...

    def end(self) -> None: ...


class Lines(Quiet):
    """A line per message and epoch, for logs."""

    def message(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def begin(self, title: str, total: int, done: int = 0) -> None:
        self.message(f"{title}, {done} of them done" if done else title)

    def epoch(self, record: Mapping[str, Any], epochs: int) -> None:
        self.message(epoch_line(record, epochs))


class Live:
    """A bar that moves, with messages and epochs above it."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        self._display: Any = None
        self._task: Any = None

    def message(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)

    def begin(self, title: str, total: int, done: int = 0) -> None:
        from rich import progress

        self._display = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[note]}"),
            progress.TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._display.add_task(title, total=total, completed=done, note="")
        self._display.start()

    def advance(self, amount: int, title: str | None = None, note: str = "") -> None:
        self._display.update(self._task, advance=amount, description=title, note=note)

    def epoch(self, record: Mapping[str, Any], epochs: int) -> None:
        self.message(epoch_line(record, epochs))

    def end(self) -> None:
        self._display.stop()


def epoch_line(record: Mapping[str, Any], epochs: int) -> str:
    """One epoch's metrics for a person."""
    parts = [f"epoch {record['epoch']:3d}/{epochs}", f"loss {_number(record['train_loss'], '.3f')}"]
    if record["dev_loss"] is not None:
        parts.append(f"dev loss {record['dev_loss']:.3f}")
        parts.append(f"CER {_number(record['dev_cer'], '.2%')}  WER {_number(record['dev_wer'], '.2%')}")
    parts.append(f"{record['frames_per_second']:,.0f} frames/s")
    parts.append(f"{record['seconds']:.0f} s")
    parts.append(f"{_duration((epochs - record['epoch']) * record['seconds'])} left")
    if record["skipped"]:
        parts.append(f"{record['skipped']} updates skipped")
    return "  ".join(parts)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or math.isnan(value) else format(value, form)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
