"""A kernel whose blocks meet again and again."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from kernels.cuda.device import cuda, kernel
from kernels.cuda.memory import load, store
from kernels.cuda.steps import _meet as meet

types: Any = importlib.import_module("numba.cuda").types
_INTEGERS = types.Array(types.int32, 1, "C")
SIGNATURE = (_INTEGERS, _INTEGERS, _INTEGERS, types.int32)


@kernel
def relay(exchange, counters, wrong, rounds):
    """Round n: every block checks that all blocks have written what round n - 1 demands, and writes its own."""
    blocks, threads, thread = cuda.gridDim.x, cuda.blockDim.x, cuda.threadIdx.x
    size = blocks * threads
    for n in range(1, rounds + 1):
        if n > 1:
            for other in range(blocks):
                found = load(exchange, ((n - 1) & 1) * size + other * threads + thread)
                if found != other + n - 1:
                    cuda.atomic.add(wrong, 0, 1)
        place = (n & 1) * size + cuda.blockIdx.x * threads + thread
        store(exchange, place, np.int32(cuda.blockIdx.x + n))
        meet(counters, 0, blocks * n)
