"""Long recordings in pieces: cut the frames into overlapping windows, join their log-probabilities again.

A bidirectional network must see all of what it reads at once, and one hour in one piece would need gigabytes and
could not be batched. Both are avoided: windows of half a minute overlap by several seconds, so that near the middle
of an overlap either window has seen seconds of context on both sides, far beyond what the network needs to name a
letter. There the left window hands over to the right one, where both are surest of the blank: no label stands
near such a seam, so that none is lost or doubled, and decoding runs across it as over any other step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from asr.alphabet import BLANK
from asr.errors import UsageError

CALM = 5  # steps around a seam over which both windows should be blank: a label's peak is 1 to 3 steps wide


@dataclass(frozen=True)
class Windowing:
    """How recordings are cut; all in network steps.

    whole : up to this length a recording is one window
    length, overlap : of the windows of longer ones; the last may be shorter, but is longer than the overlap
    """

    whole: int
    length: int
    overlap: int

    def __post_init__(self) -> None:
        if not (self.whole >= self.length >= 2 * self.overlap >= 8):
            raise UsageError(
                f"windows of {self.length} steps with {self.overlap} in common, from {self.whole} steps on, do not fit:"
                " whole must be at least length, length twice the overlap, and the overlap 4"
            )

    @classmethod
    def of_seconds(cls, step: float, whole: float = 60.0, length: float = 30.0, overlap: float = 6.0) -> Windowing:
        """From seconds to steps of `step` seconds each."""
        return cls(round(whole / step), round(length / step), round(overlap / step))

    @property
    def stride(self) -> int:
        """Steps from one window's beginning to the next one's."""
        return self.length - self.overlap

    def cut(self, frames: np.ndarray, stack: int) -> list[np.ndarray]:
        """Frames `[T, D]`, `stack` of them a step -> views of the windows, in order."""
        steps = -(-len(frames) // stack)
        if steps <= self.whole:
            return [frames]
        count = -(-(steps - self.overlap) // self.stride)
        starts = [index * self.stride * stack for index in range(count)]
        return [frames[start : start + self.length * stack] for start in starts]

    def join(self, windows: Sequence[np.ndarray]) -> np.ndarray:
        """Log-probabilities `[T', C]` of the windows that `cut` gave -> those of the whole recording."""
        parts = []
        begin = 0
        for left, right in pairwise(windows):
            seam = _seam(left[self.stride :], right[: self.overlap])
            parts.append(left[begin : self.stride + seam])
            begin = seam
        parts.append(windows[-1][begin:])
        return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _seam(left: np.ndarray, right: np.ndarray) -> int:
    """The step of an overlap, within its middle half, around which both windows give the blank most probability."""
    blank = left[:, BLANK] + right[:, BLANK]
    calm = np.convolve(blank, np.ones(min(CALM, len(blank) // 2)), "same")
    quarter = len(blank) // 4
    return quarter + int(calm[quarter : len(blank) - quarter].argmax())
