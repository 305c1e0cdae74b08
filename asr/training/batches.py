"""Utterances put together: which ones, in what order, padded into one array, ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from asr.training.config import BatchConfig
from asr.training.streams import stream

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Batch:
    """Utterances of similar length, longest first.

    frames : float32 `[T, B, D]`, zero beyond the lengths
    lengths : int32 `[B]`, frames of each
    labels : int32 `[B, S]`, zero beyond the label lengths
    label_lengths : int32 `[B]`
    middle, middle_lengths : the same for the middle layer
    ids : the utterances' names; one that is heard in several ways stands there as often
    """

    frames: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    label_lengths: np.ndarray
    middle: np.ndarray
    middle_lengths: np.ndarray
    ids: tuple[str, ...]

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Frames, lengths, labels and label lengths, as a network takes them."""
        return self.frames, self.lengths, self.labels, self.label_lengths

    @property
    def size(self) -> int:
        """Utterances."""
        return len(set(self.ids))

    def describe(self, hop_seconds: float) -> str:
        """How large it is, for a person; `hop_seconds` from a frame to the next."""
        longest = f"{self.ids[0]} of {self.lengths[0] * hop_seconds:.1f} s"
        return (
            f"the batch is {longest} alone"
            if self.size == 1
            else f"the batch has {self.size} utterances, the longest {longest}"
        )


def assemble(
    frames: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    ids: Sequence[str],
    middle: Sequence[np.ndarray] | None = None,
) -> Batch:
    """Frames `[T_b, D]` and labels `[S_b]` of each utterance, and those for the middle layer if they are others, padded
    and put longest first."""
    order = sorted(range(len(frames)), key=lambda b: -len(frames[b]))
    lengths = np.array([len(frames[b]) for b in order], np.int32)
    padded = np.zeros((lengths[0], len(order), frames[0].shape[1]), np.float32)
    for column, b in enumerate(order):
        padded[: lengths[column], column] = frames[b]
    targets = _padded([labels[b] for b in order])
    within = targets if middle is None else _padded([middle[b] for b in order])
    return Batch(padded, lengths, *targets, *within, tuple(ids[b] for b in order))


def _padded(labels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """int32 `[B, S]`, zero beyond the lengths, and these, int32 `[B]`."""
    lengths = np.array([len(row) for row in labels], np.int32)
    padded = np.zeros((len(labels), max(1, lengths.max())), np.int32)
    for row, length, values in zip(padded, lengths, labels, strict=True):
        row[:length] = values
    return padded, lengths


def epoch_batches(lengths: np.ndarray, config: BatchConfig, seed: int, epoch: int) -> list[np.ndarray]:
    """The utterances (indices into `lengths`) of each batch of an epoch, counted from 0: each once."""
    rng = stream(seed, "order", epoch)
    if epoch == 0 and config.sort_first_epoch:
        return _cut(np.argsort(lengths, kind="stable"), config.size)
    jittered = lengths * np.exp(config.jitter * rng.standard_normal(len(lengths)))
    batches = _cut(np.argsort(jittered, kind="stable"), config.size)
    return [batches[i] for i in rng.permutation(len(batches))]


def sorted_batches(lengths: np.ndarray, size: int) -> list[np.ndarray]:
    """All utterances by length, longest first: the least padding."""
    return _cut(np.argsort(-lengths, kind="stable"), size)


def ahead(make: Callable[[Item], Made], items: Iterable[Item], depth: int = 2) -> Iterator[Made]:
    """`map(make, items)`, with up to `depth` results made ahead by another thread."""
    with ThreadPoolExecutor(1) as pool:
        pending: deque[Future[Made]] = deque()
        for item in items:
            pending.append(pool.submit(make, item))
            if len(pending) > depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _cut(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[start : start + size] for start in range(0, len(order), size)]
