"""How well a recogniser does on labelled speech: error rates, speed, and examples to look at."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from asr.alphabet import normalise, strip_punctuation
from asr.corpora.utterance import Utterance
from asr.errors import AsrError, CorpusError
from asr.model import Model
from asr.recognizer import Recognizer
from asr.scoring import Score, alignment, score


@dataclass(frozen=True)
class Result:
    """One utterance: both texts as they were compared, their score, and the seconds of its audio."""

    id: str
    reference: str
    hypothesis: str
    score: Score
    seconds: float
    confidence: float

    @property
    def alignment(self) -> str:
        """Reference, hypothesis and errors, in columns."""
        return alignment(self.reference, self.hypothesis)


@dataclass(frozen=True)
class Evaluation:
    """The results of all utterances that could be heard.

    results : in the order of the corpus
    failures : id and error of each utterance that could not be read. They are in no rate: a damaged file says
        nothing about the recogniser. Whoever reports the rates reports their number too
    decode_seconds : wall time of reading, features, network and decoding together
    """

    results: tuple[Result, ...]
    failures: tuple[tuple[str, AsrError], ...]
    decode_seconds: float

    @property
    def score(self) -> Score:
        """Counts over all results."""
        return sum((result.score for result in self.results), Score())

    @property
    def audio_seconds(self) -> float:
        return sum(result.seconds for result in self.results)

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of work per second of audio; NaN without any audio."""
        return self.decode_seconds / self.audio_seconds if self.audio_seconds else math.nan

    def examples(self, count: int = 1) -> dict[str, tuple[Result, ...]]:
        """The `count` best, median and worst results, under those names, each result once.

        They are ordered by word error rate, and where it is equal from long to short: of many faultless utterances
        the longest is the best.
        """
        ordered = sorted(self.results, key=_badness)
        middle = max(0, (len(ordered) - count) // 2)
        picks = {
            "best": ordered[:count],
            "median": ordered[middle : middle + count],
            "worst": ordered[max(0, len(ordered) - count) :],
        }
        taken: set[str] = set()
        for name in ("best", "worst", "median"):
            picks[name] = [result for result in picks[name] if result.id not in taken]
            taken |= {result.id for result in picks[name]}
        return {name: tuple(chosen) for name, chosen in picks.items() if chosen}

    def summary(self) -> dict[str, Any]:
        """The figures as plain numbers for JSON; None where a rate has nothing to stand on."""
        total = self.score
        return {
            "wer": _number(total.wer),
            "cer": _number(total.cer),
            "utterances": total.utterances,
            "words": total.words.reference,
            "characters": total.characters.reference,
            "substitutions": total.words.substitutions,
            "deletions": total.words.deletions,
            "insertions": total.words.insertions,
            "failures": len(self.failures),
            "audio_seconds": round(self.audio_seconds, 3),
            "decode_seconds": round(self.decode_seconds, 3),
            "rtf": _number(self.rtf),
        }


def evaluate(recognizer: Recognizer, utterances: Sequence[Utterance]) -> Evaluation:
    """Transcribe each utterance and compare it with its text.

    Both texts are normalised as the model's training texts were (`comparable`).

    Raises
    ------
    CorpusError : there are no utterances
    """
    if not utterances:
        raise CorpusError("this corpus has no utterances to evaluate on; name another split or folder")
    rate = recognizer.model.features.rate
    same = comparable(recognizer.model)
    results: list[Result] = []
    failures: list[tuple[str, AsrError]] = []
    begin = time.perf_counter()
    for utterance, heard in recognizer.transcribe_each(utterances, lambda each: each.read(rate)):
        if isinstance(heard, AsrError):
            failures.append((utterance.id, heard))
            continue
        reference, hypothesis = same(utterance.text), same(heard.text)
        one = score([reference], [hypothesis])
        results.append(Result(utterance.id, reference, hypothesis, one, heard.duration, heard.confidence))
    return Evaluation(tuple(results), tuple(failures), time.perf_counter() - begin)


def comparable(model: Model) -> Callable[[str], str]:
    """What is done to a text before it is scored: normalisation, and punctuation taken away where the model's
    training took it away, since such a model cannot be expected to write any."""
    text = model.provenance.get("config", {}).get("text", {})
    if text.get("punctuation") == "strip":
        return lambda line: strip_punctuation(normalise(line))
    return normalise


def _badness(result: Result) -> tuple[float, int]:
    words = result.score.words
    return words.errors / max(words.reference, 1), -result.score.characters.reference


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
