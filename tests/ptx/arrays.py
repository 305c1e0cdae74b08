"""Arrays of the executor's device: memory of this machine that host code cannot take for its own."""

from __future__ import annotations

import importlib
import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

ALIGNMENT = 256  # bytes, as cudaMalloc gives it


class Allocation:
    """Bytes that begin as NaN; `released` is called with their count when no array uses them any more."""

    def __init__(self, size: int, released: Callable[[int], None]):
        self._bytes = np.full(size + ALIGNMENT, 0xFF, np.uint8)
        begin = -self._bytes.ctypes.data % ALIGNMENT
        self.values = self._bytes[begin : begin + size]
        weakref.finalize(self, released, size)


class DeviceArray:
    """An array on the device. It offers what numba-cuda's own arrays do and our code uses, and its values to nobody."""

    def __init__(self, allocation: Allocation, values: np.ndarray):
        self.allocation = allocation
        self._values = values
        self.shape, self.strides, self.dtype = values.shape, values.strides, values.dtype
        self.size, self.ndim, self.nbytes = values.size, values.ndim, values.nbytes

    @property
    def _numba_type_(self) -> Any:
        """As Numba types its own device arrays."""
        support = importlib.import_module("numba.cuda.np.numpy_support")
        types = importlib.import_module("numba.cuda.types")
        layout = "C" if self._values.flags.c_contiguous else "F" if self._values.flags.f_contiguous else "A"
        return types.Array(support.from_dtype(self.dtype), self.ndim, layout)

    @property
    def flags(self) -> dict[str, bool]:
        return {name: self._values.flags[name] for name in ("C_CONTIGUOUS", "F_CONTIGUOUS")}

    @property
    def begin(self) -> int:
        """The address of the first value."""
        return int(self._values.ctypes.data)

    @property
    def end(self) -> int:
        """The address after the last."""
        last = sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        return self.begin + (last + self.dtype.itemsize if self.size else 0)

    def reshape(self, *shape: Any) -> DeviceArray:
        values = self._values.reshape(*shape)
        if self.size and not np.shares_memory(values, self._values):
            raise NotImplementedError("a reshape that copies")
        return DeviceArray(self.allocation, values)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Where the values begin, as every array of a device tells it."""
        return {"data": (self.begin, False), "shape": self.shape, "typestr": self.dtype.str, "version": 3}

    def ravel(self) -> DeviceArray:
        return self.reshape(self.size)

    def view(self, dtype: Any) -> DeviceArray:
        return DeviceArray(self.allocation, self._values.view(dtype))

    def __getitem__(self, key: Any) -> DeviceArray:
        values = self._values[key]
        if not isinstance(values, np.ndarray):
            raise TypeError("a single value of a device array was asked for: copy the array to the host")
        return DeviceArray(self.allocation, values)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __array__(self, *args: Any, **options: Any) -> np.ndarray:
        raise TypeError("an array of the device was given to NumPy: copy it to the host")

    def copy_in(self, host: np.ndarray) -> None:
        if host.shape != self.shape or host.dtype != self.dtype:
            raise ValueError(f"{host.shape} {host.dtype} cannot be copied into {self.shape} {self.dtype}")
        self._values[...] = host

    def copy_out(self) -> np.ndarray:
        return self._values.copy()


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
        return DeviceArray(allocation, allocation.values.view(dtype).reshape(shape))

    def _released(self, size: int) -> None:
        self.free += size


def api_error(call: str, name: str) -> Exception:
    """What numba-cuda raises where a call of the driver fails."""
    driver = importlib.import_module("numba.cuda.cudadrv.driver")
    code = getattr(driver.binding.CUresult, name)
    error: Exception = driver.CudaAPIError(code, f"Call to {call} results in {name}")
    return error
