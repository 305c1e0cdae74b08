"""Transcripts as files: one writer per format, `WRITERS[name](path, transcript)` gives the whole content.

`path` is that of the recording. The formats are described in docs/output.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from asr.output import subtitles, tables, text
from asr.transcript import Transcript

WRITERS: dict[str, Callable[[Path, Transcript], str]] = {
    "txt": text.txt,
    "json": text.json,
    "srt": subtitles.srt,
    "vtt": subtitles.vtt,
    "tsv": tables.tsv,
    "ctm": tables.ctm,
}
