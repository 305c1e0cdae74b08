"""Options that several commands share, and how they become objects."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


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
