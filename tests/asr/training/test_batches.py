"""Batches: every utterance once, padding apart from sound, alike in length, the same for the same seed."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.training.batches import ahead, assemble, epoch_batches, sorted_batches
from asr.training.config import BatchConfig

LENGTHS = np.random.default_rng(0).integers(20, 800, 850)
lengths = st.lists(st.integers(1, 1000), min_size=1, max_size=100).map(np.array)


@given(lengths=lengths, size=st.integers(1, 20), epoch=st.integers(0, 3), sort_first=st.booleans())
def test_each_utterance_once(lengths: np.ndarray, size: int, epoch: int, sort_first: bool) -> None:
    batches = epoch_batches(lengths, BatchConfig(size, 0.15, sort_first), seed=1, epoch=epoch)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // size)
    assert all(len(batch) <= size for batch in batches)


def test_the_first_epoch_goes_from_short_to_long() -> None:
    order = np.concatenate(epoch_batches(LENGTHS, BatchConfig(), seed=1, epoch=0))
    assert (np.diff(LENGTHS[order]) >= 0).all()


def test_later_epochs_are_shuffled_batches_of_similar_length() -> None:
    batches = epoch_batches(LENGTHS, BatchConfig(), seed=1, epoch=1)
    longest = [LENGTHS[batch].max() for batch in batches]
    assert longest != sorted(longest)
    padded = sum(LENGTHS[batch].max() * len(batch) for batch in batches)
    assert padded < 1.5 * LENGTHS.sum()


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return list(np.concatenate(epoch_batches(LENGTHS, BatchConfig(), seed, epoch)))

    assert order(1, 1) == order(1, 1)
    assert order(1, 1) != order(1, 2)
    assert order(1, 1) != order(2, 1)


def test_sorted_batches_go_from_long_to_short() -> None:
    order = np.concatenate(sorted_batches(LENGTHS, 16))
    assert (np.diff(LENGTHS[order]) <= 0).all()


def test_assembled_longest_first_with_zeros_beyond() -> None:
    rng = np.random.default_rng(0)
    frames = [rng.standard_normal((T, 3)).astype(np.float32) for T in (4, 7, 1, 7)]
    labels = [np.array(row, np.int32) for row in ([1, 2], [3], [], [4, 5, 6])]
    batch = assemble(frames, labels, ["a", "b", "c", "d"])
    assert batch.ids == ("b", "d", "a", "c")
    assert batch.lengths.tolist() == [7, 7, 4, 1]
    assert batch.label_lengths.tolist() == [1, 3, 2, 0]
    assert batch.labels.tolist() == [[3, 0, 0], [4, 5, 6], [1, 2, 0], [0, 0, 0]]
    assert (batch.frames.shape, batch.frames.dtype) == ((7, 4, 3), np.float32)
    for column, source in enumerate([1, 3, 0, 2]):
        length = batch.lengths[column]
        np.testing.assert_array_equal(batch.frames[:length, column], frames[source])
        assert not batch.frames[length:, column].any()


def test_a_batch_of_empty_texts_has_room_for_a_label() -> None:
    batch = assemble([np.zeros((2, 3), np.float32)], [np.zeros(0, np.int32)], ["a"])
    assert batch.labels.shape == (1, 1)


@given(items=st.lists(st.integers(), max_size=10), depth=st.integers(1, 4))
def test_ahead_is_map(items: list[int], depth: int) -> None:
    assert list(ahead(str, items, depth)) == [str(item) for item in items]


def test_ahead_makes_some_early_but_not_all() -> None:
    made: list[int] = []
    results = ahead(made.append, range(10), depth=2)
    next(results)
    deadline = time.monotonic() + 5
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert made == [0, 1, 2]
    results.close()  # type: ignore[attr-defined]
    assert made == [0, 1, 2]


def test_an_error_made_ahead_comes_out() -> None:
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda item: 1 // item, [1, 0, 1]))
