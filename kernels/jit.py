"""How kernels are compiled, where the machine code is kept, and how a person hears of it.

Machine code is cached on disk across processes. Numba notices a change in a function's own file only, not in
what it calls, so the folder is named by a hash of everything that the code depends on: the sources of this
package, the versions of the compilers, the processor. A process whose sources have changed since it began, and which
may have loaded some of either, keeps nothing. A folder is therefore never stale; old ones can be deleted.
"""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding
import numba
import numpy
import platformdirs
from numba.core import event
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.extending import intrinsic as _intrinsic
from numba.extending import register_jitable

log = logging.getLogger("kernels")

# Values may be contracted to fused multiply-adds and divisions turned into products with a reciprocal. Not `nnan`
# and `ninf`, which would let the compiler assume away the values we check for; not `reassoc`, which would cancel
# the rounding trick in `scalar.exp2`.
FASTMATH = {"nsz", "arcp", "contract", "afn"}

KERNELS: dict[str, Any] = {}  # name -> dispatcher, of every kernel made so far

# A part of a kernel. Arrays are passed as seven values each, so a call costs more than many a function's work: small
# parts stand in their callers' code, large ones that several places need are called.
device_function = register_jitable(forceinline=True)
subroutine = register_jitable
intrinsic: Any = _intrinsic  # typed as what it makes: a function of the arguments after the typing context


def kernel(name: str, allocates: bool = True) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function on its first call, without the interpreter lock; `name` is what a person reads.

    One that makes no arrays (`allocates`) need not count references to them, which it would wherever it takes one out
    of a tuple: in branched code that may cost far more than the work.
    """

    def compile_lazily(function: Callable[..., Any]) -> Any:
        function.__qualname__ = name.replace(" ", "_")  # names its files in the cache: one kernel, one file
        options: dict[str, Any] = {} if allocates else {"_nrt": False}
        dispatcher: Any = numba.njit(nogil=True, fastmath=FASTMATH, error_model="numpy", **options)(function)
        dispatcher._cache = _KernelCache(dispatcher.py_func)
        KERNELS[name] = dispatcher
        return dispatcher

    return compile_lazily


def compilations() -> int:
    """How many kernels this process has compiled, instead of loading them from the cache."""
    return _listener.count


@cache
def source_hash() -> str:
    """A hash of all that the machine code depends on, as it was when the first kernel was made."""
    return _hash()


def _hash() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    cpu = llvmlite.binding.get_host_cpu_name() + llvmlite.binding.get_host_cpu_features().flatten()
    settings = sorted(
        f"{key}={value}" for key, value in os.environ.items() if key.startswith(("NUMBA_", "ASR_VECTOR_"))
    )
    for part in (numba.__version__, llvmlite.__version__, numpy.__version__, cpu, *settings):
        digest.update(part.encode())
    return digest.hexdigest()[:16]


@cache
def cache_folder() -> Path:
    """`$ASR_CACHE`, else the user's cache folder of this system; below it, one folder for each source hash."""
    base = os.environ.get("ASR_CACHE") or platformdirs.user_cache_dir("asr", appauthor=False)
    return Path(base) / f"kernels-{source_hash()}"


class Locator(_CacheLocator):
    """Puts all kernels into `cache_folder`, whose name already tells fresh from stale."""

    def __init__(self, py_func: Any, py_file: str):
        self._line = py_func.__code__.co_firstlineno

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Locator:
        return cls(py_func, py_file)

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return source_hash()

    def get_disambiguator(self) -> str:
        return str(self._line)


class _KernelCacheImpl(CompileResultCacheImpl):
    _locator_classes = [Locator]  # noqa: RUF012 (Numba's name and type)


class CarefulCache:
    """What makes one of Numba's caches missed, not broken, where its folder cannot be read or written."""

    _name: str
    _damaged = False

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        # Not Numba's hash of what the function refers to, which differs in each process where that is a function:
        # the folder's name covers all sources already, and the file's name tells the kernels apart
        return sig, codegen.magic_tuple()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)  # type: ignore[misc]
        except Exception as error:
            # Whatever a damaged file makes the loader raise, compiling anew is right
            log.debug("cached kernel %s not usable: %s", self._name, error)
            self._damaged = True
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            if _hash() != source_hash():
                return
            cache_folder().mkdir(parents=True, exist_ok=True)
            if self._damaged:
                self.flush()  # type: ignore[attr-defined]
            super().save_overload(sig, data)  # type: ignore[misc]
        except OSError as error:
            _warn_once(f"{error.strerror or error}: {cache_folder()}")


class _KernelCache(CarefulCache, FunctionCache):
    _impl_class = _KernelCacheImpl


@cache
def _warn_once(reason: str) -> None:
    warnings.warn(
        f"compiled kernels cannot be kept, so every start compiles them again ({reason}); "
        "set ASR_CACHE to a folder that can be written",
        RuntimeWarning,
        stacklevel=2,
    )


class _CompileListener(event.Listener):
    """Counts compilations of our kernels and tells of each as it begins."""

    def __init__(self) -> None:
        self.count = 0

    def on_start(self, event: Any) -> None:
        name = next((name for name, kernel in KERNELS.items() if kernel is event.data["dispatcher"]), None)
        if name is None:
            return
        self.count += 1
        log.info("compiling kernel %d for this processor: %s", self.count, name)

    def on_end(self, event: Any) -> None:
        pass


_listener = _CompileListener()
event.register("numba:compile", _listener)
