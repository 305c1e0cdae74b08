"""What this machine has for CUDA, found in milliseconds: the driver by ctypes, the packages by their metadata.

Nothing here needs Numba, a compiler or a GPU, and nothing here fails: what is missing is an answer too.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIBRARIES = {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}  # NVIDIA's driver has none for other systems
OLDEST_DRIVER = (12, 0)  # the CUDA version that a driver must know
OLDEST_CAPABILITY = (7, 0)  # the first with the loads and stores of the barrier between blocks
OLDEST_CAPABILITY_13 = (7, 5)  # the first that CUDA 13 compiles for
MULTIPROCESSORS, CAPABILITY_MAJOR, CAPABILITY_MINOR = 16, 75, 76  # CUdevice_attribute

# What each part is for, and the distributions that bring it: for CUDA 13, then for CUDA 12
PARTS = {
    "numba-cuda": ("numba-cuda",),  # Numba's compiler for CUDA
    "cuda-bindings": ("cuda-bindings",),  # the driver's functions, for numba-cuda
    "nvvm": ("nvidia-nvvm", "nvidia-cuda-nvcc-cu12"),  # makes PTX of LLVM's code
    "nvjitlink": ("nvidia-nvjitlink", "nvidia-nvjitlink-cu12"),  # makes machine code of PTX
    "cublas": ("nvidia-cublas", "nvidia-cublas-cu12"),  # large matrix products; without it our own kernel makes them
}


@dataclass(frozen=True)
class CudaDevice:
    """A GPU, as the driver describes it; memory in bytes."""

    name: str
    capability: tuple[int, int]
    memory: int
    multiprocessors: int


@dataclass(frozen=True)
class Problem:
    """What is missing and what to do about it, each a clause; `blocking`: CUDA cannot be used like this."""

    what: str
    fix: str
    blocking: bool = True


@dataclass(frozen=True)
class CudaStatus:
    """What there is for CUDA.

    driver : the CUDA version that the driver knows; None where no driver can be used, and `fault` says why
    release : of the driver's kernel module, as in "580.95.05"; empty where the system does not say
    devices : the GPUs that this process may use; kernels run on the first
    parts : each name of `PARTS` with the distribution that brings it, as in "nvidia-nvvm 13.0.88"; empty where none
    """

    driver: tuple[int, int] | None
    fault: str
    release: str
    devices: tuple[CudaDevice, ...]
    parts: dict[str, str]

    @property
    def wheels(self) -> int | None:
        """The CUDA version, 12 or 13, that the compiler's wheel is for; None without it."""
        found = re.search(r" (\d+)\.", self.parts["nvvm"])
        return int(found[1]) if found else None

    def problems(self) -> list[Problem]:
        """What is missing, worst first."""
        if self.driver is None:
            remedy = f"on a machine with an NVIDIA GPU install NVIDIA's driver and {self.install()}"
            return [Problem(self.fault, remedy)]
        if not self.devices:
            return [Problem(f"the NVIDIA driver finds no GPU ({self.fault})", "see what nvidia-smi says")]
        return [*self._driver_problems(self.driver), *self._device_problems(self.devices[0]), *self._package_problems()]

    def install(self, more: str = "") -> str:
        """The command that brings the packages which fit the driver and the GPU."""
        old = (self.driver and self.driver < (13, 0)) or (
            self.devices and self.devices[0].capability < OLDEST_CAPABILITY_13
        )
        return f"pip install 'asr-from-sound[cuda{12 if old else 13}{more}]'"

    def _driver_problems(self, driver: tuple[int, int]) -> Iterator[Problem]:
        if driver < OLDEST_DRIVER:
            what = f"the NVIDIA driver knows CUDA {_dotted(driver)} only, and {_dotted(OLDEST_DRIVER)} is needed"
            yield Problem(what, "update the driver")
        elif self.wheels is not None and driver < (self.wheels, 0):
            what = f"the packages are for CUDA {self.wheels}, and the NVIDIA driver knows CUDA {_dotted(driver)} only"
            yield Problem(what, f"{self.install()} in a new environment, or update the driver")

    def _device_problems(self, device: CudaDevice) -> Iterator[Problem]:
        has = f"the GPU {device.name} has compute capability {_dotted(device.capability)}"
        if device.capability < OLDEST_CAPABILITY:
            yield Problem(f"{has}, and {_dotted(OLDEST_CAPABILITY)} is needed", "use another GPU")
        elif device.capability < OLDEST_CAPABILITY_13 and (self.wheels or 0) >= 13:
            yield Problem(f"{has}, which CUDA 13 has dropped", f"{self.install()} in a new environment")

    def _package_problems(self) -> Iterator[Problem]:
        if not self.parts["numba-cuda"]:
            yield Problem("the package numba-cuda is not installed", self.install())
            return
        missing = [name for name in ("cuda-bindings", "nvvm", "nvjitlink") if not self.parts[name]]
        if missing:  # a CUDA toolkit, or conda's packages, may stand in for them
            yield Problem(f"of numba-cuda's wheels {', '.join(missing)} are missing", self.install(), blocking=False)
        if not self.parts["cublas"]:
            fix = f"{self.install('-cublas')} (700 MB), for the speed of large layers"
            yield Problem("cuBLAS is not installed, so our own kernels make all products", fix, blocking=False)


def cuda_status(
    load: Callable[[str], Any] = ctypes.CDLL,
    version: Callable[[str], str] = importlib.metadata.version,
    platform: str = sys.platform,
) -> CudaStatus:
    """Look. The arguments stand for the loader of C libraries, the installed packages and the system."""
    parts = {name: _installed(distributions, version) for name, distributions in PARTS.items()}
    library = LIBRARIES.get(platform)
    if library is None:
        return CudaStatus(None, f"there is no NVIDIA driver for {platform}", "", (), parts)
    try:
        driver = load(library)
    except OSError:
        return CudaStatus(None, f"no NVIDIA driver was found ({library} cannot be loaded)", "", (), parts)
    known = ctypes.c_int()
    fault = _check(driver, driver.cuDriverGetVersion(ctypes.byref(known)))
    if fault:
        return CudaStatus(None, f"the NVIDIA driver does not work ({fault})", _release(), (), parts)
    devices, fault = _devices(driver)
    return CudaStatus((known.value // 1000, known.value % 1000 // 10), fault, _release(), devices, parts)


def _devices(driver: Any) -> tuple[tuple[CudaDevice, ...], str]:
    """All GPUs, or why there are none."""
    count = ctypes.c_int()
    fault = _check(driver, driver.cuInit(0)) or _check(driver, driver.cuDeviceGetCount(ctypes.byref(count)))
    if fault or count.value < 1:
        return (), fault or "no CUDA-capable device is detected"
    return tuple(_device(driver, ordinal) for ordinal in range(count.value)), ""


def _device(driver: Any, ordinal: int) -> CudaDevice:
    handle, memory, name = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(handle), ordinal)
    driver.cuDeviceGetName(name, len(name), handle)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), number, handle)
        return value.value

    capability = attribute(CAPABILITY_MAJOR), attribute(CAPABILITY_MINOR)
    return CudaDevice(name.value.decode(errors="replace"), capability, memory.value, attribute(MULTIPROCESSORS))


def _check(driver: Any, result: int) -> str:
    """The driver's words for an error, or nothing."""
    if result == 0:
        return ""
    words = ctypes.c_char_p()
    known = driver.cuGetErrorString(result, ctypes.byref(words)) == 0
    return f"error {result}: {words.value.decode()}" if known and words.value else f"error {result}"


def _release() -> str:
    """The kernel module's release, where Linux tells it."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"\b\d+\.\d+(\.\d+)?\b", text)
    return found[0] if found else ""


def _installed(distributions: tuple[str, ...], version: Callable[[str], str]) -> str:
    for name in distributions:
        try:
            return f"{name} {version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
