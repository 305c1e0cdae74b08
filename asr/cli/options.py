"""Options that several commands share, and how they become objects."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from asr.errors import UsageError

if TYPE_CHECKING:
    from kernels.interface import Backend


class Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


DeviceOption = Annotated[
    Device | None, typer.Option("--device", help="Where to compute; without it, $ASR_BACKEND or else auto.")
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads; without it, all cores this process may use.")
]
CommandsOption = Annotated[
    bool, typer.Option("--run-commands", help="Run the commands of a Kaldi wav.scp; only for a corpus that you trust.")
]
ModelOption = Annotated[str, typer.Option("--model", help="A bundled model's name, or a model file.")]


def open_backend(device: Device | None, threads: int | None) -> Backend:
    """The machine to compute on; UsageError where it cannot be had."""
    import kernels

    try:
        return kernels.open_backend(device, threads)
    except (kernels.BackendUnavailableError, ValueError) as error:
        raise UsageError(str(error)) from error
