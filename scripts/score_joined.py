"""Word error rates of a model as more utterances come in one recording: docs/accuracy.md.

    python scripts/score_joined.py en an4:corpora/an4:test

Each speaker's utterances, and those of all speakers in a random order, are joined to recordings of 1, 2, 4 and 16, a
quarter of a second apart; what is left over is a shorter recording. A third argument is the beam; 0 decodes greedily.
A fourth is `features.normalise_seconds`: mean and variance of so much sound around each frame, not of the whole.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from starting import rate, start, whole

import asr
from asr.corpora import Utterance
from asr.decoding.choice import DecodingChoice
from asr.training.strings import Joined

NUMBERS = (1, 2, 4, 16)
PAUSE = 0.25  # seconds


def join(utterances: Sequence[Utterance], number: int) -> Iterator[Joined]:
    """Each `number` of the utterances as one."""
    for first in range(0, len(utterances), number):
        parts = tuple(utterances[first : first + number])
        text = " ".join(part.text for part in parts)
        pauses = (0.0, *[PAUSE] * (len(parts) - 1), 0.0)
        yield Joined(parts[0].id, Path(parts[0].audio), text, parts[0].speaker, parts=parts, pauses=pauses)


def main(model: str, corpus: str, beam: str | None = None, normalise_seconds: str = "0") -> None:
    recognizer = asr.load(model, decoding=DecodingChoice(beam=None if beam is None else whole(beam, "beam")))
    if seconds := whole(normalise_seconds, "normalise_seconds"):
        features = replace(recognizer.model.features, normalise_seconds=seconds)
        recognizer.model = replace(recognizer.model, features=features)
    utterances = asr.open_corpus(corpus)
    shuffled = [utterances[i] for i in np.random.default_rng(1).permutation(len(utterances))]
    by_speaker: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in shuffled:
        by_speaker[utterance.speaker].append(utterance)
    print("| a recording of |", " | ".join(f"{number} utterances" for number in NUMBERS), "|")
    of_one = {} if "" in by_speaker else {"one speaker": list(by_speaker.values())}  # unnamed ones are nobody in common
    for name, groups in (of_one | {"several speakers": [shuffled]}).items():
        row = []
        for number in NUMBERS:
            result = asr.evaluate(recognizer, [joined for group in groups for joined in join(group, number)])
            for failed, error in result.failures:
                print(f"{failed} and what it is joined with: {error}; left out", file=sys.stderr)
            row.append(rate(result.score.wer, result.score.words.reference))
        print("|", name, "|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    start(main, __doc__, 2, 4)
