"""Dense products on the device: our own kernel in every form, its cuts, sums of columns, and cuBLAS in its place.

Without a GPU they run on the simulator (`NUMBA_ENABLE_CUDASIM=1`), else on the executor of PTX, which looks for races
and for accesses outside an array or off their boundary.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from kernel_cases import EXECUTED, SIMULATED

if not SIMULATED:
    pytest.importorskip("numba_cuda")

from test_cublas import Library

from kernels import BackendUnavailableError
from kernels.cuda import product
from kernels.cuda.cublas import Cublas, CublasUnavailableError
from kernels.cuda.device import Array, Device
from kernels.cuda.product import Products, choose, cut
from kernels.cuda.tiles import DEPTH, LARGE, SMALL, TILES, TINY, Tile

H100 = 132  # multiprocessors
BEFORE, BESIDE = 3, 5  # values that stand before a matrix and beside its rows, so that nothing is on a boundary
TOLERANCE = 2e-5  # of sums of up to a few hundred products of standard normal numbers, in float32
MACHINES = (
    ["here"] if SIMULATED or EXECUTED else ["sm_80", "sm_90", "sm_120", pytest.param("gpu", marks=pytest.mark.cuda)]
)
WAYS = [(a, b) for a in (False, True) for b in (False, True)]


def open_machine(name: str) -> Any:
    """A context in which `Device()` opens it."""
    if name in ("here", "gpu"):
        return nullcontext()
    from ptx import driver, toolchain

    if toolchain.missing():
        pytest.skip(toolchain.missing())
    return driver.offline_gpu(divmod(int(name.removeprefix("sm_")), 10), seed=1, races=True)


@pytest.fixture(scope="module", params=MACHINES)
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    with open_machine(request.param):
        try:
            yield Device()
        except BackendUnavailableError as error:
            pytest.skip(str(error))


def placed(device: Device, matrix: np.ndarray, aligned: bool) -> tuple[Array, int, int]:
    """A matrix on the device, with NaN before it and beside its rows, fit for wide accesses or not."""
    rows, columns = matrix.shape
    before, beside = (4, 4) if aligned else (BEFORE, BESIDE)
    leading = columns + beside + (-columns % 4 if aligned else 0)
    host = np.full(before + rows * leading, np.nan, np.float32)
    host[before:].reshape(rows, leading)[:, :columns] = matrix
    return device.upload(host), before, leading


def taken(device: Device, out: tuple[Array, int, int], columns: int) -> np.ndarray:
    """The matrix again. Nothing around it was written."""
    array, before, leading = out
    host = device.download(array)
    found = host[before:].reshape(-1, leading)
    assert np.isnan(host[:before]).all()
    assert np.isnan(found[:, columns:]).all()
    return found[:, :columns]


def check(
    device: Device,
    sizes: tuple[int, int, int],
    way: tuple[bool, bool] = (False, True),
    *,
    add: bool = False,
    aligned: tuple[bool, bool, bool] = (True, True, True),
    cut_so: product.Cut | None = None,
) -> np.ndarray:
    """Multiply random matrices and compare with NumPy; gives what was found."""
    M, N, K = sizes
    rng = np.random.default_rng(M + 7 * N + 49 * K)
    a, b, start = (rng.standard_normal(shape, np.float32) for shape in ((M, K), (K, N), (M, N)))
    left = placed(device, a.T if way[0] else a, aligned[0])
    right = placed(device, b.T if way[1] else b, aligned[1])
    out = placed(device, start if add else np.full_like(start, np.nan), aligned[2])
    products = Products(device, cublas=False)
    if cut_so is None:
        products.multiply(left, right, out, M, N, K, a_transposed=way[0], b_transposed=way[1], add=add)
    else:
        products.multiply_by(cut_so, left, right, out, M, N, K, *way, add)
    found = taken(device, out, N)
    np.testing.assert_allclose(found, a.astype(np.float64) @ b + (start if add else 0), rtol=0, atol=TOLERANCE)
    return found


def around(tile: Tile) -> tuple[int, int, int]:
    """Sizes of two by two tiles, the second ones nearly empty, and of a last step of k that is half full."""
    return tile.height + 4, tile.width + 4, 2 * DEPTH + 4


# One machine, one case of each tile, transposition, alignment, cut and use; all of them together: test_every_form
@pytest.mark.parametrize(
    ("tile", "way", "aligned", "splits", "add"),
    [
        (0, (False, True), True, 1, False),
        (0, (True, False), False, 2, True),
        (-1, (False, False), True, 2, True),
        (-1, (True, True), False, 1, True),
    ],
)
def test_product(device: Device, tile: int, way: tuple[bool, bool], aligned: bool, splits: int, add: bool) -> None:
    M, N, K = around(TILES[tile])
    sizes = (M, N, K) if aligned else (M - 1, N - 3, K - 2)
    cut_so = cut(TILES[tile], splits, K)
    assert cut_so.splits == splits
    check(device, sizes, way, add=add, aligned=(aligned,) * 3, cut_so=cut_so)


@pytest.mark.slow
@pytest.mark.parametrize("tile", TILES, ids=lambda tile: f"{tile.height}x{tile.width}")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("aligned", list(itertools.product((False, True), repeat=3)))
def test_every_form(device: Device, tile: Tile, way: tuple[bool, bool], aligned: tuple[bool, bool, bool]) -> None:
    check(device, around(tile), way, add=True, aligned=aligned, cut_so=cut(tile, 1, 2 * DEPTH + 4))


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 5, 2), (9, 1, 3), (2, 3, 17)])
def test_small_products(device: Device, sizes: tuple[int, int, int]) -> None:
    check(device, sizes)


def test_a_view_that_begins_off_a_boundary(device: Device) -> None:
    """As the weights of a layer in the flat vector of all of them."""
    values = np.arange(1 + 4 * 4, dtype=np.float32)
    a, out = device.upload(values)[1:], device.upload(np.zeros(16, np.float32))
    Products(device, cublas=False).multiply((a, 0, 4), (a, 0, 4), (out, 0, 4), 4, 4, 4)
    matrix = values[1:].reshape(4, 4)
    np.testing.assert_array_equal(device.download(out).reshape(4, 4), matrix @ matrix)


def test_a_cut_product_gives_the_same_bits_again(device: Device) -> None:
    sizes = (5, 6, 9 * DEPTH)
    cut_so = cut(TILES[-1], 4, sizes[2])
    assert cut_so.splits == 3  # of 3 steps each
    np.testing.assert_array_equal(check(device, sizes, cut_so=cut_so), check(device, sizes, cut_so=cut_so))


@pytest.mark.parametrize(("M", "N"), [(1, 1), (2, 3), (11, 2)] if SIMULATED else [(1, 1), (64, 33), (301, 40)])
@pytest.mark.parametrize("aligned", [False, True])
def test_column_sums(device: Device, M: int, N: int, aligned: bool) -> None:
    """In one part of the rows and in several."""
    matrix = np.random.default_rng(M).standard_normal((M, N), np.float32)
    out = device.upload(np.full(N + 2, np.nan, np.float32))
    Products(device).column_sums(placed(device, matrix, aligned), out, 1, M, N)
    found = device.download(out)
    np.testing.assert_allclose(found[1:-1], matrix.astype(np.float64).sum(0), rtol=0, atol=TOLERANCE)
    assert np.isnan(found[[0, -1]]).all()


def test_repeat(device: Device) -> None:
    row, out = np.arange(3, dtype=np.float32), device.empty((12,))
    Products(device).repeat(device.upload(row), out, 4, 3)
    np.testing.assert_array_equal(device.download(out).reshape(4, 3), np.tile(row, (4, 1)))


@pytest.mark.parametrize(
    ("sizes", "tile", "least_blocks"),
    [
        ((8000, 1024, 39), LARGE, H100),  # a first layer's input
        ((8000, 1024, 512), LARGE, H100),
        ((1024, 512, 8000), LARGE, 2 * H100 - 8),  # a gradient of weights: 32 tiles
        ((1024, 39, 8000), SMALL, 2 * H100),
        ((8000, 29, 512), SMALL, 2 * H100),  # to labels
        ((16, 1024, 39), SMALL, 16),  # a frame of each utterance
    ],
)
def test_the_cut_fills_the_device(sizes: tuple[int, int, int], tile: Tile, least_blocks: int) -> None:
    if SIMULATED:
        pytest.skip("the simulator has one tile")
    M, N, K = sizes
    best = choose(M, N, K, H100)
    assert best.tile == tile
    assert -(-M // tile.height) * -(-N // tile.width) * best.splits >= least_blocks


@pytest.mark.parametrize("K", [1, DEPTH, DEPTH + 1, 1000, 8000])
@pytest.mark.parametrize("splits", product.SPLITS)
def test_parts_cover_k_and_none_is_empty(K: int, splits: int) -> None:
    made = cut(LARGE, splits, K)
    assert made.splits <= splits
    assert made.depth % DEPTH == 0
    assert (made.splits - 1) * made.depth < K <= made.splits * made.depth


@pytest.mark.parametrize("tile", [LARGE, SMALL, TINY], ids=lambda tile: f"{tile.height}x{tile.width}")
def test_threads_fetch_one_quad_of_each_operand(tile: Tile) -> None:
    depth = 4 if tile is TINY else 8
    assert tile.height * depth == tile.width * depth == 4 * tile.threads


def test_without_cublas_the_reason_is_told(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: Any) -> Cublas:
        raise CublasUnavailableError("the library is not installed")

    monkeypatch.setattr(product, "open_cublas", missing)
    assert Products(device).describe() == "own kernel, float32 (no cuBLAS: the library is not installed)"
    assert "TF32 was asked for, and only cuBLAS has it" in Products(device, tf32=True).describe()
    assert Products(device, cublas=False).describe() == "own kernel, float32 (no cuBLAS: switched off)"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("add", [False, True])
def test_cublas_gets_the_matrices_where_they_are(
    device: Device, monkeypatch: pytest.MonkeyPatch, way: tuple[bool, bool], add: bool
) -> None:
    """The executor's device memory is this machine's, so what stands in for cuBLAS can multiply there."""
    if SIMULATED or not device.describe().startswith("executor"):
        pytest.skip("only the executor's memory can be read here")
    library = Library()
    monkeypatch.setattr(product, "open_cublas", lambda device, tf32: Cublas(library, 0, tf32))
    products = Products(device, tf32=True)
    assert products.describe() == "cuBLAS 13.2.3, TF32 on"
    rng = np.random.default_rng(0)
    a, b, start = (rng.standard_normal(shape, np.float32) for shape in ((5, 3), (3, 4), (5, 4)))
    left, right = placed(device, a.T if way[0] else a, False), placed(device, b.T if way[1] else b, True)
    out = placed(device, start if add else np.full_like(start, np.nan), False)
    products.multiply(left, right, out, 5, 4, 3, a_transposed=way[0], b_transposed=way[1], add=add)
    np.testing.assert_allclose(taken(device, out, 4), a @ b + (start if add else 0), rtol=0, atol=1e-5)
    assert len(library.called("cublasSgemm_v2")) == 1
