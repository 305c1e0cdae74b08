"""The executor's own compiled functions, kept on disk beside the kernels' and by the same rules (`kernels.jit`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.ccallback import CFunc

from kernels.jit import CarefulCache, Locator, cache_folder


@cache
def _folder() -> Path:
    """Named by a hash of all sources here, since compiled functions hold each other's code and constants."""
    sources = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return cache_folder() / f"executor-{hashlib.sha256(sources).hexdigest()[:16]}"


class _Locator(Locator):
    def get_cache_path(self) -> str:
        return str(_folder())


class _Impl(CompileResultCacheImpl):
    _locator_classes = [_Locator]  # noqa: RUF012 (Numba's name and type)


class _Cache(CarefulCache, FunctionCache):
    _impl_class = _Impl


cache_of: Any = _Cache


def kept(function: Callable[..., Any]) -> Any:
    """As `numba.njit`, for functions that Python calls."""
    compiled: Any = njit(function)
    compiled._cache = cache_of(function)
    return compiled


def kept_callback(function: Callable[..., Any], signature: Any) -> Any:
    """As `numba.cfunc`."""
    compiled: Any = CFunc(function, (signature.args, signature.return_type), locals={}, options={})
    compiled._cache = cache_of(function)
    compiled.compile()
    return compiled
