"""The tests of every backend, on the PTX of the CUDA kernels: all of them for sm_90, some for the others too.

They run in processes of their own, two at a time, where `ASR_PTX_SEED` gives them the executor's backends
(`tests/kernels/conftest.py`): bounds, alignment and races are checked in every launch, in an order of threads by seed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

KERNELS = Path(__file__).parents[1] / "kernels"
OTHERS = (
    "cuda_sm_ and (test_equals_the_reference and bidirectional and (unequal or wide)"
    " or by_hand or feasible or dense or test_elementwise)"
)
RUNS = {  # seed, files, `-k`
    "recurrent": (1, ("test_recurrent.py",), f"cuda and not cuda_sm_ or {OTHERS}"),
    "operations": (
        2,
        ("test_cuda.py", "test_ctc.py", "test_elementwise.py", "test_checks.py"),
        f"cuda and not cuda_sm_ or {OTHERS}",
    ),
}


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """The processes, all at the same time."""
    started = {name: _start(*run) for name, run in RUNS.items()}
    yield started
    for process in started.values():
        if process.poll() is None:
            process.kill()
            process.communicate()


def _start(seed: int, files: tuple[str, ...], chosen: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *files],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"ASR_PTX_SEED": str(seed), "PYTHONPATH": str(KERNELS.parents[1])},
        cwd=KERNELS,
    )


@pytest.mark.parametrize("name", RUNS)
def test_cuda_on_the_executor(runs: dict[str, subprocess.Popen[str]], name: str) -> None:
    output, _ = runs[name].communicate()
    assert runs[name].returncode == 0, output[-3000:]
    assert " passed" in output
    assert " skipped" not in output
