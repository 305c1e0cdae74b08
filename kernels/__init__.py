"""A small array library for recurrent networks: `open_backend` gives a machine that can run one.

It knows shapes, dtypes and lengths, and nothing of audio or text. `kernels.interface` says what a backend does.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernels.interface import Backend

__all__ = ["BackendUnavailableError", "open_backend"]

PROJECT = "asr-from-sound"  # another package that installs a module named `kernels` has no such mark


class BackendUnavailableError(RuntimeError):
    """The machine asked for is not here; the message says why and what to do."""


def open_backend(name: str | None = None, threads: int | None = None) -> Backend:
    """The machine to compute on.

    Parameters
    ----------
    name : "auto" (the best that is proven: the CPU), "cpu", "cuda" (never run on hardware yet: docs/cuda.md), or
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


def _has_driver() -> bool:
    """Whether NVIDIA's driver is here: asked of the system, since `numba.cuda` is slow to import."""
    library = {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}.get(sys.platform)
    if library is None:
        return False  # there is none for other systems
    import ctypes

    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _open_cuda(threads: int | None) -> Backend:
    simulated = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") != "0"
    if not simulated and not _has_driver():
        raise BackendUnavailableError(
            "no NVIDIA driver was found: install it and pip install 'asr-from-sound[cuda13]', or use the device cpu"
        )
    from kernels.cuda.backend import CudaBackend

    return CudaBackend(threads)
