"""The weight of a language model and the bonus of a word that make the fewest errors on development data.

The network is run once; then the utterances are decoded with every pair of a coarse grid, and twice more around the
best of them with half the distances. Where the data are of several corpora, it is the mean of their error rates that is
made small: no corpus is served worse because another one is larger or harder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from asr.decoding.beam import BeamDecoder
from asr.errors import UsageError
from asr.scoring import Score, score

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
BONUSES = (-1.0, 0.0, 1.0, 2.0, 3.0, 4.0)
STEPS = (0.125, 0.5), (0.0625, 0.25)  # of weight and bonus, around the best
AROUND = (-1, 0, 1)
MOST = len(WEIGHTS) * len(BONUSES) + len(STEPS) * (len(AROUND) ** 2 - 1)  # pairs that are tried


@dataclass(frozen=True)
class Point:
    """What one pair of settings comes to, by group of utterances."""

    lm_weight: float
    word_bonus: float
    groups: Mapping[str, Score]

    @property
    def score(self) -> Score:
        """Of all utterances."""
        return sum(self.groups.values(), Score())


@dataclass(frozen=True)
class Tuning:
    """Every pair that was tried, in order of weight and bonus."""

    points: tuple[Point, ...]

    @property
    def best(self) -> Point:
        """The least word error rate; where equal the least character error rate, then the smallest weight."""
        return min(self.points, key=_rank)


def tune(
    decoder: BeamDecoder,
    utterances: Sequence[np.ndarray],
    references: Sequence[str],
    step_seconds: float,
    same: Callable[[str], str] = str,
    report: Callable[[Point], None] = lambda point: None,
    lm_weight: float | None = None,
    word_bonus: float | None = None,
    groups: Sequence[str] | None = None,
) -> Tuning:
    """Search weight and bonus.

    Parameters
    ----------
    decoder : with a language model; its own weight and bonus do not matter
    utterances : log-probabilities [T, C] each
    references : what was said in each
    same : what is done to both texts before they are compared
    report : told of each point when it is known
    lm_weight, word_bonus : not searched, but taken as it is, where it is given
    groups : the group of each utterance, as its corpus; each group counts alike; None: all are of one

    UsageError without an utterance.
    """
    if not utterances:
        raise UsageError("nothing to tune on: no utterance of this corpus could be heard")
    expected = [same(text) for text in references]
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups or [""] * len(utterances)):
        members.setdefault(group, []).append(index)
    known: dict[tuple[float, float], Point] = {}

    def try_each(pairs: Iterable[tuple[float, float]]) -> None:
        for weight, bonus in pairs:
            if (weight, bonus) in known or weight < 0:
                continue
            other = decoder.with_options(replace(decoder.options, lm_weight=weight, word_bonus=bonus, nbest=1))
            texts = [same(readings[0].text) for readings in other.decode_each(utterances, step_seconds)]
            scores = {
                group: score([expected[index] for index in indices], [texts[index] for index in indices])
                for group, indices in members.items()
            }
            known[weight, bonus] = Point(weight, bonus, scores)
            report(known[weight, bonus])

    weights = WEIGHTS if lm_weight is None else (lm_weight,)
    bonuses = BONUSES if word_bonus is None else (word_bonus,)
    try_each((weight, bonus) for weight in weights for bonus in bonuses)
    rows, columns = AROUND if lm_weight is None else (0,), AROUND if word_bonus is None else (0,)
    for of_weight, of_bonus in STEPS:
        best = min(known.values(), key=_rank)
        try_each((best.lm_weight + i * of_weight, best.word_bonus + j * of_bonus) for i in rows for j in columns)
    return Tuning(tuple(known[pair] for pair in sorted(known)))


def _rank(point: Point) -> tuple[float, float, int, int, float, float]:
    scores, total = [score for score in point.groups.values() if score.words.reference], point.score
    wer, cer = (sum(getattr(score, name) for score in scores) for name in ("wer", "cer"))
    return wer, cer, total.words.errors, total.characters.errors, point.lm_weight, abs(point.word_bonus)
