"""Fixtures of the kernel tests: each backend that this machine can open, in turn."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import cache

import numpy as np
import pytest
from kernel_cases import EXECUTED, SIMULATED
from numba import types
from numba.np.numpy_support import as_dtype

from kernels import BackendUnavailableError, open_backend
from kernels.interface import Backend

if SIMULATED:
    from numba.cuda.simulator import kernelapi

    class _SharedArrays(kernelapi.FakeCUDAShared):
        """The simulator's shared memory, except that two threads of a block cannot make one array twice."""

        def array(self, shape: tuple[int, ...], dtype: types.Type) -> np.ndarray:
            if shape == 0:  # the dynamic memory, which is there already
                return super().array(shape, dtype)
            frame = sys._getframe(1)
            place = frame.f_code.co_filename, frame.f_lineno
            return self._allocations.setdefault(place, np.empty(shape, as_dtype(dtype)))  # one step, not get and set

    kernelapi.FakeCUDAShared = _SharedArrays
    sys.setswitchinterval(1e-5)  # the simulator's threads wait for each other by polling

if EXECUTED:  # the device's capability, and the seed of the threads' order
    from ptx.driver import offline_gpu

    _major, _minor, *_seed = map(int, EXECUTED.replace(".", " ").split())
    _GPU = ExitStack()  # open to the end of the process
    _GPU.enter_context(offline_gpu((_major, _minor), seed=_seed[0] if _seed else None, races=True))

LAST = "test_each_kernel_has_one_signature"


@cache
def _available(names: tuple[str, ...]) -> dict[str, Backend]:
    found = {}
    for name in names:
        try:
            found[name] = open_backend(name, threads=2)
        except BackendUnavailableError:
            continue
    return found


FAST = _available(("cuda",) if SIMULATED or EXECUTED else ("cpu", "cuda"))
ALL = _available(("reference",)) | FAST


@pytest.fixture(params=ALL)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Every backend, the reference too."""
    return ALL[request.param]


@pytest.fixture(params=FAST)
def fast(request: pytest.FixtureRequest) -> Backend:
    """Every backend but the reference."""
    return FAST[request.param]


@pytest.fixture
def reference() -> Backend:
    return ALL["reference"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The count of compiled signatures comes after all that could add one."""
    items.sort(key=lambda item: item.name == LAST)
