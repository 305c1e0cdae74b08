"""Fixtures of the kernel tests: each backend that this machine can open, in turn."""

from __future__ import annotations

import sys
from functools import cache

import pytest
from kernel_cases import SIMULATED

from kernels import BackendUnavailableError, open_backend
from kernels.interface import Backend

if SIMULATED:
    sys.setswitchinterval(1e-5)  # the simulator's threads wait for each other by polling

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


FAST = _available(("cuda",) if SIMULATED else ("cpu", "cuda"))
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
