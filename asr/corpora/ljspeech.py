"""LJSpeech: metadata.csv with lines ID|TEXT|NORMALISED TEXT, and the audio in wavs/.

https://keithito.com/LJ-Speech-Dataset. The fields are not quoted.
"""

from __future__ import annotations

from pathlib import Path

from asr.corpora.source import Gathering, malformed, manifest, read_lines
from asr.corpora.utterance import Utterance

FORM = "ID|TEXT|NORMALISED TEXT"


def detect(path: Path) -> bool:
    """Whether a folder has this layout."""
    return (path / "metadata.csv").is_file() and (path / "wavs").is_dir()


def read(path: Path, split: str | None) -> list[Utterance]:
    """The utterances of metadata.csv, or of SPLIT.csv beside it; the one speaker has no name.

    The text is the normalised one, in which numbers are written out; with two columns only, the other.
    """
    table = manifest(path, split, (".csv",), default="metadata")
    gathering = Gathering(table)
    for place, line in read_lines(table):
        name, *texts = (field.strip() for field in line.split("|"))
        if not name or not 1 <= len(texts) <= 2:
            raise malformed(place, FORM, line)
        audio = gathering.locate_stem(f"{table.parent / 'wavs'}/{name}", place)
        gathering.add(Utterance(name, audio, texts[-1]), place)
    return gathering.utterances()
