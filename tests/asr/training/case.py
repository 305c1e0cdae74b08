"""One training, to be run in several folders."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from watcher import Watcher

from asr.corpora import Utterance
from asr.model import Model
from asr.training.config import TrainingConfig
from asr.training.trainer import train
from kernels.interface import Backend


class Case:
    def __init__(
        self, config: TrainingConfig, data: list[Utterance], dev: list[Utterance], backend: Backend, cache: Path
    ):
        self.config, self.data, self.dev, self.backend, self.cache = config, data, dev, backend, cache

    def run(self, out: Path, watcher: Watcher | None = None, resume: bool = False, **changes: Any) -> Model:
        """`changes` : of the settings"""
        config = dataclasses.replace(self.config, **changes)
        progress = watcher or Watcher()
        return train(config, self.data, self.dev, out, self.backend, resume, progress, cache=self.cache)
