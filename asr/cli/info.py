"""`asr info`: what a model file holds, and how this machine would run it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asr.cli.options import DeviceOption, ThreadsOption

if TYPE_CHECKING:
    from asr.model import Model
    from asr.network import NetworkConfig
    from kernels.interface import Backend

LETTERS = 29  # outputs of a network that has no model yet: 26 letters, space, apostrophe and the blank
NARROW = 100  # columns, where stdout is no terminal
MOST_SHOWN = 10  # numbers of a list


def info(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="A bundled model's name, or a model file.", show_default=False),
    ] = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Show what a model file holds: network, features, alphabet, training, scores.

    With --device it also says how each of the model's layers runs there; without MODEL, how those of the default
    configuration do.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console.width = NARROW
    with console.capture() as drawn:
        for title, rows in _tables(model, device, threads).items():
            table = Table(title=title, title_justify="left", show_header=False)
            table.add_column(style="bold", no_wrap=True)
            table.add_column(overflow="fold")
            for name, value in rows.items():
                table.add_row(Text(name), Text(value))
            console.print(table)
    print(drawn.get(), end="")


def _tables(model: str | None, device: str | None, threads: int | None) -> dict[str, dict[str, str]]:
    from asr.backends import open_backend
    from asr.model import Model
    from asr.network import NetworkConfig
    from asr.training.config import BatchConfig, TrainingConfig

    if model is None:
        config = TrainingConfig()
        shape = NetworkConfig(**asdict(config.network), inputs=config.features.dimension, outputs=LETTERS)
        return {"machine": plans(shape, open_backend(device, threads), config.batches.size)}
    loaded = Model.load(model)
    tables = describe(loaded)
    if device is not None or threads is not None:
        size = loaded.provenance.get("config", {}).get("batches", {}).get("size", BatchConfig().size)
        tables["machine"] = plans(loaded.network, open_backend(device, threads), size)
    return tables


def plans(network: NetworkConfig, backend: Backend, size: int) -> dict[str, str]:
    """The device, and how each recurrent layer runs there: alone, and in batches of so many utterances."""
    rows = {"device": backend.describe()}
    for number, shape in enumerate(network.recurrent_shapes()):
        units = f"{shape.cell}, {shape.inputs} to {len(shape.directions)} x {shape.hidden}"
        for batch in sorted({1, size}):
            rows[f"layer{number}, {batch} at once"] = f"{units}: {backend.explain(shape, batch)}"
    return rows


def describe(model: Model) -> dict[str, dict[str, str]]:
    """Tables of a model: title -> row -> text."""
    from asr.config import to_table

    size = model.parameters.vector.size
    provenance = _texts(model.provenance)
    settings, scores = _below(provenance, "config."), _below(provenance, "scores.")
    tables = {
        "network": _texts(to_table(model.network)) | {"weights": f"{size:,} ({size * 4 / 1e6:.2f} MB)"},
        "features": _texts(to_table(model.features)),
        "alphabet": {
            "characters": model.alphabet.characters.replace(" ", "␣"),
            "labels": f"{model.alphabet.size}, the blank included",
        },
        "language model": _language(model),
        "training": {name: text for name, text in provenance.items() if not name.startswith(("config.", "scores."))},
        "settings": {name: text for name, text in settings.items() if not name.startswith(("features.", "network."))},
        "scores": scores,
    }
    return {title: rows for title, rows in tables.items() if rows}


def _language(model: Model) -> dict[str, str]:
    """What a model knows of texts, if it carries a language model."""
    known = model.language
    if known is None:
        return {}
    sizes = ", ".join(f"{size:,} of order {order}" for order, size in enumerate(known.sizes, 1))
    return {"level": known.level, "n-grams": sizes} | _texts(model.decoding)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Nested tables as rows with dotted names; what is empty is left out."""
    rows: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows |= {f"{name}.{inner}": text for inner, text in _texts(value).items()}
        elif value not in (None, "", []):
            rows[name] = _text(value)
    return rows


def _below(rows: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): text for name, text in rows.items() if name.startswith(prefix)}


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, list) and len(value) > MOST_SHOWN:
        return f"{len(value)} values"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
