"""Writing files: the old content or the new, never half of it."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from asr.files import write_atomically


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_made_with_its_folder_and_replaced(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "some" / "where" / "text"
    for content in (b"first", b"second"):
        write_atomically(path, content, durable)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_what_fails_leaves_the_old_content_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_a_file_may_be_read_by_whom_the_umask_says(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "text", b"")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "text").stat().st_mode) == mode


def test_threads_may_write_the_same_file_and_the_umask_stays(tmp_path: Path) -> None:
    path, before = tmp_path / "text", os.umask(0o022)
    os.umask(before)
    contents = [bytes([65 + i]) * 1000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_atomically(path, content, durable=False), contents * 20))
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]
    mask = os.umask(before)
    assert mask == before
