"""A small array library for recurrent networks: `open_backend` gives a machine that can run one.

It knows shapes, dtypes and lengths, and nothing of audio or text. `kernels.interface` says what a backend does.
"""

from __future__ import annotations

import os
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
    name : "auto" (the best there is), "cpu", "cuda", or "reference" (NumPy float64: slow, the judge of the others);
        None: `$ASR_BACKEND`, else "auto"
    threads : CPU threads > 0; None: all cores that this process may use

    Raises
    ------
    BackendUnavailableError : "cuda" where it cannot run
    ValueError : an unknown name, threads < 1
    """
    name = name or os.environ.get("ASR_BACKEND") or "auto"
    if name in ("auto", "cpu"):
        from kernels.cpu.backend import CpuBackend

        return CpuBackend(threads)
    if name == "reference":
        from kernels.reference import ReferenceBackend

        return ReferenceBackend()
    if name == "cuda":
        raise BackendUnavailableError("this version has no CUDA kernels yet: use the device cpu")
    raise ValueError(f"unknown backend {name!r}; choose auto, cpu, cuda or reference")
