"""Arrays of the device and arguments of kernels, as far as they are plain memory."""

from __future__ import annotations

import ctypes
from itertools import pairwise

import numpy as np
import pytest

from kernels.cuda.arrays import WORD, Arguments, DeviceArray

F32, I32 = np.dtype(np.float32), np.dtype(np.int32)


def array(*shape: int, address: int = 4096, dtype: np.dtype = F32) -> DeviceArray:
    return DeviceArray("memory", address, shape, dtype)


def test_slices_and_reshapes_share_the_memory() -> None:
    whole = array(6, 4)
    assert (whole.size, whole.nbytes, len(whole)) == (24, 96, 6)
    part = whole[2:5]
    assert (part.memory, part.address, part.shape) == ("memory", 4096 + 2 * 16, (3, 4))
    assert whole.reshape(24)[20:99].shape == (4,)
    assert whole.reshape(3, 8).shape == whole.reshape((3, 8)).shape == (3, 8)
    assert whole.reshape(3, 8).address == whole.address
    assert whole[4:2].shape == (0, 4)
    assert array(0, 4)[:3].shape == (0, 4)


def test_what_needs_values_or_moves_them_is_refused() -> None:
    whole = array(6, 4)
    with pytest.raises(ValueError, match=r"\(6, 4\) cannot have the shape \(5,\)"):
        whole.reshape(5)
    for key in (0, slice(None, None, 2), (0, 1)):
        with pytest.raises(TypeError, match="copy the array to the host"):
            whole[key]  # type: ignore[index]
    with pytest.raises(TypeError, match="copy it to the host"):
        np.asarray(whole)


def test_arguments_stand_where_the_table_says() -> None:
    args = [array(10), np.int32(-3), np.float32(0.5), np.uint64(2**63), array(4, address=8192, dtype=I32)]
    arguments = Arguments(args)
    arguments.fill(args)
    assert arguments.values() == (0, 0, 10, 4, 4096, 10, 4, -3, 0.5, 2**63, 0, 0, 4, 4, 8192, 4, 4)
    places = (ctypes.c_void_p * 17).from_address(arguments.pointers)
    assert ctypes.c_int64.from_address(places[4]).value == 4096
    assert ctypes.c_int32.from_address(places[7]).value == -3
    assert ctypes.c_float.from_address(places[8]).value == 0.5
    assert ctypes.c_uint64.from_address(places[9]).value == 2**63
    assert all(later - earlier == WORD for earlier, later in pairwise(places))
    arguments.fill([array(2), *args[1:]])  # the next launch
    assert arguments.values()[2] == 2


def test_kernels_take_flat_arrays() -> None:
    flat, square = array(4), array(2, 2)
    with pytest.raises(ValueError, match=r"flat arrays, and was given one of shape \(2, 2\)"):
        Arguments([flat]).fill([square])
