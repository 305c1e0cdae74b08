"""CMU AN4, as SphinxTrain lays it out: etc/an4_SPLIT.fileids, etc/an4_SPLIT.transcription, wav/FILEID.*"""

from __future__ import annotations

import re
from itertools import zip_longest
from pathlib import Path

from asr.corpora.source import AUDIO_SUFFIXES, Gathering, Place, choices, malformed, read_lines
from asr.corpora.utterance import Utterance
from asr.errors import CorpusError

FORM = "WORDS (ID)"
SUFFIXES = (*AUDIO_SUFFIXES, ".raw")
_TRANSCRIPTION = re.compile(r"(.*)\(([^()\s]+)\)$")
_MARKS = re.compile(r"^<s>(?=\s|$)|(?<=\s)</s>$")


def detect(path: Path) -> bool:
    """Whether a folder has this layout."""
    return any(path.glob("etc/an4_*.fileids"))


def read(path: Path, split: str | None) -> list[Utterance]:
    """The utterances of `train` (also without a split) or `test`; a speaker is the folder that holds the file."""
    control = path / "etc" / f"an4_{split or 'train'}.fileids"
    if not control.is_file():
        splits = (file.stem.removeprefix("an4_") for file in path.glob("etc/an4_*.fileids"))
        raise CorpusError(f"{control}: there is no such file{choices(splits)}")
    transcription = control.with_suffix(".transcription")
    gathering = Gathering(control)
    for listed, transcribed in zip_longest(read_lines(control), read_lines(transcription)):
        if listed is None or transcribed is None:
            longer, shorter = (transcribed, control) if listed is None else (listed, transcription)
            raise CorpusError(f"{longer[0]}: nothing in {shorter.name} goes with this line; the two need equal lines")
        (place, fileid), (text_place, line) = listed, transcribed
        _add(gathering, path, place, fileid.strip(), text_place, line.strip())
    return gathering.utterances()


def _add(gathering: Gathering, root: Path, place: Place, fileid: str, text_place: Place, line: str) -> None:
    match = _TRANSCRIPTION.match(line)
    if not match:
        raise malformed(text_place, FORM, line)
    *folders, name = fileid.split("/")
    if match[2] != name:
        raise CorpusError(f"{text_place}: has the id {match[2]}, but {place} has {name}; the lines must correspond")
    audio = gathering.locate_stem(str(root / "wav" / fileid), place, SUFFIXES)
    text = _MARKS.sub("", match[1].strip()).strip()
    gathering.add(Utterance(name, audio, text, folders[-1] if folders else ""), place)
