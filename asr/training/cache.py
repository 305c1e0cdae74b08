"""Frames kept on disk: each altered copy of each utterance is computed once, for this run and later ones.

An entry's name is a hash of all that its frames follow from (of a command that gives sound, its words), so an entry is
never stale; it ends with a checksum, and a damaged one is computed again. Where the disk is full or cannot be written,
frames stay in memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import threading
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from asr.config import to_table
from asr.corpora.utterance import Utterance
from asr.errors import AsrError
from asr.features import FeatureConfig
from asr.files import cache_folder, write_atomically
from asr.training.augment import copy_frames, draw
from asr.training.config import Copy
from asr.training.progress import Progress
from asr.training.strings import Joined

FORMAT = 3  # raised when the same settings give other frames
HEADER = struct.Struct("<4sIII")  # mark, frames, values per frame, CRC-32 of the data
MARK = b"asrF"
VOICES = 4  # at once, where noise is speech

Lengths = dict[Copy, int]  # frames of each copy


class FeatureCache:
    """The frames of utterances and their altered copies.

    Parameters
    ----------
    config : of the frames
    snr_spread : dB, of the noisy copies
    progress : told when the disk cannot be written
    folder : where entries lie; None: in the user's cache folder

    Attributes
    ----------
    voices : whom noise that is speech may come from
    """

    def __init__(self, config: FeatureConfig, snr_spread: float, progress: Progress, folder: Path | None = None):
        self.config = config
        self.snr_spread = snr_spread
        self.progress = progress
        self.folder = folder or cache_folder("features")
        self.voices: Sequence[Utterance] = ()
        self._memory: dict[Path, np.ndarray] = {}
        self._lock = threading.Lock()
        settings = [FORMAT, to_table(config), snr_spread, version("librosa"), version("soxr")]
        self._digest = hashlib.sha256(json.dumps(settings).encode())  # once: it is long, and names are many

    def fill(
        self, wanted: Sequence[tuple[Utterance, Iterable[Copy]]], threads: int, what: str = "features"
    ) -> list[Lengths | AsrError]:
        """Compute what is missing of the wanted copies; for each utterance, their lengths or why one cannot be had.

        what : is made, for whoever watches
        """
        if not wanted:
            return []
        self.progress.begin(f"{what} of {len(wanted)} utterances", len(wanted))
        pool = ThreadPoolExecutor(threads)  # librosa and soxr work without the interpreter lock
        results: list[Lengths | AsrError] = []
        try:
            for result in pool.map(lambda item: self._fill_one(*item), wanted):
                results.append(result)
                self.progress.advance(1)
        finally:
            pool.shutdown(cancel_futures=True)
            self.progress.end()
        return results

    def frames(self, utterance: Utterance, copy: Copy) -> np.ndarray:
        """float32 `[T, D]`, from memory or disk, else computed anew; AudioError when that fails."""
        path = self._path(utterance, copy)
        frames = self._load(path)
        return self._compute(utterance, [copy])[copy] if frames is None else frames

    def _fill_one(self, utterance: Utterance, copies: Iterable[Copy]) -> Lengths | AsrError:
        copies = list(copies)
        try:
            lengths = {copy: self._length(self._path(utterance, copy)) for copy in copies}
            missing = [copy for copy in copies if not lengths[copy]]
            computed = {copy: len(frames) for copy, frames in self._compute(utterance, missing).items()}
            return lengths | computed
        except AsrError as error:
            return error

    def _compute(self, utterance: Utterance, copies: Sequence[Copy]) -> dict[Copy, np.ndarray]:
        if not copies:
            return {}
        sound = utterance.read(self.config.rate)
        computed = {}
        for copy in copies:
            voices = [voice.read(self.config.rate).samples for voice in self._voices(utterance, copy)]
            computed[copy] = copy_frames(sound, utterance, copy, self.config, self.snr_spread, voices)
            self._store(self._path(utterance, copy), computed[copy])
        return computed

    def _voices(self, utterance: Utterance, copy: Copy) -> list[Utterance]:
        """Who is heard behind an utterance in a copy of it: others than its speaker, where there are."""
        if copy.noise != "speech":
            return []
        numbers = draw(utterance, copy, "voices").integers(len(self.voices), size=8 * VOICES)
        drawn = [self.voices[number] for number in numbers]
        others = [voice for voice in drawn if voice.speaker != utterance.speaker]
        return (others or [voice for voice in drawn if voice.id != utterance.id] or drawn)[:VOICES]

    def _path(self, utterance: Utterance, copy: Copy) -> Path:
        voices = [_source(voice) for voice in self._voices(utterance, copy)]
        digest = self._digest.copy()
        digest.update(json.dumps([_source(utterance), copy.variant(), voices]).encode())
        name = digest.hexdigest()
        return self.folder / name[:2] / name[2:34]

    def _length(self, path: Path) -> int:
        """Frames of an entry that looks whole by its header and size, else 0; its checksum is for `_load`."""
        if path in self._memory:
            return len(self._memory[path])
        try:
            with path.open("rb") as file:
                mark, length, dimension, _ = HEADER.unpack(file.read(HEADER.size))
                size = os.fstat(file.fileno()).st_size
        except (OSError, struct.error):
            return 0
        whole = mark == MARK and dimension == self.config.dimension and size == HEADER.size + 4 * length * dimension
        return int(length) if whole else 0

    def _load(self, path: Path) -> np.ndarray | None:
        if path in self._memory:
            return self._memory[path]
        try:
            content = path.read_bytes()
            mark, length, dimension, checksum = HEADER.unpack_from(content)
        except (OSError, struct.error):
            return None
        data = memoryview(content)[HEADER.size :]
        if mark != MARK or len(data) != 4 * length * dimension or zlib.crc32(data) != checksum:
            return None
        return np.frombuffer(data, np.float32).reshape(length, dimension)

    def _store(self, path: Path, frames: np.ndarray) -> None:
        data = frames.tobytes()
        header = HEADER.pack(MARK, *frames.shape, zlib.crc32(data))
        try:
            write_atomically(path, header + data, durable=False)
        except OSError as error:
            self._keep(path, frames, error)

    def _keep(self, path: Path, frames: np.ndarray, error: OSError) -> None:
        with self._lock:
            first = not self._memory
            self._memory[path] = frames
        if first:
            self.progress.message(
                f"the feature cache cannot be written ({error.strerror}: {self.folder}), so features stay in memory; "
                "set ASR_CACHE to a folder with room to keep them"
            )


def _source(utterance: Utterance) -> list[Any]:
    """What an utterance's sound follows from."""
    if isinstance(utterance, Joined):
        return [utterance.id, utterance.pauses, [_source(part) for part in utterance.parts]]
    try:
        status = utterance.audio.stat()
        stamp = [status.st_size, status.st_mtime_ns]
    except OSError:
        stamp = []  # reading it will say what is wrong
    path = str(utterance.audio.absolute())
    return [utterance.id, path, *stamp, utterance.start, utterance.end, utterance.command]
