"""Labelled speech on disk.

open_corpus         "LAYOUT:PATH[:SPLIT]" -> utterances
split_by_speaker    training and development data
Utterance           what a corpus consists of
LAYOUTS             the readers by name; a new layout is one file and one entry
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Protocol

from asr.corpora import an4, commonvoice, deepspeech, fsdd, kaldi, librispeech, ljspeech, nemo, pairs
from asr.corpora.utterance import Utterance
from asr.errors import CorpusError, UsageError

__all__ = ["LAYOUTS", "Reader", "Utterance", "open_corpus", "parse", "split_by_speaker"]


class Reader(Protocol):
    """A layout. Reading raises CorpusError, naming file and line; it opens no audio."""

    def detect(self, path: Path) -> bool:
        """Whether an existing file or folder has this layout; quick."""

    def read(self, path: Path, split: str | None) -> list[Utterance]:
        """The utterances of a split, or of what the layout takes where none is named."""


# In the order in which they are guessed: those that cannot be mistaken first.
LAYOUTS: dict[str, Reader] = {
    "an4": an4,
    "kaldi": kaldi,
    "commonvoice": commonvoice,
    "ljspeech": ljspeech,
    "deepspeech": deepspeech,
    "nemo": nemo,
    "librispeech": librispeech,
    "fsdd": fsdd,
    "pairs": pairs,
}


def open_corpus(notation: str, run_commands: bool = False) -> list[Utterance]:
    """The utterances of a corpus.

    notation : `LAYOUT:PATH[:SPLIT]` or `PATH[:SPLIT]`, where the layout is guessed from what is there. A path may
        hold colons: what exists as it stands is a path without a split. Relative to the working directory.
    run_commands : run the commands in a Kaldi wav.scp; do so only where you trust the corpus

    Raises UsageError for an unknown layout, CorpusError for a corpus that is missing, malformed or inconsistent.
    """
    layout, location, split = parse(notation)
    path = Path(os.path.expanduser(location))  # noqa: PTH111  Path raises for an unknown user
    if not _exists(location):
        raise CorpusError(f"{path}: there is no such file or folder; check the corpus's path")
    try:
        layout = layout or _guess(path)
        found = kaldi.read(path, split, run_commands) if layout == "kaldi" else LAYOUTS[layout].read(path, split)
    except OSError as error:
        raise CorpusError(f"{error.filename or path}: cannot be read: {error.strerror or error}") from error
    name = f"{layout}:{path.resolve().name}"
    return [replace(utterance, corpus=name) for utterance in found]


def parse(notation: str) -> tuple[str | None, str, str | None]:
    """Layout (None: to be guessed), path and split (None: not named) of `[LAYOUT:]PATH[:SPLIT]`."""
    layout, colon, location = notation.partition(":")
    if not (colon and layout in LAYOUTS):
        layout, location = "", notation
        _check_layout(notation)
    if not location:
        raise UsageError(f"corpus {notation!r}: no path is named; write LAYOUT:PATH or LAYOUT:PATH:SPLIT")
    path, split = _divide(location)
    return layout or None, path, split


def _divide(location: str) -> tuple[str, str | None]:
    """Path and split. A tail with a separator is no split, nor is one behind a drive's letter."""
    path, colon, split = location.rpartition(":")
    in_path = "/" in split or "\\" in split or (os.name == "nt" and len(path) == 1)
    if not colon or not path or in_path or _exists(location):
        return location, None
    if not split:
        raise UsageError(f"corpus {location!r}: no split is named after the last colon; name one or leave it away")
    return path, split


def _check_layout(notation: str) -> None:
    """Refuse what seems to begin with a layout's name but does not."""
    word, colon, rest = notation.partition(":")
    seems = colon and word.isalnum() and len(word) > 1 and not _exists(notation) and not _exists(word)
    if seems and rest:
        near = difflib.get_close_matches(word.lower(), LAYOUTS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(sorted(LAYOUTS))}"
        raise UsageError(f"corpus {notation!r}: {word!r} is neither a layout nor a folder; {hint}")


def _exists(location: str) -> bool:
    return os.path.exists(os.path.expanduser(location))  # noqa: PTH111


def _guess(path: Path) -> str:
    for name, reader in LAYOUTS.items():
        if reader.detect(path):
            return name
    layouts = ", ".join(sorted(LAYOUTS))
    raise CorpusError(f"{path}: no corpus of a known layout; name it as LAYOUT:PATH, LAYOUT being one of {layouts}")


def split_by_speaker(
    utterances: Sequence[Utterance], every: int = 10, fold: int = 0
) -> tuple[list[Utterance], list[Utterance]]:
    """Training and development utterances, in their order.

    No speaker is in both: development takes every tenth (`every`) of the sorted speakers of each corpus, from number
    `fold` on. Utterances without a speaker, and a corpus with one, are for training alone. Where no corpus has several
    speakers, development takes every tenth utterance. Raises UsageError where nothing would be left of either.
    """
    if every < 2 or len(utterances) < 2:
        raise UsageError(
            f"cannot hold out every {every}th of {len(utterances)} utterances, 2 being needed at least;"
            " name development data (--dev), or hold none out (dev_every=0)"
        )
    if not 0 <= fold < every:
        raise UsageError(f"fold {fold} is none of the {every} that there are; name one from 0 to {every - 1}")
    pairs = sorted({(utterance.corpus, utterance.speaker) for utterance in utterances if utterance.speaker})
    corpora = [list(speakers) for _, speakers in groupby(pairs, key=lambda pair: pair[0])]
    known = [speakers for speakers in corpora if len(speakers) >= 2]
    held_out = {speaker for speakers in known for _, speaker in speakers[fold::every]}
    if not held_out and (known or fold >= len(utterances)):
        there = f"{max(map(len, known))} speakers" if known else f"{len(utterances)} utterances"
        raise UsageError(f"fold {fold} holds out nobody, there being no more than {there}; take a lower fold")
    if not known:
        train = [utterance for index, utterance in enumerate(utterances) if index % every != fold]
        return train, list(utterances[fold::every])
    train = [utterance for utterance in utterances if utterance.speaker not in held_out]
    if not train:
        raise UsageError("every speaker would be held out of one corpus or another; name development data (--dev)")
    return train, [utterance for utterance in utterances if utterance.speaker in held_out]
