"""Memory of the executor's device: this machine's, which host code cannot take for its own."""

from __future__ import annotations

import importlib
import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.cuda.arrays import DeviceArray

ALIGNMENT = 256  # bytes, as cudaMalloc gives it


class Allocation:
    """Bytes that begin as NaN; `released` is called with their count when no array uses them any more."""

    def __init__(self, size: int, released: Callable[[int], None]):
        self._bytes = np.full(size + ALIGNMENT, 0xFF, np.uint8)
        self.begin = self._bytes.ctypes.data - self._bytes.ctypes.data % -ALIGNMENT
        weakref.finalize(self, released, size)


class Memory:
    """A device's memory: it counts, and refuses as the driver does."""

    def __init__(self, total: int):
        self.total = self.free = total

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """Not initialised. Numba's own error where there is too little."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size > self.free:
            raise api_error("cuMemAlloc", "CUDA_ERROR_OUT_OF_MEMORY")
        self.free -= size
        allocation = Allocation(size, self._released)
        return DeviceArray(allocation, allocation.begin, shape, np.dtype(dtype))

    def _released(self, size: int) -> None:
        self.free += size


def api_error(call: str, name: str) -> Exception:
    """What numba-cuda raises where a call of the driver fails."""
    driver = importlib.import_module("numba.cuda.cudadrv.driver")
    code = getattr(driver.binding.CUresult, name)
    error: Exception = driver.CudaAPIError(code, f"Call to {call} results in {name}")
    return error
