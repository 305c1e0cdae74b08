"""Audio beside its text: NAME.wav (or any other audio suffix) and NAME.txt, in a folder and the folders in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from asr.audio import SUFFIXES
from asr.corpora.source import Gathering, Place, read_text, subfolder, walk
from asr.corpora.utterance import Utterance
from asr.errors import CorpusError

TEXTS = (".txt", ".TXT")


def detect(path: Path) -> bool:
    """Whether the first audio file of a folder has a text beside it."""
    return path.is_dir() and bool(next((suffix for _, _, suffix in _recordings(path)), ""))


def read(path: Path, split: str | None) -> list[Utterance]:
    """The utterances of a folder, or of its folder `split`, sorted by path; speakers are not known.

    An id is the path in the folder without its suffix. A text without audio is passed over (a licence, notes);
    audio without a text is an error. The lines of a text become one.
    """
    folder = subfolder(path, split)
    gathering = Gathering(folder)
    for audio, stem, text_suffix in _recordings(folder):
        place = Place(Path(audio))
        if not text_suffix:
            raise CorpusError(f"{place}: there is no text beside this file; write it into {Path(stem).name}.txt")
        text = " ".join(read_text(Path(stem + text_suffix)).split())
        gathering.add(Utterance(_name(stem, folder), place.path, text), place)
    return gathering.utterances()


def _recordings(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Path, path without suffix, and its text's suffix, if one is there, of each audio file in and under a folder."""
    for parent, names in walk(folder):
        files = set(names)
        for name in names:
            stem, suffix = os.path.splitext(name)  # noqa: PTH122  a Path for each file is slow
            if suffix.lower() in SUFFIXES:
                text = next((each for each in TEXTS if stem + each in files), "")
                yield f"{parent}{os.sep}{name}", f"{parent}{os.sep}{stem}", text


def _name(stem: str, folder: Path) -> str:
    return stem.removeprefix(str(folder)).replace(os.sep, "/").strip("/")
