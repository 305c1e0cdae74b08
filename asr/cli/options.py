"""Options that several commands share, and how they become objects."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli import messages

if TYPE_CHECKING:
    from asr.decoding.choice import DecodingChoice
    from asr.recognizer import Recognizer


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
BatchOption = Annotated[
    float | None,
    typer.Option(
        "--batch", metavar="SECONDS", min=1, help="Sound that goes through the network at once; less needs less memory."
    ),
]
VtlnOption = Annotated[
    bool,
    typer.Option(
        "--vtln",
        help="Hear what is not clear again, as if the speaker were larger or smaller: up to five times slower.",
    ),
]
ModelOption = Annotated[str, typer.Option("--model", help="A bundled model's name, or a model file.")]


def open_recognizer(
    model: str,
    device: str | None,
    threads: int | None,
    batch: float | None,
    decoding: DecodingChoice | None = None,
    vtln: bool = False,
) -> Recognizer:
    """The recogniser that the options ask for; says on stderr where it computes, and how it decodes if not greedily."""
    from asr.recognizer import BATCH_SECONDS, load

    recognizer = load(model, device, threads, batch or BATCH_SECONDS, decoding, vtln)
    messages.say(f"device: {recognizer.backend.describe()}")
    if recognizer.decoder:
        messages.say(f"decoding: {recognizer.decoder.describe()}")
    return recognizer
