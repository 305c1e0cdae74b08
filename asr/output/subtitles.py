"""Subtitles: SubRip (.srt) and WebVTT (.vtt), https://www.w3.org/TR/webvtt1/.

A cue is one of `Transcript.segments`, in at most two lines of 42 characters. CTC puts a word's labels on few steps,
so that its last letter ends early: a cue stays for a while, but never into the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from asr.transcript import Segment, Transcript

WIDTH = 42  # characters in a line
LINES = 2
LINGER = 300  # milliseconds that a cue stays after its last word
SHORTEST = 1000  # milliseconds that a cue is seen, where the next one leaves it the time


@dataclass(frozen=True)
class Cue:
    """Lines shown from `start` to `end`, milliseconds, start < end."""

    start: int
    end: int
    lines: tuple[str, ...]


def srt(path: Path, transcript: Transcript) -> str:
    """SubRip: numbered cues, nothing at all where nothing was heard."""
    return "".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n" + "\n".join(cue.lines) + "\n\n"
        for number, cue in enumerate(cues(transcript), start=1)
    )


def vtt(path: Path, transcript: Transcript) -> str:
    """WebVTT; the characters & < > are written as entities, as it asks."""
    blocks = ["WEBVTT\n"]
    for cue in cues(transcript):
        text = "\n".join(cue.lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        blocks.append(f"\n{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{text}\n")
    return "".join(blocks)


def cues(transcript: Transcript) -> Iterator[Cue]:
    """What is to be shown, in order; no two at once."""
    segments = transcript.segments(width=WIDTH, lines=LINES)
    starts = [_milliseconds(segment.start) for segment in segments]
    endless = starts[-1] + _milliseconds(transcript.duration) + SHORTEST if starts else 0
    for segment, (start, following) in zip(segments, pairwise([*starts, endless]), strict=True):
        yield Cue(start, _end(segment, start, following), tuple(segment.lines(WIDTH)))


def _end(segment: Segment, start: int, following: int) -> int:
    wanted = max(_milliseconds(segment.end) + LINGER, start + SHORTEST)
    return max(min(wanted, following), start + 1)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{rest:03d}"
