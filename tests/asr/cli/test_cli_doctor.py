"""`asr doctor`: what this machine has, on machines that lack things."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest
from outcome import RunAsr

import kernels
from asr.cli import doctor
from kernels.driver import CudaDevice, CudaStatus

H100 = CudaDevice("NVIDIA H100 80GB HBM3", (9, 0), 85_000_000_000, 132)
PARTS = {
    "numba-cuda": "numba-cuda 0.30.4",
    "cuda-bindings": "cuda-bindings 13.0.1",
    "nvvm": "nvidia-nvvm 13.0.88",
    "nvjitlink": "nvidia-nvjitlink 13.0.88",
    "cublas": "",
}


def examined(run_asr: RunAsr) -> tuple[int, dict[str, Any]]:
    code, out, err = run_asr("doctor", "--json")
    assert err == ""
    return code, json.loads(out)


def test_a_machine_that_can_compute_is_well(run_asr: RunAsr) -> None:
    code, facts = examined(run_asr)
    assert code == 0
    assert (facts["works"], facts["default"]) == (True, "auto")
    assert facts["devices"]["cpu"]["works"]
    assert facts["devices"]["cpu"]["description"].startswith("cpu, ")
    assert facts["packages"]["numba"] == importlib.metadata.version("numba")
    assert 1 <= facts["cores"]["usable"] <= facts["cores"]["all"]


def test_the_report_says_the_same_in_words(run_asr: RunAsr) -> None:
    code, out, err = run_asr("doctor")
    assert (code, err) == (0, "")
    names = [line.split("  ")[0] for line in out.split("\n\n")[0].splitlines()]
    for name in ("asr", "packages", "processor", "driver", "CUDA", "cache", "device auto", "device cpu", "device cuda"):
        assert name in names
    assert "works (cpu, " in out


def test_a_gpu_is_described_and_what_it_lacks(run_asr: RunAsr, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel can run there in truth: the attempt's error is shown, and the CPU goes on being the default."""
    status = CudaStatus((13, 0), "", "580.95.05", (H100,), PARTS | {"numba-cuda": ""})
    monkeypatch.setattr(kernels, "cuda_status", lambda: status)
    code, out, _ = run_asr("doctor")
    assert code == 0
    assert "580.95.05, knows CUDA 13.0" in out
    assert "GPU 0" in out
    assert "NVIDIA H100 80GB HBM3, compute capability 9.0, 132 multiprocessors, 85.0 GB" in out
    assert "device cuda  does not work: the package numba-cuda is not installed: pip install" in out
    assert "- for a GPU: the package numba-cuda is not installed\n  pip install 'asr-from-sound[cuda13]'" in out
    _, facts = examined(run_asr)
    assert facts["cuda"]["devices"] == [
        {"name": H100.name, "capability": "9.0", "multiprocessors": 132, "memory_bytes": 85_000_000_000}
    ]
    assert facts["cuda"]["parts"]["cublas"] is None


def test_a_default_that_does_not_work_is_a_failure(run_asr: RunAsr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR_BACKEND", "abacus")
    code, facts = examined(run_asr)
    assert code == 1
    assert not facts["works"]
    assert "default device, abacus, does not work: unknown backend 'abacus'" in facts["problems"][0]["what"]
    assert facts["devices"]["cpu"]["works"]


@pytest.mark.parametrize("fault", [ImportError("no numba here"), RuntimeError(), OSError(8, "bad library")])
def test_whatever_is_broken_is_a_line(fault: Exception, run_asr: RunAsr, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise fault

    monkeypatch.setattr(kernels, "open_backend", broken)
    code, out, _ = run_asr("doctor")
    assert code == 1
    assert f"device cpu   does not work: {str(fault) or 'RuntimeError'}" in out


def test_a_wrong_result_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.cpu.backend.CpuBackend.norm", lambda *_: 4.9)
    assert doctor._try("cpu")["error"] == "it computed 4.9 where 5 is right: report this"


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", ("numpy", "a-package-that-is-not-there"))
    facts = doctor.examine()
    assert facts["packages"]["a-package-that-is-not-there"] is None
    assert facts["problems"][0] == {
        "what": "the package a-package-that-is-not-there is not installed",
        "fix": "pip install a-package-that-is-not-there",
    }
    assert "a-package-that-is-not-there MISSING" in doctor.report(facts)


def test_the_cache_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache" / "kernels-0"
    monkeypatch.setattr("kernels.warmup.cache_folder", lambda: folder)
    empty = {"folder": str(folder), "writable": True, "bytes": 0, "kernels": 0}
    assert doctor._cache() == empty
    assert not folder.exists()
    assert "asr warmup" in [problem["fix"] for problem in doctor.examine()["problems"]]
    folder.mkdir(parents=True)
    (folder / "a.nbi").write_bytes(b"123")
    (folder / "a.1.nbc").write_bytes(b"45")
    assert doctor._cache() == empty | {"bytes": 5, "kernels": 1}


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("kernels.warmup.cache_folder", lambda: tmp_path / "file" / "kernels-0")
    facts = doctor.examine()
    assert not facts["cache"]["writable"]
    assert "set ASR_CACHE to a folder that can be written" in [problem["fix"] for problem in facts["problems"]]
    assert "NOT writable" in doctor.report(facts)
