"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from kernels import cuda_status

settings.register_profile("patient", deadline=None)  # a shared machine may be slow at any time
settings.load_profile("patient")

ROOT = Path(__file__).resolve().parents[1]


@cache
def _no_gpu() -> str:
    """Why no GPU can be used here; nothing where one can."""
    return next((problem.what for problem in cuda_status().problems() if problem.blocking), "")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is marked `cuda` needs the hardware."""
    if item.get_closest_marker("cuda") and _no_gpu():
        pytest.skip(_no_gpu())


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of speech corpora; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("ASR_CORPORA", ROOT.parent / "shared" / "corpora"))
    if not folder.is_dir():
        pytest.skip(f"no corpora at {folder}: set ASR_CORPORA")
    return folder
