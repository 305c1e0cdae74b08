"""Audio to transcripts, for one recording or thousands.

    recognizer = load("en")
    recognizer.transcribe("speech.wav").text

How much memory it takes: the network sees at most `BATCH_SECONDS` of sound at a time, padding included, however
long a recording is: recordings over a minute go through it in overlapping windows (`asr.decoding.windows`).
A device gives back the best paths alone; only such windows, which are joined by them, need their posteriors.
What grows with a recording's length is its samples (3.8 MB a minute at 16 kHz), its frames (1.4 MB a minute at 60
values per frame), what computing the frames takes, and its posteriors (0.2 MB a minute at 30 characters). With
`vtln` samples are kept as long as frames, to be heard again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from asr import audio as sound
from asr.audio import Audio
from asr.backends import fitting, open_backend
from asr.decoding import greedy
from asr.decoding.beam import BeamDecoder
from asr.decoding.choice import DecodingChoice, open_decoder
from asr.decoding.greedy import BestPath
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.windows import Windowing
from asr.errors import AsrError, UsageError
from asr.features import extract
from asr.model import Model, own_file
from asr.network import Network
from asr.transcript import Alternative, Transcript, Word
from asr.vtln import FACTORS, MARGIN, SHORTEST, sureness, warped
from kernels.interface import Backend

Source = TypeVar("Source")
Result = TypeVar("Result")

BATCH_SECONDS = 300.0  # of sound in one batch, padding included: about 150 MB of activations in 3 x 256 LSTM layers
BATCH_ROWS = 64
GROUP_FILES = 64  # so many files, or
GROUP_SECONDS = 3600.0  # so much sound, are sorted by length and batched together
SHOWN = 3  # recordings of a batch that a message names
SILENCE = 2.0**-14  # the range of samples that move by one 16-bit step around their mean: digital silence, or dither


@dataclass(frozen=True)
class Heard:
    """A recording ready for the network: frames float32 [T, D], or None where it is silent.

    audio : to be heard again in another way; None where that is not wanted
    """

    name: str
    duration: float
    frames: np.ndarray | None
    audio: Audio | None = None


@dataclass(frozen=True)
class Window:
    """A stretch of a recording: frames [T, D]; `whole` where all of its log-probabilities are wanted."""

    name: str
    frames: np.ndarray
    whole: bool


Reading = BestPath | np.ndarray  # of a window: its best path, or where all is wanted log-probabilities [T', C]


class Recognizer:
    """A model on a backend, ready to transcribe; one thread at a time may use it.

    Parameters
    ----------
    model : what to recognise with
    backend : where to compute; None: the best there is (`asr.backends.open_backend`)
    batch_seconds : of sound that go through the network at once, padding included, at most; less takes less memory.
        A window is never cut for it
    decoder : how posteriors become texts; None: greedily
    vtln : hear recordings that are not clear once more with other frequencies, and take what is clearest (`asr.vtln`);
        then their samples stay in memory until they are read

    DeviceError, here or later, where the memory of the backend's device does not hold the model or a batch.
    """

    def __init__(
        self,
        model: Model,
        backend: Backend | None = None,
        batch_seconds: float = BATCH_SECONDS,
        decoder: BeamDecoder | None = None,
        vtln: bool = False,
    ):
        self.model = model
        self.vtln = vtln
        self.decoder = decoder
        self.backend = backend or open_backend()
        self.batch_seconds = batch_seconds
        with fitting("the model", lambda: "use the device cpu"):
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
        heard = self._with_frames(audio)
        return self._join(self._listen([heard], whole=True)[0])

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
            return Heard(audio.name, audio.duration, None)
        return self._with_frames(audio)

    def _with_frames(self, audio: Audio) -> Heard:
        frames = extract(audio, self.model.features)
        long_enough = len(audio.samples) >= SHORTEST * self.model.features.window_samples
        return Heard(audio.name, audio.duration, frames, audio if self.vtln and long_enough else None)

    def _cut(self, heard: Heard, whole: bool = False) -> list[Window]:
        """The windows of a recording, none of silence. Several are joined by their log-probabilities, which a decoder
        wants in any case."""
        if heard.frames is None:
            return []
        pieces = self._windowing.cut(heard.frames, self.model.network.stack)
        return [Window(heard.name, frames, whole or len(pieces) > 1 or self.decoder is not None) for frames in pieces]

    def _join(self, readings: Sequence[Reading]) -> np.ndarray:
        """The log-probabilities [T', C] of a recording from those of its windows."""
        return self._windowing.join([reading for reading in readings if isinstance(reading, np.ndarray)])

    def _transcripts(self, recordings: Sequence[Heard]) -> list[Transcript]:
        read = self._listen(recordings)
        spoken = [index for index, each in enumerate(read) if each]  # silence has no windows
        names = [recordings[index].name for index in spoken]
        found = dict(zip(spoken, self._decode([read[index] for index in spoken], names), strict=True))
        return [_transcript(heard.duration, found.get(index, [])) for index, heard in enumerate(recordings)]

    def _listen(self, recordings: Sequence[Heard], whole: bool = False) -> list[list[Reading]]:
        """What the network reads in the windows of each recording; with `vtln`, in the warp that is clearest."""
        read = self._read_each(recordings, whole)
        step = self.model.step_seconds
        sure = [sureness(readings, step) + MARGIN if readings else 0.0 for readings in read]
        unclear = [index for index, heard in enumerate(recordings) if heard.audio is not None and sure[index] < 0]
        if not unclear:
            return read
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            for factor in FACTORS:
                again = list(pool.map(partial(self._warped, factor=factor), [recordings[index] for index in unclear]))
                for index, readings in zip(unclear, self._read_each(again, whole), strict=True):
                    value = sureness(readings, step)
                    if value > sure[index]:
                        sure[index], read[index] = value, readings
        return read

    def _read_each(self, recordings: Sequence[Heard], whole: bool) -> list[list[Reading]]:
        windows = [self._cut(heard, whole) for heard in recordings]
        readings = iter(self._read([window for recording in windows for window in recording]))
        return [[next(readings) for _ in recording] for recording in windows]

    def _warped(self, heard: Heard, factor: float) -> Heard:
        assert heard.audio is not None
        return replace(heard, frames=warped(heard.audio, self.model.features, factor))

    def _decode(self, recordings: Sequence[Sequence[Reading]], names: Sequence[str]) -> list[list[Hypothesis]]:
        """The texts of recordings from what was read in their windows, the best first."""
        step = self.model.step_seconds
        if self.decoder is not None:
            return self.decoder.decode_each([self._join(readings) for readings in recordings], step, names)
        paths = (
            readings[0] if isinstance(readings[0], BestPath) else greedy.best_path(self._join(readings))
            for readings in recordings
        )
        return [[greedy.read(path, self.model.alphabet, step)] for path in paths]

    def _read(self, windows: Sequence[Window]) -> list[Reading]:
        """Put windows through the network, in batches of similar length."""
        readings: dict[int, Reading] = {}
        frames_per_batch = int(self.batch_seconds * self.model.features.rate / self.model.features.hop_samples)
        for indices in _batches([len(window.frames) for window in windows], frames_per_batch):
            batch = [windows[index] for index in indices]
            with fitting(_names(batch), partial(self._told, batch)):
                readings |= zip(indices, self._run(batch), strict=True)
        return [readings[index] for index in range(len(windows))]

    def _run(self, windows: Sequence[Window]) -> list[Reading]:
        """What the network reads in windows, longest first."""
        lengths = np.array([len(window.frames) for window in windows], np.int32)
        frames = np.zeros((lengths[0], len(windows), self.model.features.dimension), np.float32)
        for row, window in enumerate(windows):
            frames[: lengths[row], row] = window.frames
        steps = self._network.steps(lengths)
        if not any(window.whole for window in windows):
            labels, values = self._network.best(frames, lengths)
            return [BestPath(labels[:T, row].copy(), values[:T, row].copy()) for row, T in enumerate(steps)]
        log_probs = self._network.log_probs(frames, lengths)
        each = [log_probs[:T, row].copy() for row, T in enumerate(steps)]
        return [one if window.whole else greedy.best_path(one) for one, window in zip(each, windows, strict=True)]

    def _told(self, windows: Sequence[Window]) -> str:
        """Of a batch that does not fit into the device's memory, and what to do."""
        seconds = len(windows[0].frames) * self.model.features.hop
        if len(windows) == 1:
            return f"it is one stretch of {seconds:.1f} s; use the device cpu"
        smaller = max(1, int(min(self.batch_seconds, seconds * len(windows)) / 2))
        return f"they are {len(windows)} stretches of up to {seconds:.1f} s; use a smaller batch, as --batch {smaller}"


def load(
    name_or_path: str | Path,
    device: str | None = None,
    threads: int | None = None,
    batch_seconds: float = BATCH_SECONDS,
    decoding: DecodingChoice | None = None,
    vtln: bool = False,
) -> Recognizer:
    """A recogniser with a bundled model (`"en"`) or a model file.

    Parameters
    ----------
    device : "auto", "cpu", "cuda"; None: `$ASR_BACKEND`, else "auto"
    threads : CPU threads; None: all cores that this process may use
    batch_seconds, vtln : as `Recognizer` has them
    decoding : how posteriors become texts; None: with the language model that the model carries, else greedily

    ModelError for a file that is no model, UsageError for a device that is not there or a choice that cannot work.
    """
    model = Model.load(name_or_path)
    decoder = open_decoder(model, decoding or DecodingChoice(), threads, own_file(name_or_path))
    return Recognizer(model, open_backend(device, threads), batch_seconds, decoder, vtln)


def _transcript(duration: float, hypotheses: Sequence[Hypothesis]) -> Transcript:
    """The best of the hypotheses, the others beside it where there are any; without one, silence. The last step may
    reach beyond the sound's end; words do not."""
    if not hypotheses:
        return Transcript("", (), duration, 0.0)
    best = hypotheses[0]
    others = tuple(
        Alternative(each.text, _within(each.words, duration), each.score, each.confidence) for each in hypotheses
    )
    return Transcript(best.text, others[0].words, duration, best.confidence, others if len(others) > 1 else ())


def _within(words: Iterable[Word], duration: float) -> tuple[Word, ...]:
    return tuple(replace(word, start=min(word.start, duration), end=min(word.end, duration)) for word in words)


def _names(windows: Sequence[Window]) -> str:
    """The recordings of a batch, the first few of them."""
    names = list(dict.fromkeys(window.name for window in windows))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


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
