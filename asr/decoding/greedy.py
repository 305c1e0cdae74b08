"""Best path decoding: the likeliest label at each step, repeats joined, blanks dropped (Graves et al., ICML 2006)."""

from __future__ import annotations

import numpy as np

from asr.alphabet import BLANK, Alphabet
from asr.decoding.hypothesis import Hypothesis, Symbol, compose
from asr.errors import UsageError


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
    if len(log_probs) == 0:
        return compose([], step_seconds, 0.0)
    path = log_probs.argmax(axis=1)
    along = np.take_along_axis(log_probs, path[:, None], axis=1)[:, 0]
    first = np.flatnonzero(np.diff(path, prepend=-1))  # where a run of one label begins; -1 is no label
    stop = np.append(first[1:], len(path))
    peaks = np.maximum.reduceat(along, first)
    spoken = np.flatnonzero(path[first] != BLANK)
    characters = alphabet.decode(path[first[spoken]])
    symbols = [
        Symbol(character, int(first[run]), int(stop[run]), float(peaks[run]))
        for character, run in zip(characters, spoken, strict=True)
    ]
    return compose(symbols, step_seconds, float(along.sum(dtype=np.float64)))
