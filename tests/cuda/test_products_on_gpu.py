"""Dense products on hardware: cuBLAS and our own kernel agree, each with itself to the bit."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="the package numba-cuda is not installed")

from kernels.cuda.product import Products

FORMS = [
    {"a_transposed": a, "b_transposed": b, "add": add}
    for a, b, add in product((False, True), repeat=3)
    if not (a and b)  # no layer has such a product
]
SIZES = ((160, 96, 39), (129, 65, 513), (2048, 512, 4000))  # M, N, K
SMALL = SIZES[:1]
TF32_ROUNDING = 2.0**-10  # of a factor


def multiply(products: Products, device: Any, sizes: tuple[int, int, int], form: dict[str, bool]) -> np.ndarray:
    """The product of random matrices, on top of ones."""
    M, N, K = sizes
    rng = np.random.default_rng(1)
    a = rng.standard_normal((K, M) if form["a_transposed"] else (M, K), np.float32)
    b = rng.standard_normal((N, K) if form["b_transposed"] else (K, N), np.float32)
    out = device.upload(np.ones(M * N, np.float32))
    operands = (device.upload(a.ravel()), 0, a.shape[1]), (device.upload(b.ravel()), 0, b.shape[1])
    products.multiply(*operands, (out, 0, N), M, N, K, **form)
    found: np.ndarray = device.download(out).reshape(M, N)
    exact = (a.T if form["a_transposed"] else a).astype(np.float64) @ (b.T if form["b_transposed"] else b)
    errors = np.abs(found - exact - form["add"]) / np.sqrt(K)  # the size of a sum of K products of such factors
    assert errors.max() < (8 * TF32_ROUNDING if "TF32 on" in products.describe() else 1e-5)
    return found


def with_cublas(device: Any, tf32: bool) -> Products:
    """Skips where cuBLAS is not installed."""
    products = Products(device, tf32=tf32)
    if not products.describe().startswith("cuBLAS"):
        pytest.skip(products.describe())
    return products


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_our_own_products(gpu: Any, repeats: int, sizes: tuple[int, int, int], form: dict[str, bool]) -> None:
    if repeats < 10 and sizes not in SMALL:
        pytest.skip("too long for the executor")
    own = Products(gpu.device, cublas=False)
    first = multiply(own, gpu.device, sizes, form)
    assert multiply(own, gpu.device, sizes, form).tobytes() == first.tobytes()


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_products_of_cublas(hardware: Any, sizes: tuple[int, int, int], form: dict[str, bool], tf32: bool) -> None:
    theirs = with_cublas(hardware.device, tf32)
    first = multiply(theirs, hardware.device, sizes, form)
    assert multiply(theirs, hardware.device, sizes, form).tobytes() == first.tobytes()


def test_tf32_is_off_unless_it_is_asked_for(hardware: Any) -> None:
    exact, rounded = (with_cublas(hardware.device, tf32) for tf32 in (False, True))
    if hardware.device.limits.capability < (8, 0):
        pytest.skip("this GPU has no TF32")
    found = [multiply(products, hardware.device, SIZES[2], FORMS[0]) for products in (exact, rounded)]
    assert np.abs(found[0] - found[1]).max() > 1e-3
