"""The seam where training on several machines enters."""

from __future__ import annotations

from typing import Any, Protocol


class Communicator(Protocol):
    """Adds up vectors over all machines that train together."""

    def sum(self, vector: Any) -> None:
        """Replace `vector` (flat; the backend's float32, or NumPy's float64) by its sum over all machines."""


class Alone:
    """One machine: its sum is its own."""

    def sum(self, vector: Any) -> None:
        """Leave `vector` as it is."""
