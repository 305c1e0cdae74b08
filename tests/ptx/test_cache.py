"""Compiled kernels are kept on disk and found again by another process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import importlib
from unittest.mock import patch
import numpy as np
from ptx.driver import offline_gpu

codegen = importlib.import_module("numba.cuda.codegen").JITCUDACodegen
with offline_gpu() as gpu, patch.object(codegen, "magic_tuple", lambda self: ((13, 0), gpu.cc)):
    from kernels.cuda import cache, device, steps
    from kernels.cuda.plan import Limits, choose

    plan = choose(1, 5, 3, 1, Limits(132, 232448, (9, 0)), persistent=True)
    kernels = [steps.clear, *(steps.forward_steps(cell, plan.tiling) for cell in ("rnn_tanh", "rnn_relu"))]
    integers, floats, number = device.INTEGERS, device.FLOATS, device.INTEGER
    forward = (integers,) * 3 + (floats,) * 6 + (integers,) + (number,) * 3
    for kernel, types in zip(kernels, [(integers, number), forward, forward]):
        cache.keep(kernel)
        ptx = kernel.compile(types)._codelibrary.get_asm_str(cc=(9, 0))
        print(sum(kernel._cache_hits.values()), sum(kernel._cache_misses.values()), hash(ptx))

    def make(value):
        @device.kernel
        def nameless(out):
            out[0] = value
        return nameless
    nameless = make(2.0)
    cache.keep(nameless)
    nameless.compile((floats,))
    print("kept" if type(nameless._cache).__name__ == "KernelCache" else "not kept")
"""


def lines(cache: Path) -> list[str]:
    root = Path(__file__).parents[2]
    environment = os.environ | {
        "ASR_CACHE": str(cache),
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")]),
        "PYTHONHASHSEED": "0",
    }
    environment.pop("NUMBA_ENABLE_CUDASIM", None)
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE], capture_output=True, text=True, env=environment, check=False
    )
    assert found.returncode == 0, found.stderr[-2000:]
    return found.stdout.splitlines()


def test_kernels_are_compiled_once_and_told_apart(tmp_path: Path) -> None:
    first, second = lines(tmp_path), lines(tmp_path)
    assert [line.split()[:2] for line in first[:3]] == [["0", "1"]] * 3
    assert [line.split()[:2] for line in second[:3]] == [["1", "0"]] * 3
    ptx = [line.split()[2] for line in first[:3]]
    assert [line.split()[2] for line in second[:3]] == ptx
    assert len(set(ptx)) == 3  # tanh and ReLU networks have the same sizes
    assert first[3] == second[3] == "not kept"


def test_a_damaged_file_is_compiled_again(tmp_path: Path) -> None:
    lines(tmp_path)
    for path in tmp_path.rglob("*.nbc"):
        path.write_bytes(b"no kernel")
    assert [line.split()[:2] for line in lines(tmp_path)[:3]] == [["0", "1"]] * 3
    assert [line.split()[:2] for line in lines(tmp_path)[:3]] == [["1", "0"]] * 3
