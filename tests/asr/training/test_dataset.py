"""What becomes training data, what is left out and how that is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import groupby, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from watcher import Watcher

from asr.alphabet import Alphabet
from asr.corpora import Utterance
from asr.errors import TrainingError, UsageError
from asr.training.augment import PLAIN
from asr.training.cache import FeatureCache
from asr.training.config import AugmentConfig, Copy, TextConfig, TrainingConfig
from asr.training.dataset import Dataset, choose_alphabet, clean, feasible, prepare_dev, prepare_train

LETTERS = Alphabet(" abcdef")
SHORT = Copy(hop=2.0)  # half the frames


def utterance_of(utterance: Utterance, name: str, text: str) -> Utterance:
    return dataclasses.replace(utterance, id=name, text=text)


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def features(cache: Path, tiny: TrainingConfig, watcher: Watcher) -> FeatureCache:
    return FeatureCache(tiny.features, tiny.augment.snr_spread, watcher, cache)


def ids(data: Dataset) -> list[str]:
    return [example.utterance.id for example in data.examples]


def collapsed(path: Sequence[int]) -> list[int]:
    """Repeats joined, blanks dropped."""
    return [label for label, _ in groupby(path) if label]


@given(labels=st.lists(st.integers(1, 2), max_size=4), steps=st.integers(0, 6))
def test_feasible_is_that_a_path_exists(labels: list[int], steps: int) -> None:
    paths = product(range(3), repeat=steps)
    assert feasible(np.array(labels, np.int32), steps) == any(collapsed(path) == labels for path in paths)


def test_texts_are_normalised_and_stripped() -> None:
    assert clean(" Don’t\tSTOP - now! ", TextConfig("strip")) == "don't stop now"
    assert clean(" Don’t\tSTOP - now! ", TextConfig("keep")) == "don't stop - now!"


def test_the_alphabet_is_given_or_that_of_the_training_texts(train_set: list[Utterance]) -> None:
    texts = [*train_set, utterance_of(train_set[0], "strange", "Z, z?")]
    assert choose_alphabet(texts, TextConfig()).characters == " abcdefz"
    assert choose_alphabet(texts, TextConfig("keep")).characters == " ,?abcdefz"
    assert choose_alphabet(texts, TextConfig(alphabet="ab ")).characters == "ab "


def test_development_texts_are_held_against_the_alphabet(
    train_set: list[Utterance], tiny: TrainingConfig, features: FeatureCache, watcher: Watcher
) -> None:
    strange = utterance_of(train_set[0], "strange", "a ñ b!")
    assert ids(prepare_dev([strange, train_set[0]], LETTERS, tiny, features, threads=1)) == [train_set[0].id]
    assert "  strange: 'ñ'" in watcher.messages


def test_what_cannot_be_used_is_named_and_left_out(
    train_set: list[Utterance], tiny: TrainingConfig, features: FeatureCache, watcher: Watcher, tmp_path: Path
) -> None:
    strange = utterance_of(train_set[0], "strange", "a ñ b!")
    missing = Utterance("missing", tmp_path / "missing.wav", "a")
    crowded = utterance_of(train_set[0], "crowded", "a" * 200)
    empty = utterance_of(train_set[0], "empty", "")
    data = prepare_train([strange, missing, crowded, empty, *train_set[:3]], LETTERS, tiny, features, threads=2)
    assert ids(data) == ["empty", *(utterance.id for utterance in train_set[:3])]
    told = "\n".join(watcher.messages)
    assert "strange: 'ñ'" in told
    assert f"missing: {tmp_path / 'missing.wav'}" in told
    assert "crowded: " in told
    assert "for 200 characters" in told


def test_many_left_out_are_counted_not_listed(
    train_set: list[Utterance], tiny: TrainingConfig, features: FeatureCache, watcher: Watcher
) -> None:
    prepare_train(train_set, Alphabet("abcde "), tiny, features, threads=2)
    strange = sum("f" in utterance.text for utterance in train_set)
    assert watcher.messages[0] == f"left out {strange} utterances with characters outside the alphabet:"
    assert watcher.messages[-1] == f"  and {strange - 10} more"
    assert len(watcher.messages) == 12


def test_nothing_left_is_an_error(
    train_set: list[Utterance], tiny: TrainingConfig, features: FeatureCache, tmp_path: Path
) -> None:
    missing = [Utterance(f"u{i}", tmp_path / f"{i}.wav", "a") for i in range(3)]
    with pytest.raises(TrainingError, match="none of the 3 training utterances can be used"):
        prepare_train(missing, LETTERS, tiny, features, threads=1)
    with pytest.raises(TrainingError, match="none of the 96 training utterances can be used"):
        prepare_train(train_set, Alphabet("xyz"), tiny, features, threads=1)
    assert not prepare_dev(missing, LETTERS, tiny, features, threads=1).examples


def test_only_the_copies_drawn_are_computed(
    train_set: list[Utterance], tiny: TrainingConfig, tmp_path: Path, watcher: Watcher
) -> None:
    copies = tuple(Copy(speed=1 + i / 50) for i in range(1, 6))
    config = dataclasses.replace(
        tiny, augment=AugmentConfig(copies), schedule=dataclasses.replace(tiny.schedule, epochs=2)
    )
    cache = FeatureCache(config.features, 5.0, watcher, tmp_path)
    data = prepare_train(train_set[:8], LETTERS, config, cache, threads=2)
    assert len(data.copies) == 2
    needed = sum(len({PLAIN, data.copies[0][i], data.copies[1][i]}) for i in range(8))
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == needed
    for epoch in range(2):
        batch = data.batch(np.arange(8), epoch)
        assert sorted(batch.lengths) == sorted(data.lengths(epoch))


def test_a_copy_too_short_for_its_text_gives_way_to_the_plain_one(
    train_set: list[Utterance], tiny: TrainingConfig, features: FeatureCache
) -> None:
    plain = prepare_train(train_set[:1], LETTERS, tiny, features, threads=1).lengths()[0]
    text = "ab" * (-(-int(plain) // tiny.network.stack) // 2)
    config = dataclasses.replace(tiny, augment=AugmentConfig((SHORT,)))
    full, roomy = utterance_of(train_set[0], "full", text), utterance_of(train_set[1], "roomy", "ab")
    data = prepare_train([full, roomy], LETTERS, config, features, threads=1)
    assert set(data.copies) == {(PLAIN, SHORT)}


def test_batches_pair_frames_with_their_labels(
    train_set: list[Utterance], tiny: TrainingConfig, features: FeatureCache
) -> None:
    data = prepare_dev(train_set[:5], LETTERS, tiny, features, threads=1)
    batch = data.batch(np.array([3, 0, 4]))
    by_id = {utterance.id: utterance for utterance in train_set}
    for column, name in enumerate(batch.ids):
        labels = batch.labels[column, : batch.label_lengths[column]]
        assert LETTERS.decode(labels) == by_id[name].text
        frames = features.frames(by_id[name], PLAIN)
        np.testing.assert_array_equal(batch.frames[: batch.lengths[column], column], frames)


def test_varied_batches_are_drawn_by_position(
    train_set: list[Utterance], tiny: TrainingConfig, features: FeatureCache
) -> None:
    data = prepare_dev(train_set[:3], LETTERS, tiny, features, threads=1)
    config = AugmentConfig(noise=0.1, masks=1)

    def frames(seed: int, number: int) -> np.ndarray:
        return data.varied_batch(np.arange(3), config, seed, 0, number).frames

    np.testing.assert_array_equal(frames(1, 5), frames(1, 5))
    assert not np.array_equal(frames(1, 5), frames(1, 6))
    assert not np.array_equal(frames(1, 5), frames(2, 5))


def test_fingerprints_tell_data_apart(train_set: list[Utterance], tiny: TrainingConfig, features: FeatureCache) -> None:
    def fingerprint(utterances: list[Utterance]) -> str:
        return prepare_dev(utterances, LETTERS, tiny, features, threads=1).fingerprint()

    assert fingerprint(train_set[:3]) == fingerprint(train_set[:3])
    assert fingerprint(train_set[:3]) != fingerprint(train_set[:4])
    assert fingerprint(train_set[:1]) != fingerprint([dataclasses.replace(train_set[0], text="a")])


def test_a_reader_is_told_of_a_text_without_an_alphabet(train_set: list[Utterance]) -> None:
    with pytest.raises(UsageError, match="no alphabet"):
        choose_alphabet([dataclasses.replace(train_set[0], text="")], TextConfig())
