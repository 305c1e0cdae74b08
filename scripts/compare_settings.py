"""Train with one setting changed at a time, on folds of speakers, and print what each comes to on those held out.

    python scripts/compare_settings.py scripts/settings/an4.toml --corpus an4:corpora/an4:train --out runs/settings

The file says what all runs share and what each changes; scripts/settings/an4.toml is an example. Each run has a folder
below --out. The command may be stopped: given again, it keeps what is finished and goes on with the rest.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

import asr
from asr.backends import open_backend
from asr.errors import AsrError, UsageError
from asr.training.folder import CONFIG, METRICS

KEYS = {"config", "all", "settings"}


@dataclass(frozen=True)
class Setting:
    """One row of the table: a name, and the dotted keys that it changes."""

    name: str
    changes: dict[str, Any]

    @property
    def folder(self) -> str:
        """The name in letters, digits and points that begins those of its runs' folders."""
        return re.sub("[^a-z0-9.]+", "-", self.name.casefold()).strip("-")


@dataclass(frozen=True)
class Outcome:
    """What a run came to on a fold's held-out speakers: rates as fractions, the loss per character."""

    words: int
    wer: float
    cer: float
    loss: float


def read_settings(path: Path) -> tuple[str, list[Setting]]:
    """The configuration's name, and the settings to compare, the first of which changes nothing. UsageError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: not a readable TOML file ({error}); mend it") from error
    unknown, changed, common = set(table) - KEYS, table.get("settings"), table.get("all", {})
    tables = isinstance(changed, dict) and all(isinstance(one, dict) for one in (common, *changed.values()))
    if unknown or not isinstance(table.get("config"), str) or not changed or not tables:
        raise UsageError(f"{path}: it needs config, [all] and [settings.NAME] tables, and nothing else; mend it")
    settings = [Setting("as it is", common), *(Setting(name, {**common, **one}) for name, one in changed.items())]
    named: dict[str, str] = {}
    for setting in settings:
        other = named.setdefault(setting.folder, setting.name)
        if other != setting.name:
            raise UsageError(f"{path}: {other!r} and {setting.name!r} would have the same folder; name one otherwise")
    return table["config"], settings


def run(
    config: str, setting: Setting, fold: int, speech: Sequence[asr.Utterance], out: Path, threads: int | None
) -> Outcome:
    """Train, or go on where that was stopped, and read off how it ended; UsageError where it began otherwise."""
    resolved = asr.load_config(config, {**setting.changes, "dev_fold": fold, "language.order": 0})
    if not resolved.dev_every:
        raise UsageError(f"{config} holds nobody out (dev_every is 0); set it in [all]")
    train, dev = asr.split_by_speaker(speech, resolved.dev_every, resolved.dev_fold)
    words = sum(len(utterance.text.split()) for utterance in dev)
    folder = out / f"{setting.folder}-{fold}"
    asr.train(resolved, train, dev, folder, open_backend("cpu", threads), resume=(folder / CONFIG).exists())
    last = json.loads((folder / METRICS).read_text().splitlines()[-1])
    return Outcome(words, last["dev_wer"], last["dev_cer"], last["dev_loss"])


def table(rows: Sequence[tuple[Setting, Sequence[Outcome]]]) -> Iterator[str]:
    """Markdown: word error rates by fold, and rates and loss over all folds."""
    folds = len(rows[0][1])
    yield " | ".join(["| setting", *(f"fold {fold}" for fold in range(folds)), "WER", "CER", "loss |"])
    yield "| --- " * (folds + 4) + "|"
    for setting, outcomes in rows:
        words = sum(outcome.words for outcome in outcomes)
        wer, cer, loss = (
            sum(getattr(outcome, name) * outcome.words for outcome in outcomes) / words
            for name in ("wer", "cer", "loss")
        )
        by_fold = [f"{outcome.wer:.2%}" for outcome in outcomes]
        yield " | ".join([f"| {setting.name}", *by_fold, f"{wer:.2%}", f"{cer:.2%}", f"{loss:.3f} |"])


def main(
    settings: Annotated[Path, typer.Argument(help="What to compare (TOML).")],
    corpus: Annotated[str, typer.Option("--corpus", metavar="LAYOUT:PATH[:SPLIT]", help="Labelled speech.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the runs' folders go.")],
    folds: Annotated[int, typer.Option("--folds", min=1, help="Groups of speakers that are held out in turn.")] = 2,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; else all cores.")] = None,
) -> None:
    config, compared = read_settings(settings)
    speech = asr.open_corpus(corpus)
    rows = []
    for setting in compared:
        print(f"== {setting.name}", file=sys.stderr)
        rows.append((setting, [run(config, setting, fold, speech, out, threads) for fold in range(folds)]))
        print("\n".join(table(rows)), file=sys.stderr)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(help=__doc__)(main)
    try:
        app()
    except AsrError as error:
        print(f"compare_settings: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
