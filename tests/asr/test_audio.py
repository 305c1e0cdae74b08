"""Sound files: every format, every way in which a file can be spoilt."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from asr import audio
from asr.errors import AudioError, UsageError

SECONDS = 1.5


def tone(rate: int, seconds: float = SECONDS, pitch: float = 440.0) -> np.ndarray:
    """Float32 [N], a tone at half of full scale."""
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = 16000, **options: str) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


FORMATS = [
    ("a.wav", 16000, {"subtype": "PCM_16"}, 1e-4),
    ("a.wav", 8000, {"subtype": "PCM_U8"}, 0.02),
    ("a.wav", 44100, {"subtype": "PCM_24"}, 1e-3),
    ("a.wav", 48000, {"subtype": "PCM_32"}, 1e-3),
    ("a.wav", 16000, {"subtype": "FLOAT"}, 1e-6),
    ("a.wav", 22050, {"subtype": "DOUBLE"}, 1e-3),
    ("a.wav", 8000, {"subtype": "ULAW"}, 0.02),
    ("a.wav", 16000, {"subtype": "MS_ADPCM"}, 0.05),
    ("a.rf64", 16000, {"subtype": "PCM_16"}, 1e-4),
    ("a.w64", 16000, {"subtype": "PCM_16"}, 1e-4),
    ("a.flac", 44100, {"subtype": "PCM_16"}, 1e-3),
    ("a.ogg", 44100, {"subtype": "VORBIS"}, 0.05),
    ("a.opus", 48000, {"subtype": "OPUS", "format": "OGG"}, 0.05),
    ("a.opus", 16000, {"subtype": "OPUS", "format": "OGG"}, 0.05),
    ("a.mp3", 44100, {}, 0.05),
    ("a.mp3", 16000, {}, 0.05),
    ("a.aiff", 44100, {"subtype": "PCM_16"}, 1e-3),
    ("a.au", 16000, {"subtype": "PCM_16"}, 1e-4),
    ("a.caf", 16000, {"subtype": "PCM_16"}, 1e-4),
    ("a.sph", 16000, {"subtype": "PCM_16", "format": "NIST"}, 1e-4),
]


@pytest.mark.parametrize(("name", "rate", "options", "tolerance"), FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_becomes_the_tone_at_the_rate(
    tmp_path: Path, name: str, rate: int, options: dict[str, str], tolerance: float, channels: int
) -> None:
    path = write(tmp_path / name, np.stack([tone(rate)] * channels, axis=1), rate, **options)
    sound = audio.read(path, 16000)
    assert sound.rate == 16000
    assert sound.samples.dtype == np.float32
    assert sound.samples.flags.c_contiguous
    assert sound.duration == pytest.approx(SECONDS, abs=0.05)
    middle = slice(4000, 20000)  # codecs and resamplers ring at the ends
    assert np.abs(sound.samples[middle] - tone(16000)[middle]).max() < tolerance


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_the_suffix_does_not_matter(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, tone(16000))
    assert audio.read(path.rename(tmp_path / "sound.xyz")).duration == SECONDS


def test_a_path_of_any_characters(tmp_path: Path) -> None:
    name = os.fsdecode("Stra\udcdfe ünïcode 'quoted' 音.wav".encode("utf-8", "surrogateescape"))
    path = write(tmp_path / "a.wav", tone(16000)).rename(tmp_path / name)
    assert audio.read(path).duration == SECONDS


def test_channels_are_averaged(tmp_path: Path) -> None:
    channels = np.stack([tone(16000), np.zeros(24000, np.float32), -tone(16000)], axis=1)
    sound = audio.read(write(tmp_path / "a.wav", channels, subtype="FLOAT"))
    np.testing.assert_array_equal(sound.samples, channels.mean(axis=1))


def test_reading_in_blocks_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, (30011, 2)).astype(np.float32)
    path = write(tmp_path / "a.wav", samples, 44100, subtype="FLOAT")
    monkeypatch.setattr(audio, "BLOCK", 1000)
    in_one_piece = soxr.resample(samples.mean(axis=1), 44100, 16000)
    np.testing.assert_array_equal(audio.read(path).samples, in_one_piece)
    np.testing.assert_array_equal(audio.read(path, 44100).samples, samples.mean(axis=1))


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.opus"])
def test_no_block_of_a_compressed_file_is_damaged(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    container = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    path = write(tmp_path / name, tone(16000, 4), **container)
    monkeypatch.setattr(audio, "BLOCK", 4000)
    np.testing.assert_allclose(audio.read(path).samples[2000:62000], tone(16000, 4)[2000:62000], atol=0.05)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.opus"])
def test_a_stretch_is_that_part_of_the_whole(tmp_path: Path, name: str) -> None:
    container = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    path = write(tmp_path / name, tone(16000, 4), **container)
    whole = audio.read(path)
    for start in (0.0, 0.25, 1.0, 1.01, 1.7, 3.0):
        part = audio.read(path, start=start, end=start + 0.5)
        first = round(start * 16000)
        assert part.duration == 0.5
        np.testing.assert_allclose(part.samples, whole.samples[first : first + 8000], atol=1e-3)
    np.testing.assert_allclose(audio.read(path, start=3.25).samples, whole.samples[52000:], atol=1e-3)
    assert audio.read(path, end=4 + audio.OVERSHOOT / 2).duration == 4


@pytest.mark.parametrize(("start", "end"), [(2.0, None), (SECONDS, None), (1.0, 2.5)])
def test_a_stretch_beyond_the_file_is_refused(tmp_path: Path, start: float, end: float | None) -> None:
    path = write(tmp_path / "a.wav", tone(16000))
    with pytest.raises(AudioError, match=r"a\.wav: has 1\.50 s"):
        audio.read(path, start=start, end=end)


@pytest.mark.parametrize("stretch", [(-1.0, None), (1.0, 1.0), (1.0, 0.5), (float("nan"), None), (0.0, float("nan"))])
def test_no_stretch_at_all_is_refused(tmp_path: Path, stretch: tuple[float, float | None]) -> None:
    path = write(tmp_path / "a.wav", tone(16000))
    with pytest.raises(UsageError, match="0 <= start < end"):
        audio.read(path, 16000, *stretch)


def test_a_stretch_shorter_than_a_sample_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(16000))
    with pytest.raises(AudioError, match=r"a\.wav: no sample lies between"):
        audio.read(path, start=1.0, end=1.00001)


@pytest.mark.parametrize("order", ["<i2", ">i2"])
def test_headerless_files_in_either_byte_order(tmp_path: Path, order: str) -> None:
    samples = tone(16000)
    path = tmp_path / "a.raw"
    path.write_bytes((samples * 32767).astype(order).tobytes())
    np.testing.assert_allclose(audio.read(path).samples, samples, atol=1e-4)


@pytest.mark.parametrize("data", [b"\1", b"\1\0\2"])
def test_headerless_files_of_odd_length(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(data)
    if len(data) < 2:
        refused(path, "no samples")
    else:
        assert len(audio.read(path).samples) == 1


def test_silence_is_no_error(tmp_path: Path) -> None:
    assert not audio.read(write(tmp_path / "a.wav", np.zeros(16000, np.float32))).samples.any()


def test_bytes_are_decoded_like_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", tone(44100), 44100)
    np.testing.assert_array_equal(audio.decode(path.read_bytes(), "pipe").samples, audio.read(path).samples)
    with pytest.raises(AudioError, match=r"^pipe: .*empty"):
        audio.decode(b"", "pipe")


# Spoilt files. Each message begins with the path, so that one bad file of thousands is found.


def refused(path: Path, message: str) -> None:
    with pytest.raises(AudioError, match=message) as caught:
        audio.read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "a.wav", "there is no such file")
    refused(tmp_path / "nul\0.wav", "there is no such file")


def test_a_folder(tmp_path: Path) -> None:
    refused(tmp_path, "this is a folder")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    refused(tmp_path / "pipe.wav", "a device or a pipe")


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """Root may read everything: be nobody for a while."""
    if not hasattr(os, "geteuid"):
        pytest.skip("permissions are of another kind on this system")
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_an_unreadable_file(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(16000))
    path.chmod(0)
    request.getfixturevalue("ordinary_user")
    refused(path, "no permission")


def test_an_unreadable_file_in_an_open_folder(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(16000))
    path.chmod(0)
    folder = os.open(tmp_path, os.O_RDONLY)
    before = Path.cwd()
    try:
        os.fchdir(folder)
        request.getfixturevalue("ordinary_user")
        refused(Path("a.wav"), "no permission")
    finally:
        os.close(folder)
        os.chdir(before)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    refused(tmp_path / "a.wav", "empty")


def test_a_file_without_samples(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.wav", np.zeros(0, np.float32)), "no samples")
    refused(write(tmp_path / "a.aiff", np.zeros(0, np.float32)), "no samples")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a"])
@pytest.mark.parametrize("content", [b"one two three\n" * 100, b"\0" * 5000, b"RIFF", b"fLaC", b"OggS", b"\x89PNG\r\n"])
def test_what_is_not_audio(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, "not a sound that libsndfile can read .*convert it")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_samples_that_are_not_finite(tmp_path: Path, bad: float, rate: int) -> None:
    samples = tone(rate)
    samples[len(samples) // 2] = bad
    refused(write(tmp_path / "a.wav", samples, rate, subtype="FLOAT"), "not finite")


@pytest.mark.parametrize("bad", [1e300, 1e30, 1e7])
def test_samples_that_no_power_could_be_computed_of(tmp_path: Path, bad: float) -> None:
    samples = np.full((16000, 2), bad)
    refused(write(tmp_path / "a.wav", samples, subtype="DOUBLE"), "far beyond -1 to 1")


def test_whole_numbers_written_as_floats_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(16000) * 2**15, subtype="FLOAT")
    assert audio.read(path).samples.max() > 2**13


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e30])
def test_samples_that_are_no_sound(bad: float) -> None:
    with pytest.raises(AudioError, match=r"x\.wav: some samples are not finite"):
        audio.Audio(np.array([0.1, bad], np.float32), 16000, "x.wav")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", {"subtype": "PCM_16"}),
        ("a.wav", {"subtype": "PCM_24"}),
        ("a.wav", {"subtype": "FLOAT"}),
        ("a.wav", {"subtype": "ULAW"}),
        ("a.rf64", {"subtype": "PCM_16"}),
        ("a.aiff", {"subtype": "PCM_16"}),
        ("a.au", {"subtype": "PCM_16"}),
        ("a.sph", {"subtype": "PCM_16", "format": "NIST"}),
        ("a.flac", {}),
        ("a.mp3", {}),
        ("a.ogg", {"subtype": "VORBIS"}),
        ("a.opus", {"subtype": "OPUS", "format": "OGG"}),
    ],
)
@pytest.mark.parametrize("part", [0.9, 0.5, 0.1])
def test_truncated_files(tmp_path: Path, name: str, options: dict[str, str], part: float) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 48000).astype(np.float32)
    path = write(tmp_path / name, noise, **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    refused(path, "truncated|damaged")


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFE, 0xFFFFFFFF])
def test_a_streamed_wav_promises_nothing(tmp_path: Path, size: int) -> None:
    """Programs that write to a pipe cannot know the size, and put a huge one into the header."""
    path = write(tmp_path / "a.wav", tone(16000))
    data = path.read_bytes()
    place = data.index(b"data") + 4
    path.write_bytes(data[:place] + struct.pack("<I", size) + data[place + 4 :])
    assert audio.read(path).duration == SECONDS


def test_chunks_after_the_samples_are_no_truncation(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(16000))
    path.write_bytes(path.read_bytes() + b"LIST\x04\x00\x00\x00INFO")
    assert audio.read(path).duration == SECONDS


# Speed, and searching.


@pytest.mark.parametrize("factor", [0.86, 0.9, 1.0, 1.1, 1.14])
def test_faster_is_shorter_and_higher(factor: float) -> None:
    samples = audio.speed(tone(16000), factor, 16000)
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(SECONDS * 16000 / factor, abs=1)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert spectrum.argmax() * 16000 / len(samples) == pytest.approx(440 * factor, abs=1)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_speed_is_refused(factor: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        audio.speed(tone(16000), factor, 16000)


def test_find_searches_folders_and_keeps_files(tmp_path: Path) -> None:
    for name in ["b/2.FLAC", "b/1.wav", "a.mp3", "b/.hidden.wav", ".trash/3.wav", "b/notes.txt", "odd.xyz"]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = audio.find([tmp_path / "odd.xyz", tmp_path])
    assert found == [tmp_path / name for name in ["odd.xyz", "a.mp3", "b/1.wav", "b/2.FLAC"]]


def test_find_follows_links_and_survives_their_loops(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.wav").touch()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "there")
    (tmp_path / "there" / "back").symlink_to(tmp_path / "here")
    assert audio.find([tmp_path / "here"]) == [tmp_path / "here" / "link" / "a.wav"]


def test_find_refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"a\.wav: there is no such file or folder"):
        audio.find([tmp_path / "a.wav"])
    with pytest.raises(AudioError, match=r"no sound files in this folder; looked for .*\.wav"):
        audio.find([tmp_path])


def test_the_real_recordings(corpora: Path) -> None:
    flac = audio.read(corpora / "an4/wav/an4_clstk/fash/an251-fash-b.flac")
    assert flac.duration == pytest.approx(soundfile.info(corpora / "an4/wav/an4_clstk/fash/an251-fash-b.flac").duration)
    digit = audio.read(corpora / "fsdd/0_george_0.flac")
    source = soundfile.info(corpora / "fsdd/0_george_0.flac")
    assert source.samplerate == 8000
    assert digit.duration == pytest.approx(source.duration, abs=1e-4)
    opus = audio.read(corpora / "speechocean762/audio/0001/000010011.opus")
    assert opus.rate == 16000
    assert 0.01 < np.abs(opus.samples).max() <= 1.5
