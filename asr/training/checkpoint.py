"""All that a run needs to go on at the exact update: weights, velocity, and where it is.

Random numbers follow from the seed and the position (`streams`), so no generator is saved. One safetensors file,
written atomically: a run that is killed leaves the checkpoint before.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from asr.errors import ModelError
from asr.files import write_atomically

FORMAT = "asr-checkpoint"


@dataclass
class State:
    """Where a run is.

    epoch, batch : next to be done, counted from 0
    loss, characters, frames, norms, skipped, seconds : of the updates of this epoch so far
    history : the metrics of each epoch done
    best : the epoch, from 1, whose weights did best on development data
    data : a fingerprint of the training data
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
        self.batch = self.characters = self.frames = self.skipped = 0
        self.loss = self.seconds = 0.0
        self.norms = []


def save(path: Path, state: State, weights: np.ndarray, velocity: np.ndarray) -> None:
    """Replace the checkpoint at `path`; weights and velocity are flat float32 vectors. OSError when it cannot be."""
    from safetensors.numpy import save as to_bytes

    metadata = {"format": FORMAT, "state": json.dumps(asdict(state)), "checksum": str(_checksum(weights, velocity))}
    write_atomically(path, to_bytes({"weights": weights, "velocity": velocity}, metadata))


def load(path: Path) -> tuple[State, np.ndarray, np.ndarray]:
    """State, weights and velocity; ModelError when the file is missing, damaged or something else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            weights, velocity = file.get_tensor("weights"), file.get_tensor("velocity")
            metadata = file.metadata()
        if metadata["format"] != FORMAT or int(metadata["checksum"]) != _checksum(weights, velocity):
            raise ValueError("its checksum is wrong")
        return State(**json.loads(metadata["state"])), weights, velocity
    except FileNotFoundError as error:
        raise ModelError(f"{path}: there is no checkpoint to resume from; start without resuming") from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path}: the checkpoint is damaged ({error}); start the run anew in another folder"
        ) from error


def _checksum(weights: np.ndarray, velocity: np.ndarray) -> int:
    return zlib.crc32(velocity.tobytes(), zlib.crc32(weights.tobytes()))
