"""Fixtures of the kernel tests: each backend that this machine can open, in turn."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import pytest
from kernel_cases import EXECUTED, SIMULATED
from numba import types
from numba.np.numpy_support import as_dtype

from kernels import BackendUnavailableError, open_backend
from kernels.interface import Backend

if SIMULATED:
    from numba import cuda
    from numba.cuda.simulator import kernel, kernelapi

    class _SharedArrays(kernelapi.FakeCUDAShared):
        """The simulator's shared memory, except that two threads of a block cannot make one array twice."""

        def array(self, shape: tuple[int, ...], dtype: types.Type) -> np.ndarray:
            if shape == 0:  # the dynamic memory, which is there already
                return super().array(shape, dtype)
            frame = sys._getframe(1)
            place = frame.f_code.co_filename, frame.f_lineno
            return self._allocations.setdefault(place, np.empty(shape, as_dtype(dtype)))  # one step, not get and set

    @contextmanager
    def _swapped(function: Any, fake: Any) -> Iterator[None]:
        """The simulator's module in place of `cuda`, for a launch: in all modules at once. The simulator's own way, for
        each call of a device function and back, takes it away from the block's other threads."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        modules = [vars(module) for name, module in sys.modules.items() if name.startswith("kernels.cuda")]
        places = [(names, name) for names in [*modules, function.__globals__] for name in names if names[name] is cuda]
        for names, name in places:
            names[name] = fake
        try:
            yield
        finally:
            for names, name in places:
                names[name] = cuda

    kernel.swapped_cuda_module = _swapped
    kernelapi.FakeCUDAShared = _SharedArrays
    sys.setswitchinterval(1e-5)  # the simulator's threads wait for each other by polling

GPUS: dict[str, Any] = {}  # backends of the executor, by name
if EXECUTED:
    from ptx.driver import offline_gpu

    _OPENED = ExitStack()  # to the end of the process; the last one is the GPU of whoever opens "cuda" himself
    for _cc in ((8, 0), (12, 0), (9, 0)):
        _name = "cuda" if _cc == (9, 0) else "cuda_sm_{}{}".format(*_cc)
        GPUS[_name] = _OPENED.enter_context(offline_gpu(_cc, seed=int(EXECUTED), races=True))

LAST = "test_each_kernel_has_one_signature"


def active(name: str) -> AbstractContextManager[None]:
    """Where a backend's GPU is the one that is found."""
    return GPUS[name].active() if name in GPUS else nullcontext()


@cache
def _available(names: tuple[str, ...]) -> dict[str, Backend]:
    found = {}
    for name in names:
        try:
            with active(name):
                found[name] = open_backend(name.partition("_")[0], threads=2)
        except BackendUnavailableError:
            continue
    return found


FAST = _available(tuple(GPUS) or (("cuda",) if SIMULATED else ("cpu", "cuda")))
ALL = _available(("reference",)) | FAST


@pytest.fixture(params=ALL)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Every backend, the reference too."""
    with active(request.param):
        yield ALL[request.param]


@pytest.fixture(params=FAST)
def fast(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Every backend but the reference."""
    with active(request.param):
        yield FAST[request.param]


@pytest.fixture
def reference() -> Backend:
    return ALL["reference"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The count of compiled signatures comes after all that could add one."""
    items.sort(key=lambda item: item.name == LAST)
