"""One word a line: tab-separated values (.tsv), and the NIST scoring tools' time-marked conversation files (.ctm)."""

from __future__ import annotations

from pathlib import Path

from asr.output.text import shown
from asr.transcript import Transcript


def tsv(path: Path, transcript: Transcript) -> str:
    """A line of names, then start and end in seconds, confidence, word."""
    rows = [f"{word.start:.3f}\t{word.end:.3f}\t{word.confidence:.4f}\t{word.text}\n" for word in transcript.words]
    return "start\tend\tconfidence\tword\n" + "".join(rows)


def ctm(path: Path, transcript: Transcript) -> str:
    """Recording, channel, start, duration, word, confidence (NIST SCTK); the recording is the file name without its
    suffix, white space in it replaced by an underscore."""
    recording = "_".join(shown(Path(path.stem)).split()) or "_"
    rows = [
        f"{recording} 1 {word.start:.3f} {word.end - word.start:.3f} {word.text} {word.confidence:.4f}\n"
        for word in transcript.words
    ]
    return "".join(rows)
