"""A GPU to test on. All tests here are marked `cuda`.

`ASR_TEST_GPU=sm_90 pytest tests/cuda` rehearses them on the executor of PTX, as far as that makes sense.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernels import BackendUnavailableError, open_backend

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "kernels"))  # its cases are ours too

REHEARSED = os.environ.get("ASR_TEST_GPU", "")
SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") != "0"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the hardware, before marks are chosen from."""
    for item in items:
        if HERE in item.path.parents and not REHEARSED:
            item.add_marker(pytest.mark.cuda)


@pytest.fixture(scope="session")
def gpu() -> Iterator[Any]:
    """The CUDA backend on hardware."""
    if SIMULATED:
        pytest.skip("the simulator is no GPU")
    if REHEARSED:
        from ptx.driver import offline_gpu

        number = int(REHEARSED.removeprefix("sm_"))
        with offline_gpu(cc=divmod(number, 10)):
            from kernels.cuda.backend import CudaBackend

            yield CudaBackend()
        return
    try:
        backend = open_backend("cuda")
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    yield backend


@pytest.fixture(scope="session")
def hardware(gpu: Any) -> Any:
    """The same, for tests that mean nothing or take too long on the executor."""
    if REHEARSED:
        pytest.skip("the executor is no hardware")
    return gpu


@pytest.fixture
def repeats() -> int:
    """How often a test repeats what must come out the same."""
    return 3 if REHEARSED else 200
