"""What this program does on your NVIDIA GPU, in one file that you can send back.

    python scripts/check_gpu.py --out gpu-report.md

It collects facts about the machine, runs the tests that need a GPU, and times the kernels beside PyTorch where that is
installed. A part that fails does not stop the others; Ctrl-C leaves what is done so far. `--quick` takes a few minutes
instead of half an hour.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Literal

import typer

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
KEPT_LINES = 150  # of a part's output, the last ones
INTERRUPTED = 130  # a shell's exit code for Ctrl-C
SMI = ("name", "driver_version", "compute_cap", "memory.total", "clocks.max.sm", "clocks.max.memory", "power.limit")

Outcome = Literal["passed", "failed", "left out", "interrupted"]


@dataclass(frozen=True)
class Part:
    """One command of the check.

    arguments : after the interpreter; what it prints on stdout goes into the report
    quick : further arguments with `--quick`
    needs_gpu : left out where there is none
    is_json : stdout is JSON: rows of the benchmark, shown as a table
    limit : seconds after which it is ended
    """

    name: str
    arguments: tuple[str, ...]
    quick: tuple[str, ...] = ()
    needs_gpu: bool = True
    is_json: bool = False
    limit: float = 1800.0


@dataclass(frozen=True)
class Result:
    """What came of a part: `text` for a reader; `rows` of the benchmark, if any."""

    name: str
    outcome: Outcome
    seconds: float
    text: str
    rows: Sequence[dict[str, Any]] = ()


def parts() -> list[Part]:
    pytest = ("-m", "pytest", "-q", "-rfEs", "--tb=short", "-p", "no:cacheprovider", "-o", "addopts=--strict-markers")
    benchmark = str(SCRIPTS / "benchmark.py")
    cuda = ("--device", "cuda", "--json", "-")
    brief = ("--rounds", "3")
    return [
        Part("doctor", ("-m", "asr", "doctor"), needs_gpu=False, limit=120.0),
        Part("hardware tests", (*pytest, "-m", "cuda", "tests/cuda"), ("-m", "cuda and not slow")),
        Part("tests of every backend", (*pytest, "-k", "cuda", "-m", "not slow", "tests/kernels")),
        Part("recurrence", (benchmark, "recurrence", *cuda), (*brief, "--cases", "lstm*256*"), is_json=True),
        Part(
            "recurrence, TF32", (benchmark, "recurrence", *cuda, "--tf32"), (*brief, "--cases", "*16,512*"), True, True
        ),
        Part("ctc", (benchmark, "ctc", *cuda), brief, is_json=True),
        Part("train-step", (benchmark, "train-step", *cuda), brief, is_json=True),
    ]


def main(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the report goes.")] = Path("gpu-report.md"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer shapes, fewer rounds, no long tests.")] = False,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="PART", help="This part; repeatable.")] = None,
) -> None:
    """Check this machine's GPU and write a report."""
    wanted = chosen(only or [])
    facts = machine()
    missing = why_no_gpu()
    if missing:
        say(f"no GPU can be used: {missing}")
    results: list[Result] = []
    for part in wanted:
        say(f"{part.name} ...")
        result = run(part, quick, missing)
        say(f"{part.name}: {result.outcome} ({result.seconds:.0f} s)")
        results.append(result)
        write(out, report(facts, missing, results, quick))  # after each, so that whatever ends us leaves what is done
        if result.outcome == "interrupted":
            say(f"the report so far is in {out}")
            raise typer.Exit(INTERRUPTED)
    say(f"the report is in {out}")
    raise typer.Exit(1 if missing or any(result.outcome == "failed" for result in results) else 0)


def chosen(names: Sequence[str]) -> list[Part]:
    every = {part.name: part for part in parts()}
    for name in names:
        if name not in every:
            raise typer.BadParameter(f"there is no part {name!r}; choose from: {', '.join(every)}")
    return [part for name, part in every.items() if not names or name in names]


def why_no_gpu() -> str:
    """The reason, with what to do; "" where a GPU can be used. Asked in a process that then frees the GPU's memory."""
    code = (
        "import kernels\n"
        "try:\n    kernels.open_backend('cuda')\n"
        "except kernels.BackendUnavailableError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    return done.stdout.strip() or (done.stderr.strip().splitlines() or ["an unknown error"])[-1] * bool(done.returncode)


def machine() -> dict[str, str]:
    """Facts beyond the doctor's: when, which commit, what NVIDIA's own tool says."""
    sys.path[:0] = [str(ROOT)]
    from benchmarks.report import machine as processor

    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _output("git", "-C", str(ROOT), "rev-parse", "HEAD"),
        "processor": processor(),
        "gpu": _output("nvidia-smi", f"--query-gpu={','.join(SMI)}", "--format=csv"),
    }


def _output(*command: str) -> str:
    """What a command prints; "" where it is not there or fails."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def run(part: Part, quick: bool, missing: str, clock: Callable[[], float] = monotonic) -> Result:
    """A part in a process of its own."""
    if part.needs_gpu and missing:
        return Result(part.name, "left out", 0.0, "There is no GPU.")
    begun = clock()
    command = [sys.executable, *part.arguments, *(part.quick if quick else ())]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), cwd=ROOT
    ) as process:
        outcome: Outcome
        try:
            out, err = process.communicate(timeout=part.limit)
            outcome = "failed" if process.returncode else "passed"
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            outcome, err = "failed", f"{err}\nended after {part.limit:.0f} s"
        except KeyboardInterrupt:  # the terminal has told it too
            process.terminate()
            out, err = process.communicate()
            outcome = "interrupted"
    rows = rows_of(out) if part.is_json else []
    text = err if part.is_json else f"{out}\n{err}"
    if part.is_json and outcome == "passed" and any(row["failed"] for row in rows):
        outcome = "failed"
    return Result(part.name, outcome, clock() - begun, shortened(text), rows)


def rows_of(text: str) -> list[dict[str, Any]]:
    """The rows that the benchmark printed; none where it did not come so far."""
    try:
        rows: list[dict[str, Any]] = json.loads(text)
    except json.JSONDecodeError:
        return []
    return rows


def environment() -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def shortened(text: str) -> str:
    """The last lines, without the names of this machine's folders."""
    for folder, name in ((ROOT, "."), (Path(sys.prefix), "PYTHON"), (Path.home(), "~")):
        text = text.replace(str(folder), name)
    lines = text.strip().splitlines()
    return "\n".join([*(["..."] if len(lines) > KEPT_LINES else []), *lines[-KEPT_LINES:]])


def report(facts: dict[str, str], missing: str, results: Sequence[Result], quick: bool) -> str:
    """The whole file: a summary, each part, and all of it as JSON."""
    outcomes = [{name: value for name, value in asdict(result).items() if name != "text"} for result in results]
    everything = {"facts": facts, "no_gpu": missing, "quick": quick, "results": outcomes}
    lines = ["# GPU report", "", f"No GPU can be used: {missing}" if missing else "A GPU can be used.", ""]
    lines += [f"- {name}: {value.replace(chr(10), '; ')}" for name, value in facts.items() if value]
    lines += ["", "| part | outcome | seconds |", "| --- | --- | ---: |"]
    lines += [f"| {result.name} | {result.outcome} | {result.seconds:.0f} |" for result in results]
    for result in results:
        lines += ["", f"## {result.name}", ""]
        lines += [table(result.rows), ""] if result.rows else []
        lines += ["```", result.text, "```"] if result.text else []
    return "\n".join([*lines, "", "## The same for machines", "", "```json", json.dumps(everything), "```", ""])


def table(rows: Sequence[dict[str, Any]]) -> str:
    from benchmarks.report import Row, as_markdown

    fields = set(Row.__dataclass_fields__)
    return as_markdown([Row(**{name: value for name, value in row.items() if name in fields}) for row in rows])


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def say(message: str) -> None:
    print(f"check_gpu: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
