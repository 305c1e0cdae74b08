"""Best path decoding: the likeliest label at each step, repeats joined, blanks dropped (Graves et al., ICML 2006)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr.alphabet import BLANK, Alphabet
from asr.decoding.hypothesis import Hypothesis, Symbol, compose
from asr.errors import UsageError


@dataclass(frozen=True)
class BestPath:
    """The likeliest label at each step: all that is left of the posteriors.

    labels : int [T]
    log_probs : float [T], the natural log-probability of each
    """

    labels: np.ndarray
    log_probs: np.ndarray


def best_path(log_probs: np.ndarray) -> BestPath:
    """The best path through log-probabilities [T, C]; of labels that are equally likely, the first."""
    labels = log_probs.argmax(axis=1)
    return BestPath(labels, np.take_along_axis(log_probs, labels[:, None], axis=1)[:, 0])


def decode(log_probs: np.ndarray, alphabet: Alphabet, step_seconds: float) -> Hypothesis:
    """Read the text off the best path.

    Parameters
    ----------
    log_probs : float [T, C], natural log-probabilities of the blank and the alphabet's characters; T may be 0
    alphabet : C = alphabet.size
    step_seconds : > 0, seconds from one row to the next

    Returns
    -------
    The hypothesis, whose score is the logarithm of the best path's probability.

    Raises
    ------
    UsageError : the shape does not fit the alphabet
    """
    if log_probs.ndim != 2 or log_probs.shape[1] != alphabet.size:
        raise UsageError(f"this alphabet decodes log-probabilities [T, {alphabet.size}], not {list(log_probs.shape)}")
    return read(best_path(log_probs), alphabet, step_seconds)


def read(path: BestPath, alphabet: Alphabet, step_seconds: float) -> Hypothesis:
    """The text along a best path; arguments and result as in `decode`."""
    labels = path.labels
    if len(labels) == 0:
        return compose([], step_seconds, 0.0)
    first = np.flatnonzero(np.diff(labels, prepend=-1))  # where a run of one label begins; -1 is no label
    stop = np.append(first[1:], len(labels))
    peaks = np.maximum.reduceat(path.log_probs, first)
    spoken = np.flatnonzero(labels[first] != BLANK)
    characters = alphabet.decode(labels[first[spoken]])
    symbols = [
        Symbol(character, int(first[run]), int(stop[run]), float(peaks[run]))
        for character, run in zip(characters, spoken, strict=True)
    ]
    return compose(symbols, step_seconds, float(path.log_probs.sum(dtype=np.float64)))
