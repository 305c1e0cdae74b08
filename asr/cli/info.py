"""`asr info`: what a model file holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from asr.model import Model

NARROW = 100  # columns, where stdout is no terminal


def info(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A bundled model's name, or a model file.")],
) -> None:
    """Show what a model file holds: network, features, alphabet, training, scores."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from asr.model import Model

    console = Console()
    if not console.is_terminal:
        console.width = NARROW
    with console.capture() as drawn:
        for title, rows in describe(Model.load(model)).items():
            table = Table(title=title, title_justify="left", show_header=False)
            table.add_column(style="bold", no_wrap=True)
            table.add_column(overflow="fold")
            for name, value in rows.items():
                table.add_row(Text(name), Text(value))
            console.print(table)
    print(drawn.get(), end="")


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
        "training": {name: text for name, text in provenance.items() if not name.startswith(("config.", "scores."))},
        "settings": {name: text for name, text in settings.items() if not name.startswith(("features.", "network."))},
        "scores": scores,
    }
    return {title: rows for title, rows in tables.items() if rows}


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
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
