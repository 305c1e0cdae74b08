"""Kaldi data directories: wav.scp, text, and where they exist utt2spk and segments.

https://kaldi-asr.org/doc/data_prep.html
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from asr.corpora.source import Gathering, Place, choices, malformed, read_table, subfolder
from asr.corpora.utterance import Utterance
from asr.errors import CorpusError

SEGMENT = "UTTERANCE RECORDING START END"


@dataclass(frozen=True)
class _Recording:
    audio: Path
    command: str = ""


@dataclass(frozen=True)
class _Segment:
    place: Place
    recording: str
    start: float = 0.0
    end: float | None = None


def detect(path: Path) -> bool:
    """Whether a folder is a data directory or holds some."""
    return (path / "wav.scp").is_file() or any(path.glob("*/wav.scp"))


def read(path: Path, split: str | None, run_commands: bool = False) -> list[Utterance]:
    """The utterances of the data directory `path`, or of its folder `split`.

    A relative path in wav.scp is looked up in the data directory, then in its parent, then in the working
    directory. An entry that is a command (it ends in `|`) is refused unless `run_commands`, since opening a
    corpus should not run what somebody wrote into it; then it is run when the utterance is read.
    """
    folder = subfolder(path, split)
    if not (folder / "wav.scp").is_file():
        raise CorpusError(
            f"{folder}: there is no wav.scp here{choices(f.parent.name for f in folder.glob('*/wav.scp'))}"
        )
    gathering = Gathering(folder / "text")
    recordings = _recordings(folder, gathering, run_commands)
    segments = _segments(folder, recordings)
    texts = read_table(folder / "text", 2, "UTTERANCE [TEXT]")
    _check_same(segments, texts, folder)
    speakers = _speakers(folder, texts)
    for name, (place, words) in texts.items():
        segment = segments[name]
        recording = recordings[segment.recording]
        text, speaker = "".join(words), speakers.get(name, "")
        gathering.add(
            Utterance(name, recording.audio, text, speaker, segment.start, segment.end, recording.command), place
        )
    return gathering.utterances()


def _recordings(folder: Path, gathering: Gathering, run_commands: bool) -> dict[str, _Recording]:
    table = read_table(folder / "wav.scp", 2, "RECORDING PATH")
    parent = Path(os.path.abspath(folder)).parent  # noqa: PTH100  that of "." is not ".", as Path has it
    searched = (folder, parent, Path())
    recordings = {}
    for name, (place, (entry,)) in table.items():
        if not entry.endswith("|"):
            recordings[name] = _Recording(gathering.locate(entry, searched, place))
        elif run_commands:
            recordings[name] = _Recording(Path(entry), entry.rstrip("| "))
        else:
            raise CorpusError(
                f"{place}: the audio of {name} is a command ({entry}), and commands are not run unless asked for; "
                "convert the audio to files, or, where you trust the corpus, open it with run_commands=True"
                " (--run-commands)"
            )
    return recordings


def _segments(folder: Path, recordings: Collection[str]) -> dict[str, _Segment]:
    """By utterance; without a file `segments` each recording is one utterance."""
    path = folder / "segments"
    if not path.is_file():
        return {name: _Segment(Place(folder / "wav.scp"), name) for name in recordings}
    segments = {}
    for name, (place, fields) in read_table(path, 4, SEGMENT).items():
        segments[name] = segment = _segment(place, name, fields)
        if segment.recording not in recordings:
            raise CorpusError(f"{place}: recording {segment.recording} is not in wav.scp; the files must agree")
    return segments


def _segment(place: Place, name: str, fields: list[str]) -> _Segment:
    recording, *times = fields
    try:
        start, end = map(float, times)
    except ValueError:
        raise malformed(place, SEGMENT, " ".join([name, *fields])) from None
    until = None if end == -1 else end  # Kaldi's way to say the end of the file
    if not (math.isfinite(end) and start >= 0 and (until is None or until > start)):
        raise CorpusError(f"{place}: {start:g} s to {end:g} s is no stretch of a recording; it needs 0 <= start < end")
    return _Segment(place, recording, start, until)


def _check_same(segments: dict[str, _Segment], texts: dict[str, tuple[Place, list[str]]], folder: Path) -> None:
    """Refuse an utterance that has sound and no text, or text and no sound."""
    index = "segments" if (folder / "segments").is_file() else "wav.scp"
    for name, (place, _) in texts.items():
        if name not in segments:
            raise CorpusError(f"{place}: utterance {name} is not in {index}; the files must agree")
    for name, segment in segments.items():
        if name not in texts:
            raise CorpusError(f"{segment.place}: utterance {name} is not in text; the files must agree")


def _speakers(folder: Path, texts: dict[str, tuple[Place, list[str]]]) -> dict[str, str]:
    """By utterance; empty without a file utt2spk."""
    path = folder / "utt2spk"
    if not path.is_file():
        return {}
    speakers = {name: speaker for name, (_, (speaker,)) in read_table(path, 2, "UTTERANCE SPEAKER").items()}
    for name, (place, _) in texts.items():
        if name not in speakers:
            raise CorpusError(f"{place}: utterance {name} is not in utt2spk; the files must agree")
    return speakers
