"""DeepSpeech and Coqui STT: a CSV file with the columns wav_filename, transcript (and wav_filesize, speaker)."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from asr.corpora.source import Gathering, Place, folder_files, manifest, read_text
from asr.corpora.utterance import Utterance
from asr.errors import CorpusError

SUFFIXES = (".csv",)
NEEDED = ("wav_filename", "transcript")


def detect(path: Path) -> bool:
    """Whether a file, or a CSV file of a folder, has the columns."""
    files = [path] if path.is_file() else folder_files(path)
    return any(file.suffix.lower() in SUFFIXES and _has_columns(file) for file in files)


def read(path: Path, split: str | None) -> list[Utterance]:
    """The utterances of a CSV file, or of SPLIT.csv in a folder (`train` where there are several and no split).

    Relative file names are looked up beside the CSV file, then in the working directory. An id is the file name
    as it stands, without its suffix.
    """
    table = manifest(path, split, SUFFIXES)
    gathering = Gathering(table)
    for place, row in _rows(table):
        name = row["wav_filename"]
        audio = gathering.locate(name, (table.parent, Path()), place)
        stem = os.path.splitext(name)[0]  # noqa: PTH122  a Path for each file is slow
        gathering.add(Utterance(stem, audio, row["transcript"].strip(), row.get("speaker", "")), place)
    return gathering.utterances()


def _rows(path: Path) -> Iterator[tuple[Place, dict[str, str]]]:
    """The rows below the header. A quoted field may hold line ends: a row's place is its last line."""
    reader = csv.reader(io.StringIO(read_text(path)), strict=True)
    try:
        header = next(reader, [])
        if not set(NEEDED) <= set(header):
            raise CorpusError(f"{Place(path, 1)}: a header with the columns {', '.join(NEEDED)} is needed here")
        for values in reader:
            place = Place(path, reader.line_num)
            if values and len(values) != len(header):
                raise CorpusError(f"{place}: has {len(values)} fields, but the header {len(header)}; quote commas")
            row = dict(zip(header, values, strict=False))
            if values and not row["wav_filename"]:
                raise CorpusError(f"{place}: its wav_filename is empty")
            if values:
                yield place, row
    except csv.Error as error:
        raise CorpusError(f"{Place(path, reader.line_num)}: not CSV ({error}); check its quotes") from error


def _has_columns(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return set(NEEDED) <= set(file.readline().strip().split(","))
    except OSError:
        return False
