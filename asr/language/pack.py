"""A model as a few small arrays and a text, for a file that carries it along.

Of each order are kept the words under each prefix, in the order that `trie` has them; suffixes are found again. Log
probabilities and back-off weights become float16, which changes none by more than 0.05 % of itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from asr.errors import ModelError
from asr.language import trie
from asr.language.ngram import END, START, NgramModel
from asr.language.trie import Grams

SMALLEST = -60000.0  # float16 holds it; what is less likely is impossible all the same
SEPARATOR = "\n"  # no word holds white space


def to_arrays(model: NgramModel) -> tuple[dict[str, np.ndarray], str]:
    """Arrays by name, and the vocabulary."""
    arrays: dict[str, np.ndarray] = {}
    for order, grams in enumerate(model.grams, 1):
        if order > 1:
            children = np.bincount(grams.prefix, minlength=len(model.grams[order - 2]))
            arrays[f"children{order}"] = _small(children)
            arrays[f"word{order}"] = _small(grams.word)
        arrays[f"log_prob{order}"] = _half(model.log_probs[order - 1])
        if order < model.order:
            arrays[f"backoff{order}"] = _half(model.backoffs[order - 1])
    return arrays, SEPARATOR.join(model.words)


def from_arrays(arrays: Mapping[str, np.ndarray], vocabulary: str) -> NgramModel:
    """What `to_arrays` was given, but for rounding. ModelError where the arrays do not fit each other."""
    words = vocabulary.split(SEPARATOR)
    order = sum(name.startswith("log_prob") for name in arrays)
    _require(len(arrays) == 4 * order - 3)  # all are asked for below
    _require(order >= 1 and START in words and END in words and len(set(words)) == len(words))
    grams = [trie.unigrams(len(words))]
    for n in range(2, order + 1):
        grams.append(_grams(grams, _array(arrays, f"children{n}", len(grams[-1])), arrays.get(f"word{n}")))
    return NgramModel(
        words,
        grams,
        [_array(arrays, f"log_prob{n}", len(one)).astype(np.float64) for n, one in enumerate(grams, 1)],
        [_array(arrays, f"backoff{n}", len(one)).astype(np.float64) for n, one in enumerate(grams[:-1], 1)],
    )


def _grams(below: list[Grams], children: np.ndarray, word: np.ndarray | None) -> Grams:
    """The order above those below."""
    size = below[0].size
    _require(word is not None and np.issubdtype(children.dtype, np.unsignedinteger))
    _require(word is not None and np.issubdtype(word.dtype, np.unsignedinteger) and int(children.sum()) == len(word))
    assert word is not None
    _require(not len(word) or int(word.max()) < size)
    prefix = np.repeat(np.arange(len(children)), children)
    key = prefix * np.int64(size) + word
    _require(bool((np.diff(key) > 0).all()))
    numbers = word.astype(np.int64)
    suffix = below[-1].find(below[-1].suffix[prefix].astype(np.int64), numbers) if len(below) > 1 else numbers
    _require(not len(suffix) or int(suffix.min()) >= 0)
    return Grams(key, suffix.astype(np.int32), size)


def _array(arrays: Mapping[str, np.ndarray], name: str, length: int) -> np.ndarray:
    _require(name in arrays and arrays[name].shape == (length,))
    return arrays[name]


def _half(values: np.ndarray) -> np.ndarray:
    half: np.ndarray = np.maximum(values, SMALLEST).astype(np.float16)
    return half


def _small(numbers: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 on in as few bytes as hold them."""
    smaller: np.ndarray = numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))
    return smaller


def _require(holds: bool) -> None:
    if not holds:
        raise ModelError("the arrays of its language model do not fit each other")
