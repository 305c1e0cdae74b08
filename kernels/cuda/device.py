"""The one door to CUDA: the only import of `numba.cuda`, the calls that need a driver, and a facade that counts them.

`numba.cuda` is NVIDIA's package numba-cuda, which takes the name over. With `NUMBA_ENABLE_CUDASIM=1` it is a simulator
that runs each thread of a block as a thread of Python, and Numba's own copy of it will do: kernels then mean the same
and are slow, so blocks are small there. `Driver` holds whatever needs a GPU, and `Simulator` stands for it there; the
tests put an executor of the compiled kernels in its place.
"""

from __future__ import annotations

import importlib
import math
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from kernels import BackendUnavailableError, DeviceFailedError, DeviceMemoryError
from kernels.cuda.arrays import Arguments, DeviceArray
from kernels.cuda.plan import Limits

config: Any = importlib.import_module("numba.core.config")  # typed so, since it makes its names at run time
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Numba's own copy says that it is deprecated
    cuda: Any = importlib.import_module("numba.cuda")

SIMULATED = bool(config.ENABLE_CUDASIM)
libdevice: Any = None if SIMULATED else importlib.import_module("numba.cuda.libdevice")

# Types of a kernel's arguments: arrays of one dimension, and a whole number
_own = not SIMULATED and cuda.implementation == "NVIDIA"
_types: Any = importlib.import_module("numba.cuda.types" if _own else "numba.types")
FLOATS, INTEGERS, INTEGER = _types.float32[::1], _types.int32[::1], _types.int32

THREADS = 2 if SIMULATED else 256  # of a block over flat values
BLOCKS = 2 if SIMULATED else 1024  # at most so many: then each thread takes several values
REMEDY = "pip install 'asr-from-sound[cuda13]' (cuda12 for an older driver), or use the device cpu"

config.CUDA_LOW_OCCUPANCY_WARNINGS = False  # a small batch is no mistake

Array = Any


def kernel(function: Any = None, *, threads: int | None = None, resident: int = 1, name: str | None = None) -> Any:
    """A function that the host launches; compiled for the device at its first launch.

    With `threads`, the size of its blocks, the compiler may give each thread its share of all registers, so that
    `resident` blocks have room on a multiprocessor. A kernel made for some sizes has a `name` that tells them, by which
    its machine code is kept (`kernels.cuda.cache`). Without `fastmath`: that would let the compiler reorder sums,
    which cancels the rounding in `scalar.exp2`.
    """
    options = {} if SIMULATED or threads is None else {"launch_bounds": (threads, resident)}

    def decorate(function: Any) -> Any:
        function.__qualname__ = name or function.__qualname__
        return cuda.jit(**options)(function)

    return decorate if function is None else decorate(function)


def device_function(function: Any) -> Any:
    """A function that kernels call; its code stands in theirs."""
    return function if SIMULATED else cuda.jit(device=True, forceinline=True)(function)


def blocks(size: int, width: int) -> int:
    """How many blocks of a width cover a size."""
    return -(-size // width)


class Call:
    """A compiled kernel, ready to be launched.

    function : that it was compiled from
    kernel : numba-cuda's
    arguments : those of the next launch
    """

    def __init__(self, function: Any, kernel: Any, args: list[Any]):
        self.function, self.kernel = function, kernel
        self.arguments = Arguments(args)

    @cached_property
    def handle(self) -> int:
        """The driver's own."""
        return int(self.kernel._codelibrary.get_cufunc().handle)


class Driver:
    """The calls that need a GPU. Memory, streams and compilation are numba-cuda's; launches and copies go to the driver
    itself (`kernels.cuda.arrays` says why)."""

    def __init__(self) -> None:
        self.stream = cuda.stream()
        self._handle = int(self.stream.handle)
        self._threads = threading.local()
        self._kept: set[int] = set()  # kernels that know their cache
        self._calls: dict[tuple[Any, ...], Call] = {}

    @cached_property
    def _module(self) -> Any:
        return importlib.import_module("numba.cuda.cudadrv.driver")

    @property
    def _driver(self) -> Any:
        """The driver's functions, whose failures are errors; this thread has the device's context from here on."""
        if not hasattr(self._threads, "context"):
            self._threads.context = cuda.current_context()
        return self._module.driver

    def name(self) -> str:
        name = cuda.get_current_device().name
        return name.decode() if isinstance(name, bytes) else str(name)

    def limits(self) -> Limits:
        device = cuda.get_current_device()
        shared = device.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        return Limits(device.MULTIPROCESSOR_COUNT, shared, tuple(device.compute_capability))

    def memory(self) -> tuple[int, int]:
        """Free and total bytes."""
        info = cuda.current_context().get_memory_info()
        return info[0], info[1]

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        memory = cuda.device_array(shape, dtype, stream=self.stream)
        return DeviceArray(memory, int(memory.__cuda_array_interface__["data"][0]), shape, dtype)

    def copy_in(self, host: np.ndarray, array: Array) -> None:
        """C-contiguous values. They may change once this returns: the driver has a copy of what can be swapped out."""
        self._driver.cuMemcpyHtoDAsync(array.address, host.ctypes.data, host.nbytes, self._handle)

    def copy_out(self, array: Array) -> np.ndarray:
        host: np.ndarray = np.empty(array.shape, array.dtype)
        if host.size:
            self._driver.cuMemcpyDtoHAsync(host.ctypes.data, array.address, host.nbytes, self._handle)
        self._driver.cuStreamSynchronize(self._handle)
        return host

    def compile(self, function: Any, signature: tuple[Any, ...], shared: int, cooperative: bool) -> Any:
        """The kernel for arguments of these Numba types, allowed so much dynamic shared memory."""
        compiled = self._compiled(function, signature)
        compiled.cooperative = compiled.cooperative or cooperative
        if shared > 48 * 1024:  # more must be asked for, kernel by kernel
            attribute = self._module.binding.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            handle = compiled._codelibrary.get_cufunc()
            self._driver.cuKernelSetAttribute(attribute, shared, handle.handle, handle.device.id)
        return compiled

    def _compiled(self, function: Any, signature: tuple[Any, ...]) -> Any:
        if id(function) not in self._kept:
            self._kept.add(id(function))
            importlib.import_module("kernels.cuda.cache").keep(function)
        return function.compile(signature)

    def resident_blocks(self, compiled: Any, threads: int, shared: int) -> int:
        """How many blocks of a compiled kernel the device holds at once."""
        return int(compiled.max_cooperative_grid_blocks(threads, shared))

    def launch(self, function: Any, grid: Any, block: Any, shared: int, args: list[Any]) -> None:
        """`args` as `kernels.cuda.arrays.Arguments` takes them; compiled at its first launch with such types."""
        key = id(function), *[arg.dtype for arg in args]
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = Call(function, self._compiled(function, _signature(args)), args)
        call.arguments.fill(args)
        self.submit(call, _three(grid), _three(block), shared, args)

    def submit(self, call: Call, grid: tuple[int, ...], block: tuple[int, ...], shared: int, args: list[Any]) -> None:
        """Launch a kernel with the arguments that are filled in, which `args` has once more."""
        sizes = call.handle, *grid, *block, shared, self._handle, call.arguments.pointers
        if call.kernel.cooperative:
            self._driver.cuLaunchCooperativeKernel(*sizes)
        else:
            self._driver.cuLaunchKernel(*sizes, 0)

    def record(self, launches: Callable[[], None]) -> Callable[[], None]:
        """The launches that a function makes, as a graph: a function that launches all of them at once."""
        driver, stream = self._driver, self._handle
        mode = self._module.binding.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        driver.cuStreamBeginCapture(stream, mode)
        try:
            launches()
        finally:
            graph = driver.cuStreamEndCapture(stream)
        runnable = driver.cuGraphInstantiate(graph, 0)
        driver.cuGraphDestroy(graph)
        replay = partial(driver.cuGraphLaunch, runnable, stream)
        weakref.finalize(replay, driver.cuGraphExecDestroy, runnable).atexit = False
        return replay

    def milliseconds(self, work: Callable[[], None]) -> float:
        """The device's time for what a function launches."""
        begin, end = cuda.event(), cuda.event()
        begin.record(self.stream)
        work()
        end.record(self.stream)
        end.synchronize()
        return float(begin.elapsed_time(end))


class Simulator(Driver):
    """The simulator's stand-ins for them."""

    def __init__(self) -> None:
        self.stream = cuda.stream()

    def name(self) -> str:
        return "simulator"

    def limits(self) -> Limits:
        return Limits(1, 1 << 20, (9, 0), threads=(8,))

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        return cuda.device_array(shape, dtype)

    def copy_in(self, host: np.ndarray, array: Array) -> None:
        array.copy_to_device(host)

    def copy_out(self, array: Array) -> np.ndarray:
        host: np.ndarray = array.copy_to_host()
        return host

    def launch(self, function: Any, grid: Any, block: Any, shared: int, args: list[Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # machine arithmetic overflows without a word
            function[grid, block, self.stream, shared](*args)


DRIVER = Simulator if SIMULATED else Driver


@dataclass
class Counters:
    """What a `Device` did so far; a graph counts as one launch."""

    launches: int = 0
    uploads: int = 0
    uploaded_bytes: int = 0
    downloads: int = 0
    downloaded_bytes: int = 0


class Device:
    """The current GPU. Raises BackendUnavailableError, with what to do, where there is none."""

    def __init__(self) -> None:
        if not SIMULATED and DRIVER is Driver:
            _require_device()
        self.driver = DRIVER()
        self.limits = self.driver.limits()
        self.counters = Counters()
        self._recording = False

    def describe(self) -> str:
        return self.driver.name()

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        """An array on the device, not initialised. DeviceMemoryError where it does not fit."""
        with self._failures(math.prod(shape) * np.dtype(dtype).itemsize):
            return self.driver.allocate(shape, np.dtype(dtype))

    def upload(self, host: np.ndarray) -> Array:
        """A copy on the device, C-contiguous."""
        array = self.empty(host.shape, host.dtype)
        self.refill(array, host)
        return array

    def refill(self, array: Array, host: np.ndarray) -> None:
        """Copy an array of the host into one of the device, of the same shape and dtype; else ValueError."""
        if host.shape != array.shape or host.dtype != array.dtype:
            given, taken = (f"{list(one.shape)} {one.dtype}" for one in (host, array))
            raise ValueError(f"{given} cannot be copied into {taken}")
        self.counters.uploads += 1
        self.counters.uploaded_bytes += host.nbytes
        if host.size:
            with self._failures():
                self.driver.copy_in(np.ascontiguousarray(host), array)

    def download(self, array: Array) -> np.ndarray:
        """A copy on the host, after all that was launched before."""
        with self._failures():
            host = self.driver.copy_out(array)
        self.counters.downloads += 1
        self.counters.downloaded_bytes += host.nbytes
        return host

    def launch(self, function: Any, grid: Any, block: Any, *args: Any, shared: int = 0) -> None:
        """Launch a kernel, with so many bytes of dynamic shared memory. Integers become int32 and floats float32, so
        that each kernel is compiled once.

        ValueError for an array of the host, which Numba would copy there and back in silence.
        """
        self.counters.launches += not self._recording
        with self._failures():
            self.driver.launch(function, grid, block, shared, [_typed(arg) for arg in args])

    def spread(self, function: Any, size: int, *args: Any) -> None:
        """Launch a kernel over flat values, of which it takes `cuda.grid(1), + cuda.gridsize(1), ...`."""
        self.launch(function, min(blocks(size, THREADS), BLOCKS), THREADS, *args)

    def prepare(
        self, function: Any, signature: tuple[Any, ...], threads: int, shared: int, cooperative: bool = False
    ) -> int:
        """Compile a kernel for arguments of these types, and say how many of its blocks the device holds at once.

        `cooperative` : its blocks wait for each other, so the driver must refuse a grid that the device cannot hold
        """
        if SIMULATED:
            return self.limits.multiprocessors
        with self._failures():
            compiled = self.driver.compile(function, signature, shared, cooperative)
            return self.driver.resident_blocks(compiled, threads, shared)

    def record(self, launches: Callable[[], None]) -> Callable[[], None]:
        """The launches that a function makes, as one: a CUDA graph, or the function itself on the simulator."""
        if SIMULATED:
            return launches
        self._recording = True
        try:
            with self._failures():
                replay = self.driver.record(launches)
        finally:
            self._recording = False
        return lambda: self._replay(replay)

    def _replay(self, graph: Callable[[], None]) -> None:
        self.counters.launches += 1
        with self._failures():
            graph()

    @contextmanager
    def _failures(self, asked: int = 0) -> Iterator[None]:
        """An error of the driver becomes a DeviceFailedError, or a DeviceMemoryError where so many bytes, or what the
        driver itself wants, do not fit. That of a kernel shows in a later launch or copy."""
        try:
            yield
        except Exception as error:
            if "OUT_OF_MEMORY" in str(error):
                raise DeviceMemoryError(asked, *self.driver.memory()) from error
            if type(error).__name__ != "CudaAPIError":
                raise
            raise DeviceFailedError(
                f"the GPU stopped with an error ({_first_line(error)}): start again; if it stops twice, "
                "set ASR_CUDA_MODE=stepwise or use the device cpu"
            ) from error

    def address(self, array: Array) -> int:
        """Where an array begins in the device's memory. ValueError for one of the host."""
        _refuse_host(array)
        return 0 if SIMULATED else int(array.address)

    def milliseconds(self, work: Callable[[], None]) -> float:
        """The device's time for what a function launches, by events."""
        return self.driver.milliseconds(work)


def _three(sizes: Any) -> tuple[int, ...]:
    """Of a grid or a block: those left out are 1."""
    return (*sizes, 1, 1)[:3] if isinstance(sizes, tuple) else (sizes, 1, 1)


def _signature(args: list[Any]) -> tuple[Any, ...]:
    """Numba's types of a kernel's arguments."""
    scalars = [getattr(_types, arg.dtype.name) for arg in args]
    return tuple(scalar[::1] if type(arg) is DeviceArray else scalar for arg, scalar in zip(args, scalars, strict=True))


def _refuse_host(arg: Any) -> None:
    if type(arg) is np.ndarray:
        raise ValueError("an array of the host was given to the GPU: copy it with to_device")


def _typed(arg: Any) -> Any:
    _refuse_host(arg)
    if isinstance(arg, int):
        return np.int32(arg)
    return np.float32(arg) if type(arg) is float else arg


def _require_device() -> None:
    """Raise BackendUnavailableError unless numba-cuda can use the GPU; drivers and packages are `kernels.driver`'s."""
    try:
        available = cuda.is_available()
    except Exception as error:  # the driver's and the compiler's own kinds, which differ between versions
        raise BackendUnavailableError(
            f"the GPU's compiler is missing or does not fit ({_first_line(error)}): {REMEDY}"
        ) from error
    if not available:
        raise BackendUnavailableError(f"no GPU can be used ({_reason()}): install NVIDIA's driver and {REMEDY}")


def _reason() -> str:
    error = cuda.cuda_error()
    return _first_line(error) if error else "no device"


def _first_line(error: object) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__).rstrip(".:")
