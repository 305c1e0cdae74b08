"""A contender's own process, kept for all cases: a fresh start would pay for imports and threads each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.errors import UsageError
from benchmarks.jobs import MissingError

SCRIPTS = Path(__file__).resolve().parents[1]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
FOREIGN_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # would hold a BLAS back on purpose


@dataclass(frozen=True)
class Contender:
    """Who runs a task.

    library : a name in `worker.MODULES`
    threads : that it may use
    environment : further variables of its process
    """

    library: str
    threads: int = 1
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return self.library if self.threads == 1 else f"{self.library}, {self.threads} threads"


class ContenderError(RuntimeError):
    """A contender failed; the message holds its traceback."""


class Process:
    """The process of a contender: `prepare` a task, then ask for timings."""

    def __init__(self, contender: Contender):
        self.contender = contender
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", contender.library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(contender),
        )

    def prepare(self, task: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return self.ask(do="prepare", task=task, threads=self.contender.threads, arguments=dict(arguments))

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to a request of `worker`; MissingError, ContenderError; UsageError where no device is."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ContenderError(f"{self.contender.name}: its process ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "missing" in answer:
            raise MissingError(answer["missing"])
        if "unavailable" in answer:
            raise UsageError(answer["unavailable"])
        if "error" in answer:
            raise ContenderError(f"{self.contender.name}: {answer['error']}")
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _environment(contender: Contender) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
    environment |= dict.fromkeys(THREAD_VARIABLES, str(contender.threads))
    paths = [str(SCRIPTS), str(SCRIPTS.parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return environment | dict(contender.environment)
