"""The machine to compute on, for a person who named it: the one door to `kernels.open_backend`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asr.errors import UsageError

if TYPE_CHECKING:
    from kernels.interface import Backend


def open_backend(device: str | None = None, threads: int | None = None) -> Backend:
    """A backend that runs networks.

    Parameters
    ----------
    device : "auto", "cpu" or "cuda"; None: `$ASR_BACKEND`, else "auto"
    threads : CPU threads > 0; None: all cores that this process may use

    Raises UsageError where it cannot be had, with the reason and what to do.
    """
    import kernels

    try:
        return kernels.open_backend(device, threads)
    except (kernels.BackendUnavailableError, ValueError) as error:
        raise UsageError(str(error)) from error
