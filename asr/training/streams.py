"""Random numbers from one seed by named streams.

What a stream draws depends on the seed, its name and the position (epoch, batch, ...) alone, so that nothing of it
needs saving: a resumed run draws what an uninterrupted one does.
"""

from __future__ import annotations

import numpy as np

STREAMS = {"weights": 0, "order": 1, "copies": 2, "frames": 3, "dropout": 4, "noise": 5} | {
    name: 6 + i for i, name in enumerate(("spread", "room", "band", "voices", "strings", "share", "pad", "pieces"))
}


def stream(seed: int, name: str, *position: int) -> np.random.Generator:
    """The generator of stream `name` at a position."""
    return np.random.default_rng([seed, STREAMS[name], *position])
