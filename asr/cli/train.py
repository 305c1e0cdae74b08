"""`asr train`: labelled speech in, a model out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asr.cli.options import CommandsOption, DeviceOption, ThreadsOption
from asr.errors import UsageError

if TYPE_CHECKING:
    from asr.corpora import Utterance


def train(
    corpus: Annotated[
        list[str],
        typer.Option("--corpus", metavar="LAYOUT:PATH[:SPLIT]", help="Labelled speech; may be given several times."),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The run's folder: settings, log, checkpoint, models.")
    ],
    config: Annotated[
        str | None,
        typer.Option("--config", metavar="NAME|PATH", help="Settings: default, an4, en, tiny, or a file."),
    ] = None,
    dev: Annotated[
        list[str] | None,
        typer.Option("--dev", metavar="LAYOUT:PATH[:SPLIT]", help="Development data; else some speakers are held out."),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="FILE", help="For the language model, one sentence a line; repeatable."),
    ] = None,
    pronunciations: Annotated[
        str | None,
        typer.Option(
            "--pronunciations", metavar="FILE", help="Phones for the middle layer (network.intermediate); or cmudict."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in DIR was stopped.")] = False,
    init: Annotated[
        str | None,
        typer.Option(
            "--init", metavar="MODEL", help="Begin with a model's weights; its features and network are kept."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="All random numbers follow from it.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Times each utterance is seen.")] = None,
    cell: Annotated[str | None, typer.Option("--cell", help="rnn_tanh, rnn_relu, gru or lstm.")] = None,
    layers: Annotated[int | None, typer.Option("--layers", help="Recurrent layers.")] = None,
    hidden: Annotated[int | None, typer.Option("--hidden", help="Units per layer and direction.")] = None,
    alphabet: Annotated[
        str | None, typer.Option("--alphabet", metavar="CHARACTERS", help="To learn; else those of the texts.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting, as in optimizer.rate=0.2; repeatable."),
    ] = None,
    licence: Annotated[str, typer.Option("--licence", help="Of the corpora; noted in the model file.")] = "",
    run_commands: CommandsOption = False,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Train a model on labelled speech.

    Ctrl-C saves; the same command with --resume goes on, and ends as if it had never been stopped.
    """
    from asr.backends import open_backend
    from asr.corpora import split_by_speaker
    from asr.training import load_config, trainer
    from asr.training.folder import MODEL

    flags = {
        "init": init,
        "pronunciations": pronunciations,
        "seed": seed,
        "schedule.epochs": epochs,
        "network.cell": cell,
        "network.layers": layers,
        "network.hidden": hidden,
        "text.alphabet": alphabet,
    }
    overrides = {key: value for key, value in flags.items() if value is not None} | parse_settings(settings or [])
    resolved = load_config(config or _default_config(out, resume), overrides)
    train_set, held_out = _read(corpus, run_commands), _read(dev or [], run_commands)
    transcripts = [utterance.text for utterance in train_set]
    if not dev and resolved.dev_every:
        train_set, held_out = split_by_speaker(train_set, resolved.dev_every, resolved.dev_fold)
    backend = open_backend(device, threads)
    names = [public_name(notation) for notation in corpus]
    trainer.train(
        resolved, train_set, held_out, out, backend, resume,
        trained_on=names, licence=licence, transcripts=transcripts, texts=text or [],
    )  # fmt: skip
    print(out / MODEL)


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """`["optimizer.rate=0.2"]` -> `{"optimizer.rate": "0.2"}`."""
    pairs = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {setting}: write KEY=VALUE, as in --set optimizer.rate=0.2")
        pairs[key.strip()] = value.strip()
    return pairs


def public_name(notation: str) -> str:
    """A corpus as a model file names it, without the folders above it: `an4:/data/an4:train` -> `an4:an4:train`."""
    from asr.corpora import parse

    layout, location, split = parse(notation)
    return ":".join(part for part in (layout, Path(location).resolve().name, split) if part)


def _default_config(out: Path, resume: bool) -> str:
    """A run that goes on keeps its own settings."""
    from asr.training.folder import CONFIG

    saved = out / CONFIG
    return str(saved) if resume and os.path.isfile(saved) else "default"


def _read(notations: list[str], run_commands: bool) -> list[Utterance]:
    from asr.corpora import open_corpus

    return [utterance for notation in notations for utterance in open_corpus(notation, run_commands)]
