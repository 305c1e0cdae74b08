"""What a machine has for CUDA, told of machines that are not here: the driver's C library has a stand-in."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import pytest

from kernels import BackendUnavailableError, cuda_status, open_backend
from kernels import driver as module
from kernels.driver import CudaDevice, CudaStatus

WHEELS_13 = {"numba-cuda": "0.30.4", "cuda-bindings": "13.0.1", "nvidia-nvvm": "13.0.88", "nvidia-nvjitlink": "13.0.88"}
WHEELS_12 = {
    "numba-cuda": "0.30.4",
    "cuda-bindings": "12.9.2",
    "nvidia-cuda-nvcc-cu12": "12.9.86",
    "nvidia-nvjitlink-cu12": "12.9.86",
}
H100 = ("NVIDIA H100 80GB HBM3", (9, 0), 85_000_000_000, 132)


class Library:
    """libcuda.so.1, as ctypes would load it: answers are left where the arguments point to."""

    def __init__(self, version: int = 13000, devices: tuple[Any, ...] = (H100,), fault: int = 0):
        self.version, self.devices, self.fault = version, devices, fault
        self.initialised = False

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = self.version
        return 0

    def cuInit(self, flags: int) -> int:  # noqa: N802
        self.initialised = not self.fault
        return self.fault

    def cuGetErrorString(self, error: int, words: Any) -> int:  # noqa: N802
        if error != 803:
            return 1
        words._obj.value = b"system has unsupported display driver / cuda driver combination"
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self.devices)
        return 0 if self.initialised else 3

    def cuDeviceGet(self, handle: Any, ordinal: int) -> int:  # noqa: N802
        handle._obj.value = 100 + ordinal
        return 0

    def cuDeviceGetName(self, name: Any, size: int, handle: Any) -> int:  # noqa: N802
        name.value = self.devices[handle.value - 100][0].encode()[: size - 1]
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, handle: Any) -> int:  # noqa: N802
        memory._obj.value = self.devices[handle.value - 100][2]
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, handle: Any) -> int:  # noqa: N802
        _, (major, minor), _, count = self.devices[handle.value - 100]
        value._obj.value = {75: major, 76: minor, 16: count}[attribute]
        return 0


def look(library: Library | None, packages: dict[str, str], platform: str = "linux") -> CudaStatus:
    """The status of a machine with this driver (or none) and these packages."""

    def load(name: str) -> Library:
        assert name == {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}[platform]
        if library is None:
            raise OSError(f"{name}: cannot open shared object file")
        return library

    def version(name: str) -> str:
        if name not in packages:
            raise importlib.metadata.PackageNotFoundError(name)
        return packages[name]

    return module.cuda_status(load, version, platform)


def test_what_the_driver_says_is_told() -> None:
    status = look(
        Library(12080, (H100, ("T4", (7, 5), 16_000_000_000, 40))), WHEELS_12 | {"nvidia-cublas-cu12": "12.8.4"}
    )
    assert (status.driver, status.fault, status.wheels) == ((12, 8), "", 12)
    assert status.devices == (CudaDevice(*H100), CudaDevice("T4", (7, 5), 16_000_000_000, 40))
    assert status.parts["nvvm"] == "nvidia-cuda-nvcc-cu12 12.9.86"
    assert status.parts["cublas"] == "nvidia-cublas-cu12 12.8.4"
    assert status.problems() == []


V100, K80 = ("V100", (7, 0), 16_000_000_000, 80), ("K80", (3, 7), 12_000_000_000, 13)
CUBLAS = {"nvidia-cublas": "13.0.2"}
PIP_12, PIP_13 = "pip install 'asr-from-sound[cuda12]'", "pip install 'asr-from-sound[cuda13]'"
BLOCKING = {
    "no driver": (None, WHEELS_13, "no NVIDIA driver was found (libcuda.so.1", PIP_13),
    "no driver, no packages": (None, {}, "no NVIDIA driver was found", PIP_13),
    "no GPU": (Library(devices=()), WHEELS_13, "finds no GPU (no CUDA-capable device", "nvidia-smi"),
    "faulty": (Library(fault=803), WHEELS_13, "(error 803: system has unsupported display driver", "nvidia-smi"),
    "faulty without words": (Library(fault=999), WHEELS_13, "(error 999)", "nvidia-smi"),
    "old driver": (Library(11080), WHEELS_12, "knows CUDA 11.8 only, and 12.0 is needed", "update the driver"),
    "no packages": (Library(), {}, "the package numba-cuda is not installed", PIP_13),
    "no packages for 12": (Library(12040), {}, "the package numba-cuda is not installed", PIP_12),
    "packages too new": (
        Library(12040),
        WHEELS_13 | CUBLAS,
        "are for CUDA 13, and the NVIDIA driver knows CUDA 12.4",
        PIP_12,
    ),
    "GPU too old": (Library(devices=(K80,)), WHEELS_12, "K80 has compute capability 3.7, and 7.0 is", "another GPU"),
    "GPU too old for 13": (
        Library(devices=(V100,)),
        WHEELS_13,
        "V100 has compute capability 7.0, which CUDA 13",
        PIP_12,
    ),
}


@pytest.mark.parametrize("name", BLOCKING)
def test_what_is_missing_comes_with_its_fix(name: str) -> None:
    library, packages, what, fix = BLOCKING[name]
    problem = look(library, packages).problems()[0]
    assert what in problem.what
    assert fix in problem.fix
    assert problem.blocking


def test_what_is_only_slower_does_not_block() -> None:
    problems = look(Library(), {"numba-cuda": "0.30.4"}).problems()
    assert [problem.blocking for problem in problems] == [False, False]
    assert "cuda-bindings, nvvm, nvjitlink are missing" in problems[0].what
    assert "cuBLAS is not installed" in problems[1].what
    assert "[cuda13-cublas]" in problems[1].fix


def test_other_systems_have_no_driver() -> None:
    assert look(Library(), WHEELS_13, "win32").problems()[0].what.startswith("cuBLAS")
    problem = module.cuda_status(pytest.fail, platform="darwin").problems()[0]
    assert problem.what == "there is no NVIDIA driver for darwin"


def test_this_machine_has_an_answer() -> None:
    status = cuda_status()
    assert status.parts.keys() == module.PARTS.keys()
    assert bool(status.devices) == (status.driver is not None and not status.fault)


def test_a_backend_that_cannot_be_had_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    status = look(Library(11080), WHEELS_12)
    monkeypatch.setattr(module, "cuda_status", lambda: status)
    with pytest.raises(
        BackendUnavailableError, match=r"11\.8 only.* is needed: update the driver, or use the device cpu$"
    ):
        open_backend("cuda")
