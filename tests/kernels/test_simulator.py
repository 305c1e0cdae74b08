"""The CUDA kernels where there is no GPU: the tests of every backend, in small sizes, in CUDA's simulator."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PYTHONPATH = os.pathsep.join([str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
# What the simulator can do in a minute, in as many processes as there are small machines' cores: files, and `-k`
RUNS = {
    "operations": (
        ("test_recurrent.py", "test_ctc.py", "test_elementwise.py", "test_checks.py", "test_cuda_products.py"),
        "cuda and (not test_recurrent or bidirectional and (equals_the_reference or bad_frame or padding and gru))",
    ),
    "training": (("test_cuda.py",), "cuda"),
}


def in_another_process(code: str, **environment: str) -> str:
    """What the code prints."""
    command = [sys.executable, "-c", code]
    kept = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"}
    variables = kept | {"PYTHONPATH": PYTHONPATH} | environment
    return subprocess.run(command, capture_output=True, text=True, env=variables, check=True).stdout.strip()


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """The processes, all at the same time."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": PYTHONPATH}
    started = {
        name: subprocess.Popen(
            [*command, "-k", chosen, *files],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=HERE,
        )
        for name, (files, chosen) in RUNS.items()
    }
    yield started
    for process in started.values():
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_cuda_on_the_simulator(runs: dict[str, subprocess.Popen[str]], name: str) -> None:
    output, _ = runs[name].communicate()
    assert runs[name].returncode == 0, output[-3000:]
    assert " passed" in output


def test_the_cpu_path_imports_no_cuda() -> None:
    code = """
import sys
from kernels import open_backend
open_backend("cpu", 1)
print([name for name in sys.modules if name.startswith(("numba.cuda", "numba_cuda", "kernels.cuda"))])
"""
    assert in_another_process(code) == "[]"


def test_auto_is_the_cpu_and_cuda_says_what_to_install() -> None:
    code = """
import kernels
from kernels import driver
def none(library):
    raise OSError(library)
kernels.cuda_status = lambda: driver.cuda_status(none)
print(kernels.open_backend("auto", 1).name)
try:
    kernels.open_backend("cuda")
except kernels.BackendUnavailableError as error:
    print(error)
"""
    name, message = in_another_process(code).splitlines()
    assert name == "cpu"
    assert "no NVIDIA driver" in message
    assert "pip install 'asr-from-sound[cuda13]'" in message
