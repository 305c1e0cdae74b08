"""`asr warmup`: afterwards nothing is left to compile."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from outcome import RunAsr

from kernels import open_backend, warmup
from kernels.cells import CELLS

# Warms up, then trains and transcribes a step with a network of every cell, and tells which kernels each needed
PROGRAM = """
import json
import numpy as np
from asr.network import Network, NetworkConfig
from kernels import jit, open_backend, warmup

backend = open_backend("cpu", threads=2)
warmup.warm_up(backend, ["rnn_tanh", "rnn_relu", "gru", "lstm"], lambda name, number, count: None)

def loaded():
    return {name: len(kernel.signatures) for name, kernel in jit.KERNELS.items()}

before, compiled = loaded(), jit.compilations()
rng = np.random.default_rng(1)
frames, lengths = rng.standard_normal((40, 3, 13)).astype(np.float32), np.array([40, 31, 9], np.int32)
labels, label_lengths = np.array([[1, 1, 2], [2, 0, 0], [3, 0, 0]], np.int32), np.array([3, 1, 1], np.int32)
for cell in ("rnn_tanh", "rnn_relu", "gru", "lstm"):
    config = NetworkConfig(inputs=13, outputs=4, cell=cell, layers=2, hidden=20)
    network = Network(config, Network.initial(config, rng), backend)
    network.loss_and_gradient(frames, lengths, labels, label_lengths, 1)
    network.norm()
    network.step(0.1, 0.9, 1.0)
    network.losses(frames, lengths, labels, label_lengths)
print(json.dumps({"before": before, "after": loaded(), "compiled": jit.compilations() - compiled}))
"""


def test_a_training_step_of_any_cell_needs_no_kernel_that_was_not_warm() -> None:
    """Also where the cache holds all: kernels that are only loaded count as well."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["compiled"] == 0
    assert found["after"] == found["before"]
    assert set(found["before"].values()) == {1}


def test_it_says_what_it_did_and_where_the_kernels_are(run_asr: RunAsr) -> None:
    code, _, _ = run_asr("warmup", "--cell", "rnn_relu")
    assert code == 0
    code, out, err = run_asr("warmup", "--cell", "rnn_relu")
    assert (code, err) == (0, "")
    assert out == f"nothing to do: every kernel is compiled and kept in {warmup.cache_folder()}\n"
    assert any(warmup.cache_folder().glob("*rnn_relu_backward*"))


def test_a_cold_cache_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the small kernels alone: all of them take half a minute."""
    program = """
import logging
from kernels import open_backend, warmup
warmup.warm_up(open_backend("cpu", 1), [], lambda name, number, count: print(number, count, name))
print("compiled", warmup.compilations())
"""
    monkeypatch.setenv("ASR_CACHE", str(tmp_path))
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.splitlines()
        for _ in range(2)
    ]
    *reports, cold = runs[0]
    numbers = [report.split()[:2] for report in reports]
    assert numbers == [[str(number), str(len(reports))] for number in range(1, len(reports) + 1)]
    assert int(cold.split()[1]) >= 5
    assert runs[1][-1] == "compiled 0"


def test_only_the_cells_named_are_run() -> None:
    names: list[str] = []
    warmup.warm_up(open_backend("reference"), ["gru"], lambda name, number, count: names.append(name))
    assert [name for name in names if name.split()[0] in CELLS] == ["gru inference", "gru training"]


def test_an_unknown_cell_is_wrong_usage(run_asr: RunAsr) -> None:
    code, out, err = run_asr("warmup", "--cell", "transformer")
    assert (code, out) == (2, "")
    assert "transformer" in err
    assert "lstm" in err
    with pytest.raises(ValueError, match="transformer"):
        warmup.warm_up(open_backend("reference"), ["transformer"], lambda name, number, count: None)


def test_help(run_asr: RunAsr) -> None:
    code, out, err = run_asr("warmup", "--help")
    assert (code, err) == (0, "")
    assert "--cell" in out
