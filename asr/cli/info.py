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
    provenance = dict(model.provenance)
    scores, settings = provenance.pop("scores", {}), provenance.pop("config", {})
    tables = {
        "network": _texts(to_table(model.network)) | {"weights": f"{size:,} ({size * 4 / 1e6:.2f} MB)"},
        "features": _texts(to_table(model.features)),
        "alphabet": {
            "characters": model.alphabet.characters.replace(" ", "␣"),
            "labels": f"{model.alphabet.size}, the blank included",
        },
        "training": _texts(provenance),
        "settings": {
            key: text for key, text in _texts(settings).items() if not key.startswith(("features.", "network."))
        },
        "scores": _texts(scores),
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


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
