"""What tests put in the place of a person who watches a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from asr.training.progress import Quiet


class Watcher(Quiet):
    """Remembers what a run tells, and does something after so many updates."""

    def __init__(self, after: int = -1, action: Callable[[], None] = lambda: None) -> None:
        self.messages: list[str] = []
        self.records: list[Mapping[str, Any]] = []
        self.updates = 0
        self._after = after
        self._action = action

    def message(self, text: str) -> None:
        self.messages.append(text)

    def advance(self, amount: int, title: str | None = None, note: str = "") -> None:
        if title is None:
            return  # features
        self.updates += amount
        if self.updates == self._after:
            self._action()

    def epoch(self, record: Mapping[str, Any], epochs: int) -> None:
        self.records.append(record)
