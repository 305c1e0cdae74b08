"""Arrays in the device's memory, and arguments as compiled kernels take them. Nothing here needs a GPU or Numba.

Numba-cuda's own arrays and launches would do, but take the host 90 microseconds each: an update of AN4's network has 87
launches, and an H100 waited for half of its time (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

# Words that a kernel gets of an array of one dimension, as Numba's compiler lays them out:
# two for Numba's own accounting, items, bytes of an item, address, shape, stride in bytes
ARRAY = "7q"
NUMBERS = {"<i4": "i4x", "<f4": "f4x", "<u8": "Q"}  # each in a word
WORD = 8


class DeviceArray:
    """Values in the device's memory, C-contiguous; slices and reshapes share the memory, and each keeps it alive.

    memory : whatever frees it once nothing refers to it
    address : of the first value
    shape, dtype, size, nbytes, flags : as NumPy's
    """

    __slots__ = ("address", "dtype", "memory", "nbytes", "shape", "size")

    flags = {"C_CONTIGUOUS": True}  # noqa: RUF012

    def __init__(self, memory: Any, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]):
        self.memory, self.address, self.shape, self.dtype = memory, address, shape, dtype
        self.size = math.prod(shape)
        self.nbytes = self.size * dtype.itemsize

    def reshape(self, *shape: int | tuple[int, ...]) -> DeviceArray:
        """To these sizes, or to those of a tuple. ValueError where another size would come of it."""
        sizes: Any = shape[0] if isinstance(shape[0], tuple) else shape
        if math.prod(sizes) != self.size:
            raise ValueError(f"an array of shape {self.shape} cannot have the shape {sizes}")
        return DeviceArray(self.memory, self.address, sizes, self.dtype)

    def __getitem__(self, rows: slice) -> DeviceArray:
        """Some rows: entries of the first axis that follow each other. TypeError for anything else."""
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise TypeError(f"{rows!r} of a device array was asked for: copy the array to the host")
        begin, end, _ = rows.indices(self.shape[0])
        row = self.nbytes // self.shape[0] if self.shape[0] else 0
        return DeviceArray(self.memory, self.address + begin * row, (max(end - begin, 0), *self.shape[1:]), self.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """As other libraries take an array of the device."""
        return {"data": (self.address, False), "shape": self.shape, "typestr": self.dtype.str, "version": 3}

    def __array__(self, *args: Any, **options: Any) -> NoReturn:
        raise TypeError("an array of the device was given to NumPy: copy it to the host")


class Arguments:
    """Room for one kernel's arguments, filled anew for each launch; the driver copies them.

    pointers : the address of a table of the parameters' addresses, as cuLaunchKernel takes it
    """

    def __init__(self, args: Sequence[Any]):
        """For arguments like these: flat `DeviceArray`s, and NumPy's numbers of the types in `NUMBERS`."""
        self._layout = struct.Struct("=" + "".join(_format(arg) for arg in args))
        self._room = (ctypes.c_char * self._layout.size)()
        words = range(0, self._layout.size, WORD)
        self._table = (ctypes.c_void_p * len(words))(*(ctypes.addressof(self._room) + word for word in words))
        self.pointers = ctypes.addressof(self._table)

    def fill(self, args: Sequence[Any]) -> None:
        """ValueError for an array of several dimensions."""
        words: list[Any] = []
        for arg in args:
            if type(arg) is not DeviceArray:
                words.append(arg)
                continue
            if len(arg.shape) != 1:
                raise ValueError(f"a kernel takes flat arrays, and was given one of shape {arg.shape}")
            item = arg.dtype.itemsize
            words += (0, 0, arg.size, item, arg.address, arg.size, item)
        self._layout.pack_into(self._room, 0, *words)

    def values(self) -> tuple[Any, ...]:
        """What was filled in, a value for each parameter."""
        return self._layout.unpack(self._room)


def _format(arg: Any) -> str:
    return ARRAY if type(arg) is DeviceArray else NUMBERS[arg.dtype.str]
