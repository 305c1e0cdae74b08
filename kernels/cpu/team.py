"""A few threads that run compiled kernels side by side."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np


class Team:
    """Threads of this process; kernels run in them without the interpreter lock. ValueError for less than one."""

    def __init__(self, threads: int):
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads - 1, "kernels") if threads > 1 else None

    def run(self, tasks: Sequence[Callable[[], None]]) -> None:
        """Run all tasks, one of them in the calling thread, and wait; the first error is raised after all ended."""
        if self._pool is None or len(tasks) < 2:
            for task in tasks:
                task()
            return
        futures = [self._pool.submit(task) for task in tasks[1:]]
        try:
            tasks[0]()
        finally:
            errors = [future.exception() for future in futures]
        for error in errors:
            if error is not None:
                raise error

    def ranges(self, size: int) -> list[tuple[int, int]]:
        """`size` things in as many runs as there are threads, of nearly equal length."""
        bounds = np.linspace(0, size, self.threads + 1).astype(np.int64).tolist()
        return list(itertools.pairwise(bounds))


def available_threads() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
