"""The driver that is not there refuses what the real one refuses."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from kernels.cuda.arrays import DeviceArray
from kernels.cuda.device import Device, Driver, cuda, kernel
from ptx.driver import OfflineDriver, OfflineGpu, offline_gpu
from ptx.machine import KernelFaultError
from ptx.test_executor import arrays_of
from ptx.toolchain import missing

if missing():
    pytest.skip(missing(), allow_module_level=True)


@kernel
def add(x: Any, out: Any, count: Any) -> None:
    i = cuda.grid(1)
    if i < count:
        out[i] += x[i]


@kernel
def needs_shared(out: Any) -> None:
    shared = cuda.shared.array(0, np.float32)
    shared[cuda.threadIdx.x] = 1
    out[cuda.grid(1)] = shared[cuda.threadIdx.x]


@pytest.fixture
def gpu() -> Iterator[OfflineGpu]:
    with offline_gpu(multiprocessors=2, memory=1 << 20) as found:
        yield found


@pytest.fixture
def device(gpu: OfflineGpu) -> Device:
    return Device()


def test_nothing_that_needs_a_driver_is_left() -> None:
    methods = {name for name, _ in inspect.getmembers(Driver, inspect.isfunction) if not name.startswith("_")}
    assert methods - {"launch"} <= set(vars(OfflineDriver))  # which lays out arguments and leaves the rest to `submit`


def test_launches_and_kernels_are_recorded(gpu: OfflineGpu, device: Device) -> None:
    x, out = device.upload(np.arange(100, dtype=np.float32)), device.upload(np.ones(100, np.float32))
    device.launch(add, 2, 64, x, out, 100)
    np.testing.assert_array_equal(device.download(out), 1 + np.arange(100))
    (launch,), (compiled,) = gpu.launches, gpu.kernels.values()
    assert launch.kernel == compiled.name == "test_driver.add"
    assert (launch.grid, launch.block, launch.shared, launch.cooperative) == ((2, 1, 1), (64, 1, 1), 0, False)
    assert (compiled.threads, compiled.launches, compiled.cc) == (64, 1, (9, 0))
    assert ".target sm_90a" in compiled.ptx


def test_each_capability_has_its_own_ptx(gpu: OfflineGpu, device: Device) -> None:
    device.launch(add, 1, 32, device.empty((32,)), device.empty((32,)), 32)
    with offline_gpu((12, 0)) as other:
        device = Device()
        device.launch(add, 1, 32, device.empty((32,)), device.empty((32,)), 32)
    assert ".target sm_120" in other.kernels["test_driver.add"].ptx
    with gpu.active():
        device = Device()
        device.launch(add, 1, 32, device.empty((32,)), device.empty((32,)), 32)
    assert [compiled.launches for compiled in gpu.kernels.values()] == [2]


def test_an_index_past_an_array_is_found_even_where_memory_goes_on(device: Device) -> None:
    x, whole = (device.upload(np.zeros(100, np.float32)) for _ in range(2))
    with pytest.raises(KernelFaultError, match=r"test_driver\.add, block 1.*out of bounds"):
        device.launch(add, 2, 64, x, whole[:90], 100)


def test_arrays_of_host_and_device_are_not_taken_for_each_other(device: Device) -> None:
    array = device.upload(np.zeros(4, np.float32))
    assert isinstance(array, DeviceArray)
    with pytest.raises(ValueError, match="copy it with to_device"):
        device.launch(add, 1, 32, np.zeros(4, np.float32), array, 4)
    with pytest.raises(TypeError, match="copy it to the host"):
        np.asarray(array)
    with pytest.raises(TypeError, match="copy the array to the host"):
        array[0]


def test_new_memory_is_nan_and_old_memory_is_free_again(gpu: OfflineGpu, device: Device) -> None:
    array = device.empty((1000,))
    assert np.isnan(device.download(array)).all()
    assert gpu.memory.free == (1 << 20) - 4000
    part = array[:10]
    del array
    assert gpu.memory.free == (1 << 20) - 4000
    del part
    assert gpu.memory.free == 1 << 20


def test_more_shared_memory_must_be_asked_for(device: Device) -> None:
    out, size = device.upload(np.zeros(32, np.float32)), 64 << 10
    with pytest.raises(Exception, match="CUDA_ERROR_INVALID_VALUE"):
        device.launch(needs_shared, 1, 32, out, shared=size)
    device.prepare(needs_shared, tuple(arrays_of("float32")), 32, size)
    device.launch(needs_shared, 1, 32, out, shared=size)
    assert (device.download(out) == 1).all()
    with pytest.raises(Exception, match="CUDA_ERROR_INVALID_VALUE"):
        device.prepare(needs_shared, tuple(arrays_of("float32")), 32, 300 << 10)


def test_a_cooperative_grid_must_be_resident(gpu: OfflineGpu, device: Device) -> None:
    out = device.empty((32 * 64,))
    resident = device.prepare(needs_shared, tuple(arrays_of("float32")), 32, 100 << 10, cooperative=True)
    assert resident == 2 * 2  # multiprocessors, and blocks of 100 KiB in 227
    device.launch(needs_shared, resident, 32, out, shared=100 << 10)
    assert gpu.launches[-1].cooperative
    with pytest.raises(Exception, match="CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE"):
        device.launch(needs_shared, resident + 1, 32, out, shared=100 << 10)


def test_a_graph_runs_when_it_is_launched_and_holds_no_memory(gpu: OfflineGpu, device: Device) -> None:
    given, out = [device.upload(np.ones(8, np.float32))], device.upload(np.zeros(8, np.float32))
    device.launch(add, 1, 32, given[0], out, 0)
    replay = device.record(lambda: device.launch(add, 1, 32, given[0], out, 8))
    assert (device.download(out) == 0).all()
    replay()
    replay()
    assert (device.download(out) == 2).all()
    with pytest.raises(Exception, match="CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"):
        device.record(lambda: device.driver.copy_in(np.zeros(8, np.float32), out))
    given.clear()
    with pytest.raises(Exception, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
        replay()
