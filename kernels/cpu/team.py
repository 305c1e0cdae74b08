"""A few threads that run compiled kernels side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from threadpoolctl import ThreadpoolController


class Team:
    """Threads of this process; kernels run in them without the interpreter lock.

    Inside `run`, BLAS keeps to one thread: the team has split the work already.
    """

    def __init__(self, threads: int):
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads - 1, "kernels") if threads > 1 else None
        self._blas = ThreadpoolController()

    def run(self, tasks: Sequence[Callable[[], None]]) -> None:
        """Run all tasks, one of them in the calling thread, and wait; the first error is raised after all ended."""
        with self._blas.limit(limits=1, user_api="blas"):
            if self._pool is None:
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


def available_threads() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
