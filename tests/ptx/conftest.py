"""The executor's tests need numba-cuda and the wheels of its compiler; they are skipped where those are absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptx.toolchain import missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = missing()
    for item in items:
        if reason and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))
