"""The best path that reads as a known text, against all paths there are."""

from __future__ import annotations

from itertools import groupby, product

import numpy as np
import pytest

from asr.alphabet import Alphabet
from asr.decoding import greedy
from asr.decoding.forced import forced_path


def read(path: tuple[int, ...]) -> list[int]:
    return [label for label, _ in groupby(path) if label]


def log_probs(T: int, C: int, seed: int) -> np.ndarray:
    x = 2 * np.random.default_rng(seed).standard_normal((T, C)).astype(np.float32)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("labels", [[1], [1, 2], [2, 2], [1, 2, 1], [2, 2, 1], []], ids=str)
@pytest.mark.parametrize("T", [0, 1, 2, 4, 6])
def test_it_is_the_best_of_all_paths_that_read_so(labels: list[int], T: int) -> None:
    for seed in range(3):
        given = log_probs(T, 3, seed)
        found = forced_path(given, np.array(labels, np.int32))
        scores = {
            path: sum(float(row[label]) for row, label in zip(given, path, strict=True))
            for path in product(range(3), repeat=T)
            if read(path) == labels
        }
        if not scores:
            assert found is None
            continue
        assert found is not None
        assert tuple(found.labels) == max(scores, key=lambda path: scores[path])
        np.testing.assert_allclose(found.log_probs, given[np.arange(T), found.labels])


def test_long_texts_have_their_place_too() -> None:
    labels = np.tile(np.array([1, 2], np.int32), 150)
    found = forced_path(log_probs(400, 3, 5), labels)
    assert found is not None
    assert read(tuple(found.labels)) == labels.tolist()


def test_words_have_their_times() -> None:
    alphabet = Alphabet(" ab")
    given = np.full((12, 4), -9.0, np.float32)
    spoken = "ab ba"
    for t, label in zip((1, 3, 6, 8, 10), alphabet.encode(spoken), strict=True):
        given[t, label] = -0.1
    given[[0, 2, 4, 5, 7, 9, 11], 0] = -0.1
    found = forced_path(given, np.array(alphabet.encode(spoken), np.int32))
    assert found is not None
    words = greedy.read(found, alphabet, 0.02).words
    assert [(word.text, round(word.start, 3), round(word.end, 3)) for word in words] == [
        ("ab", 0.02, 0.08),
        ("ba", 0.16, 0.22),
    ]
