"""Audio beside its text: NAME.wav (or any other audio suffix) and NAME.txt, in a folder and the folders in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from asr.audio import SUFFIXES
from asr.corpora.source import Gathering, Place, read_text, subfolder, walk
from asr.corpora.utterance import Utterance
from asr.errors import CorpusError


def detect(path: Path) -> bool:
    """Whether the first audio file of a folder has a text beside it."""
    return next((has_text for _, _, has_text in _recordings(path)), False) if path.is_dir() else False


def read(path: Path, split: str | None) -> list[Utterance]:
    """The utterances of a folder, or of its folder `split`, sorted by path; speakers are not known.

    An id is the path in the folder without its suffix. A text without audio is passed over (a licence, notes);
    audio without a text is an error. The lines of a text become one.
    """
    folder = subfolder(path, split)
    gathering = Gathering(folder)
    for audio, stem, has_text in _recordings(folder):
        place = Place(Path(audio))
        if not has_text:
            raise CorpusError(f"{place}: there is no text beside this file; write it into {Path(stem).name}.txt")
        text = " ".join(read_text(Path(stem + ".txt")).split())
        gathering.add(Utterance(_name(stem, folder), place.path, text), place)
    return gathering.utterances()


def _recordings(folder: Path) -> Iterator[tuple[str, str, bool]]:
    """Path, path without suffix, and whether a text is there, of each audio file in and under a folder."""
    for parent, names in walk(folder):
        files = set(names)
        for name in names:
            stem, suffix = os.path.splitext(name)  # noqa: PTH122  a Path for each file is slow
            if suffix.lower() in SUFFIXES:
                yield f"{parent}{os.sep}{name}", f"{parent}{os.sep}{stem}", stem + ".txt" in files


def _name(stem: str, folder: Path) -> str:
    return stem.removeprefix(str(folder)).replace(os.sep, "/").strip("/")
