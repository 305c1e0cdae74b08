"""Planted faults: the executor finds each of them, and finds nothing in the kernel without it.

The kernels are small, and of the kinds that ours are: sums in shared memory, wide accesses, and a recurrence whose
blocks exchange their state through memory and a barrier of their own. A fault is planted in the PTX, in the launch, or
in the Python source.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernels.cuda.device import cuda
from ptx.machine import KernelFaultError, Options, launch
from ptx.test_executor import arrays_of, cc
from ptx.toolchain import compile_ptx, missing

if missing():
    pytest.skip(missing(), allow_module_level=True)

from kernels.cuda.memory import acquire, arrive, dynamic_shared, load4, store4, trap

__all__ = ["cc"]  # the fixture

THREADS, BLOCKS, STEPS = 64, 4, 6
ALWAYS = [Options(seed) for seed in range(3)]
RACES = [Options(seed, races=True) for seed in range(2)]
PREEMPTED = [Options(seed, preempt=True) for seed in range(4)]


# ---- a sum over a block


def block_sum(x: Any, out: Any) -> None:
    shared = cuda.shared.array(64, np.float32)
    i = cuda.threadIdx.x
    shared[i] = x[cuda.grid(1)]
    cuda.syncthreads()
    half = 32
    while half > 0:
        if i < half:
            shared[i] += shared[i + half]
        cuda.syncthreads()
        half //= 2
    if i == 0:
        out[cuda.blockIdx.x] = shared[0]


def run_sum(ptx: str, options: Options) -> None:
    """AssertionError for a wrong result."""
    x = np.arange(BLOCKS * THREADS, dtype=np.float32)
    out = np.full(BLOCKS, np.nan, np.float32)
    launch(ptx, (BLOCKS,), (THREADS,), [x, out], options=options)
    np.testing.assert_array_equal(out, x.reshape(BLOCKS, THREADS).sum(1))


@pytest.mark.parametrize("options", [*ALWAYS, *RACES, *PREEMPTED[:1]])
def test_the_sum_has_no_fault(cc: tuple[int, int], options: Options) -> None:
    run_sum(compile_ptx(block_sum, arrays_of("float32", "float32"), cc), options)


def test_each_missing_barrier_of_the_sum_is_a_race(cc: tuple[int, int]) -> None:
    ptx = compile_ptx(block_sum, arrays_of("float32", "float32"), cc)
    barriers = [match.span() for match in re.finditer(r"(bar|barrier)(\.cta)?\.sync\s+0;", ptx)]
    assert len(barriers) == 7  # the loop is unrolled
    for begin, end in barriers[:-1]:
        with pytest.raises(KernelFaultError, match="race"):
            run_sum(ptx[:begin] + ptx[end:], Options())
    begin, end = barriers[-1]  # the one that nobody needs: the thread that reads is the one that wrote
    run_sum(ptx[:begin] + ptx[end:], Options())


def test_a_thread_that_leaves_before_a_barrier_is_found(cc: tuple[int, int]) -> None:
    def leaves(x: Any, out: Any) -> None:
        if cuda.threadIdx.x > 60:
            return
        cuda.syncthreads()
        out[cuda.threadIdx.x] = x[0]

    x = np.ones(64, np.float32)
    with pytest.raises(KernelFaultError, match="have left"):
        launch(compile_ptx(leaves, arrays_of("float32", "float32"), cc), (1,), (64,), [x, x.copy()])


# ---- wide accesses to dynamic shared memory


def wide_copy(x: Any, out: Any) -> None:
    shared = dynamic_shared()
    i = cuda.threadIdx.x
    store4(shared, 4 * i, load4(x, 4 * (cuda.blockIdx.x * 64 + i)))
    cuda.syncthreads()
    store4(out, 4 * (cuda.blockIdx.x * 64 + i), load4(shared, 4 * (63 - i)))


def run_wide(ptx: str, shared: int = 1024, size: int = 1024, shift: int = 0) -> None:
    whole = np.arange(1024 + shift, dtype=np.float32)
    backing = np.zeros(1032, np.float32)
    begin = -backing.ctypes.data % 16 // 4
    x = backing[begin : begin + 1024 + shift]
    x[:] = whole
    out = np.full(1028, np.nan, np.float32)
    out = out[-out.ctypes.data % 16 // 4 :][:1024]
    launch(ptx, (4,), (64,), [x[shift : shift + size], out], shared)
    expected = whole[shift : shift + 1024].reshape(4, 64, 4)[:, ::-1].ravel()
    np.testing.assert_array_equal(out, expected)


def test_wide_accesses_and_their_faults(cc: tuple[int, int]) -> None:
    ptx = compile_ptx(wide_copy, arrays_of("float32", "float32"), cc)
    assert re.search(r"ld\.shared\.v[24]", ptx)
    run_wide(ptx)
    with pytest.raises(KernelFaultError, match=r"out of bounds at .*shared"):
        run_wide(ptx, shared=1024 - 16)
    with pytest.raises(KernelFaultError, match=r"out of bounds at .*global"):
        run_wide(ptx, size=1023)
    with pytest.raises(KernelFaultError, match=r"misaligned access at .*global"):
        run_wide(ptx, shift=1)
    moved = re.sub(r"(ld\.shared\.v[24]\.\w+\s*\{[^}]*\},\s*\[%\w+)(?:\+\d+)?\]", r"\1+4]", ptx, count=1)
    assert moved != ptx
    with pytest.raises(KernelFaultError, match=r"misaligned access at .*shared"):
        run_wide(moved)


# ---- blocks that exchange their state at each step


def recurrence(state: Any, counters: Any, out: Any, steps: Any) -> None:
    """state[2, 256]: at each step a value becomes the sum of its own and its mirror image's, of other blocks."""
    i, n = cuda.grid(1), 256
    for s in range(steps):
        source, target = s % 2 * n, (s + 1) % 2 * n
        value = state[source + i] + state[source + n - 1 - i]
        state[target + i] = value % np.float32(1009)
        cuda.syncthreads()
        if cuda.threadIdx.x == 0:
            arrive(counters, 0)
            polls = 0
            while acquire(counters, 0) < (s + 1) * cuda.gridDim.x:
                polls += 1
                if polls > 100_000:
                    trap()
        cuda.syncthreads()
    out[i] = state[steps % 2 * n + i]


def planted(*edits: tuple[str, str]) -> Callable[..., None]:
    """The recurrence with parts of its text replaced."""
    text = inspect.getsource(recurrence)
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    names = dict(globals())
    exec(text.replace("from __future__ import annotations", ""), names)
    made: Callable[..., None] = names["recurrence"]
    return made


def ptx_of(function: Callable[..., None], cc: tuple[int, int]) -> str:
    return compile_ptx(function, [*arrays_of("float32", "int32", "float32"), INT32], cc)


INT32 = arrays_of("int32")[0].dtype


def run_recurrence(ptx: str, options: Options) -> None:
    """AssertionError for a wrong result."""
    first = np.arange(256, dtype=np.float32)
    state = np.concatenate([first, np.full(256, np.nan, np.float32)])
    out = np.full(256, np.nan, np.float32)
    launch(ptx, (BLOCKS,), (THREADS,), [state, np.zeros(1, np.int32), out, STEPS], options=options)
    expected = first
    for _ in range(STEPS):
        expected = (expected + expected[::-1]) % 1009
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("options", [*ALWAYS, *RACES, *PREEMPTED])
def test_the_recurrence_has_no_fault(cc: tuple[int, int], options: Options) -> None:
    run_recurrence(ptx_of(recurrence, cc), options)


SHORT = "barrier target one short"
FAULTS: dict[str, list[tuple[str, str]]] = {
    "exchange in one buffer": [("(s + 1) % 2 * n", "s % 2 * n"), ("steps % 2 * n", "0")],
    SHORT: [("(s + 1) * cuda.gridDim.x", "(s + 1) * cuda.gridDim.x - 1")],
    "no barrier of the block before the arrival": [
        ("        cuda.syncthreads()\n        if cuda.threadIdx.x == 0", "        if cuda.threadIdx.x == 0")
    ],
    "no barrier of the block after the wait": [
        ("                    trap()\n        cuda.syncthreads()", "                    trap()")
    ],
}


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != SHORT])
def test_a_fault_between_blocks_is_a_race_in_any_order(cc: tuple[int, int], fault: str) -> None:
    """Without luck: whatever the order in which threads ran."""
    ptx = ptx_of(planted(*FAULTS[fault]), cc)
    for options in [Options(races=True), *RACES]:
        with pytest.raises(KernelFaultError, match="race"):
            run_recurrence(ptx, options)


@pytest.mark.parametrize("fault", list(FAULTS)[:2])
def test_a_fault_between_blocks_gives_a_wrong_result_in_some_order(cc: tuple[int, int], fault: str) -> None:
    """With luck: what those races mean. A block that waits for one arrival too few must meet a late one."""
    ptx, found = ptx_of(planted(*FAULTS[fault]), cc), set()
    for options in [Options(seed, preempt=True, races=races) for seed in range(12) for races in (False, True)]:
        try:
            run_recurrence(ptx, options)
        except (AssertionError, KernelFaultError) as error:
            found.add(type(error))
    assert found == {AssertionError, KernelFaultError}


@pytest.mark.parametrize(
    ("strong", "weak"), [(r"red\.release\.gpu", "red.relaxed.gpu"), (r"ld\.acquire\.gpu", "ld.relaxed.gpu")]
)
def test_a_barrier_without_its_memory_order_is_a_race(cc: tuple[int, int], strong: str, weak: str) -> None:
    """The result is right here, where memory is sequentially consistent, and need not be on hardware."""
    ptx = re.sub(strong, weak, ptx_of(recurrence, cc))
    assert weak in ptx
    run_recurrence(ptx, Options(1))
    with pytest.raises(KernelFaultError, match="race"):
        run_recurrence(ptx, Options(1, races=True))


def test_an_arrival_that_is_missing_is_a_deadlock(cc: tuple[int, int]) -> None:
    ptx, count = re.subn(r"red\.release[^;]*;", "", ptx_of(recurrence, cc))
    assert count == 1
    for options in (Options(), Options(1)):
        with pytest.raises(KernelFaultError, match="deadlock"):
            run_recurrence(ptx, options)


def test_too_few_resident_blocks_are_a_deadlock(cc: tuple[int, int]) -> None:
    ptx = ptx_of(recurrence, cc)
    run_recurrence(ptx, Options(resident=BLOCKS))
    with pytest.raises(KernelFaultError, match="deadlock"):
        run_recurrence(ptx, Options(resident=BLOCKS - 1))


def test_the_kernels_own_limit_of_polls_stops_it(cc: tuple[int, int]) -> None:
    ptx = re.sub(r"red\.release[^;]*;", "", ptx_of(recurrence, cc))
    with pytest.raises(KernelFaultError, match="stopped itself"):
        run_recurrence(ptx, Options(patience=200_000))


# ---- blocks that know nothing of each other


def test_two_blocks_that_write_one_word_are_a_race(cc: tuple[int, int]) -> None:
    def overlaps(out: Any) -> None:
        out[cuda.blockIdx.x * 63 + cuda.threadIdx.x] = 1

    ptx, out = compile_ptx(overlaps, arrays_of("float32"), cc), np.zeros(256, np.float32)
    launch(ptx, (2,), (63,), [out], options=Options(races=True))
    with pytest.raises(KernelFaultError, match="race with a write"):
        launch(ptx, (2,), (64,), [out], options=Options(races=True))


def test_a_block_that_overwrites_what_another_reads_is_a_race(cc: tuple[int, int]) -> None:
    def shifts(x: Any, out: Any) -> None:
        i = cuda.grid(1)
        value = x[i + 1]
        cuda.syncthreads()
        out[i] = value

    ptx, x = compile_ptx(shifts, arrays_of("float32", "float32"), cc), np.arange(129, dtype=np.float32)
    launch(ptx, (2,), (64,), [x, np.zeros_like(x)], options=Options(races=True))
    launch(ptx, (1,), (64,), [x, x], options=Options(races=True))
    with pytest.raises(KernelFaultError, match="race"):
        launch(ptx, (2,), (64,), [x, x], options=Options(races=True))


def test_what_was_never_written_is_nan(cc: tuple[int, int]) -> None:
    def forgets(out: Any) -> None:
        shared = cuda.shared.array(64, np.float32)
        out[cuda.threadIdx.x] = shared[cuda.threadIdx.x]

    out = np.zeros(64, np.float32)
    launch(compile_ptx(forgets, arrays_of("float32"), cc), (1,), (64,), [out])
    assert np.isnan(out).all()
