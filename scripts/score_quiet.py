"""Word error rates of a model as the quiet around each utterance grows: docs/accuracy.md.

    python scripts/score_quiet.py en an4:corpora/an4:test

Before and behind each recording come 0, 0.3 and 1 s of digital silence; room noise 40 and 20 dB below the
recording's mean power is laid over all of it. A third argument is the beam; 0 decodes greedily.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass

import numpy as np
from starting import rate, start, whole

import asr
from asr.audio import Audio
from asr.corpora import Utterance
from asr.decoding.choice import DecodingChoice
from asr.training.alterations import coloured, white

SECONDS = (0.0, 0.3, 1.0)
LEVELS = (None, -40, -20)  # dB; None: digital silence


@dataclass(frozen=True)
class Padded(Utterance):
    """An utterance with `quiet` seconds before and behind it, and noise `level` dB below its power, if any."""

    quiet: float = 0.0
    level: float | None = None

    def read(self, rate: int = 16000) -> Audio:
        sound = super().read(rate)
        samples = np.pad(sound.samples, round(self.quiet * rate))
        if self.level is not None:
            noise = coloured(white(len(samples), np.random.default_rng(len(samples))))
            loudness = np.sqrt(np.mean(np.square(sound.samples, dtype=np.float64)) / np.mean(noise**2))
            samples = (samples + loudness * 10 ** (self.level / 20) * noise).astype(np.float32)
        return dataclasses.replace(sound, samples=samples)


def main(model: str, corpus: str, beam: str | None = None) -> None:
    recognizer = asr.load(model, decoding=DecodingChoice(beam=None if beam is None else whole(beam, "beam")))
    utterances = asr.open_corpus(corpus)
    fields = [field.name for field in dataclasses.fields(Utterance)]
    print("| noise |", " | ".join(f"{quiet:g} s" for quiet in SECONDS), "|")
    for level in LEVELS:
        row = [f"{level} dB" if level else "none"]
        for quiet in SECONDS:
            padded = [
                Padded(**{name: getattr(one, name) for name in fields}, quiet=quiet, level=level) for one in utterances
            ]
            result = asr.evaluate(recognizer, padded)
            for name, error in result.failures:
                print(f"{name}: {error}; left out", file=sys.stderr)
            row.append(rate(result.score.wer, result.score.words.reference))
        print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    start(main, __doc__, 2, 3)
