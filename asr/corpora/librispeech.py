"""LibriSpeech: [SPLIT/]READER/CHAPTER/READER-CHAPTER.trans.txt, and beside it READER-CHAPTER-NUMBER.flac.

https://www.openslr.org/12. Each line of a transcript is `ID TEXT`.
"""

from __future__ import annotations

from pathlib import Path

from asr.corpora.source import Gathering, read_table, subfolder, walk
from asr.corpora.utterance import Utterance

TRANSCRIPT = ".trans.txt"
DEPTH = 4  # folders from the one that holds the splits' folder down to a chapter


def detect(path: Path) -> bool:
    """Whether there is a transcript within the depth that the layout has."""
    patterns = ("*/" * depth + "*" + TRANSCRIPT for depth in range(DEPTH + 1))
    return path.is_dir() and any(any(path.glob(pattern)) for pattern in patterns)


def read(path: Path, split: str | None) -> list[Utterance]:
    """The utterances of a split such as `train-clean-100`, or of everything under `path`, sorted by chapter.

    A speaker is the number of the reader, with which each id begins.
    """
    folder = subfolder(path, split)
    gathering = Gathering(folder)
    for parent, names in walk(folder):
        for name in names:
            if name.endswith(TRANSCRIPT):
                _add_chapter(gathering, Path(parent, name))
    return gathering.utterances()


def _add_chapter(gathering: Gathering, transcript: Path) -> None:
    for name, (place, words) in read_table(transcript, 2, "ID [TEXT]").items():
        audio = gathering.locate_stem(f"{transcript.parent}/{name}", place)
        gathering.add(Utterance(name, audio, "".join(words), name.partition("-")[0]), place)
