"""Checkpoints: everything back bit for bit, or a reason why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asr.errors import ModelError
from asr.training.checkpoint import State, load, save


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    state = State(3, 7, 1 / 3, 11, 1234, [0.1, 2 / 3], 1, 5.5, [{"epoch": 1, "dev_wer": None}], 2, "abc")
    save(tmp_path / "c", state, rng.standard_normal(9).astype(np.float32), rng.standard_normal(9).astype(np.float32))
    return tmp_path / "c"


def test_there_and_back(path: Path) -> None:
    state, weights, velocity = load(path)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(weights, rng.standard_normal(9).astype(np.float32))
    np.testing.assert_array_equal(velocity, rng.standard_normal(9).astype(np.float32))
    assert state == State(3, 7, 1 / 3, 11, 1234, [0.1, 2 / 3], 1, 5.5, [{"epoch": 1, "dev_wer": None}], 2, "abc")


def test_the_next_epoch_begins_empty() -> None:
    state = State(3, 7, 1.5, 11, 1234, [0.1], 1, 5.5, [], 2, "abc")
    state.next_epoch({"epoch": 4})
    assert state == State(epoch=4, history=[{"epoch": 4}], best=2, data="abc")


@pytest.mark.parametrize("position", [0, 20, -1])
def test_a_changed_byte_is_noticed(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="no checkpoint to resume from"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"x" * 1000])
def test_something_else(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ModelError, match="no checkpoint to resume from"):
        load(path)


def test_a_truncated_one(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="no checkpoint to resume from"):
        load(path)


def test_none(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no checkpoint"):
        load(tmp_path / "c")
