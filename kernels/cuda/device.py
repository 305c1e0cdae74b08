"""The one door to CUDA: the only import of `numba.cuda`, and a facade that allocates, copies, launches and counts.

`numba.cuda` is numba-cuda where that is installed (it takes the name over), else the copy inside Numba. With
`NUMBA_ENABLE_CUDASIM=1` it is a simulator that runs each thread of a block as a thread of Python: kernels then
mean the same and are slow, so blocks are small there.
"""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels import BackendUnavailableError

config: Any = importlib.import_module("numba.core.config")  # typed so, since it makes its names at run time
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Numba's own copy says that it is deprecated
    cuda: Any = importlib.import_module("numba.cuda")

SIMULATED = bool(config.ENABLE_CUDASIM)
libdevice: Any = None if SIMULATED else importlib.import_module("numba.cuda.libdevice")

THREADS = 2 if SIMULATED else 256  # of a block over flat values
BLOCKS = 2 if SIMULATED else 1024  # at most so many: then each thread takes several values
TILE = 2 if SIMULATED else 16  # blocks of TILE x TILE threads make so large a part of a matrix
OLDEST_DRIVER = (12, 0)  # the CUDA version that a driver must know

config.CUDA_LOW_OCCUPANCY_WARNINGS = False  # a small batch is no mistake

Array = Any


def kernel(function: Any) -> Any:
    """A function that the host launches; compiled for the device at its first launch.

    Without `fastmath`: that would let the compiler reorder sums, which cancels the rounding in `scalar.exp2`.
    """
    return cuda.jit(function)


def device_function(function: Any) -> Any:
    """A function that kernels call."""
    return function if SIMULATED else cuda.jit(device=True)(function)


def blocks(size: int, width: int = TILE) -> int:
    """How many blocks of a width cover a size."""
    return -(-size // width)


@dataclass
class Counters:
    """What a `Device` did so far."""

    launches: int = 0
    uploads: int = 0
    uploaded_bytes: int = 0
    downloads: int = 0
    downloaded_bytes: int = 0


class Device:
    """The current GPU. Raises BackendUnavailableError, with what to do, where there is none."""

    def __init__(self) -> None:
        if not SIMULATED:
            _require_device()
        self.counters = Counters()

    def describe(self) -> str:
        if SIMULATED:
            return "simulator"
        name = cuda.get_current_device().name
        return name.decode() if isinstance(name, bytes) else str(name)

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        """An array on the device, not initialised."""
        return cuda.device_array(shape, dtype)

    def upload(self, host: np.ndarray) -> Array:
        """A copy on the device, C-contiguous."""
        host = np.ascontiguousarray(host)
        self.counters.uploads += 1
        self.counters.uploaded_bytes += host.nbytes
        return cuda.to_device(host)

    def download(self, array: Array) -> np.ndarray:
        """A copy on the host, after all that was launched before."""
        host: np.ndarray = array.copy_to_host()
        self.counters.downloads += 1
        self.counters.downloaded_bytes += host.nbytes
        return host

    def launch(self, function: Any, grid: Any, block: Any, *args: Any) -> None:
        """Launch a kernel. Integers become int32 and floats float32, so that each kernel is compiled once.

        ValueError for an array of the host, which Numba would copy there and back in silence.
        """
        self.counters.launches += 1
        typed = [_typed(arg) for arg in args]
        if not SIMULATED:
            function[grid, block](*typed)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # machine arithmetic overflows without a word
            function[grid, block](*typed)

    def spread(self, function: Any, size: int, *args: Any) -> None:
        """Launch a kernel over flat values, of which it takes `cuda.grid(1), + cuda.gridsize(1), ...`."""
        self.launch(function, min(blocks(size, THREADS), BLOCKS), THREADS, *args)


def _typed(arg: Any) -> Any:
    if isinstance(arg, np.ndarray):
        raise ValueError("an array of the host was given to the GPU: copy it with to_device")
    if isinstance(arg, int):
        return np.int32(arg)
    return np.float32(arg) if type(arg) is float else arg


def _require_device() -> None:
    """Raise BackendUnavailableError unless a kernel can be compiled and run."""
    remedy = "or use the device cpu"
    try:
        if not cuda.is_available():
            raise BackendUnavailableError(
                f"no GPU can be used ({_reason()}): install NVIDIA's driver and pip install 'asr-from-sound[cuda13]', "
                f"{remedy}"
            )
        driver = importlib.import_module("numba.cuda.cudadrv.driver").driver
        version = tuple(driver.get_version())
        if version < OLDEST_DRIVER:
            raise BackendUnavailableError(
                f"the NVIDIA driver knows CUDA {'.'.join(map(str, version))} only, and at least "
                f"{'.'.join(map(str, OLDEST_DRIVER))} is needed: update the driver, {remedy}"
            )
        if cuda.implementation == "Built-in":
            importlib.import_module("numba.cuda.cudadrv.nvvm").NVVM()
    except BackendUnavailableError:
        raise
    except Exception as error:  # the driver's and the compiler's own kinds, which differ between versions
        raise BackendUnavailableError(
            f"the GPU's compiler is missing or does not fit ({_first_line(error)}): "
            f"pip install 'asr-from-sound[cuda13]' (cuda12 for an older driver), {remedy}"
        ) from error


def _reason() -> str:
    error = cuda.cuda_error()
    return _first_line(error) if error else "no device"


def _first_line(error: object) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__).rstrip(".:")
