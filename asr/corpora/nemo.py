"""NeMo manifests: JSON lines with audio_filepath, text, duration (and offset, speaker).

https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.corpora.source import Gathering, Place, folder_files, malformed, manifest, read_lines
from asr.corpora.utterance import Utterance
from asr.errors import CorpusError

SUFFIXES = (".json", ".jsonl")
LONGEST = 1e9  # seconds: no recording lasts thirty years
FORM = '{"audio_filepath": "...", "text": "...", ...}'


def detect(path: Path) -> bool:
    """Whether a file, or a JSON file of a folder, begins with an entry of a manifest."""
    files = [path] if path.is_file() else folder_files(path)
    return any(file.suffix.lower() in SUFFIXES and _begins_with_entry(file) for file in files)


def read(path: Path, split: str | None) -> list[Utterance]:
    """The utterances of a manifest, or of SPLIT.json in a folder (`train` where there are several and no split).

    Relative paths are looked up beside the manifest, then in the working directory. An entry with an `offset` is
    the segment of `duration` seconds from there on; without one it is the whole recording, whatever its `duration`. An
    id is the path as it stands, without its suffix, and `@OFFSET-END` for a segment.
    """
    entries = manifest(path, split, SUFFIXES)
    gathering = Gathering(entries)
    for place, line in read_lines(entries):
        _add(gathering, place, _entry(place, line))
    return gathering.utterances()


def lines(utterances: Sequence[Utterance]) -> list[str]:
    """The lines of a manifest that `read` makes these utterances of, though with its own ids.

    What no line can name is left out: sound that a command gives, and what would have the id of one before.
    """
    entries: dict[str, dict[str, Any]] = {}
    for utterance in utterances:
        if not utterance.command:
            audio = str(utterance.audio.absolute())
            segment = utterance.start > 0 or utterance.end is not None
            name = _id(audio, utterance.start if segment else None, utterance.end)
            entries.setdefault(name, _as_entry(utterance, audio, segment))
    return [json.dumps(entry) + "\n" for entry in entries.values()]


def _as_entry(utterance: Utterance, audio: str, segment: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"audio_filepath": audio, "text": utterance.text}
    if utterance.speaker:
        entry["speaker"] = utterance.speaker
    if segment:
        entry["offset"] = utterance.start
    if utterance.end is not None:
        entry["duration"] = utterance.end - utterance.start
    return entry


def _id(name: str, start: float | None, end: float | None) -> str:
    """Of an entry: the path without its suffix, and where its segment begins and ends."""
    stem = os.path.splitext(name)[0]  # noqa: PTH122  a Path for each file is slow
    if start is None:
        return stem
    return f"{stem}@{start:.10g}" if end is None else f"{stem}@{start:.10g}-{end:.10g}"


def _add(gathering: Gathering, place: Place, entry: dict[str, Any]) -> None:
    name = entry["audio_filepath"]
    audio = gathering.locate(name, (place.path.parent, Path()), place)
    text, speaker = entry["text"].strip(), entry.get("speaker")
    speaker = "" if speaker is None else str(speaker)
    if entry.get("offset") is None:
        gathering.add(Utterance(_id(name, None, None), audio, text, speaker), place)
        return
    start = _seconds(entry, "offset", place)
    end = start + _seconds(entry, "duration", place) if entry.get("duration") is not None else None
    if end is not None and end <= start:
        raise CorpusError(f"{place}: a segment needs a duration above 0")
    gathering.add(Utterance(_id(name, start, end), audio, text, speaker, start, end), place)


def _entry(place: Place, line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{place}: not JSON ({error}); a manifest has one object in each line") from error
    if not _is_entry(entry):
        raise malformed(place, FORM, line)
    return dict(entry)


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("text"), str)
        and isinstance(entry.get("audio_filepath"), str)
        and bool(entry["audio_filepath"])
    )


def _seconds(entry: dict[str, Any], key: str, place: Place) -> float:
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LONGEST:
        raise CorpusError(f"{place}: {key} must be a number of seconds, not {value!r}")
    return float(value)


def _begins_with_entry(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return _is_entry(json.loads(file.readline()))
    except (OSError, ValueError, RecursionError):
        return False
