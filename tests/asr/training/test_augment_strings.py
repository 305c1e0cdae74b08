"""Strings of words, and how much of each corpus an epoch has."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from watcher import Watcher

from asr.audio import Audio
from asr.corpora import Utterance
from asr.errors import AudioError
from asr.features import FeatureConfig
from asr.training import trainer
from asr.training.augment import PLAIN, draw_present
from asr.training.cache import FeatureCache
from asr.training.config import CorpusConfig, TrainingConfig, load_config
from asr.training.dataset import choose_alphabet, prepare_train
from asr.training.folder import CONFIG
from asr.training.strings import Joined, settings_of, with_strings
from kernels.interface import Backend

DIGITS = CorpusConfig("digits", strings=0.5, longest=5, pause=0.4)


@pytest.fixture
def words(train_set: list[Utterance]) -> list[Utterance]:
    """Utterances of three speakers of one corpus, and of one of another."""
    digits = [dataclasses.replace(u, speaker="abc"[i % 3], corpus="pairs:Digits") for i, u in enumerate(train_set[:30])]
    return [*digits, *(dataclasses.replace(u, speaker="a", corpus="pairs:more") for u in train_set[30:36])]


def with_corpora(config: TrainingConfig, *corpora: CorpusConfig, **settings: object) -> TrainingConfig:
    return dataclasses.replace(config, corpora=corpora, **settings)  # type: ignore[arg-type]


def strings_of(words: list[Utterance], config: TrainingConfig) -> list[Joined]:
    made = with_strings(words, config, Watcher())
    assert made[: len(words)] == words  # each word stays alone as well
    return [string for string in made[len(words) :] if isinstance(string, Joined)]


def test_strings_are_of_one_speaker_and_read_so(words: list[Utterance], tiny: TrainingConfig) -> None:
    strings = strings_of(words, with_corpora(tiny, DIGITS))
    assert len(strings) == 15
    assert len({string.id for string in strings}) == 15
    for string in strings:
        assert {(part.speaker, part.corpus) for part in string.parts} == {(string.speaker, "pairs:Digits")}
        assert string.text == " ".join(part.text for part in string.parts)
        assert len(string.pauses) == len(string.parts) + 1
        assert 0 <= min(string.pauses) <= max(string.pauses) <= 0.4
    assert {
        len(string.parts) for string in strings_of(words, with_corpora(tiny, dataclasses.replace(DIGITS, strings=9)))
    } == {
        1,
        2,
        3,
        4,
        5,
    }


def test_every_word_is_used_before_one_comes_again(words: list[Utterance], tiny: TrainingConfig) -> None:
    strings = strings_of(words, with_corpora(tiny, dataclasses.replace(DIGITS, strings=4.0)))
    uses = Counter(part.id for string in strings for part in string.parts if string.speaker == "a")
    assert len(uses) == 10
    assert max(uses.values()) - min(uses.values()) <= 1


def test_strings_follow_from_the_seed(words: list[Utterance], tiny: TrainingConfig) -> None:
    config = with_corpora(tiny, DIGITS)
    assert strings_of(words, config) == strings_of(words, config)
    assert strings_of(words, config) != strings_of(words, dataclasses.replace(config, seed=9))


def test_a_corpus_that_is_not_there_is_told(words: list[Utterance], tiny: TrainingConfig) -> None:
    watcher = Watcher()
    config = with_corpora(tiny, CorpusConfig("speechocean", strings=1.0), CorpusConfig("MORE"))
    assert with_strings(words, config, watcher) == words
    assert watcher.messages == ["corpora: no utterance is of a corpus that has 'speechocean' in its name"]
    assert [settings_of(word, config) for word in words] == [None] * 30 + [config.corpora[1]] * 6


def test_a_string_sounds_as_its_words_with_the_room_between(train_set: list[Utterance], tmp_path: Path) -> None:
    first, second = train_set[:2]
    joined = Joined("x", first.audio, "", parts=(first, second), pauses=(0.1, 0.25, 0.05))
    sound, one, two = joined.read(16000), first.read(16000).samples, second.read(16000).samples
    assert len(sound.samples) == len(one) + len(two) + 6400
    np.testing.assert_array_equal(sound.samples[1600 + 80 : 1600 + len(one) - 80], one[80:-80])
    np.testing.assert_array_equal(sound.samples, joined.read(16000).samples)

    def loudness(samples: np.ndarray) -> float:
        return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))

    room, softest = (
        sound.samples[1600 + len(one) :][:4000],
        min(
            loudness(block)
            for samples in (one, two)
            for block in np.split(samples[: len(samples) // 320 * 320], len(samples) // 320)
        ),
    )
    assert loudness(room) == pytest.approx(softest, rel=0.1, abs=1e-6)
    cache = FeatureCache(FeatureConfig(), 5.0, Watcher(), tmp_path)
    other = dataclasses.replace(joined, pauses=(0.1, 0.2, 0.05))
    assert len({cache._path(one, PLAIN) for one in (joined, other, first)}) == 3


def test_a_short_word_can_be_joined(tmp_path: Path) -> None:
    class Brief(Utterance):
        def read(self, rate: int = 16000) -> Audio:
            return Audio(np.ones(3, np.float32), rate)

    part = Brief("brief", tmp_path / "x.wav", "a")
    joined = Joined("x", part.audio, "a", parts=(part,), pauses=(0.0, 0.0))
    assert len(joined.read(16000).samples) == 3


def test_a_word_that_cannot_be_read_takes_its_strings_along(
    words: list[Utterance], tiny: TrainingConfig, tmp_path: Path
) -> None:
    missing = dataclasses.replace(words[0], id="gone", audio=tmp_path / "gone.wav")
    with pytest.raises(AudioError, match=r"gone\.wav"):
        Joined("x", missing.audio, "", parts=(words[1], missing), pauses=(0.0, 0.0, 0.0)).read(16000)


def test_shares_go_round() -> None:
    half, double = CorpusConfig("a", weight=0.4), CorpusConfig("b", weight=2.5)
    config = load_config("tiny", {"schedule.epochs": 10})
    config = with_corpora(config, half, double)
    settings = [half] * 10 + [None] * 5 + [double] * 4
    present = draw_present(settings, config)
    assert present.shape == (10, 4 + 5 + 10)
    for row in present:
        counts = np.bincount(row, minlength=19)
        assert counts[:10].sum() == 4
        assert (counts[10:15] == 1).all()
        assert set(counts[15:]) <= {2, 3}
    for deck in (present[:5], present[5:]):  # 5 epochs of 4 are two decks of 10
        assert list(np.bincount(deck.ravel(), minlength=19)[:10]) == [2] * 10
    totals = np.bincount(present.ravel(), minlength=19)
    assert list(totals) == [4] * 10 + [10] * 5 + [25] * 4
    assert len({tuple(row) for row in present}) == 10


def test_without_weights_an_epoch_is_all_in_order(tiny: TrainingConfig) -> None:
    present = draw_present([None] * 7, tiny)
    np.testing.assert_array_equal(present, np.tile(np.arange(7), (tiny.schedule.epochs, 1)))
    one = CorpusConfig("a", strings=1.0)
    np.testing.assert_array_equal(draw_present([one, None, one], with_corpora(tiny, one))[0], [0, 1, 2])


def test_an_epoch_is_drawn_from_what_can_be_used(words: list[Utterance], tiny: TrainingConfig, cache: Path) -> None:
    crowded = [dataclasses.replace(word, text="a" * 200) if i % 7 == 0 else word for i, word in enumerate(words)]
    config = with_corpora(tiny, CorpusConfig("digits", weight=0.5))
    watcher = Watcher()
    features = FeatureCache(config.features, 5.0, watcher, cache)
    data = prepare_train(crowded, choose_alphabet(words, config.text), config, features, threads=1)
    assert any("too short for their text" in message for message in watcher.messages)
    corpora = [example.utterance.corpus for example in data.examples]
    assert Counter(corpora) == {"pairs:Digits": 25, "pairs:more": 5}
    assert data.present.shape == (12, round(0.5 * 25) + 5)
    others = [i for i, corpus in enumerate(corpora) if corpus == "pairs:more"]
    assert all(set(others) <= set(row) for row in data.present.tolist())
    assert all(len(row) == data.size for row in data.copies)
    for epoch in (0, 11):
        batch = data.batch(np.arange(data.size), epoch)
        np.testing.assert_array_equal(np.sort(batch.lengths), np.sort(data.lengths(epoch)))
        assert sorted(batch.ids) == sorted(data.examples[i].utterance.id for i in data.present[epoch])


def test_a_training_run_with_strings_and_shares(
    words: list[Utterance], restless: TrainingConfig, backend: Backend, tmp_path: Path
) -> None:
    corpora = (dataclasses.replace(DIGITS, weight=0.5), CorpusConfig("more", weight=2.0))
    config = with_corpora(restless, *corpora)
    watcher = Watcher()
    model = trainer.train(config, words, [], tmp_path / "run", backend, progress=watcher, cache=tmp_path / "cache")
    assert " " in model.alphabet.characters
    per_epoch = -(-(round(0.5 * 45) + 12) // config.batches.size)
    assert [record["updates"] for record in watcher.records] == [per_epoch, 2 * per_epoch, 3 * per_epoch]
    assert load_config(tmp_path / "run" / CONFIG) == config
