"""exp2, sigmoid and tanh against float64, compiled as the kernels are, and as plain Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

from kernels import scalar
from kernels.jit import FASTMATH


def compiled(function: Callable[[Any], Any]) -> Callable[[np.ndarray], np.ndarray]:
    """A loop over a float32 array, with the options of the kernels."""

    @numba.njit(fastmath=FASTMATH, error_model="numpy")
    def loop(x, out):
        for i in range(x.shape[0]):
            out[i] = function(x[i])

    def run(x: np.ndarray) -> np.ndarray:
        out = np.empty_like(x)
        loop(x, out)
        assert len(loop.signatures) == 1
        return out

    return run


def plain(function: Callable[[Any], Any]) -> Callable[[np.ndarray], np.ndarray]:
    def run(x: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            found = [function(value) for value in x]
        assert all(type(value) is np.float32 for value in found)
        return np.array(found)

    return run


exp2, sigmoid, tanh = (compiled(function) for function in (scalar.exp2, scalar.sigmoid, scalar.tanh))

WIDE = np.linspace(-126, 126, 300_001, dtype=np.float32)
NARROW = np.linspace(-10, 10, 300_001, dtype=np.float32)
TINY = np.array([0.0, -0.0, 1e-45, -1e-45, 1e-38, -1e-30, 1e-20, 1e-7, -1e-7], np.float32)
HUGE = np.array([200, -200, 1e4, -1e4, 3e38, -3e38, np.inf, -np.inf], np.float32)
NAN = np.array([np.nan, -np.nan, 1.0], np.float32)


@pytest.mark.parametrize("x", [WIDE, NARROW, TINY], ids=["wide", "narrow", "tiny"])
def test_exp2(x: np.ndarray) -> None:
    expected = np.exp2(x.astype(np.float64))
    assert (np.abs(exp2(x) - expected) / expected).max() < 2e-7


@pytest.mark.parametrize("x", [WIDE, NARROW, TINY, HUGE], ids=["wide", "narrow", "tiny", "huge"])
def test_sigmoid(x: np.ndarray) -> None:
    expected = 0.5 + 0.5 * np.tanh(0.5 * x.astype(np.float64))
    found = sigmoid(x)
    assert np.abs(found - expected).max() < 1.5e-7
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("x", [WIDE, NARROW, TINY, HUGE], ids=["wide", "narrow", "tiny", "huge"])
def test_tanh(x: np.ndarray) -> None:
    found = tanh(x)
    assert np.abs(found - np.tanh(x.astype(np.float64))).max() < 2.5e-7
    assert np.abs(found).max() <= 1


def test_powers_of_two_are_exact() -> None:
    n = np.arange(-126, 127)
    np.testing.assert_array_equal(exp2(n.astype(np.float32)), np.ldexp(1.0, n).astype(np.float32))


def test_beyond_its_range_exp2_is_its_value_at_the_bound() -> None:
    np.testing.assert_array_equal(exp2(HUGE), np.ldexp(1.0, np.where(HUGE > 0, 126, -126)).astype(np.float32))


@pytest.mark.parametrize("function", [exp2, sigmoid, tanh], ids=["exp2", "sigmoid", "tanh"])
def test_nan_passes(function: Callable[[np.ndarray], np.ndarray]) -> None:
    np.testing.assert_array_equal(np.isnan(function(NAN)), [True, True, False])


@pytest.mark.parametrize("name", ["exp2", "sigmoid", "tanh"])
def test_plain_python_is_the_same(name: str) -> None:
    """The functions work uncompiled as well, float32 throughout (fused multiply-adds may round differently)."""
    x = np.concatenate([WIDE[::1001], NARROW[::1001], TINY, HUGE])
    function = getattr(scalar, name)
    np.testing.assert_allclose(plain(function)(x), compiled(function)(x), rtol=3e-7, atol=3e-7)
    assert np.isnan(function(np.float32(np.nan)))


def test_fast_math_keeps_nan_and_infinity() -> None:
    assert not FASTMATH & {"fast", "nnan", "ninf", "reassoc"}
