"""Numba's compiler for CUDA on a machine without a driver, and NVIDIA's tools where their wheels are installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from kernels.cuda.device import SIMULATED, cuda

ARCHITECTURES = ((8, 0), (9, 0), (12, 0))  # A100, H100 and H200, RTX 50
SHARED_OPTIN = {(8, 0): 166912, (9, 0): 232448, (12, 0): 101376}  # bytes of one block, CUDA C Programming Guide, 17


@lru_cache
def missing() -> str:
    """Why kernels cannot be compiled here, or nothing."""
    if SIMULATED or cuda.implementation != "NVIDIA":
        return "the package numba-cuda is not installed"
    try:
        importlib.import_module("numba.cuda.cudadrv.nvvm").NVVM()
        importlib.import_module("cuda.core")
    except Exception as error:  # of the loader, in many kinds
        return f"the wheels of numba-cuda[cu13] are not installed: {type(error).__name__}"
    return ""


def target(cc: tuple[int, int]) -> tuple[Any, ...]:
    """What numba-cuda compiles for on a device of this capability: from 9.0 on, for that very one."""
    return (*cc, "a") if cc >= (9, 0) else cc


@contextmanager
def current_device(cc: tuple[int, int]) -> Iterator[None]:
    """Numba asks the current device for its capability whenever it compiles a device function."""
    dispatcher = importlib.import_module("numba.cuda.dispatcher")
    device = SimpleNamespace(compute_capability=cc)
    with patch.object(dispatcher, "get_current_device", lambda: device):
        yield


def compile_ptx(
    function: Callable[..., None], signature: Sequence[Any], cc: tuple[int, int] = (9, 0), **options: Any
) -> str:
    """The PTX of a plain function as a kernel for arguments of these Numba types; options as those of `cuda.jit`."""
    with current_device(cc):
        ptx, _ = cuda.compile(
            function, tuple(signature), device=False, cc=target(cc), abi="numba", output="ptx", **options
        )
    return str(ptx)


def utility(name: str) -> str | None:
    """Where one of NVIDIA's programs (ptxas, nvdisasm, cuobjdump) stands, if it is installed."""
    found = importlib.import_module("cuda.pathfinder").find_nvidia_binary_utility(name)
    return None if found is None else str(found)
