"""The package's face: what it offers, how quickly it is there, and whose `kernels` it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import asr

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("librosa", "numba", "numpy", "safetensors", "scipy", "soundfile", "soxr", "jiwer", "asr.training")


def run(program: str, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A program in an interpreter of its own that finds modules in `path`, then in the repository."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(path), str(ROOT)])}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, cwd=path
    )


@pytest.mark.parametrize("name", asr.__all__)
def test_every_name_that_it_offers_is_there(name: str) -> None:
    assert getattr(asr, name) is not None


def test_another_name_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'asr' has no attribute 'loud'"):
        _ = asr.loud


def test_it_is_imported_in_under_a_third_of_a_second() -> None:
    program = "import time; begun = time.perf_counter(); import asr; print(time.perf_counter() - begun)"
    assert min(float(run(program).stdout) for _ in range(3)) < 0.3


def test_what_is_heavy_waits_for_its_use() -> None:
    assert run(f"import sys, asr; print([name for name in {HEAVY} if name in sys.modules])").stdout == "[]\n"


@pytest.mark.parametrize("content", ["", "import a_module_that_is_not_there"])
def test_another_packages_kernels_are_noticed_and_explained(content: str, tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text(content)
    done = run("import asr", tmp_path)
    assert done.returncode == 1
    assert "is another package's, not the one that comes with asr: install asr in a virtual environment" in done.stderr
