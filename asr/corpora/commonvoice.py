"""Common Voice: SPLIT.tsv with the columns client_id, path, sentence (and others), and the audio in clips/.

https://commonvoice.mozilla.org. The fields are not quoted; a double quote in a sentence may be written \\".
"""

from __future__ import annotations

from pathlib import Path

from asr.corpora.source import Gathering, Place, folder_files, manifest, read_lines
from asr.corpora.utterance import Utterance
from asr.errors import CorpusError

SUFFIXES = (".tsv",)
NEEDED = ("client_id", "path", "sentence")


def detect(path: Path) -> bool:
    """Whether a file, or a TSV file of a folder, has the columns."""
    files = [path] if path.is_file() else folder_files(path)
    return any(file.suffix.lower() in SUFFIXES and _has_columns(file) for file in files)


def read(path: Path, split: str | None) -> list[Utterance]:
    """The utterances of SPLIT.tsv in a folder, such as `train` (also without a split), `dev`, `validated`.

    `path` may also be a TSV file. A speaker is the client_id; an id is the clip's name without its suffix.
    """
    table = manifest(path, split, SUFFIXES)
    clips = table.parent / "clips"
    gathering = Gathering(table)
    lines = read_lines(table)
    columns = _columns(table, next(lines, None))
    for place, line in lines:
        fields = line.split("\t")
        if len(fields) <= max(columns):
            raise CorpusError(f"{place}: has {len(fields)} fields, and at least {max(columns) + 1} are needed")
        speaker, name, sentence = (fields[column].strip() for column in columns)
        clip = name if "." in name else name + ".mp3"  # early releases left the suffix away
        audio = gathering.locate(clip, (clips,), place)
        gathering.add(Utterance(audio.stem, audio, sentence.replace('\\"', '"'), speaker), place)
    return gathering.utterances()


def _columns(path: Path, header: tuple[Place, str] | None) -> list[int]:
    names = header[1].split("\t") if header else []
    if not set(NEEDED) <= set(names):
        raise CorpusError(f"{Place(path, 1)}: a header with the columns {', '.join(NEEDED)} is needed here")
    return [names.index(name) for name in NEEDED]


def _has_columns(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return set(NEEDED) <= set(file.readline().rstrip("\n").split("\t"))
    except OSError:
        return False
