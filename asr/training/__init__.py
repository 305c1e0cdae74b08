"""Training: settings, data, the loop, and what it leaves behind."""

from __future__ import annotations

from asr.training.config import TrainingConfig, load_config
from asr.training.trainer import train

__all__ = ["TrainingConfig", "load_config", "train"]
