"""How long commands take from the start of their process to its end, with a cold and with a warm cache of kernels."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import wave
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from asr.audio import read
from benchmarks.processes import FOREIGN_VARIABLES, SCRIPTS, ContenderError
from benchmarks.report import Row

SAMPLE = SCRIPTS.parent / "samples" / "an4-melvin.flac"
SECONDS, RATE = 3, 16000  # of the recording that is transcribed
COMPILING = re.compile("compiling kernel")


@dataclass(frozen=True)
class Start:
    """One command.

    arguments : after the interpreter
    limit : seconds that we want it to take at most, None where none was set
    cache : name of the cache folder that it uses; a new name is a cold cache
    rounds : how often it runs at most; what fills a cache can run but once
    compiles : whether it may compile; one that may not and does has failed
    filler : arguments of the command that fills its cache, where nothing has yet
    """

    name: str
    arguments: tuple[str, ...]
    limit: float | None
    cache: str
    rounds: int | None = None
    compiles: bool = False
    filler: tuple[str, ...] = ()


def starts(folder: Path, model: str) -> list[Start]:
    """In the order that they must run in."""
    asr = ("-m", "asr")
    warmup = (*asr, "warmup")
    transcribe = (*asr, "transcribe", "--model", model, str(folder / "speech.wav"))
    return [
        Start("import asr", ("-c", "import asr"), 0.3, "one"),
        Start("asr --help", (*asr, "--help"), None, "one"),
        Start("asr transcribe, cold", transcribe, 15.0, "one", 1, compiles=True),
        Start("asr transcribe, warm", transcribe, 1.5, "one", filler=transcribe),
        Start("asr warmup, cold", warmup, 40.0, "all", 1, compiles=True),
        Start("asr warmup, again", warmup, None, "all", filler=warmup),
        Start("asr transcribe, warmed up", transcribe, 1.5, "all", filler=warmup),
    ]


def write_speech(folder: Path) -> None:
    """`speech.wav`: SECONDS of real speech, repeated where the sample is shorter."""
    samples = np.resize(read(SAMPLE, RATE).samples, SECONDS * RATE)
    with wave.open(str(folder / "speech.wav"), "wb") as file:
        file.setparams((1, 2, RATE, len(samples), "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def measure(start: Start, folder: Path, rounds: int) -> Row:
    """Medians over rounds."""
    if start.filler and not (folder / start.cache).exists():
        _run(replace(start, arguments=start.filler), folder)
    runs = [_run(start, folder) for _ in range(min(rounds, start.rounds or rounds))]
    wall, cpu = (median(run[index] for run in runs) * 1e3 for index in (0, 1))
    compiled = max(run[2] for run in runs)
    limit = start.limit * 1e3 if start.limit else None
    return Row(
        start.name,
        wall,
        "limit" if limit else None,
        limit,
        limit / wall if limit else None,
        clock="wall",
        target=1.0 if limit else None,
        ours_wall_ms=wall,
        ours_cpu_ms=cpu,
        rounds=len(runs),
        failed="compiles" if compiled and not start.compiles else "",
        note=f"{compiled} kernels compiled",
    )


def _run(start: Start, folder: Path) -> tuple[float, float, int]:
    """Wall and CPU seconds, and how many kernels were compiled."""
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
    paths = [str(SCRIPTS.parent), environment.get("PYTHONPATH", "")]
    environment |= {
        "ASR_CACHE": str(folder / start.cache),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }
    before, begun = _children_seconds(), perf_counter()
    done = subprocess.run(
        [sys.executable, *start.arguments], capture_output=True, text=True, env=environment, check=False
    )
    wall, cpu = perf_counter() - begun, _children_seconds() - before
    if done.returncode:
        raise ContenderError(f"{start.name}: {done.stderr}")
    return wall, cpu, len(COMPILING.findall(done.stderr))


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
