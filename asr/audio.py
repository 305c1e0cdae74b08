"""Sound files to samples: any format libsndfile reads, mono float32, at one rate.

    Audio       samples and their rate
    read        a file, or a stretch of it
    decode      the bytes of a file
    resample    at another rate
    speed       play faster and higher, or slower and lower
    find        the sound files among files and folders
    walk_files  a folder's files, folder by folder

The only module that imports soundfile and soxr, and only when a sound is first read.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from asr.errors import AudioError, UsageError

# What a folder is searched for; a file that is named is read whatever its suffix.
SUFFIXES = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga"}
    | {".ogg", ".opus", ".rf64", ".snd", ".sph", ".w64", ".wav", ".wave"}
)

RAW_RATE = 16000  # Hz, of a headerless .raw file: 16-bit mono, as AN4 was first distributed
BLOCK = 1 << 20  # frames decoded at a time: long files are never held at their own rate and channel count
OVERSHOOT = 0.5  # seconds that a segment may end after its file does, as Kaldi allows
LEAD = 1.0  # seconds decoded and dropped before a stretch: MP3 and Opus decoders need some to find their state
SHORTFALL = 0.05  # seconds that may be missing of what a header promises: padding, rounding
PLACEHOLDER = 0x7FFF0000  # bytes: sizes from here on are written by programs that stream and cannot know
OGG_PAGE = 65307  # bytes: the longest page there is (27 + 255 + 255 * 255)
LOUDEST = 1e6  # a sample beyond is no sound: whole numbers written as floats reach 2**15, and no power overflows


@dataclass(frozen=True)
class Audio:
    """A sound.

    samples : float32 [N], mono, nominally -1..1, never beyond `LOUDEST`
    rate : samples per second
    name : where it comes from, for messages

    Raises AudioError for samples that are not numbers, or beyond `LOUDEST`.
    """

    samples: np.ndarray
    rate: int
    name: str = "the recording"

    def __post_init__(self) -> None:
        if len(self.samples) and not (self.samples.max() <= LOUDEST and self.samples.min() >= -LOUDEST):  # NaN is not
            raise AudioError(
                f"{self.name}: some samples are not finite (NaN or infinite) or far beyond -1 to 1; export it anew"
            )

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.rate


def read(path: str | os.PathLike[str], rate: int = 16000, start: float = 0.0, end: float | None = None) -> Audio:
    """The sound in a file, its channels averaged, resampled to `rate`.

    Parameters
    ----------
    path : any file that libsndfile reads; `.raw` is taken as headerless 16-bit mono of 16 kHz in either byte order
    rate : Hz, > 0
    start, end : seconds, 0 <= start < end; None is the end of the file

    Raises AudioError, naming the file, when it is missing, a folder, not audio, empty, truncated (its header
    promises clearly more than is there) or not finite, or when the stretch is not within it.
    """
    path = Path(path)
    _check_file(path)
    try:
        with path.open("rb") as stream:
            return _decode(stream, str(path), rate, start, end, raw=path.suffix.lower() == ".raw")
    except PermissionError as error:
        raise AudioError(f"{path}: no permission to read this file; change its permissions") from error
    except OSError as error:
        raise AudioError(f"{path}: cannot be read: {error.strerror or error}") from error


def decode(data: bytes, name: str, rate: int = 16000, start: float = 0.0, end: float | None = None) -> Audio:
    """The same for a sound file's bytes; `name` says in errors where they came from."""
    if not data:
        raise AudioError(f"{name}: this sound is empty (0 bytes)")
    return _decode(io.BytesIO(data), name, rate, start, end)


def resample(samples: np.ndarray, rate: int, target: int) -> np.ndarray:
    """Samples float32 [N] at `rate` Hz as float32 at `target` Hz."""
    import soxr

    resampled: np.ndarray = soxr.resample(np.asarray(samples, np.float32), rate, target)
    return resampled


def speed(samples: np.ndarray, factor: float, rate: int) -> np.ndarray:
    """The sound played `factor` times as fast: shorter by that factor, and higher.

    samples : float32 [N]
    factor : > 0; 1.1 is 10 % faster
    rate : Hz, kept

    Returns float32 [round(N / factor)].
    """
    if not factor > 0 or not np.isfinite(factor):
        raise UsageError(f"a speed factor must be above 0, not {factor}")
    if factor == 1:
        return np.asarray(samples, np.float32)
    import soxr

    faster: np.ndarray = soxr.resample(np.asarray(samples, np.float32), rate * factor, rate)
    return faster


def find(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The sound files to be read: files as they are given, folders searched through and through.

    A folder's files are those with a suffix in SUFFIXES, sorted by path; hidden files and folders are passed over.
    Raises AudioError for a path that does not exist and for a folder without any sound file.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        found.extend(_search(path) if stat.S_ISDIR(_status(path).st_mode) else [path])
    return found


def _search(folder: Path) -> list[Path]:
    try:
        found = [Path(parent, name) for parent, names in walk_files(folder) for name in names if _is_sound(name)]
    except OSError as error:
        raise AudioError(f"{error.filename}: cannot be read: {error.strerror}; check its permissions") from error
    if not found:
        raise AudioError(f"{folder}: no sound files in this folder; looked for {' '.join(sorted(SUFFIXES))}")
    return sorted(found)


def walk_files(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each folder at and under this one, sorted by name, with the sorted names of its files; hidden ones left out.

    Links to folders are followed; a folder that comes twice, as in a loop of links, is passed over. Raises OSError.
    """
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield parent, sorted(name for name in names if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise error


def _is_sound(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122  a Path for each name is slow


def _check_file(path: Path) -> None:
    status = _status(path)
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{path}: this is a folder, not a sound file; name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"{path}: this is a device or a pipe, not a sound file; save the sound to a file first")
    if status.st_size == 0:
        raise AudioError(f"{path}: this file is empty (0 bytes)")


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except PermissionError as error:
        raise AudioError(f"{path}: no permission to look into its folder; change its permissions") from error
    except (OSError, ValueError) as error:
        raise AudioError(f"{path}: there is no such file or folder; check the path") from error


def _decode(stream: BinaryIO, name: str, rate: int, start: float, end: float | None, raw: bool = False) -> Audio:
    _check_request(rate, start, end)
    with _opened(stream, name, raw) as sound:
        _check_whole(sound, stream, name, raw)
        first, count = _stretch(sound, name, start, end)
        blocks = _mono_blocks(sound, name, first, count)
        samples = _resampled(blocks, sound.samplerate, rate)
    return Audio(samples, rate, name)


def _check_request(rate: int, start: float, end: float | None) -> None:
    if rate <= 0:
        raise UsageError(f"a sample rate must be above 0 Hz, not {rate}")
    if not start >= 0 or (end is not None and not end > start):
        raise UsageError(f"a stretch of audio needs 0 <= start < end in seconds, not {start} to {end}")


@contextmanager
def _opened(stream: BinaryIO, name: str, raw: bool) -> Iterator[Any]:
    """The stream as a soundfile.SoundFile, libsndfile's errors turned into ours."""
    import soundfile

    headerless = {"format": "RAW", "subtype": "PCM_16", "samplerate": RAW_RATE, "channels": 1}
    options = headerless | {"endian": _byte_order(stream)} if raw else {}
    try:
        sound = soundfile.SoundFile(stream, **options)
    except soundfile.SoundFileError as error:
        raise AudioError(
            f"{name}: not a sound that libsndfile can read ({_reason(error)}); if it is audio, "
            "it is damaged or of another format: convert it to WAV or FLAC"
        ) from error
    with sound:
        try:
            yield sound
        except soundfile.SoundFileError as error:
            raise AudioError(f"{name}: damaged or truncated ({_reason(error)}); get the file again") from error


def _reason(error: Exception) -> str:
    reason = str(getattr(error, "error_string", "")) or str(error)
    if "does not exist" in reason:  # what libsndfile says of bytes that it cannot tell the format of
        reason = "format not recognised"
    return reason.rstrip(".").removeprefix("Error : ") or "no reason given"


def _byte_order(stream: BinaryIO) -> str:
    """Of headerless 16-bit samples: the order in which neighbours differ less, since sound is smooth."""
    head = stream.read(1 << 17)
    stream.seek(0)
    head = head[: len(head) // 2 * 2]
    little, big = (np.abs(np.diff(np.frombuffer(head, order).astype(np.float64))).sum() for order in ("<i2", ">i2"))
    return "LITTLE" if little <= big else "BIG"


def _check_whole(sound: Any, stream: BinaryIO, name: str, raw: bool) -> None:
    """Refuse a file that is shorter than its own header says; libsndfile plays what is left and says nothing."""
    if sound.frames == 0:
        raise AudioError(f"{name}: this file holds no samples; record or export it again")
    promised = sound.frames if raw else _promised(sound, stream)
    if promised is not None and promised - sound.frames > SHORTFALL * sound.samplerate:
        raise _truncated(name, sound.frames / sound.samplerate, promised / sound.samplerate)
    if sound.format == "OGG" and _ends_within_page(stream):
        raise AudioError(f"{name}: truncated: its last Ogg page is not whole; get the file again")


def _truncated(name: str, seconds: float, promised: float) -> AudioError:
    return AudioError(
        f"{name}: truncated: {seconds:.2f} s of the {promised:.2f} s that its header promises; get the file again"
    )


def _promised(sound: Any, stream: BinaryIO) -> float | None:
    """Frames promised by the headers that libsndfile quietly corrects, read from its log; None: not known."""
    if sound.format == "NIST":
        count = re.search(rb"sample_count -i (\d+)", _peek(stream, 0, 1024))
        return int(count[1]) if count else None
    log = str(sound.extra_info)
    if frames := re.search(r"from 'ds64' chunk of (\d+)", log):  # RF64
        return int(frames[1])
    match = re.search(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", log, re.MULTILINE)  # WAV, AIFF, AU
    if not match or int(match[1]) >= PLACEHOLDER:
        return None
    return float(sound.frames * int(match[1]) / max(int(match[2]), 1))


def _ends_within_page(stream: BinaryIO) -> bool:
    """Whether an Ogg stream's last page goes on after the end of the file (RFC 3533, section 6)."""
    size = _size(stream)
    tail = _peek(stream, max(0, size - OGG_PAGE), OGG_PAGE)
    page = tail[tail.rfind(b"OggS") :]
    if not page.startswith(b"OggS"):
        return False  # something else follows the last page
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    return len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def _size(stream: BinaryIO) -> int:
    position = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(position)
    return size


def _peek(stream: BinaryIO, start: int, count: int) -> bytes:
    """Bytes from anywhere; the place where libsndfile reads stays as it was."""
    position = stream.tell()
    stream.seek(start)
    data = stream.read(count)
    stream.seek(position)
    return data


def _stretch(sound: Any, name: str, start: float, end: float | None) -> tuple[int, int]:
    """First frame and number of frames, at the file's own rate."""
    seconds = sound.frames / sound.samplerate
    if start >= seconds or (end is not None and end > seconds + OVERSHOOT):
        until = "its end" if end is None else f"{end:g} s"
        raise AudioError(f"{name}: has {seconds:.2f} s, and {start:g} s to {until} is not within it")
    first = round(start * sound.samplerate)
    last = sound.frames if end is None else min(sound.frames, round(end * sound.samplerate))
    if first >= last:
        raise AudioError(f"{name}: no sample lies between {start:g} s and {end} s")
    return first, last - first


def _mono_blocks(sound: Any, name: str, first: int, count: int) -> Iterator[np.ndarray]:
    """Stretches of float32 [n], n <= BLOCK, the mean of the channels."""
    lead = min(first, round(LEAD * sound.samplerate))
    if first > lead:
        sound.seek(first - lead)
    sound.seekable = lambda: False  # or soundfile seeks after each read, and an MP3 decoder loses 0.3 s each time
    if lead:
        sound.read(lead)
    missing = count
    while missing > 0:
        block = sound.read(min(BLOCK, missing), dtype="float32", always_2d=True)
        if not len(block):
            break
        missing -= len(block)
        with np.errstate(over="ignore", invalid="ignore"):  # looked at once all is read
            yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
    if missing > SHORTFALL * sound.samplerate:
        raise _truncated(name, (first + count - missing) / sound.samplerate, sound.frames / sound.samplerate)


def _resampled(blocks: Iterable[np.ndarray], rate_in: int, rate_out: int) -> np.ndarray:
    """The blocks joined, float32 [N]; resampled as they come, with the same result as in one piece."""
    if rate_in == rate_out:
        return np.ascontiguousarray(np.concatenate(list(blocks)))
    import soxr

    stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32")
    pieces = [stream.resample_chunk(np.ascontiguousarray(block)) for block in blocks]
    pieces.append(stream.resample_chunk(np.zeros(0, np.float32), last=True))
    return np.concatenate(pieces)
