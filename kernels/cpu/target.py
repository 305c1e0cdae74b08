"""The vector units of this machine, and the sizes of tiles and panels that follow from them.

`$ASR_VECTOR_LANES` (4, 8 or 16) narrows the code, to test on one machine what runs on another.
"""

from __future__ import annotations

import os

import llvmlite.binding


def _lanes() -> int:
    """float32 lanes of the widest vector: AVX-512 16, AVX 8, else (SSE, NEON) 4."""
    forced = os.environ.get("ASR_VECTOR_LANES")
    if forced:
        if forced not in ("4", "8", "16"):
            raise ValueError(f"ASR_VECTOR_LANES must be 4, 8 or 16, not {forced!r}")
        return int(forced)
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 16
    return 8 if features.get("avx") else 4


LANES = _lanes()
ROWS = 6  # rows of a tile
COLUMNS = LANES * (2 if LANES == 8 else 4)  # AVX2 has 16 registers: 6 x 2 accumulators; AVX-512 and NEON have 32
PANEL = 4 * LANES  # columns of a group of hidden units that stand side by side: whole vectors of each, whole tiles
