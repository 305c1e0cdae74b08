"""Audio to transcripts, for one recording or thousands.

    recognizer = load("en")
    recognizer.transcribe("speech.wav").text

How much memory it takes: the network sees at most `BATCH_SECONDS` of sound at a time, padding included, however
long a recording is: recordings over a minute go through it in overlapping windows (`asr.decoding.windows`).
What grows with a recording's length is its samples (3.8 MB a minute at 16 kHz), its frames (1.4 MB a minute at 60
values per frame), what computing the frames takes, and its posteriors (0.2 MB a minute at 30 characters).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from asr import audio as sound
from asr.audio import Audio
from asr.backends import open_backend
from asr.decoding import greedy
from asr.decoding.windows import Windowing
from asr.errors import AsrError, UsageError
from asr.features import extract
from asr.model import Model
from asr.network import Network
from asr.transcript import Transcript
from kernels.interface import Backend

Source = TypeVar("Source")
Result = TypeVar("Result")

BATCH_SECONDS = 300.0  # of sound in one batch, padding included: about 150 MB of activations in 3 x 256 LSTM layers
BATCH_ROWS = 64
GROUP_FILES = 64  # so many files, or
GROUP_SECONDS = 3600.0  # so much sound, are sorted by length and batched together
SILENCE = 2.0**-14  # the range of samples that move by one 16-bit step around their mean: digital silence, or dither


@dataclass(frozen=True)
class Heard:
    """A recording ready for the network: frames float32 [T, D], or None where it is silent."""

    duration: float
    frames: np.ndarray | None


class Recognizer:
    """A model on a backend, ready to transcribe; one thread at a time may use it.

    Parameters
    ----------
    model : what to recognise with
    backend : where to compute; None: the best there is (`asr.backends.open_backend`)
    """

    def __init__(self, model: Model, backend: Backend | None = None):
        self.model = model
        self.backend = backend or open_backend()
        self._network = Network(model.network, model.parameters, self.backend)
        self._windowing = Windowing.of_seconds(self.model.step_seconds)

    def transcribe(self, source: str | Path | Audio | np.ndarray) -> Transcript:
        """Transcribe one recording.

        Parameters
        ----------
        source : a file; or sound at the model's rate, as `Audio` or as float samples [N] between -1 and 1

        Silence gives an empty transcript. AudioError where there is nothing to hear: a file that cannot be read, less
        than one feature window, samples that are not finite. UsageError where the rate or the array does not fit.
        """
        return self._transcripts([self._hear(self._open(source))])[0]

    def transcribe_many(
        self, paths: Iterable[str | Path], jobs: int | None = None
    ) -> Iterator[tuple[Path, Transcript | AsrError]]:
        """Transcribe files, in the order given; a file that cannot be transcribed gives its error, and the rest go on.

        Files are read ahead by `jobs` threads (None: one a core, at most 4), and those of similar length go through
        the network together. Errors that are no fault of the file (MemoryError, bugs) are raised.
        """
        return self.transcribe_each(map(Path, paths), self._open, jobs)

    def transcribe_each(
        self, sources: Iterable[Source], read: Callable[[Source], Audio], jobs: int | None = None
    ) -> Iterator[tuple[Source, Transcript | AsrError]]:
        """As `transcribe_many`, for anything that `read` makes sound of."""

        def hear(source: Source) -> Heard | AsrError:
            try:
                return self._hear(read(source))
            except AsrError as error:
                return error

        for group in _grouped(_ahead(hear, sources, jobs or min(4, os.cpu_count() or 1))):
            transcripts = iter(self._transcripts([heard for _, heard in group if isinstance(heard, Heard)]))
            for source, heard in group:
                yield source, (heard if isinstance(heard, AsrError) else next(transcripts))

    def log_probs(self, audio: Audio) -> np.ndarray:
        """Natural log-probabilities of the blank and the alphabet's characters, float32 [T', C]; a row a step
        of `model.step_seconds`. Silence is heard as well, unlike in `transcribe`."""
        return self._posteriors([extract(audio, self.model.features)])[0]

    def _open(self, source: str | Path | Audio | np.ndarray) -> Audio:
        rate = self.model.features.rate
        if isinstance(source, Audio):
            return source
        if not isinstance(source, np.ndarray):
            return sound.read(Path(source), rate)
        if source.ndim != 1 or not np.issubdtype(source.dtype, np.floating):
            raise UsageError(
                f"samples must be floats [N] between -1 and 1 at {rate} Hz, not {source.dtype} {list(source.shape)}"
            )
        return Audio(np.ascontiguousarray(source, np.float32), rate)

    def _hear(self, audio: Audio) -> Heard:
        """Compute the frames, or find silence."""
        if len(audio.samples) >= self.model.features.window_samples and np.ptp(audio.samples) <= SILENCE:
            return Heard(audio.duration, None)
        return Heard(audio.duration, extract(audio, self.model.features))

    def _transcripts(self, recordings: Sequence[Heard]) -> list[Transcript]:
        posteriors = iter(self._posteriors([heard.frames for heard in recordings if heard.frames is not None]))
        return [
            self._transcript(heard.duration, None if heard.frames is None else next(posteriors)) for heard in recordings
        ]

    def _transcript(self, duration: float, log_probs: np.ndarray | None) -> Transcript:
        """Decode [T', C]; None is silence. The last step may reach beyond the sound's end; words do not."""
        if log_probs is None:
            return Transcript("", (), duration, 0.0)
        hypothesis = greedy.decode(log_probs, self.model.alphabet, self.model.step_seconds)
        words = tuple(
            replace(word, start=min(word.start, duration), end=min(word.end, duration)) for word in hypothesis.words
        )
        return Transcript(hypothesis.text, words, duration, hypothesis.confidence)

    def _posteriors(self, recordings: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Frames [T, D] of recordings -> their log-probabilities [T', C], through the network in batches of
        windows of similar length."""
        stack = self.model.network.stack
        windows = [self._windowing.cut(frames, stack) for frames in recordings]
        flat = [window for recording in windows for window in recording]
        done: list[np.ndarray] = [np.empty(0)] * len(flat)
        frames_per_batch = int(BATCH_SECONDS * self.model.features.rate / self.model.features.hop_samples)
        for batch in _batches([len(window) for window in flat], frames_per_batch):
            log_probs, steps = self._run([flat[index] for index in batch])
            for row, index in enumerate(batch):
                done[index] = log_probs[: steps[row], row].copy()
        rest = iter(done)
        return [self._windowing.join([next(rest) for _ in recording]) for recording in windows]

    def _run(self, windows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Windows, longest first -> log-probabilities [T', B, C] and the steps of each."""
        lengths = np.array([len(window) for window in windows], np.int32)
        frames = np.zeros((lengths[0], len(windows), self.model.features.dimension), np.float32)
        for row, window in enumerate(windows):
            frames[: len(window), row] = window
        return self._network.log_probs(frames, lengths), self._network.steps(lengths)


def load(name_or_path: str | Path, device: str | None = None, threads: int | None = None) -> Recognizer:
    """A recogniser with a bundled model (`"en"`) or a model file.

    Parameters
    ----------
    device : "auto", "cpu", "cuda"; None: `$ASR_BACKEND`, else "auto"
    threads : CPU threads; None: all cores that this process may use

    ModelError for a file that is no model, UsageError for a device that is not there.
    """
    return Recognizer(Model.load(name_or_path), open_backend(device, threads))


def _batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Indices of `lengths`, longest first, in batches of at most `BATCH_ROWS` rows and `most` frames, padding
    included; a row that is longer by itself stands alone."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batch and (len(batch) == BATCH_ROWS or (len(batch) + 1) * lengths[batch[0]] > most):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _ahead(function: Callable[[Source], Result], items: Iterable[Source], jobs: int) -> Iterator[tuple[Source, Result]]:
    """Each item with its result, in order, while `jobs` threads work on the next ones: at most two for each thread,
    so that what waits stays small."""
    waiting: deque[tuple[Source, Future[Result]]] = deque()
    with ThreadPoolExecutor(jobs, "read-ahead") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) > 2 * jobs:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _grouped(
    heard: Iterable[tuple[Source, Heard | AsrError]],
) -> Iterator[list[tuple[Source, Heard | AsrError]]]:
    """Consecutive recordings, so many that batches can be of similar length, so few that they fit into memory."""
    group: list[tuple[Source, Heard | AsrError]] = []
    seconds = 0.0
    for source, recording in heard:
        group.append((source, recording))
        seconds += recording.duration if isinstance(recording, Heard) else 0.0
        if len(group) == GROUP_FILES or seconds > GROUP_SECONDS:
            yield group
            group, seconds = [], 0.0
    if group:
        yield group
