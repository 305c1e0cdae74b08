"""Compiled kernels kept on disk, beside the CPU's and by the same rules (`kernels.jit`).

Numba's own cache of a kernel knows it by what its closure holds, which for functions differs in each process; here a
kernel that is made for some sizes has a name that tells them, or is not kept.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import Any

from kernels.jit import CarefulCache, Locator

_dispatcher: Any = importlib.import_module("numba.cuda.dispatcher")


class _Impl(_dispatcher.CUDACacheImpl):  # type: ignore[misc]
    _locator_classes = [Locator]  # noqa: RUF012 (Numba's name and type)


class KernelCache(CarefulCache, _dispatcher.CUDACache):  # type: ignore[misc]
    _impl_class = _Impl

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), metadata.version("numba-cuda"))


def keep(kernel: Any) -> None:
    """From now on, load this kernel from the cache, or put it there once it is compiled."""
    function = kernel.py_func
    if not function.__code__.co_freevars or "<locals>" not in function.__qualname__:
        kernel._cache = KernelCache(function)
