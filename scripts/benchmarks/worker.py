"""A contender's process: reads a JSON request a line on stdin, answers with one on stdout.

    {"do": "open", "device": ...}                                       -> {"device": a line for a person}
    {"do": "prepare", "task": ..., "threads": ..., "arguments": {...}}  -> a job's check, parts, flops, sound, note
    {"do": "time", "part": i, "repeat": n, "warm": true}                -> {"timings": [[wall s, CPU s, device s], ...]}
    {"do": "peak"}                                                      -> {"gflops": x}
    {"do": "memory"}                                                    -> {"now": MB, "peak": MB, "compilations": n}

or {"missing": library} or {"unavailable": why} or {"error": traceback}. Anything that a library prints goes to stderr.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks.jobs import Job, MissingError, Timer
from kernels import BackendUnavailableError, open_backend

MODULES = {
    "ours": "ours",
    "torch": "torch_rival",
    "onnxruntime": "onnx_rival",
    "librosa": "librosa_rival",
    "pyctcdecode": "pyctcdecode_rival",
    "flashlight": "flashlight_rival",
}
MEGABYTE = 1 << 20


class Worker:
    """What one process does."""

    def __init__(self, library: str):
        self._tasks: dict[str, Any] = importlib.import_module(f"benchmarks.{MODULES[library]}").TASKS
        self._job = Job(lambda part: None)

    def open(self, device: str) -> dict[str, Any]:
        """Whether our backend runs there."""
        return {"device": open_backend(device).describe()}

    def prepare(self, task: str, threads: int, arguments: dict[str, Any]) -> dict[str, Any]:
        self._job = Job(lambda part: None)  # what the last task held is free before the next one's data come
        gc.collect()
        job = self._tasks[task](threads, **arguments)
        self.hold(job)
        return {
            "check": list(job.check),
            "parts": job.parts,
            "flops": list(job.flops),
            "sound": list(job.sound),
            "note": job.note,
        }

    def hold(self, job: Job) -> None:
        """Make this the job that `time` runs."""
        self._job = job

    def time(self, part: int, repeat: int, warm: bool) -> dict[str, Any]:
        """`warm` runs the part once untimed: the process that ran before has emptied the caches.

        On a device the repeats are timed as one, so that the host can launch one while the device runs another.
        """
        if warm:
            self._job.run(part)
        timer = self._job.timed
        if timer is None:
            return {"timings": [self._timed(part) for _ in range(repeat)]}
        return {"timings": [[total / repeat for total in self._timed_there(part, repeat, timer)]]}

    def _timed(self, part: int) -> tuple[float, float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        self._job.run(part)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        return wall, cpu, 0.0

    def _timed_there(self, part: int, repeat: int, timer: Timer) -> tuple[float, float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        milliseconds = timer(lambda: [self._job.run(part) for _ in range(repeat)])
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        return wall, cpu, milliseconds / 1e3

    def peak(self) -> dict[str, Any]:
        from kernels.cpu import peak

        return {"gflops": peak.measure()}

    def memory(self) -> dict[str, Any]:
        """Resident memory now and at most, and how many kernels were compiled, which takes memory too."""
        jit = sys.modules.get("kernels.jit")
        now, peak = resident()
        return {"now": now, "peak": peak, "compilations": jit.compilations() if jit else 0}


def resident() -> tuple[float, float]:
    """Resident memory now and at most, MB; where the system says only the most, that for both."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        now, peak = (int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        now = peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return now / MEGABYTE, peak / MEGABYTE


def main(library: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(library)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except MissingError as error:
            answer = {"missing": str(error)}
        except BackendUnavailableError as error:
            answer = {"unavailable": str(error)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
