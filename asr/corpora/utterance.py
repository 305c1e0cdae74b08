"""One utterance of a corpus: who said what, and where it can be heard."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from asr.audio import Audio, decode
from asr.audio import read as read_audio
from asr.errors import AudioError


@dataclass(frozen=True)
class Utterance:
    """A stretch of speech and its reference.

    id : unique in its corpus
    audio : the sound file
    text : the reference as the corpus has it; `asr.alphabet.normalise` comes later
    speaker : empty where the corpus does not say
    start, end : seconds in the file; None is its end
    command : a shell command that writes the sound file to its standard output, in place of `audio`; run by `read`
    corpus : LAYOUT:FOLDER of the corpus that it is from; empty for one made by hand
    """

    id: str
    audio: Path
    text: str
    speaker: str = ""
    start: float = 0.0
    end: float | None = None
    command: str = ""
    corpus: str = ""

    def read(self, rate: int = 16000) -> Audio:
        """The sound at `rate` Hz, mono. Raises AudioError, naming the file."""
        if self.command:
            name = f"utterance {self.id} ({self.command})"
            return decode(_output(self.command, name), name, rate, self.start, self.end)
        return read_audio(self.audio, rate, self.start, self.end)


def _output(command: str, name: str) -> bytes:
    done = subprocess.run(command, shell=True, capture_output=True, check=False)
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        last = words[-1] if words else "it says nothing"
        raise AudioError(f"{name}: the command failed with exit status {done.returncode}: {last}")
    return done.stdout
