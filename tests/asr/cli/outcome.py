"""What a run of the command line comes to."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


RunAsr = Callable[..., Outcome]
