"""Matrix products by NVIDIA's cuBLAS, called by ctypes in the library that the package nvidia-cublas brings.

Six C functions whose binary interface has not changed since CUDA 6.0; cuda.pathfinder, which numba-cuda needs
anyway, finds the library. cuBLAS counts matrices by columns: a row-major matrix read so is its transpose, and
out = op(a) op(b) becomes out' = op(b)' op(a)', so the operands change places and nothing is copied.
"""

from __future__ import annotations

import ctypes
import importlib
import weakref
from typing import Any

from kernels import DeviceFailedError
from kernels.cuda.device import SIMULATED, Device, Driver

PLAIN, TRANSPOSED = 0, 1  # cublasOperation_t
DEFAULT_MATH, TF32_MATH = 0, 3  # cublasMath_t; the default keeps all bits of float32
REMEDY = "pip install nvidia-cublas (nvidia-cublas-cu12 with CUDA 12)"

STATUS = {  # cublasStatus_t
    1: "CUBLAS_STATUS_NOT_INITIALIZED",
    3: "CUBLAS_STATUS_ALLOC_FAILED",
    7: "CUBLAS_STATUS_INVALID_VALUE",
    8: "CUBLAS_STATUS_ARCH_MISMATCH",
    11: "CUBLAS_STATUS_MAPPING_ERROR",
    13: "CUBLAS_STATUS_EXECUTION_FAILED",
    14: "CUBLAS_STATUS_INTERNAL_ERROR",
    15: "CUBLAS_STATUS_NOT_SUPPORTED",
    16: "CUBLAS_STATUS_LICENSE_ERROR",
}

_Handle, _Int, _Pointer, _Float = ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_float)
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cublasCreate_v2": (ctypes.POINTER(_Handle),),
    "cublasDestroy_v2": (_Handle,),
    "cublasGetVersion_v2": (_Handle, ctypes.POINTER(_Int)),
    "cublasSetStream_v2": (_Handle, _Pointer),
    "cublasSetMathMode": (_Handle, _Int),
    "cublasSgemm_v2": (
        *(_Handle, _Int, _Int, _Int, _Int, _Int, _Float),
        *(_Pointer, _Int, _Pointer, _Int, _Float, _Pointer, _Int),
    ),
}

Place = tuple[int, int]  # a matrix: address of its first value in the device's memory, leading dimension in values


class CublasUnavailableError(RuntimeError):
    """cuBLAS cannot be used here; the message says why."""


class CublasError(DeviceFailedError):
    """A function of cuBLAS failed; the message has the function and cuBLAS' name of the failure."""


class Cublas:
    """A handle on the library, for one stream. Raises CublasError where a call fails.

    library : has the functions of cuBLAS
    stream : the CUDA stream's handle, 0 for the default one
    tf32 : let tensor cores multiply factors rounded to TF32
    """

    def __init__(self, library: Any, stream: int, tf32: bool = False):
        self._functions = {name: getattr(library, name) for name in FUNCTIONS}
        for name, arguments in FUNCTIONS.items():
            self._functions[name].argtypes, self._functions[name].restype = arguments, _Int
        self._handle = _Handle()
        self._zero, self._one = ctypes.c_float(0.0), ctypes.c_float(1.0)
        self._call("cublasCreate_v2", ctypes.byref(self._handle))
        destroy = weakref.finalize(self, self._functions["cublasDestroy_v2"], self._handle)
        destroy.atexit = False  # by then the driver may be gone
        self._call("cublasSetStream_v2", self._handle, stream)
        self._call("cublasSetMathMode", self._handle, TF32_MATH if tf32 else DEFAULT_MATH)

    @property
    def version(self) -> str:
        """Such as 13.1.0."""
        number = _Int()
        self._call("cublasGetVersion_v2", self._handle, ctypes.byref(number))
        return f"{number.value // 10000}.{number.value // 100 % 100}.{number.value % 100}"

    def multiply(
        self,
        a: Place,
        b: Place,
        out: Place,
        M: int,
        N: int,
        K: int,
        a_transposed: bool,
        b_transposed: bool,
        add: bool,
    ) -> None:
        """out [M, N] (+)= op(a) [M, K] op(b) [K, N], all row-major float32; `out` is not read unless `add`."""
        first, second = (TRANSPOSED if transposed else PLAIN for transposed in (b_transposed, a_transposed))
        sizes = first, second, N, M, K
        scale = self._one if add else self._zero
        self._call("cublasSgemm_v2", self._handle, *sizes, self._one, *b, *a, scale, *out)

    def _call(self, name: str, *args: Any) -> None:
        status = self._functions[name](*args)
        if status:
            raise CublasError(f"{name} of cuBLAS failed: {STATUS.get(status, f'status {status}')}")


def open_cublas(device: Device, tf32: bool = False) -> Cublas:
    """cuBLAS on the device's stream. Raises CublasUnavailableError where it is missing or does not start."""
    if SIMULATED or type(device.driver) is not Driver:
        raise CublasUnavailableError("only a GPU has it")
    path = find_library()
    try:
        return Cublas(ctypes.CDLL(path), int(device.driver.stream), tf32)
    except (OSError, AttributeError, CublasError) as error:
        raise CublasUnavailableError(f"{path} does not start: {error}") from error


def find_library() -> str:
    """Where the installed cuBLAS is, loaded with what it needs. Raises CublasUnavailableError."""
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
    except ImportError as error:
        raise CublasUnavailableError(f"the package cuda-pathfinder is missing: {REMEDY}") from error
    try:
        return str(pathfinder.load_nvidia_dynamic_lib("cublas").abs_path)
    except Exception as error:  # its own kinds, which differ between versions
        raise CublasUnavailableError(f"the library is not installed: {REMEDY}") from error
