"""All that a run needs to go on at the exact update: weights, velocity, and where it is.

Random numbers follow from the seed and the position (`streams`), so no generator is saved. One file, written
whole or not at all: a run that is killed leaves the checkpoint before.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from asr import tensorfile
from asr.errors import ModelError

FORMAT = "asr-checkpoint"


@dataclass
class State:
    """Where a run is.

    epoch, batch : next to be done, counted from 0
    loss, characters, frames, norms, skipped, seconds : of the updates of this epoch so far
    history : the metrics of each epoch done
    best : the epoch, from 1, whose weights did best on development data
    data : fingerprints of the training and development data
    """

    epoch: int = 0
    batch: int = 0
    loss: float = 0.0
    characters: int = 0
    frames: int = 0
    norms: list[float] = field(default_factory=list)
    skipped: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: int = 0
    data: str = ""

    def next_epoch(self, record: dict[str, Any]) -> None:
        """Close an epoch with its metrics and begin the next."""
        self.history.append(record)
        self.epoch += 1
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Nothing of this epoch is done yet."""
        self.batch = self.characters = self.frames = self.skipped = 0
        self.loss = self.seconds = 0.0
        self.norms = []


def save(path: Path, state: State, weights: np.ndarray, velocity: np.ndarray) -> None:
    """Replace the checkpoint at `path`; weights and velocity are flat float32 vectors. OSError when it cannot be."""
    tensorfile.write(path, FORMAT, {"weights": weights, "velocity": velocity}, {"state": json.dumps(asdict(state))})


def load(path: Path) -> tuple[State, np.ndarray, np.ndarray]:
    """State, weights and velocity; ModelError when the file is missing, damaged or something else."""
    try:
        tensors, texts = tensorfile.read(path, FORMAT)
        return State(**json.loads(texts["state"])), tensors["weights"], tensors["velocity"]
    except (ModelError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"no checkpoint to resume from ({error}); start the run anew in another folder") from error
