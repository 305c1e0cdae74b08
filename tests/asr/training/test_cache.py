"""The feature cache: computed once, never stale, mended when damaged, and no need for a disk."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from watcher import Watcher

from asr.corpora import Utterance
from asr.errors import AsrError, AudioError
from asr.features import FeatureConfig, extract
from asr.training.augment import PLAIN
from asr.training.cache import FeatureCache
from asr.training.config import Copy

CONFIG = FeatureConfig()
FAST = Copy(speed=1.1)


@pytest.fixture
def utterance(tmp_path: Path, train_set: list[Utterance]) -> Utterance:
    """One with a sound file of its own."""
    path = tmp_path / "sounds" / "x.wav"
    path.parent.mkdir()
    shutil.copy(train_set[0].audio, path)
    return Utterance("x", path, train_set[0].text)


def make(folder: Path, config: FeatureConfig = CONFIG, watcher: Watcher | None = None) -> FeatureCache:
    return FeatureCache(config, 5.0, watcher or Watcher(), folder)


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_lengths_and_frames(utterance: Utterance, tmp_path: Path) -> None:
    cache = make(tmp_path / "cache")
    (lengths,) = cache.fill([(utterance, [PLAIN, FAST])], threads=2)
    frames = cache.frames(utterance, PLAIN)
    np.testing.assert_array_equal(frames, extract(utterance.read(16000), CONFIG))
    assert lengths == {PLAIN: len(frames), FAST: len(cache.frames(utterance, FAST))}
    assert len(entries(tmp_path / "cache")) == 2


def test_a_second_run_reads_what_the_first_wrote(utterance: Utterance, tmp_path: Path) -> None:
    cache = make(tmp_path / "cache")
    first = cache.fill([(utterance, [PLAIN, FAST])], threads=1)
    stamps = [path.stat().st_mtime_ns for path in entries(tmp_path / "cache")]
    frames = cache.frames(utterance, FAST)
    again = make(tmp_path / "cache")
    assert again.fill([(utterance, [PLAIN, FAST])], threads=1) == first
    np.testing.assert_array_equal(again.frames(utterance, FAST), frames)
    assert [path.stat().st_mtime_ns for path in entries(tmp_path / "cache")] == stamps


def test_another_sound_or_other_settings_are_other_entries(utterance: Utterance, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    make(folder).fill([(utterance, [PLAIN])], threads=1)
    make(folder, FeatureConfig(coefficients=20)).fill([(utterance, [PLAIN])], threads=1)
    assert len(entries(folder)) == 2
    samples, rate = soundfile.read(utterance.audio)
    soundfile.write(utterance.audio, samples[::-1], rate)
    os.utime(utterance.audio, ns=(1, 1))  # same size and path: the time tells
    frames = make(folder).frames(utterance, PLAIN)
    np.testing.assert_array_equal(frames, extract(utterance.read(16000), CONFIG))
    assert len(entries(folder)) == 3


def test_a_segment_is_an_entry_of_its_own(utterance: Utterance, tmp_path: Path) -> None:
    part = Utterance("x", utterance.audio, "", start=0.1, end=0.4)
    (lengths,) = make(tmp_path / "cache").fill([(part, [PLAIN])], threads=1)
    assert lengths == {PLAIN: 31}


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "foreign"])
def test_damaged_entries_are_computed_again(damage: str, utterance: Utterance, tmp_path: Path) -> None:
    cache = make(tmp_path / "cache")
    (lengths,) = cache.fill([(utterance, [PLAIN])], threads=1)
    frames = cache.frames(utterance, PLAIN)
    (entry,) = entries(tmp_path / "cache")
    whole = entry.read_bytes()
    flipped = whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]
    entry.write_bytes({"flip": flipped, "cut": whole[:-4], "empty": b"", "foreign": b"RIFF" + whole[4:]}[damage])
    mended = make(tmp_path / "cache")
    assert mended.fill([(utterance, [PLAIN])], threads=1) == [lengths]
    np.testing.assert_array_equal(mended.frames(utterance, PLAIN), frames)
    assert entry.read_bytes() == whole


def test_an_entry_that_goes_missing_is_computed_again(utterance: Utterance, tmp_path: Path) -> None:
    cache = make(tmp_path / "cache")
    cache.fill([(utterance, [PLAIN])], threads=1)
    frames = cache.frames(utterance, PLAIN)
    shutil.rmtree(tmp_path / "cache")
    np.testing.assert_array_equal(cache.frames(utterance, PLAIN), frames)


def test_where_nothing_can_be_written_frames_stay_in_memory(
    utterance: Utterance, train_set: list[Utterance], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    watcher = Watcher()
    cache = make(tmp_path / "file" / "cache", watcher=watcher)
    (lengths, _) = cache.fill([(utterance, [PLAIN]), (train_set[1], [PLAIN])], threads=2)
    assert lengths == {PLAIN: len(cache.frames(utterance, PLAIN))}
    assert len(watcher.messages) == 1
    assert "features stay in memory" in watcher.messages[0]
    utterance.audio.unlink()
    assert cache.frames(train_set[1], PLAIN) is cache.frames(train_set[1], PLAIN)


def test_a_bad_sound_does_not_stop_the_others(utterance: Utterance, train_set: list[Utterance], tmp_path: Path) -> None:
    missing = Utterance("gone", tmp_path / "gone.wav", "a")
    bad, good = make(tmp_path / "cache").fill([(missing, [PLAIN]), (utterance, [PLAIN])], threads=2)
    assert isinstance(bad, AudioError)
    assert not isinstance(good, AsrError)


@pytest.mark.parametrize("copy", [PLAIN, Copy(speed=1.1), Copy(snr=20.0)])
def test_an_error_names_the_file(copy: Copy, utterance: Utterance, tmp_path: Path) -> None:
    short = dataclasses.replace(utterance, end=0.01)
    (error,) = make(tmp_path / "cache").fill([(short, [copy])], threads=1)
    assert isinstance(error, AudioError)
    assert str(error).startswith(f"{short.audio}: ")


def test_a_name_may_hold_bytes_that_are_no_text(utterance: Utterance, tmp_path: Path) -> None:
    odd = dataclasses.replace(utterance, id=os.fsdecode(b"caf\xe9"))
    (lengths,) = make(tmp_path / "cache").fill([(odd, [Copy(snr=20.0)])], threads=1)
    assert not isinstance(lengths, AsrError)
