"""The backend for CUDA without a driver: everything of numba-cuda runs, and the last launch is the executor's.

    with offline_gpu(cc=(9, 0)) as gpu:
        backend = kernels.open_backend("cuda")

Within, kernels are typed, specialised and compiled to PTX by numba-cuda's own dispatcher, and their arguments laid out
by `kernels.cuda.device.Driver`. `gpu.kernels` has what was compiled, `gpu.launches` what was launched.
Memory begins as NaN, and a kernel may touch only the arrays that it was given.
"""

from __future__ import annotations

import ctypes
import importlib
import math
import re
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import numpy as np

import kernels
from kernels.cuda import device
from kernels.cuda.arrays import DeviceArray
from kernels.cuda.plan import Limits
from ptx.arrays import Allocation, Memory, api_error
from ptx.machine import Options, launch_flat
from ptx.parser import parse
from ptx.toolchain import SHARED_OPTIN, current_device, target

UNASKED_SHARED = 48 * 1024  # bytes that a block may have without opting in
RESERVED_SHARED = 1024  # bytes of each block that the system takes
REGISTERS, ASSUMED_REGISTERS = 65536, 128  # of a multiprocessor; of a thread, where nothing is compiled to machine code
THREADS = {(8, 0): 2048, (9, 0): 2048, (12, 0): 1536}  # of a multiprocessor


@dataclass(frozen=True)
class Launch:
    """One launch; `shared` is dynamic, in bytes."""

    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared: int
    cooperative: bool


@dataclass
class Compiled:
    """One specialisation of a kernel.

    name : module.function, and what a closure around it holds
    static : bytes of shared memory that the kernel itself declares
    threads, shared : of the largest block so far; shared memory in bytes, static and dynamic
    """

    name: str
    signature: str
    ptx: str
    cc: tuple[int, int]
    static: int
    threads: int = 0
    shared: int = 0
    cooperative: bool = False
    launches: int = 0


@dataclass
class OfflineGpu:
    """What stands for the GPU; see `offline_gpu`."""

    cc: tuple[int, int]
    multiprocessors: int
    shared_optin: int
    memory: Memory
    options: Options
    kernels: dict[str, Compiled] = field(default_factory=dict)
    launches: deque[Launch] = field(default_factory=deque)
    capturing: list[Callable[[], None]] | None = None
    asked_shared: dict[int, int] = field(default_factory=dict)  # by code library
    _seen: dict[Launch, Launch] = field(default_factory=dict)
    _compiled: dict[int, tuple[Any, Compiled]] = field(default_factory=dict)

    @contextmanager
    def active(self) -> Iterator[None]:
        """From here to the end of the block, this is the GPU that numba-cuda finds."""
        dispatcher = importlib.import_module("numba.cuda.dispatcher")
        codegen = importlib.import_module("numba.cuda.codegen")
        library, toolkit = codegen.CUDACodeLibrary, codegen.runtime.runtime.get_version()
        replacements: list[tuple[Any, str, Any]] = [
            (kernels, "_require_cuda", lambda: None),
            (device, "DRIVER", type("GpuDriver", (OfflineDriver,), {"gpu": self})),
            (dispatcher._Kernel, "bind", lambda kernel: None),
            (codegen.JITCUDACodegen, "magic_tuple", lambda codegen: (toolkit, self.cc)),
            (library, "_ensure_cc", lambda library, wanted=None: wanted or target(self.cc)),
        ]
        with ExitStack() as stack:
            stack.enter_context(current_device(self.cc))
            for owner, name, value in replacements:
                stack.enter_context(patch.object(owner, name, value))
            yield

    def compiled(self, kernel: Any, function: Any = None) -> Compiled:
        """What is known of one of Numba's kernels; at first, the function that it is made of must be given."""
        library = kernel._codelibrary
        if id(library) not in self._compiled:
            ptx = library.get_asm_str(cc=target(self.cc))
            name, static = self._unused_name(_name_of(function)), parse(ptx).shared_bytes
            compiled = Compiled(name, str(kernel.signature), ptx, self.cc, static)
            self.kernels[compiled.name] = compiled
            self._compiled[id(library)] = library, compiled
        return self._compiled[id(library)][1]

    def resident_blocks(self, kernel: Any, threads: int, shared: int) -> int:
        """Blocks on the whole device, by shared memory, threads, and registers at 128 a thread."""
        total = self.compiled(kernel).static + shared + RESERVED_SHARED
        by_shared = (self.shared_optin + RESERVED_SHARED) // total
        by_threads = THREADS.get(self.cc, 1024) // threads
        by_registers = REGISTERS // (ASSUMED_REGISTERS * threads)
        return self.multiprocessors * max(1 if by_shared else 0, min(by_shared, by_threads, by_registers))

    def launch(
        self, call: device.Call, grid: tuple[int, ...], block: tuple[int, ...], shared: int, arrays: list[DeviceArray]
    ) -> None:
        """In place of the driver's; these arrays are among the arguments."""
        kernel, values = call.kernel, call.arguments.values()
        compiled = self.compiled(kernel, call.function.py_func)
        total = compiled.static + shared
        if total > max(UNASKED_SHARED, self.asked_shared.get(id(kernel._codelibrary), 0)):
            raise api_error("cuLaunchKernel", "CUDA_ERROR_INVALID_VALUE")
        resident = self.resident_blocks(kernel, math.prod(block), shared)
        if kernel.cooperative and math.prod(grid) > (self.options.resident or resident):
            raise api_error("cuLaunchCooperativeKernel", "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE")
        compiled.threads = max(compiled.threads, math.prod(block))
        compiled.shared = max(compiled.shared, total)
        compiled.cooperative |= kernel.cooperative
        record = Launch(compiled.name, grid, block, shared, kernel.cooperative)
        record = self._seen.setdefault(record, record)  # thousands are alike
        ranges = [(array.address, array.address + array.nbytes) for array in arrays]
        kept = [weakref.ref(array.memory) for array in arrays]

        def run() -> None:
            self._run(compiled, record, values, ranges, kept, resident)

        if self.capturing is None:
            run()
        else:
            self.capturing.append(run)

    def _run(
        self,
        compiled: Compiled,
        record: Launch,
        values: tuple[Any, ...],
        ranges: list[tuple[int, int]],
        kept: list[weakref.ref[Allocation]],
        resident: int,
    ) -> None:
        if any(allocation() is None for allocation in kept):
            raise api_error("cuGraphLaunch", "CUDA_ERROR_ILLEGAL_ADDRESS")
        options = replace(self.options, resident=self.options.resident or resident)
        if options.seed is not None:
            options = replace(options, seed=options.seed + len(self.launches))
        compiled.launches += 1
        self.launches.append(record)
        launch_flat(compiled.ptx, record.grid, record.block, values, ranges, record.shared, options, compiled.name)

    def ask_shared(self, library: Any, size: int) -> None:
        """Opt in to more shared memory."""
        if size > self.shared_optin:
            raise api_error("cuKernelSetAttribute", "CUDA_ERROR_INVALID_VALUE")
        self.asked_shared[id(library)] = max(size, self.asked_shared.get(id(library), 0))

    def _unused_name(self, name: str) -> str:
        taken = sum(known == name or known.startswith(f"{name} #") for known in self.kernels)
        return f"{name} #{taken + 1}" if taken else name


class OfflineDriver(device.Driver):
    """`kernels.cuda.device.Driver`, of a GPU that is not there."""

    gpu: OfflineGpu

    def __init__(self) -> None:
        self.stream = 0
        self._kept = set()
        self._calls = {}

    def name(self) -> str:
        return "executor of sm_{}{}".format(*self.gpu.cc)

    def limits(self) -> Limits:
        return Limits(self.gpu.multiprocessors, self.gpu.shared_optin, self.gpu.cc)

    def memory(self) -> tuple[int, int]:
        return self.gpu.memory.free, self.gpu.memory.total

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        self._not_while_capturing("cuMemAlloc")
        return self.gpu.memory.allocate(shape, dtype)

    def copy_in(self, host: np.ndarray, array: DeviceArray) -> None:
        self._not_while_capturing("cuMemcpyHtoDAsync")
        ctypes.memmove(array.address, host.ctypes.data, host.nbytes)

    def copy_out(self, array: DeviceArray) -> np.ndarray:
        self._not_while_capturing("cuMemcpyDtoHAsync")
        host = np.empty(array.shape, array.dtype)
        ctypes.memmove(host.ctypes.data, array.address, host.nbytes)
        return host

    def compile(self, function: Any, signature: tuple[Any, ...], shared: int, cooperative: bool) -> Any:
        compiled = self._compiled(function, signature)
        self.gpu.compiled(compiled, function.py_func)
        compiled.cooperative = compiled.cooperative or cooperative
        if shared > UNASKED_SHARED:
            self.gpu.ask_shared(compiled._codelibrary, shared)
        return compiled

    def resident_blocks(self, compiled: Any, threads: int, shared: int) -> int:
        return self.gpu.resident_blocks(compiled, threads, shared)

    def submit(
        self, call: device.Call, grid: tuple[int, ...], block: tuple[int, ...], shared: int, args: list[Any]
    ) -> None:
        self.gpu.launch(call, grid, block, shared, [arg for arg in args if isinstance(arg, DeviceArray)])

    def record(self, launches: Callable[[], None]) -> Callable[[], None]:
        self._not_while_capturing("cuStreamBeginCapture")
        captured: list[Callable[[], None]] = []
        self.gpu.capturing = captured
        try:
            launches()
        finally:
            self.gpu.capturing = None

        def replay() -> None:
            for run in captured:
                run()

        return replay

    def milliseconds(self, work: Callable[[], None]) -> float:
        begin = time.perf_counter()
        work()
        return (time.perf_counter() - begin) * 1e3

    def _not_while_capturing(self, call: str) -> None:
        if self.gpu.capturing is not None:
            raise api_error(call, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")


@contextmanager
def offline_gpu(
    cc: tuple[int, int] = (9, 0),
    *,
    multiprocessors: int = 132,
    shared_optin: int | None = None,
    memory: int = 80 << 30,
    **options: Any,
) -> Iterator[OfflineGpu]:
    """A GPU of this capability, and numba-cuda's calls to a driver answered by it; sizes in bytes, options as those of
    `ptx.machine.Options`. After it another one may be opened, or this one again by `gpu.active()`."""
    shared = SHARED_OPTIN[cc] if shared_optin is None else shared_optin
    gpu = OfflineGpu(cc, multiprocessors, shared, Memory(memory), Options(**options))
    with gpu.active():
        yield gpu


def _name_of(function: Any) -> str:
    """`product.rows[tile=8]`: module and function, and the plain values that the closure of an inner function holds."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    held = {name: cell.cell_contents for name, cell in cells}
    plain = [f"{name}={value}" for name, value in held.items() if isinstance(value, int | float | str)]
    name = f"{function.__module__.rpartition('.')[2]}.{re.sub('^_', '', function.__name__)}"
    return f"{name}[{', '.join(plain)}]" if plain else name
