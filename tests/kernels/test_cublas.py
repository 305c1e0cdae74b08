"""cuBLAS without a GPU: its C functions are stood in for by ones that multiply by columns, in this machine's memory."""

from __future__ import annotations

import ctypes
import gc
import itertools
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from kernel_cases import SIMULATED

if not SIMULATED:
    pytest.importorskip("numba_cuda")

from kernels.cuda import cublas
from kernels.cuda.device import Driver

INVALID_VALUE = 7
SIZES = ((1, 1, 1), (2, 3, 4), (7, 5, 3), (4, 1, 9), (1, 8, 2))


def by_columns(address: int, rows: int, columns: int, leading: int) -> np.ndarray:
    """A matrix as BLAS has it, where it is."""
    values = (ctypes.c_float * (leading * (columns - 1) + rows)).from_address(address)
    array = np.ctypeslib.as_array(values)
    return np.lib.stride_tricks.as_strided(array, (rows, columns), (4, 4 * leading))


class Library:
    """The functions of cuBLAS that we call, in place of the library's; `failing` give a status other than success."""

    HANDLE, VERSION = 4711, 130203

    def __init__(self, **failing: int):
        self.calls: list[tuple[Any, ...]] = []
        for name, arguments in cublas.FUNCTIONS.items():
            function = self._function(name, failing.get(name, 0))
            setattr(self, name, ctypes.CFUNCTYPE(ctypes.c_int, *arguments)(function))

    def _function(self, name: str, status: int) -> Callable[..., int]:
        act = getattr(self, f"_{name}", lambda *args: 0)

        def function(*args: Any) -> int:
            self.calls.append((name, *args))
            return status or act(*args)

        return function

    def called(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of each call."""
        return [args for found, *args in self.calls if found == name]

    def _cublasCreate_v2(self, handle: Any) -> int:  # noqa: N802
        handle[0] = self.HANDLE
        return 0

    def _cublasGetVersion_v2(self, handle: int, version: Any) -> int:  # noqa: N802
        version[0] = self.VERSION
        return 0

    def _cublasSgemm_v2(  # noqa: N802
        self, handle: int, ta: int, tb: int, m: int, n: int, k: int, alpha: Any, *matrices: Any
    ) -> int:
        a, lda, b, ldb, beta, c, ldc = matrices
        a_shape, b_shape = (k, m) if ta else (m, k), (n, k) if tb else (k, n)
        if handle != self.HANDLE or lda < a_shape[0] or ldb < b_shape[0] or ldc < m:
            return INVALID_VALUE
        left, right, out = by_columns(a, *a_shape, lda), by_columns(b, *b_shape, ldb), by_columns(c, m, n, ldc)
        result = alpha[0] * ((left.T if ta else left) @ (right.T if tb else right))
        out[:] = result + beta[0] * out if beta[0] else result
        return 0


def placed(matrix: np.ndarray, before: int, beside: int) -> tuple[np.ndarray, tuple[int, int]]:
    """A copy with NaN before it and beside each row, and its place."""
    rows, columns = matrix.shape
    array = np.full(before + rows * (columns + beside), np.nan, np.float32)
    array[before:].reshape(rows, columns + beside)[:, :columns] = matrix
    return array, (array.ctypes.data + 4 * before, columns + beside)


@pytest.mark.parametrize(("M", "N", "K"), SIZES)
@pytest.mark.parametrize(("a_transposed", "b_transposed", "add"), list(itertools.product((False, True), repeat=3)))
def test_multiply(M: int, N: int, K: int, a_transposed: bool, b_transposed: bool, add: bool) -> None:
    rng = np.random.default_rng(M + 10 * N + 100 * K)
    a, b, start = (rng.standard_normal(shape, np.float32) for shape in ((M, K), (K, N), (M, N)))
    left, a_place = placed(a.T if a_transposed else a, 3, 2)
    right, b_place = placed(b.T if b_transposed else b, 1, 0)
    out, out_place = placed(start if add else np.full_like(start, np.nan), 5, 1)
    cublas.Cublas(Library(), 0).multiply(a_place, b_place, out_place, M, N, K, a_transposed, b_transposed, add)
    found = out[5:].reshape(M, N + 1)
    np.testing.assert_allclose(found[:, :N], a @ b + (start if add else 0), rtol=0, atol=1e-5)
    assert np.isnan(out[:5]).all()
    assert np.isnan(found[:, N]).all()
    for array, matrix in ((left, a), (right, b)):
        assert np.nansum(array) == pytest.approx(matrix.sum(), abs=1e-5)


@pytest.mark.parametrize(("tf32", "mode"), [(False, cublas.DEFAULT_MATH), (True, cublas.TF32_MATH)])
def test_one_handle_on_the_stream_in_the_mode(tf32: bool, mode: int) -> None:
    library = Library()
    handle = cublas.Cublas(library, 1234, tf32)
    assert library.called("cublasSetStream_v2") == [[Library.HANDLE, 1234]]
    assert library.called("cublasSetMathMode") == [[Library.HANDLE, mode]]
    assert handle.version == "13.2.3"
    assert library.called("cublasDestroy_v2") == []
    del handle
    gc.collect()
    assert library.called("cublasDestroy_v2") == [[Library.HANDLE]]


@pytest.mark.parametrize(
    ("function", "status", "name"),
    [
        ("cublasCreate_v2", 1, "CUBLAS_STATUS_NOT_INITIALIZED"),
        ("cublasSetStream_v2", 14, "CUBLAS_STATUS_INTERNAL_ERROR"),
        ("cublasSetMathMode", 99, "status 99"),
    ],
)
def test_what_fails_at_the_start_is_named(function: str, status: int, name: str) -> None:
    library = Library(**{function: status})
    with pytest.raises(cublas.CublasError, match=f"{function} of cuBLAS failed: {name}"):
        cublas.Cublas(library, 0)
    gc.collect()
    assert len(library.called("cublasDestroy_v2")) == (function != "cublasCreate_v2")


def test_what_fails_later_is_named() -> None:
    handle, (_, place) = cublas.Cublas(Library(), 0), placed(np.ones((2, 2), np.float32), 0, 0)
    with pytest.raises(cublas.CublasError, match="cublasSgemm_v2 of cuBLAS failed: CUBLAS_STATUS_INVALID_VALUE"):
        handle.multiply((place[0], 1), place, place, 2, 2, 2, False, False, False)  # rows of 2, 1 apart


def gpu() -> SimpleNamespace:
    """As much of a device as is needed to open the library on its stream."""
    driver = Driver.__new__(Driver)
    driver.stream = 77
    return SimpleNamespace(driver=driver)


def finder(find: Callable[[str], Any]) -> SimpleNamespace:
    return SimpleNamespace(load_nvidia_dynamic_lib=find)


def missing(name: str) -> Any:
    raise RuntimeError(f'Failure finding "lib{name}.so.13"')


@pytest.mark.skipif(SIMULATED, reason="the simulator never has cuBLAS")
@pytest.mark.parametrize(
    ("module", "message"),
    [
        (None, "the package cuda-pathfinder is missing: pip install nvidia-cublas"),
        (finder(missing), "the library is not installed: pip install nvidia-cublas"),
        (finder(lambda name: SimpleNamespace(abs_path=f"none/{name}.so")), "none/cublas.so does not start"),
    ],
)
def test_open_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, module: Any, message: str) -> None:
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", module)
    with pytest.raises(cublas.CublasUnavailableError, match=message):
        cublas.open_cublas(gpu())


@pytest.mark.skipif(SIMULATED, reason="the simulator never has cuBLAS")
@pytest.mark.parametrize("status", [0, 1])
def test_open_starts_the_library_on_the_stream(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    library = Library(cublasCreate_v2=status)
    found = finder(lambda name: SimpleNamespace(abs_path=f"lib{name}.so.13"))
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", found)
    monkeypatch.setattr(ctypes, "CDLL", lambda path: {"libcublas.so.13": library}[path])
    if status:
        with pytest.raises(cublas.CublasUnavailableError, match=r"libcublas\.so\.13 does not start.*NOT_INITIALIZED"):
            cublas.open_cublas(gpu())
    else:
        assert isinstance(cublas.open_cublas(gpu()), cublas.Cublas)
        assert library.called("cublasSetStream_v2") == [[Library.HANDLE, 77]]


def test_only_a_gpu_has_it() -> None:
    class Other(Driver):
        """Stands for a GPU."""

    with pytest.raises(cublas.CublasUnavailableError, match="only a GPU has it"):
        cublas.open_cublas(SimpleNamespace(driver=Other.__new__(Other)))
