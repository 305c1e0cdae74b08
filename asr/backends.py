"""The machine to compute on, for a person who named it: the one door to `kernels.open_backend`, and its full memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from asr.errors import DeviceError, UsageError

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


@contextmanager
def fitting(where: str, told: Callable[[], str]) -> Iterator[None]:
    """A device's memory that is full becomes a DeviceError: where it was, what the device says, and what is `told`
    of the batch and the remedy. Memory of the CPU is the system's affair, and its MemoryError is left alone."""
    import kernels

    try:
        yield
    except kernels.DeviceMemoryError as error:
        raise DeviceError(f"{where}: {error}; {told()}") from error
