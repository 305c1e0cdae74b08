"""Machine code: one signature for each kernel, kept across processes, never stale, missed and not broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_cases import CELL_NAMES, SIZES, make_case, run_layer
from test_ctc import make_batch, run_ctc

import kernels
from kernels import jit, open_backend, warmup

PACKAGE = Path(kernels.__file__).parent

# Runs two small kernels and tells what happened
PROGRAM = """
import json, logging, sys, warnings
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import numpy as np
    from kernels import jit, open_backend
    backend = open_backend("cpu", threads=1)
    if changed := sys.argv[1:]:  # a file, while the process runs
        with open(changed[0], "a") as file:
            file.write("# another comment")
    values = np.array([3, 4], np.float32)
    norm = backend.norm(values)
    backend.dropout(values, values, 0.0, 1)
print(json.dumps({
    "compilations": jit.compilations(), "folder": jit.cache_folder().name, "norm": norm, "values": values.tolist(),
    "warnings": [str(warning.message) for warning in caught],
}))
"""

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the program in a new process, by default with the cache in `tmp_path / "cache"`."""

    def run_program(
        cache: Path = tmp_path / "cache", package: Path = PACKAGE, changed: Path | None = None
    ) -> dict[str, Any]:
        environment = os.environ | {"ASR_CACHE": str(cache), "PYTHONPATH": str(package.parent)}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *([str(changed)] if changed else [])],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        assert found["norm"] == 5.0
        assert found["values"] == [3.0, 4.0]
        return found | {"messages": done.stderr}

    return run_program


def test_a_second_process_compiles_nothing(run: Run) -> None:
    first, second = run(), run()
    assert first["compilations"] == 2
    assert "compiling kernel 1 for this processor: norm" in first["messages"]
    assert second["compilations"] == 0
    assert "compiling" not in second["messages"]
    assert second["folder"] == first["folder"]
    assert first["warnings"] == second["warnings"] == []


def test_changed_sources_are_never_run_from_an_old_cache(run: Run, tmp_path: Path) -> None:
    """A change in a file that a kernel may call, which Numba's own cache does not notice."""
    package = tmp_path / "sources" / "kernels"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    before = run(package=package)
    scalar = package / "scalar.py"
    text = scalar.read_text()
    scalar.write_text(text + "\n# another comment\n")
    changed = run(package=package)
    assert changed["folder"] != before["folder"]
    assert changed["compilations"] == before["compilations"] == 2
    scalar.write_text(text)
    assert run(package=package)["compilations"] == 0  # the old folder is fresh again


def test_a_process_whose_sources_have_changed_keeps_nothing(run: Run, tmp_path: Path) -> None:
    """What it has loaded since may be of either, and would be run by whoever has the sources as they were."""
    package = tmp_path / "sources" / "kernels"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    scalar = package / "scalar.py"
    text = scalar.read_text()
    assert run(package=package, changed=scalar)["compilations"] == 2
    scalar.write_text(text)
    assert [run(package=package)["compilations"] for _ in range(2)] == [2, 0]


def test_a_damaged_cache_is_compiled_anew(run: Run, tmp_path: Path) -> None:
    run()
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(b"not machine code")
    assert run()["compilations"] == 2


def test_a_folder_that_cannot_be_written_costs_one_warning(run: Run, tmp_path: Path) -> None:
    """Below a regular file no folder can be made, not even by root."""
    blocked = tmp_path / "file"
    blocked.touch()
    found = run(cache=blocked / "cache")
    assert found["compilations"] == 2
    (warning,) = found["warnings"]
    assert "compiled kernels cannot be kept" in warning
    assert "ASR_CACHE" in warning
    assert str(blocked) in warning


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_still_read(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    run()
    modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
    for path in modes:
        path.chmod(0o555)
    try:
        found = run()
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    assert found["compilations"] == 0
    assert found["warnings"] == []


def test_the_folder_is_named_by_all_that_matters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fresh_hash() -> str:
        jit.source_hash.cache_clear()
        return jit.source_hash()

    usual = fresh_hash()
    try:
        assert fresh_hash() == usual
        monkeypatch.setenv("NUMBA_OPT", "1")
        assert fresh_hash() != usual
        monkeypatch.undo()
        monkeypatch.setattr(jit.numba, "__version__", "0.0.1")
        assert fresh_hash() != usual
        monkeypatch.undo()
        monkeypatch.setattr(jit.llvmlite.binding, "get_host_cpu_name", lambda: "abacus")
        assert fresh_hash() != usual
    finally:
        monkeypatch.undo()
        assert fresh_hash() == usual


def run_every_kernel() -> None:
    """Each operation of the backend, with arguments of every kind that a caller may have at hand."""
    backend = open_backend("cpu", threads=2)
    for cell in CELL_NAMES:
        for size in SIZES:
            for bidirectional in (False, True):
                run_layer(backend, make_case(cell, bidirectional, size))
    run_ctc(backend, make_batch(np.zeros((3, 2, 2)), [3, 1], [[1, 1], []]))
    for shape in [(1, 1, 1), (5, 2, 3)]:
        x, lengths = np.ones(shape, np.float32), np.full(shape[1], shape[0], np.int32)
        backend.stack_frames(x, lengths, 2, np.empty((-(-shape[0] // 2), shape[1], 2 * shape[2]), np.float32))
        backend.log_softmax(x, x)
        backend.dropout(x, x, 0.5, 2**64 - 1)
        flat = x.reshape(-1)
        backend.sgd_step(flat, flat, flat.copy(), 1, 0, 1)
        backend.sgd_step(flat, flat, flat.copy(), np.float64(0.1), np.float32(0.9), 0.5, 0.1)
        backend.norm(flat)
    warmup.use_beam_search()


def test_a_new_process_compiles_no_kernel_at_all() -> None:
    """With the cache that this process uses: what has been compiled here is not compiled there."""
    run_every_kernel()
    program = "import test_jit; test_jit.run_every_kernel(); print(test_jit.jit.compilations())"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(PACKAGE.parent)])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0"]


def test_each_kernel_has_one_signature() -> None:
    """Runs after all other tests (see conftest.py): none of them may have made a kernel compile a second time."""
    run_every_kernel()
    assert len(jit.KERNELS) >= 2 * len(CELL_NAMES) + 6
    signatures = {name: dispatcher.signatures for name, dispatcher in jit.KERNELS.items()}
    assert {name: found for name, found in signatures.items() if len(found) != 1} == {}
