"""Error rates of several models, and of the mean of their posteriors, decoded greedily.

    python scripts/score_ensemble.py an4:corpora/an4:test runs/an4-1/model.safetensors runs/an4-2/model.safetensors

An ensemble costs as much time as its models together: no recipe, but it tells how many of a model's errors are chance.
The models need the same alphabet and time step; each hears its own features.
"""

from __future__ import annotations

import sys

import numpy as np
from starting import rate, start

import asr
from asr.decoding import greedy
from asr.errors import AsrError, UsageError
from asr.evaluation import comparable
from asr.scoring import score


def main(corpus: str, *names: str) -> None:
    recognizers = [asr.load(name) for name in names]
    first = recognizers[0].model
    for name, other in zip(names, recognizers, strict=True):
        if (other.model.alphabet, other.model.step_seconds) != (first.alphabet, first.step_seconds):
            raise UsageError(f"{name}: its alphabet or time step is not that of {names[0]}; leave it out")
    same = comparable(first)
    references: list[str] = []
    hypotheses: list[list[str]] = [[] for _ in (*names, "mean")]
    for utterance in asr.open_corpus(corpus):
        try:
            heard = [one.log_probs(utterance.read(one.model.features.rate)) for one in recognizers]
        except AsrError as error:
            print(f"{utterance.id}: {error}; left out", file=sys.stderr)
            continue
        references.append(same(utterance.text))
        mean = np.logaddexp.reduce(heard, axis=0) - np.float32(np.log(len(heard)))
        for texts, log_probs in zip(hypotheses, [*heard, mean], strict=True):
            texts.append(same(greedy.decode(log_probs, first.alphabet, first.step_seconds).text))
    for name, texts in zip([*names, "mean of the posteriors"], hypotheses, strict=True):
        found = score(references, texts)
        words = found.words.reference
        print(f"{name}: WER {rate(found.wer, words, 2)}, CER {rate(found.cer, words, 2)}")


if __name__ == "__main__":
    start(main, __doc__, 3)
