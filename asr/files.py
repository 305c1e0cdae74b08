"""Files: where a cache belongs, and writing so that a reader sees the old content or the new, never half of it."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder(name: str) -> Path:
    """A folder in `$ASR_CACHE`, else in the user's cache folder of this system. It may be deleted at any time."""
    return Path(os.environ.get("ASR_CACHE") or platformdirs.user_cache_dir("asr", appauthor=False)) / name


def write_atomically(path: Path, content: bytes, durable: bool = True) -> None:
    """Write to a file beside `path` and rename it; an OSError leaves `path` as it was.

    durable : the content is on the disk, safe from a power cut, before `path` is replaced
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A short name, since that of `path` may be as long as there can be, of its own, since threads write at once
    temporary = path.with_name(f".asr-{os.urandom(6).hex()}")
    file = temporary.open("xb")
    try:
        with file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
