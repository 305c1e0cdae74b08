"""Where a known text was said: the best of all paths that read as it, by the Viterbi algorithm."""

from __future__ import annotations

import numpy as np

from asr.alphabet import BLANK
from asr.decoding.greedy import BestPath


def forced_path(log_probs: np.ndarray, labels: np.ndarray) -> BestPath | None:
    """The likeliest path through log-probabilities [T, C] that reads as `labels`, int [S]; None where there is none,
    since there are too few steps.

    `asr.decoding.greedy.read` tells the times of its words. Its states z are the labels with a blank before, between
    and behind them: a path stays, goes on, or skips a blank between two labels that differ (Graves et al., ICML 2006).
    """
    T = len(log_probs)
    z = np.full(2 * len(labels) + 1, BLANK)
    if T == 0:
        return None if len(labels) else BestPath(z[:0], np.empty(0))
    z[1::2] = labels
    emitted = log_probs[:, z].astype(np.float64)
    skips = np.zeros(len(z), bool)
    skips[3::2] = labels[1:] != labels[:-1]
    came = np.zeros((T, len(z)), np.int8)  # so many states further down
    score = np.full(len(z), -np.inf)
    score[:2] = emitted[0, :2]
    for t in range(1, T):
        ways = np.full((3, len(z)), -np.inf)
        ways[0], ways[1, 1:], ways[2, 2:] = score, score[:-1], np.where(skips[2:], score[:-2], -np.inf)
        came[t] = ways.argmax(axis=0)
        score = ways.max(axis=0) + emitted[t]
    state = len(z) - 1 if len(z) == 1 or score[-1] >= score[-2] else len(z) - 2
    if np.isneginf(score[state]):
        return None
    states = np.empty(T, np.int64)
    for t in range(T - 1, -1, -1):
        states[t] = state
        state -= int(came[t, state])
    return BestPath(z[states], emitted[np.arange(T), states])
