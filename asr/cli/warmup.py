"""`asr warmup`: compile before it is needed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.options import DeviceOption
from asr.errors import UsageError

if TYPE_CHECKING:
    from kernels.warmup import Report


def warmup(
    cell: Annotated[
        list[str] | None,
        typer.Option("--cell", metavar="CELL", help="rnn_tanh, rnn_relu, gru or lstm; repeatable; else all."),
    ] = None,
    device: DeviceOption = None,
) -> None:
    """Compile and keep every kernel, so that no later command has to.

    Other commands compile what they need when they first need it; a warm-up puts all of that waiting here, for an
    image or before a demonstration. New versions of asr, Numba or the processor compile anew.
    """
    from asr.backends import open_backend
    from kernels.cells import CELLS
    from kernels.warmup import cache_folder, compilations, warm_up

    unknown = [name for name in cell or [] if name not in CELLS]
    if unknown:
        raise UsageError(f"--cell {unknown[0]}: unknown; choose from {', '.join(CELLS)}")
    begun = time.monotonic()
    before = compilations()
    with _progress() as report:
        warm_up(open_backend(device), cell or list(CELLS), report)
    compiled = compilations() - before
    if compiled:
        print(f"compiled {compiled} kernels in {time.monotonic() - begun:.0f} s; kept in {cache_folder()}")
    else:
        print(f"nothing to do: every kernel is compiled and kept in {cache_folder()}")


@contextmanager
def _progress() -> Iterator[Report]:
    """A bar on a terminal; elsewhere the kernels' own news of compiling, a line each, are enough."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda name, number, count: None
        return
    logger = logging.getLogger("kernels")
    level = logger.level
    logger.setLevel(logging.WARNING)  # the bar says it
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda name, number, count: bar.update(task, description=name, completed=number - 1, total=count)
    finally:
        logger.setLevel(level)
