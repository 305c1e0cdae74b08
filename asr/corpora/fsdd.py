"""Free Spoken Digit Dataset: the text is in the file's name, DIGIT_SPEAKER_INDEX.wav.

https://github.com/Jakobovski/free-spoken-digit-dataset
"""

from __future__ import annotations

import re
from pathlib import Path

from asr.audio import SUFFIXES
from asr.corpora.source import Gathering, Place, folder_files
from asr.corpora.utterance import Utterance
from asr.errors import CorpusError

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEST_INDEXES = 5  # of each speaker and digit, the first are for tests
SPLITS = ("train", "test")
_NAME = re.compile(r"([0-9])_([^_]+)_([0-9]+)")


def detect(path: Path) -> bool:
    """Whether the audio files of a folder are named so."""
    sounds = _sounds(path) if path.is_dir() else []
    return bool(sounds) and all(_NAME.fullmatch(sound.stem) for sound in sounds)


def read(path: Path, split: str | None) -> list[Utterance]:
    """The utterances of `train`, `test`, or both without a split, sorted by name.

    The files lie in `path`, or as in the source's repository in its folder `recordings`.
    """
    if split not in (None, *SPLITS):
        raise CorpusError(f"{path}: there is no split {split!r}; choose one of: {', '.join(SPLITS)}")
    gathering = Gathering(path)
    for sound in _sounds(path):
        match = _NAME.fullmatch(sound.stem)
        if not match:
            raise CorpusError(f"{sound}: not named DIGIT_SPEAKER_INDEX; rename this file or take it away")
        digit, speaker, index = match.groups()
        if split in (None, SPLITS[int(index) < TEST_INDEXES]):
            gathering.add(Utterance(sound.stem, sound, WORDS[int(digit)], speaker), Place(sound))
    return gathering.utterances()


def _sounds(path: Path) -> list[Path]:
    folder = path / "recordings" if (path / "recordings").is_dir() else path
    return sorted(file for file in folder_files(folder) if file.suffix.lower() in SUFFIXES)
