"""The recogniser on sounds made here, with a small network of random weights: what it says does not matter, but it
must say the same however recordings are batched, and go on where one of them is damaged."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from babble import ALPHABET, RATE, make_model, sound, write

from asr import recognizer as module
from asr.audio import Audio
from asr.decoding import greedy
from asr.decoding.windows import Windowing
from asr.errors import AsrError, AudioError, UsageError
from asr.recognizer import Recognizer, load
from asr.transcript import Transcript
from kernels import open_backend


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(make_model(), open_backend("cpu", threads=1))


@pytest.fixture
def folder(tmp_path: Path) -> list[Path]:
    """Recordings of different lengths; the third is no sound, the fifth missing, the sixth silent."""
    paths = [write(tmp_path / f"{index}.wav", sound(0.5 + index % 4, index)) for index in range(8)]
    paths[2].write_bytes(b"RIFF, but not really")
    paths[4].unlink()
    write(paths[5], np.zeros(RATE, np.float32))
    return paths


def test_a_path_samples_and_audio_are_heard_alike(recognizer: Recognizer, tmp_path: Path) -> None:
    path = write(tmp_path / "x.wav", sound(2.0))
    samples = module.sound.read(path, RATE).samples
    expected = recognizer.transcribe(path)
    assert expected.words
    assert expected.duration == 2.0
    assert recognizer.transcribe(str(path)) == expected
    assert recognizer.transcribe(Audio(samples, RATE)) == expected
    assert recognizer.transcribe(samples.astype(np.float64)) == expected


def test_words_lie_within_the_recording_in_order(recognizer: Recognizer) -> None:
    for seconds in (0.04, 0.31, 1.0, 2.345):
        transcript = recognizer.transcribe(sound(seconds))
        times = [time for word in transcript.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert all(0.0 <= time <= transcript.duration for time in times)
        assert transcript.text == " ".join(word.text for word in transcript.words)
        assert 0.0 <= transcript.confidence <= 1.0


def test_the_transcript_is_the_best_path_of_the_log_probabilities(recognizer: Recognizer) -> None:
    audio = Audio(sound(1.5), RATE)
    log_probs = recognizer.log_probs(audio)
    assert log_probs.shape == (51, ALPHABET.size)  # 151 frames, three a step
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1.0, rtol=1e-5)
    assert recognizer.transcribe(audio).text == greedy.decode(log_probs, ALPHABET, recognizer.model.step_seconds).text


@pytest.mark.parametrize("level", [0.0, 0.25])
def test_digital_silence_gives_an_empty_transcript(recognizer: Recognizer, level: float) -> None:
    dither = np.random.default_rng(0).integers(-1, 2, RATE) / 32768
    assert recognizer.transcribe(level + dither) == Transcript("", (), 1.0, 0.0)


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        (np.zeros(0, np.float32), AudioError, "the recording: "),
        (sound(0.01), AudioError, "the recording: 10.0 ms"),
        (np.full(RATE, np.nan, np.float32), AudioError, "the recording: .*not finite"),
        (np.zeros(RATE, np.int16), UsageError, "must be floats .* at 8000 Hz, not int16"),
        (np.zeros((RATE, 2), np.float32), UsageError, r"not float32 \[8000, 2\]"),
        (Audio(sound(1.0), 16000), UsageError, "8000 Hz, not 16000 Hz"),
        (Path("nowhere.wav"), AudioError, "nowhere.wav"),
    ],
)
def test_what_cannot_be_heard(
    recognizer: Recognizer, source: Path | Audio | np.ndarray, error: type[AsrError], says: str
) -> None:
    with pytest.raises(error, match=says):
        recognizer.transcribe(source)


def test_damaged_files_do_not_stop_the_others(recognizer: Recognizer, folder: list[Path]) -> None:
    results = list(recognizer.transcribe_many(folder))
    assert [path for path, _ in results] == folder
    for index, (path, result) in enumerate(results):
        if index in (2, 4):
            assert isinstance(result, AudioError)
            assert str(path) in str(result)
        else:
            alone = recognizer.transcribe(path)
            assert isinstance(result, Transcript)
            assert (result.text, result.duration) == (alone.text, alone.duration)
            assert result.confidence == pytest.approx(alone.confidence, rel=1e-4)


@pytest.mark.parametrize(("files", "rows", "seconds"), [(1, 64, 300.0), (3, 2, 300.0), (64, 64, 2.0), (64, 64, 0.1)])
def test_batching_changes_nothing(
    recognizer: Recognizer,
    folder: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    files: int,
    rows: int,
    seconds: float,
) -> None:
    texts = [getattr(result, "text", "") for _, result in recognizer.transcribe_many(folder)]
    monkeypatch.setattr(module, "GROUP_FILES", files)
    monkeypatch.setattr(module, "BATCH_ROWS", rows)
    monkeypatch.setattr(recognizer, "batch_seconds", seconds)
    assert [getattr(result, "text", "") for _, result in recognizer.transcribe_many(folder, jobs=1)] == texts


def test_an_error_names_a_file_that_is_too_short(recognizer: Recognizer, tmp_path: Path) -> None:
    path = write(tmp_path / "short.wav", sound(0.01))
    ((_, result),) = recognizer.transcribe_many([path])
    assert isinstance(result, AudioError)
    assert str(result).startswith(f"{path}: ")


@pytest.mark.parametrize("fault", [MemoryError, ZeroDivisionError])
def test_faults_that_are_not_the_files_are_raised(recognizer: Recognizer, fault: type[Exception]) -> None:
    def read(source: int) -> Audio:
        if source == 2:
            raise fault
        return Audio(sound(0.5, source), RATE)

    with pytest.raises(fault):
        list(recognizer.transcribe_each(range(4), read))


def test_sources_are_taken_as_they_are_needed(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless list of recordings can be transcribed, a few being read ahead, and left at any time."""
    monkeypatch.setattr(module, "GROUP_FILES", 2)
    read: list[int] = []

    def sources() -> Iterator[int]:
        for source in itertools.count():
            read.append(source)
            yield source

    results = recognizer.transcribe_each(sources(), lambda seed: Audio(sound(0.5, seed), RATE), jobs=2)
    assert [source for source, _ in itertools.islice(results, 5)] == [0, 1, 2, 3, 4]
    assert len(read) <= 5 + 2 + 2 * 2 + 1
    results.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_windows_of_a_long_recording_give_what_the_whole_gives() -> None:
    recognizer = Recognizer(make_model(), open_backend("cpu", threads=1))
    audio = Audio(sound(40.0), RATE)
    whole = recognizer.log_probs(audio)
    recognizer._windowing = Windowing(whole=400, length=300, overlap=150)
    joined = recognizer.log_probs(audio)
    assert joined.shape == whole.shape
    np.testing.assert_allclose(joined, whole, atol=2e-3)
    assert recognizer.transcribe(audio).words


def test_a_long_recording_keeps_the_network_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight minutes go through the network in batches of at most one minute, padding included."""
    recognizer = Recognizer(make_model(), open_backend("cpu", threads=1), batch_seconds=60.0)
    seen: list[tuple[int, int]] = []
    run = recognizer._network.log_probs

    def watched(frames: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        seen.append(frames.shape[:2])
        return run(frames, lengths)

    monkeypatch.setattr(recognizer._network, "log_probs", watched)
    transcript = recognizer.transcribe(Audio(np.tile(sound(60.0), 8), RATE))
    assert transcript.duration == 480.0
    assert max(word.end for word in transcript.words) > 470.0
    assert all(frames * rows <= 6000 for frames, rows in seen)
    assert sum(frames * rows for frames, rows in seen) < 1.35 * 48000  # overlaps and padding


def test_load_takes_a_model_file(tmp_path: Path) -> None:
    model = make_model()
    model.save(tmp_path / "m.safetensors")
    samples = sound(1.0)
    loaded = load(tmp_path / "m.safetensors", device="cpu", threads=1)
    assert loaded.transcribe(samples) == Recognizer(model, loaded.backend).transcribe(samples)


def test_load_refuses_a_device_that_is_not_there(tmp_path: Path) -> None:
    make_model().save(tmp_path / "m.safetensors")
    with pytest.raises(UsageError, match="abacus"):
        load(tmp_path / "m.safetensors", device="abacus")


def test_two_models_side_by_side(recognizer: Recognizer) -> None:
    other = Recognizer(replace(make_model("none"), provenance={"n": 2}), recognizer.backend)
    samples = sound(1.0)
    first = recognizer.transcribe(samples)
    other.transcribe(samples)
    assert recognizer.transcribe(samples) == first
