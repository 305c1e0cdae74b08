"""A small array library for recurrent networks: `open_backend` gives a machine that can run one.

It knows shapes, dtypes and lengths, and nothing of audio or text. `kernels.interface` says what a backend does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernels.driver import CudaStatus
    from kernels.interface import Backend

__all__ = ["BackendUnavailableError", "DeviceFailedError", "DeviceMemoryError", "cuda_status", "open_backend"]

PROJECT = "asr-from-sound"  # another package that installs a module named `kernels` has no such mark


class BackendUnavailableError(RuntimeError):
    """The machine asked for is not here; the message says why and what to do."""


class DeviceFailedError(RuntimeError):
    """The device stopped in the midst of its work; nothing on it can be used any more by this process."""


class DeviceMemoryError(MemoryError):
    """The device's memory does not hold another array: `asked` (0: by the driver), `free` and `total` bytes."""

    def __init__(self, asked: int, free: int, total: int):
        wanted = f"{asked / 1e6:.1f} MB more were asked for" if asked else "the driver asks for more"
        super().__init__(f"the GPU's memory is full: {wanted}, and {free / 1e6:.1f} of {total / 1e6:.0f} MB are free")
        self.asked, self.free, self.total = asked, free, total


def open_backend(name: str | None = None, threads: int | None = None) -> Backend:
    """The machine to compute on.

    Parameters
    ----------
    name : "auto" (the best that is proven: the CPU), "cpu", "cuda" (run on one kind of GPU so far: docs/cuda.md), or
        "reference" (NumPy float64: slow, the judge of the others); None: `$ASR_BACKEND`, else "auto"
    threads : CPU threads > 0; None: all cores that this process may use

    Raises
    ------
    BackendUnavailableError : "cuda" where it cannot run
    ValueError : an unknown name, threads < 1
    """
    name = name or os.environ.get("ASR_BACKEND") or "auto"
    if name == "cuda":
        return _open_cuda(threads)
    if name in ("auto", "cpu"):
        from kernels.cpu.backend import CpuBackend

        return CpuBackend(threads)
    if name == "reference":
        from kernels.reference import ReferenceBackend

        return ReferenceBackend()
    raise ValueError(f"unknown backend {name!r}; choose auto, cpu, cuda or reference")


def cuda_status() -> CudaStatus:
    """What this machine has for CUDA: driver, GPUs, packages, and what is missing; never an error."""
    from kernels import driver

    return driver.cuda_status()


def _require_cuda() -> None:
    """Raise BackendUnavailableError, with what to do, unless a GPU can be used: before `numba.cuda`, slow to import."""
    for problem in cuda_status().problems():
        if problem.blocking:
            raise BackendUnavailableError(f"{problem.what}: {problem.fix}, or use the device cpu")


def _open_cuda(threads: int | None) -> Backend:
    if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") == "0":
        _require_cuda()
    from kernels.cuda.backend import CudaBackend

    return CudaBackend(threads)
