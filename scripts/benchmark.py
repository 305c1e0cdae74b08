"""How fast the kernels and the program are, beside what else a user would take.

    python scripts/benchmark.py recurrence --cases 'lstm*train' --seconds 60
    python scripts/benchmark.py ctc --json ctc.json

Each contender runs in a process of its own, in turn with the others. A rival that is not installed is named and left
out: `pip install 'asr-from-sound[bench]'` brings all. docs/performance.md says what the figures mean.
"""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Annotated

import typer
from benchmarks import cases
from benchmarks.cases import Case, chosen
from benchmarks.compare import Arena, Limits, say
from benchmarks.report import Row, as_json, as_markdown, peaks_line, print_table

from asr.errors import UsageError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

CasesOption = Annotated[
    list[str] | None, typer.Option("--cases", metavar="NAME|PATTERN", help="Only these; may be given several times.")
]
SecondsOption = Annotated[
    float | None, typer.Option("--seconds", min=0.1, help="For the whole run, shared out over its cases.")
]
RoundsOption = Annotated[int, typer.Option("--rounds", min=1, help="At most so many rounds a case.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="Of every contender, where a case names none.")]
JsonOption = Annotated[Path | None, typer.Option("--json", metavar="FILE|-", help="Write the rows there.")]
MarkdownOption = Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")]


def measure(listed: list[Case], patterns: list[str] | None, seconds: float | None, rounds: int) -> list[Row]:
    """All chosen cases. With `seconds`, each has an equal share of what is left; cases left out are named."""
    wanted = chosen(listed, patterns or [])
    if not wanted:
        raise UsageError(f"no case is named so; there are {', '.join(case.name for case in listed)}")
    end = monotonic() + seconds if seconds else float("inf")
    arena, rows = Arena(), []
    try:
        for index, case in enumerate(wanted):
            now = monotonic()
            if now > end:
                say(f"no time left for {', '.join(case.name for case in wanted[index:])}")
                break
            share = now + (end - now) / (len(wanted) - index)
            rows += arena.compare(case, Limits(rounds, share))
            say(f"{case.name} done")
    finally:
        arena.close()
    return rows


def show(rows: list[Row], json: Path | None, markdown: bool) -> None:
    """The table on stdout; JSON in a file, or on stdout instead of the table for `-`."""
    if json == Path("-"):
        print(as_json(rows))
        return
    if json is not None:
        json.write_text(as_json(rows) + "\n")
    if markdown:
        print(as_markdown(rows))
    else:
        print_table(rows)
    if peaks_line(rows):
        print(f"\n{peaks_line(rows)}")


@app.command()
def recurrence(
    names: CasesOption = None,
    seconds: SecondsOption = None,
    rounds: RoundsOption = 7,
    threads: ThreadsOption = 1,
    json: JsonOption = None,
    markdown: MarkdownOption = False,
) -> None:
    """One bidirectional layer: a training step and inference, against PyTorch and onnxruntime; the bare tile."""
    show(measure(cases.recurrence(threads), names, seconds, rounds), json, markdown)


@app.command()
def ctc(
    names: CasesOption = None,
    seconds: SecondsOption = None,
    rounds: RoundsOption = 7,
    threads: ThreadsOption = 1,
    json: JsonOption = None,
    markdown: MarkdownOption = False,
) -> None:
    """The CTC loss with log-softmax, forward and backward, against PyTorch."""
    show(measure(cases.ctc(threads), names, seconds, rounds), json, markdown)


if __name__ == "__main__":
    app()
