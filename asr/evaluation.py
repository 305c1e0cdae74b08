"""How well a recogniser does on labelled speech: error rates and how far to trust them, speed, examples to look at."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from asr.alphabet import normalise, strip_punctuation
from asr.corpora.utterance import Utterance
from asr.errors import AsrError, CorpusError
from asr.model import Model
from asr.recognizer import Recognizer
from asr.scoring import Confusions, Score, alignment, confusions, score
from asr.statistics import Interval, grouped, rate_interval

Kind = TypeVar("Kind", str, tuple[str, str])


@dataclass(frozen=True)
class Result:
    """One utterance: both texts as they were compared, their score, and the seconds of its audio."""

    id: str
    reference: str
    hypothesis: str
    score: Score
    seconds: float
    confidence: float
    speaker: str = ""

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

    @cached_property
    def score(self) -> Score:
        """Counts over all results."""
        return sum((result.score for result in self.results), Score())

    @cached_property
    def wer_interval(self) -> Interval | None:
        """Where the word error rate lies with 95 % confidence, utterances resampled; None where nothing can be said
        (`statistics.rate_interval`)."""
        return rate_interval(*word_counts(self.results))

    @cached_property
    def cer_interval(self) -> Interval | None:
        """As `wer_interval`, of the character error rate."""
        characters = [(each.score.characters.errors, each.score.characters.reference) for each in self.results]
        return rate_interval(*np.array(characters, np.int64).reshape(-1, 2).T)

    @cached_property
    def wer_interval_by_speaker(self) -> Interval | None:
        """As `wer_interval`, speakers resampled with all that they said, since one speaker's utterances are not
        independent; None with fewer than two speakers, or with one unnamed."""
        if not all(result.speaker for result in self.results):
            return None
        return rate_interval(*grouped(word_counts(self.results), [result.speaker for result in self.results]))

    @cached_property
    def speakers(self) -> dict[str, Score]:
        """Counts of each named speaker, highest word error rate first."""
        scores: dict[str, Score] = {}
        for result in self.results:
            if result.speaker:
                scores[result.speaker] = scores.get(result.speaker, Score()) + result.score
        rates = {name: one.words.errors / max(one.words.reference, 1) for name, one in scores.items()}
        return {name: scores[name] for name in sorted(scores, key=lambda name: (-rates[name], name))}

    @cached_property
    def confusions(self) -> Confusions:
        """The word errors one by one."""
        return confusions([each.reference for each in self.results], [each.hypothesis for each in self.results])

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
            "wer": json_number(total.wer),
            "cer": json_number(total.cer),
            "wer_interval": interval_table(self.wer_interval),
            "wer_interval_by_speaker": interval_table(self.wer_interval_by_speaker),
            "cer_interval": interval_table(self.cer_interval),
            "speakers": len(self.speakers),
            "utterances": total.utterances,
            "words": total.words.reference,
            "characters": total.characters.reference,
            "substitutions": total.words.substitutions,
            "deletions": total.words.deletions,
            "insertions": total.words.insertions,
            "failures": len(self.failures),
            "audio_seconds": round(self.audio_seconds, 3),
            "decode_seconds": round(self.decode_seconds, 3),
            "rtf": json_number(self.rtf),
        }

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Speakers, worst first, and word errors, most frequent first, for JSON."""
        found = self.confusions
        return {
            "by_speaker": [_row(name, one) for name, one in self.speakers.items()],
            "substituted": [
                {"reference": right, "hypothesis": wrong, "count": count}
                for (right, wrong), count in most_frequent(found.substituted)
            ],
            "deleted": [{"word": word, "count": count} for word, count in most_frequent(found.deleted)],
            "inserted": [{"word": word, "count": count} for word, count in most_frequent(found.inserted)],
        }


def evaluate(
    recognizer: Recognizer, utterances: Sequence[Utterance], same: Callable[[str], str] | None = None
) -> Evaluation:
    """Transcribe each utterance and compare it with its text.

    same : what is done to both texts first; None: they are normalised as the model's training texts were (`comparable`)

    Raises
    ------
    CorpusError : there are no utterances
    """
    if not utterances:
        raise CorpusError("this corpus has no utterances to evaluate on; name another split or folder")
    rate = recognizer.model.features.rate
    same = same or comparable(recognizer.model)
    results: list[Result] = []
    failures: list[tuple[str, AsrError]] = []
    begin = time.perf_counter()
    for utterance, heard in recognizer.transcribe_each(utterances, lambda each: each.read(rate)):
        if isinstance(heard, AsrError):
            failures.append((utterance.id, heard))
            continue
        reference, hypothesis = same(utterance.text), same(heard.text)
        one = score([reference], [hypothesis])
        results.append(
            Result(utterance.id, reference, hypothesis, one, heard.duration, heard.confidence, utterance.speaker)
        )
    return Evaluation(tuple(results), tuple(failures), time.perf_counter() - begin)


def comparable(model: Model) -> Callable[[str], str]:
    """What is done to a text before it is scored: normalisation, and punctuation taken away where the model's
    training took it away, since such a model cannot be expected to write any."""
    text = model.provenance.get("config", {}).get("text", {})
    if text.get("punctuation") == "strip":
        return lambda line: strip_punctuation(normalise(line))
    return normalise


def word_counts(results: Sequence[Result]) -> np.ndarray:
    """Word errors and reference words of each result, int64 [2, U]."""
    counts = [(each.score.words.errors, each.score.words.reference) for each in results]
    return np.array(counts, np.int64).reshape(-1, 2).T


def most_frequent(counts: Counter[Kind]) -> list[tuple[Kind, int]]:
    """By falling count; what is equally frequent in the order of the alphabet."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def interval_table(interval: Interval | None) -> list[float] | None:
    """Low and high for JSON."""
    return None if interval is None else [round(interval.low, 6), round(interval.high, 6)]


def json_number(value: float) -> float | None:
    """Six places, and null for JSON's lack of NaN."""
    return None if math.isnan(value) else round(value, 6)


def _row(name: str, one: Score) -> dict[str, Any]:
    return {
        "speaker": name,
        "utterances": one.utterances,
        "words": one.words.reference,
        "wer": json_number(one.wer),
        "cer": json_number(one.cer),
    }


def _badness(result: Result) -> tuple[float, int]:
    words = result.score.words
    return words.errors / max(words.reference, 1), -result.score.characters.reference
