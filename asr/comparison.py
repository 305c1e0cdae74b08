"""Is one of two recognisers better, or is the difference what chance makes of it?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asr.alphabet import normalise
from asr.errors import CorpusError
from asr.evaluation import Result, comparable, interval_table, json_number, word_counts
from asr.model import Model
from asr.scoring import Score
from asr.statistics import Paired, grouped, matched_pairs, paired

SHOWN = 3  # ids that a message names


@dataclass(frozen=True)
class Comparison:
    """Two systems, A and B, on the same utterances.

    scores : of A and of B
    by_utterance : the paired bootstrap over utterances; None with fewer than two, or without reference words
    by_speaker : the same over speakers with all that they said; None with fewer than two, or with one unnamed
    p_value : of the matched-pairs test over utterances; NaN where it says nothing
    """

    scores: tuple[Score, Score]
    by_utterance: Paired | None
    by_speaker: Paired | None
    p_value: float

    @property
    def difference(self) -> float:
        """B's word error rate less A's: below 0 where B is better."""
        return self.scores[1].wer - self.scores[0].wer

    def verdict(self, a: str, b: str) -> str:
        """One plain sentence about systems of these names."""
        if self.by_utterance is None:
            return "Nothing can be said: it takes at least two utterances, and words in their references."
        if self.scores[0].words.errors == self.scores[1].words.errors:
            return f"Both make as many word errors ({self.scores[0].words.errors}): neither is better here."
        better, worse = (b, a) if self.difference < 0 else (a, b)
        if 0 in self.by_utterance.difference:
            return f"It cannot be said which is better: {better} makes fewer errors here, but that may be chance."
        if self.by_speaker and 0 in self.by_speaker.difference:
            return f"{better} is better than {worse} for these speakers; other speakers may turn it round."
        return f"{better} is better than {worse}: the interval of the difference leaves 0 out."

    def summary(self) -> dict[str, Any]:
        """Plain numbers for JSON; None where there is nothing to say."""
        return {
            "a": _system(self.scores[0], self.by_utterance and self.by_utterance.a),
            "b": _system(self.scores[1], self.by_utterance and self.by_utterance.b),
            "utterances": self.scores[0].utterances,
            "words": self.scores[0].words.reference,
            "difference": json_number(self.difference),
            "by_utterance": self.by_utterance and _paired(self.by_utterance),
            "by_speaker": self.by_speaker and _paired(self.by_speaker),
            "matched_pairs_p": None if math.isnan(self.p_value) else float(f"{self.p_value:.3g}"),
        }


def compare(a: Sequence[Result], b: Sequence[Result]) -> Comparison:
    """Score two systems' results against each other; B's may be in another order.

    Raises
    ------
    CorpusError : they are not about the same utterances, an utterance is there twice, or references differ
    """
    _check_same([result.id for result in a], [result.id for result in b])
    others = {result.id: result for result in b}
    b = [others[result.id] for result in a]
    for left, right in zip(a, b, strict=True):
        if left.reference.split() != right.reference.split():
            raise CorpusError(
                f"utterance {left.id}: A's reference is {left.reference!r} and B's {right.reference!r}; "
                "evaluate both on the same texts"
            )
    (errors_a, reference), (errors_b, _) = word_counts(a), word_counts(b)
    speakers = [left.speaker or right.speaker for left, right in zip(a, b, strict=True)]
    return Comparison(
        (sum((each.score for each in a), Score()), sum((each.score for each in b), Score())),
        paired(errors_a, errors_b, reference),
        paired(*grouped(np.stack([errors_a, errors_b, reference]), speakers)) if all(speakers) else None,
        matched_pairs(errors_a, errors_b),
    )


def comparable_to_all(models: Sequence[Model]) -> Callable[[str], str]:
    """What is done to texts before several models are scored by them: punctuation goes if it does for one of them."""
    each = [comparable(model) for model in models]
    return next((change for change in each if change is not normalise), normalise)


def _check_same(a: Sequence[str], b: Sequence[str]) -> None:
    """CorpusError unless both name the same utterances, once each."""
    in_a, in_b = set(a), set(b)
    for side, names, different in (("A", a, in_a), ("B", b, in_b)):
        if len(names) > len(different):
            twice = next(name for name in names if names.count(name) > 1)
            raise CorpusError(f"utterance {twice} is twice in {side}; leave one of them out")
    only = {"A": [name for name in a if name not in in_b], "B": [name for name in b if name not in in_a]}
    parts = [
        f"{len(names)} only in {side} ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''})"
        for side, names in only.items()
        if names
    ]
    if parts:
        raise CorpusError(
            f"A and B are not about the same utterances: {' and '.join(parts)}; evaluate both on the same corpus"
        )


def _system(score: Score, interval: Any) -> dict[str, Any]:
    return {
        "wer": json_number(score.wer),
        "wer_interval": interval_table(interval),
        "substitutions": score.words.substitutions,
        "deletions": score.words.deletions,
        "insertions": score.words.insertions,
    }


def _paired(drawn: Paired) -> dict[str, Any]:
    return {
        "units": drawn.units,
        "a_wer_interval": interval_table(drawn.a),
        "b_wer_interval": interval_table(drawn.b),
        "difference_interval": interval_table(drawn.difference),
        "probability_b_better": drawn.improvement,
        "probability_a_better": drawn.decline,
    }
