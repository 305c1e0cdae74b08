"""What a run of the command line comes to."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


RunAsr = Callable[..., Outcome]


def without_compiling(err: str) -> str:
    """What was said on stderr, but for the news of compiling, which only a first run has."""
    return "".join(line for line in err.splitlines(keepends=True) if "compiling " not in line)
