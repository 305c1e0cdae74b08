"""Plain text, and JSON with everything that is known of a recording."""

from __future__ import annotations

import json as notation
import os
from collections.abc import Iterable
from pathlib import Path

from asr.transcript import Transcript, Word


def txt(path: Path, transcript: Transcript) -> str:
    """The text as one line; an empty line where nothing was heard."""
    return transcript.text + "\n"


def json(path: Path, transcript: Transcript) -> str:
    """One JSON object on one line, so that the objects of many recordings one after the other are JSON Lines."""
    return notation.dumps(as_table(path, transcript), ensure_ascii=False) + "\n"


def as_table(path: Path, transcript: Transcript) -> dict[str, object]:
    """The object that `json` writes: times in seconds to the millisecond, confidences to four places."""
    table: dict[str, object] = {
        "file": shown(path),
        "text": transcript.text,
        "duration": round(transcript.duration, 3),
        "confidence": round(transcript.confidence, 4),
        "words": _words(transcript.words),
    }
    if transcript.alternatives:
        table["alternatives"] = [
            {
                "text": each.text,
                "score": round(each.score, 4),
                "confidence": round(each.confidence, 4),
                "words": _words(each.words),
            }
            for each in transcript.alternatives
        ]
    return table


def _words(words: Iterable[Word]) -> list[dict[str, object]]:
    return [
        {
            "text": word.text,
            "start": round(word.start, 3),
            "end": round(word.end, 3),
            "confidence": round(word.confidence, 4),
        }
        for word in words
    ]


def shown(path: Path) -> str:
    """The path as text that UTF-8 can hold, on one line: bytes of a file name that are none become question marks in
    diamonds, and line ends spaces."""
    return " ".join(os.fsencode(path).decode("utf-8", "replace").splitlines())
