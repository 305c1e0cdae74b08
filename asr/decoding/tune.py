"""The weight of a language model, the bonus of a word and the penalty of the blank that make the fewest errors on
development data.

The network is run once; then the utterances are decoded with every weight and bonus of a coarse grid and no penalty,
with several penalties at the best weight, since a penalty asks for less of a bonus, and around the best of all for as
long as that finds a better one, with two distances.

Where the data are of several corpora, the sum of the square roots of their error rates is made small, whatever the size
of each. Roots of counts are as unsure where they are few as where they are many (Bartlett, "The square root
transformation in analysis of variance", Suppl. J. Royal Statistical Society 3, 1936), so that a change counts by how
sure it is: in a sum of rates a corpus with few errors has no say, in one of logarithms a single one of its errors has
too much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from asr.decoding.beam import BeamDecoder
from asr.errors import UsageError
from asr.scoring import Score, score

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
BONUSES = (-1.0, 0.0, 1.0, 2.0, 3.0, 4.0)
PENALTIES, LESS = (0.5, 1.0, 1.5, 2.0), (0.0, -1.0, -2.0)  # each with so much less of a bonus
STEPS = (0.125, 0.5, 0.25), (0.0625, 0.25, 0.125)  # of weight, bonus and penalty, around the best
ROUNDS = 6  # of each of them at most
AROUND = tuple(
    move for move in product((-1, 0, 1), repeat=3) if any(move) and 0 in (move[0], move[2])
)  # weight and penalty do not move at once
# settings that are tried at most; mostly about half as many
MOST = len(WEIGHTS) * len(BONUSES) + len(PENALTIES) * len(LESS) + len(STEPS) * ROUNDS * len(AROUND)

Settings = tuple[float, float, float]  # weight, bonus, penalty


@dataclass(frozen=True)
class Point:
    """What some settings come to, by group of utterances."""

    lm_weight: float
    word_bonus: float
    blank_penalty: float
    groups: Mapping[str, Score]

    @property
    def score(self) -> Score:
        """Of all utterances."""
        return sum(self.groups.values(), Score())


@dataclass(frozen=True)
class Tuning:
    """All settings that were tried, in order of penalty, bonus and weight."""

    points: tuple[Point, ...]

    @property
    def best(self) -> Point:
        """The least word error rate, of several groups the least sum of the roots of theirs; where equal the same of
        character error rates, then the smallest penalty and weight."""
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
    blank_penalty: float | None = None,
    groups: Sequence[str] | None = None,
) -> Tuning:
    """Search weight, bonus and penalty.

    Parameters
    ----------
    decoder : with a language model; its own settings do not matter
    utterances : log-probabilities [T, C] each
    references : what was said in each
    same : what is done to both texts before they are compared
    report : told of each point when it is known
    lm_weight, word_bonus, blank_penalty : not searched, but taken as it is, where it is given
    groups : the group of each utterance, as its corpus; None: all are of one

    UsageError without an utterance, or without a word in the references.
    """
    if not utterances:
        raise UsageError("nothing to tune on: no utterance of this corpus could be heard")
    expected = [same(text) for text in references]
    if not any(text.strip() for text in expected):
        raise UsageError("nothing to tune on: no word stands in this corpus's transcripts")
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups or [""] * len(utterances)):
        members.setdefault(group, []).append(index)
    given = lm_weight, word_bonus, blank_penalty
    known: dict[Settings, Point] = {}

    def try_each(wanted: Iterable[Settings]) -> Settings:
        """Those that are new; the best of all that are known."""
        for proposed in wanted:
            weight, bonus, penalty = settings = _with_given(proposed, given)
            if settings in known or weight < 0 or penalty < 0:
                continue
            options = replace(decoder.options, lm_weight=weight, word_bonus=bonus, blank_penalty=penalty, nbest=1)
            readings = decoder.with_options(options).decode_each(utterances, step_seconds)
            texts = [same(found[0].text) for found in readings]
            scores = {
                group: score([expected[index] for index in indices], [texts[index] for index in indices])
                for group, indices in members.items()
            }
            known[settings] = Point(*settings, scores)
            report(known[settings])
        best = min(known.values(), key=_rank)
        return best.lm_weight, best.word_bonus, best.blank_penalty

    weight, bonus, _ = try_each((weight, bonus, 0.0) for weight, bonus in product(WEIGHTS, BONUSES))
    best = try_each((weight, bonus + less, penalty) for penalty, less in product(PENALTIES, LESS))
    for step in STEPS:
        for _ in range(ROUNDS):
            before, (w, b, p) = best, best
            best = try_each((w + i * step[0], b + j * step[1], p + k * step[2]) for i, j, k in AROUND)
            if best == before:
                break
    return Tuning(tuple(known[settings] for settings in sorted(known, key=lambda settings: settings[::-1])))


def _with_given(settings: Settings, given: tuple[float | None, float | None, float | None]) -> Settings:
    weight, bonus, penalty = (one if fixed is None else fixed for one, fixed in zip(settings, given, strict=True))
    return weight, bonus, penalty


def _rank(point: Point) -> tuple[float, float, int, int, float, float, float]:
    scores, total = [score for score in point.groups.values() if score.words.reference], point.score
    wer, cer = (sum(math.sqrt(getattr(score, name)) for score in scores) for name in ("wer", "cer"))
    settings = point.blank_penalty, point.lm_weight, abs(point.word_bonus)
    return wer, cer, total.words.errors, total.characters.errors, *settings
