"""A corpus of tones to train on, and the machine to do it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tones

from asr.corpora import Utterance, open_corpus
from asr.training.config import AugmentConfig, Copy, ScheduleConfig, TrainingConfig, load_config
from kernels import open_backend
from kernels.interface import Backend


@pytest.fixture(scope="session")
def tone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    tones.make(folder / "train", 96, seed=1)
    tones.make(folder / "dev", 12, seed=2)
    return folder


@pytest.fixture(scope="session")
def train_set(tone_folder: Path) -> list[Utterance]:
    return open_corpus(f"pairs:{tone_folder / 'train'}")


@pytest.fixture(scope="session")
def dev_set(tone_folder: Path) -> list[Utterance]:
    return open_corpus(f"pairs:{tone_folder / 'dev'}")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A feature cache that the tests share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def backend() -> Backend:
    return open_backend("cpu", threads=2)


@pytest.fixture(scope="session")
def tiny() -> TrainingConfig:
    return load_config("tiny")


@pytest.fixture(scope="session")
def restless() -> TrainingConfig:
    """Three epochs with everything that draws random numbers: dropout, copies, changed frames, shuffled batches."""
    augment = AugmentConfig((Copy(weight=2), Copy(speed=1.1), Copy(hop=0.9, snr=20.0)), 5.0, 0.1, 0.1, 0.2, 2)
    config = load_config("tiny", {"network.dropout": 0.3, "network.hidden": 12, "seed": 7})
    return dataclasses.replace(config, augment=augment, schedule=ScheduleConfig(epochs=3, warmup=1.0))
