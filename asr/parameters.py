"""All weights of a network in one flat float32 vector, each with a name and a view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

Layout = Mapping[str, tuple[int, ...]]
Array = Any  # numpy.ndarray, or an array of a backend's device


class Parameters(Mapping[str, Array]):
    """Named views of one contiguous vector.

    Parameters
    ----------
    layout : name -> shape, in the order of the vector
    vector : float32 [size], of the host or of a device, or None for zeros of the host

    Another `Parameters` of the same layout holds the gradient, another the velocity; an optimiser step, a
    norm, a checkpoint or a sum over machines is one operation on `vector`.
    """

    def __init__(self, layout: Layout, vector: Array | None = None):
        self.layout = {name: tuple(shape) for name, shape in layout.items()}
        size = sum(_count(shape) for shape in self.layout.values())
        if vector is None:
            vector = np.zeros(size, np.float32)
        if vector.shape != (size,) or vector.dtype != np.float32:
            raise ValueError(f"this layout needs float32 [{size}], not {vector.dtype} {list(vector.shape)}")
        self.vector = vector
        self._views: dict[str, Array] = {}
        start = 0
        for name, shape in self.layout.items():
            stop = start + _count(shape)
            self._views[name] = vector[start:stop].reshape(shape)
            start = stop

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def like(self) -> Parameters:
        """Zeros of the same layout, on the host."""
        return Parameters(self.layout)

    def under(self, prefix: str) -> dict[str, Array]:
        """The views whose names begin with `prefix.`, without it."""
        return {name[len(prefix) + 1 :]: view for name, view in self.items() if name.startswith(prefix + ".")}


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))
