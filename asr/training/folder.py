"""The folder of a run: what it holds, whether a run may be put there.

config.toml               every setting
train.jsonl, dev.jsonl    the utterances used, as NeMo manifests
metrics.jsonl             a line per epoch
checkpoint.safetensors    all that the run needs to go on
best, last.safetensors    models: of the epoch that did best on development data, and of the last
model.safetensors         the result
pieces.jsonl              where pieces were cut out of utterances, if the settings ask for some
before                    folder of the run that came first, where the settings have one
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from asr.config import to_table
from asr.corpora import nemo
from asr.errors import TrainingError, UsageError
from asr.files import write_atomically
from asr.training.config import TrainingConfig, load_config
from asr.training.dataset import Dataset
from asr.training.progress import Progress
from asr.training.strings import Joined

CONFIG, METRICS, CHECKPOINT = "config.toml", "metrics.jsonl", "checkpoint.safetensors"
TRAIN, DEV, PIECES = "train.jsonl", "dev.jsonl", "pieces.jsonl"
BEFORE = "before"
BEST, LAST, MODEL = "best.safetensors", "last.safetensors", "model.safetensors"
CHANGEABLE = ("batches.size", "language.", "blend", "half")  # begin the settings that may differ when a run is resumed


def check_folder(folder: Path, config: TrainingConfig, resume: bool, spared: str = "") -> None:
    """Refuse, before any work is done, a folder that the run may not be put into.

    resume : it must hold a run with these settings; else it is made, or is empty but for hidden files
    spared : what may be in it all the same
    """
    if resume:
        _check_same(folder, config)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        used = any(path.name != spared and not path.name.startswith(".") for path in folder.iterdir())
    except FileExistsError as error:
        raise UsageError(f"{folder}: a file is where the run's folder would be; name another folder") from error
    except OSError as error:
        raise TrainingError(f"{folder}: the run cannot be saved ({error.strerror}); name another folder") from error
    if used:
        raise UsageError(f"{folder}: the run's folder is not empty; name a new one, or go on with --resume")


def _check_same(folder: Path, config: TrainingConfig) -> None:
    if not os.path.isfile(folder / CONFIG):
        if os.path.isdir(folder / BEFORE):
            raise UsageError(f"{folder}: the run before this one was stopped; resume with the --config that has it")
        raise UsageError(f"{folder}: there is no run to resume; start it without --resume")
    begun = _flat(to_table(load_config(folder / CONFIG)))
    asked = _flat(to_table(config))
    changed = sorted(key for key in begun | asked if begun.get(key) != asked.get(key))
    changed = [key for key in changed if not key.rpartition("before.")[2].startswith(CHANGEABLE)]
    if changed:
        key = changed[0]
        raise UsageError(
            f"{folder}: {key} is {asked.get(key)}, but the run began with {begun.get(key)}; "
            "resume with the settings that it began with, or start another run"
        )


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def list_utterances(data: Dataset, path: Path, progress: Progress) -> None:
    """Write a manifest of the utterances, without strings joined of them; no file where there is none. OSError."""
    used = [each.utterance for each in data.examples if not isinstance(each.utterance, Joined)]
    lines = nemo.lines(used)
    if len(lines) < len(used):
        why = "a command gives their sound, or they are where others are"
        progress.message(f"{path} does without {len(used) - len(lines)} of {len(used)} utterances: {why}")
    if lines:
        write_atomically(path, "".join(lines).encode())
