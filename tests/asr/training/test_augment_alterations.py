"""Rooms, noise, lines and levels: each does what it is named for, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import welch
from watcher import Watcher

from asr.audio import Audio
from asr.corpora import Utterance
from asr.errors import UsageError
from asr.features import FeatureConfig, extract
from asr.training import alterations
from asr.training.augment import PLAIN, copy_frames
from asr.training.cache import FeatureCache
from asr.training.config import AugmentConfig, Copy, TrainingConfig, load_config
from asr.training.dataset import choose_alphabet, prepare_train

RATE = 16000
FEATURES = FeatureConfig()
RNG = np.random.default_rng
UTTERANCE = Utterance("one", Path("one.wav"), "one", "ann")
ALTERATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "reverb": lambda samples: alterations.reverberate(samples, 0.4, RATE, RNG(0)),
    "stop": lambda samples: alterations.stop_band(samples, 1.0, RATE, RNG(0)),
    "narrow": lambda samples: alterations.narrow(samples, RATE),
    "telephone": lambda samples: alterations.telephone(samples, RATE),
    "loud": lambda samples: alterations.set_level(samples, 20.0),
    "soft": lambda samples: alterations.set_level(samples, -60.0),
    "noise": lambda samples: alterations.add_noise(samples, alterations.white(len(samples), RNG(0)), 10.0),
}


@pytest.fixture
def hiss() -> np.ndarray:
    """Two seconds of white noise."""
    return (0.1 * RNG(0).standard_normal(2 * RATE)).astype(np.float32)


def gain_at(before: np.ndarray, after: np.ndarray, *bands: tuple[float, float]) -> list[float]:
    """dB by which bands (Hz) became louder."""
    frequencies, first = welch(before, RATE, nperseg=1024)
    _, second = welch(after, RATE, nperseg=1024)
    inside = [(frequencies >= low) & (frequencies <= high) for low, high in bands]
    return [float(10 * np.log10(second[band].sum() / first[band].sum())) for band in inside]


@pytest.mark.parametrize("name", ALTERATIONS)
@pytest.mark.parametrize("count", [1, 7, 401, 16000])
def test_as_many_samples_and_silence_stays_silent(name: str, count: int) -> None:
    altered = ALTERATIONS[name](RNG(1).standard_normal(count).astype(np.float32))
    assert (altered.shape, altered.dtype) == ((count,), np.float32)
    assert np.isfinite(altered).all()
    assert not ALTERATIONS[name](np.zeros(count, np.float32)).any()


def test_a_pad_is_drawn_at_both_ends_and_has_the_noise_of_a_room(hiss: np.ndarray) -> None:
    lengths, levels = [], []
    for seed in range(20):
        padded = alterations.pad(hiss, 0.5, RATE, RNG(seed))
        assert padded.dtype == np.float32
        assert len(hiss) <= len(padded) <= len(hiss) + RATE
        start = int(np.argmax(np.correlate(padded, hiss[:4000], "valid")))
        before, behind = padded[:start], padded[start + len(hiss) :]
        np.testing.assert_allclose(padded[start : start + len(hiss)], hiss, atol=0.1)
        lengths += [len(before) / RATE, len(behind) / RATE]
        levels += [20 * np.log10(np.std(quiet) / 0.1) for quiet in (before, behind) if len(quiet) > 800]
    assert np.median(lengths) < 0.25 < max(lengths)
    assert -83 < min(levels) < -60
    assert -40 < max(levels) < -28  # the louder half of noise is 2 dB above all of it
    assert len(alterations.pad(np.zeros(100, np.float32), 0.0, RATE, RNG(0))) == 100


@pytest.mark.parametrize("seconds", [0.2, 0.6])
def test_a_room_falls_by_60_db_in_its_time(seconds: float) -> None:
    click = np.zeros(RATE, np.float32)
    click[0] = 1
    left = np.cumsum(np.square(alterations.reverberate(click, seconds, RATE, RNG(1)), dtype=np.float64)[::-1])[::-1]
    decay = 10 * np.log10(left[[round(0.1 * seconds * RATE), round(0.6 * seconds * RATE)]])
    assert decay[0] - decay[1] == pytest.approx(30, abs=2)  # Schroeder's integral over half the time


def test_a_room_is_as_loud_and_has_more_or_less_walls(hiss: np.ndarray) -> None:
    click = np.zeros(RATE, np.float32)
    click[0] = 1
    responses = [alterations.reverberate(click, 0.3, RATE, RNG(seed)).astype(np.float64) for seed in range(50)]
    direct = [10 * np.log10(response[0] ** 2 / np.sum(response[1:] ** 2)) for response in responses]
    assert -0.1 < min(direct) < 1 < 9 < max(direct) < 10.1
    heard = alterations.reverberate(hiss, 0.5, RATE, RNG(0))
    assert np.mean(heard.astype(np.float64) ** 2) == pytest.approx(np.mean(hiss.astype(np.float64) ** 2), rel=1e-4)


def test_a_stopped_band_is_20_db_softer_and_no_other(hiss: np.ndarray) -> None:
    stopped = alterations.stop_band(hiss, 1.0, RATE, RNG(4))
    low = 2 ** RNG(4).uniform(np.log2(100), np.log2(3000))
    inside, below, above = gain_at(hiss, stopped, (low + 40, 2 * low - 40), (0, low - 40), (2 * low + 40, 8000))
    assert inside == pytest.approx(-20, abs=0.5)
    assert (below, above) == (pytest.approx(0, abs=0.1), pytest.approx(0, abs=0.1))


def test_bands(hiss: np.ndarray) -> None:
    kept, gone = gain_at(hiss, alterations.narrow(hiss, RATE), (50, 3600), (4200, 8000))
    assert (kept, gone < -60) == (pytest.approx(0, abs=0.1), True)
    low, kept, edge, gone = gain_at(
        hiss, alterations.telephone(hiss, RATE), (20, 100), (600, 2900), (3700, 4000), (4200, 8000)
    )
    assert kept == pytest.approx(0, abs=0.3)
    assert low < -14
    assert edge < -20
    assert gone < -60


def test_a_telephone_rounds_to_255_steps_that_are_finer_near_0() -> None:
    values = np.linspace(-1, 1, 100_001)
    rounded = alterations._rounded(values)
    assert len(np.unique(rounded)) == 255
    np.testing.assert_array_equal(alterations._rounded(rounded), rounded)
    np.testing.assert_array_equal(rounded, -rounded[::-1])
    assert np.abs(rounded - values).max() < 0.025
    soft = np.abs(values) < 0.01
    assert np.abs(rounded - values)[soft].max() < 0.0004


def test_levels() -> None:
    samples = np.sin(np.arange(RATE) / 10).astype(np.float32)
    loud = alterations.set_level(0.01 * samples, 6.0)
    assert np.mean(np.abs(loud) == 1) == pytest.approx(2 / 3, abs=0.01)  # of a sine above half its height
    assert len(np.unique(alterations.set_level(samples, -66.0))) == 2 * 16 + 1
    assert np.abs(alterations.set_level(samples, -6.0)).max() == pytest.approx(0.501, abs=0.001)


def test_a_level_in_between_is_not_heard_in_features() -> None:
    samples = np.sin(np.arange(RATE) / 20) * np.hanning(RATE) + 0.01 * RNG(0).standard_normal(RATE)
    sound = Audio(samples.astype(np.float32), RATE)
    plain, distance = extract(sound, FEATURES), {}
    for level in (-10.0, -66.0, 12.0):
        frames = copy_frames(sound, UTTERANCE, Copy(level=level), FEATURES, 0.0)
        distance[level] = float(np.sqrt(np.mean((frames - plain) ** 2)))
    assert distance[-10.0] < 0.02
    assert min(distance[-66.0], distance[12.0]) > 0.2


def test_babble_is_every_voice_as_loud() -> None:
    tones = [a * np.sin(2 * np.pi * f * np.arange(n) / RATE) for a, f, n in [(1, 500, 4000), (0.01, 2000, 32000)]]
    heard = alterations.babble(RATE, [*(tone.astype(np.float32) for tone in tones), np.zeros(9, np.float32)], RNG(0))
    frequencies, power = welch(heard, RATE, nperseg=1600)
    peaks = frequencies[np.argsort(power)[-2:]]
    assert sorted(peaks) == [500, 2000]
    assert power[frequencies == 500] == pytest.approx(power[frequencies == 2000], rel=0.1)


@pytest.mark.parametrize("noise", ["white", "coloured", "speech"])
def test_noise_of_each_kind_is_as_loud_as_asked(noise: str, hiss: np.ndarray) -> None:
    from asr.training.augment import alter

    voices = [RNG(seed).standard_normal(9000).astype(np.float32) for seed in (1, 2)]
    copy = load_config("tiny", {"augment.copies": [{"snr": 12.0, "noise": noise}]}).augment.copies[0]
    noisy = alter(Audio(hiss, RATE), UTTERANCE, copy, 0.0, voices).samples.astype(np.float64)
    power = np.sort(hiss.astype(np.float64) ** 2)[RATE:].mean()
    assert 10 * np.log10(power / np.mean((noisy - hiss) ** 2)) == pytest.approx(12, abs=0.01)


def test_spread_is_drawn_for_each_utterance(hiss: np.ndarray) -> None:
    copy = Copy(speed=1.1, hop=0.9, spread=0.1)
    names = [dataclasses.replace(UTTERANCE, id=str(number)) for number in range(40)]
    lengths = [len(copy_frames(Audio(hiss, RATE), name, copy, FEATURES, 0.0)) for name in names]
    middle = 200 / (1.1 * 0.9)
    assert middle / 1.21 - 2 < min(lengths) < middle * 0.95 < middle * 1.05 < max(lengths) < middle / 0.81 + 2


def test_copies_that_differ_draw_apart_but_old_ones_as_ever(hiss: np.ndarray) -> None:
    assert Copy(speed=1.1, hop=0.9, snr=20.0, weight=3.0).variant() == [1.1, 0.9, 20.0]
    sound = Audio(hiss, RATE)

    def noise(copy: Copy) -> np.ndarray:
        from asr.training.augment import alter

        return alter(sound, UTTERANCE, copy, 0.0).samples - hiss

    white = Copy(snr=10.0, noise="white")
    np.testing.assert_array_equal(noise(white), noise(dataclasses.replace(white, weight=2.0)))
    other = noise(dataclasses.replace(white, spread=1e-9))
    assert abs(np.corrcoef(noise(white), other)[0, 1]) < 0.05


EVERYTHING = (
    Copy(speed=0.9, spread=0.05),
    Copy(reverb=0.3, snr=20.0, spread=0.1),
    Copy(snr=10.0, noise="speech"),
    Copy(band="telephone", stop=0.5, level=12.0),
)


def test_threads_and_order_change_nothing(train_set: list[Utterance], tmp_path: Path) -> None:
    def frames(threads: int, utterances: list[Utterance]) -> dict[tuple[str, Copy], bytes]:
        cache = FeatureCache(FEATURES, 5.0, Watcher(), tmp_path / str(threads))
        cache.voices = train_set
        cache.fill([(utterance, EVERYTHING) for utterance in utterances], threads)
        return {(u.id, copy): cache.frames(u, copy).tobytes() for u in utterances for copy in EVERYTHING}

    assert frames(1, train_set[:6]) == frames(4, train_set[5::-1])


def test_voices_are_others_and_part_of_an_entrys_name(train_set: list[Utterance], tmp_path: Path) -> None:
    copy = EVERYTHING[2]
    speakers = [dataclasses.replace(u, speaker="ab"[i % 2]) for i, u in enumerate(train_set[:8])]
    cache = FeatureCache(FEATURES, 5.0, Watcher(), tmp_path)
    cache.voices = speakers
    assert {voice.speaker for voice in cache._voices(speakers[0], copy)} == {"b"}
    assert cache._voices(speakers[0], PLAIN) == []
    before = cache._path(speakers[0], copy), cache._path(speakers[0], PLAIN)
    cache.voices = speakers[:2]
    assert cache._path(speakers[0], copy) != before[0]
    assert cache._path(speakers[0], PLAIN) == before[1]
    cache.voices = [dataclasses.replace(voice, speaker="a") for voice in speakers]
    assert speakers[0].id not in {voice.id for voice in cache._voices(cache.voices[0], copy)}


def test_speech_as_noise_needs_others(train_set: list[Utterance], tiny: TrainingConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny, augment=AugmentConfig(EVERYTHING))
    alphabet = choose_alphabet(train_set, config.text)
    cache = FeatureCache(config.features, 5.0, Watcher(), tmp_path)
    with pytest.raises(UsageError, match="noise = 'speech' is that of other training utterances; there are none"):
        prepare_train(train_set[:1], alphabet, config, cache, threads=1)
    data = prepare_train(train_set[:3], alphabet, config, cache, threads=1)
    assert len(data.examples) == 3


def test_a_voice_that_cannot_be_read_takes_nobody_along(
    train_set: list[Utterance], tiny: TrainingConfig, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    utterances = [dataclasses.replace(u, audio=broken) if i < 2 else u for i, u in enumerate(train_set[:8])]
    config = dataclasses.replace(tiny, augment=AugmentConfig((Copy(snr=16, noise="speech"),)))
    cache = FeatureCache(config.features, 5.0, Watcher(), tmp_path / "cache")
    data = prepare_train(utterances, choose_alphabet(train_set, config.text), config, cache, threads=1)
    assert [example.utterance for example in data.examples] == utterances[2:]
    assert {copy.noise for row in data.copies for copy in row} == {"speech"}


def test_en_builds_on_an4_and_uses_every_alteration() -> None:
    config, an4 = load_config("en"), load_config("an4")
    optimizer = dataclasses.replace(config.optimizer, rate=an4.optimizer.rate)
    features = dataclasses.replace(config.features, normalise=an4.features.normalise)
    assert (features, optimizer, config.text) == (an4.features, an4.optimizer, an4.text)
    used = {name for copy in config.augment.copies for name, _ in copy.variant()[3:]}
    assert used == {"noise", "reverb", "stop", "band", "level", "spread", "pad"}
    people = ["an4", "kaldi", "kathleen", "fsdd"]
    assert [corpus.match for corpus in config.corpora] == [*people, "synthetic-digits", "synthetic"]
    before = []
    while config.before is not None:
        config = config.before
        before.append(config)
    names = ("en-sixth", "en-fifth", "en-fourth", "en-third", "en-second", "en-first")
    assert before == [load_config(name) for name in names]
