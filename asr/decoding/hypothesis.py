"""What a decoder returns, and how labels on a CTC path become words with times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from asr.transcript import Word


@dataclass(frozen=True)
class Hypothesis:
    """One reading of an utterance.

    Parameters
    ----------
    text : the words with single spaces between them
    words : each with its time and confidence
    confidence : geometric mean of the posteriors of the words' labels, 0..1; 0 when there are no words
    score : natural logarithm of the probability that the decoder found for it
    """

    text: str
    words: tuple[Word, ...]
    confidence: float
    score: float


@dataclass(frozen=True)
class Symbol:
    """One label on a path: it holds the steps `first <= t < stop`, and `log_posterior` is its highest there."""

    character: str
    first: int
    stop: int
    log_posterior: float


def compose(symbols: Sequence[Symbol], step_seconds: float, score: float) -> Hypothesis:
    """Join the symbols of one path into words at white space, however much of it there is."""
    groups = groupby(symbols, key=lambda symbol: symbol.character.isspace())
    spelled = [tuple(group) for is_space, group in groups if not is_space]
    words = tuple(
        Word(
            "".join(symbol.character for symbol in word),
            word[0].first * step_seconds,
            word[-1].stop * step_seconds,
            _confidence(word),
        )
        for word in spelled
    )
    text = " ".join(word.text for word in words)
    return Hypothesis(text, words, _confidence([symbol for word in spelled for symbol in word]), score)


def _confidence(symbols: Sequence[Symbol]) -> float:
    """Geometric mean of the posteriors: the labels are few and sure (Graves et al. 2006, figure 1), so that the
    peak of each tells how well it stood against all others; rounding may not lift it above 1."""
    if not symbols:
        return 0.0
    return min(1.0, math.exp(sum(symbol.log_posterior for symbol in symbols) / len(symbols)))
