"""Every kernel as the assembler has it, for three generations of GPUs: what must not be in it, what must, and counts.

The counts stand in `static_snapshot.txt`, so that a change of code shows what it does to them. Where they are meant
to change, `ASR_UPDATE_SNAPSHOT=1 pytest tests/ptx/test_static.py` writes the file anew. Counts are compared with the
toolchain of the snapshot alone; the limits hold with any.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

toolchain: Any = pytest.importorskip("ptx.toolchain", exc_type=ImportError)
if reason := toolchain.missing():
    pytest.skip(reason, allow_module_level=True)
if not all(map(toolchain.utility, ("ptxas", "nvdisasm"))):
    pytest.skip("ptxas and nvdisasm are not installed", allow_module_level=True)

from asr.network import Network, NetworkConfig  # noqa: E402
from kernels.cells import CELLS  # noqa: E402
from kernels.cuda.backend import CudaBackend  # noqa: E402
from kernels.cuda.product import Products  # noqa: E402
from kernels.interface import RecurrentShape  # noqa: E402
from ptx import driver, static_counts  # noqa: E402
from ptx.static_counts import Assembled, Counts, Table  # noqa: E402

SNAPSHOT = Path(__file__).with_name("static_snapshot.txt")
UPDATE = os.environ.get("ASR_UPDATE_SNAPSHOT", "0") != "0"
SHARED = {(8, 0): 163 << 10, (9, 0): 227 << 10, (12, 0): 99 << 10}  # bytes of a block, after opting in
REGISTERS = 65536  # of a multiprocessor, which must hold at least one block
REGISTER_STEP = 8  # a thread has a multiple of so many
WIDE_LOOP = re.compile(r"^(forward|backward) lstm (16|64),|^product [nt]{2} ")  # whose inner loop must load 128 bits
NARROW = re.compile(r"\b39\b")  # rows of so many inputs cannot be loaded so from the device's memory
LAYERS = ((16, 256), (64, 256), (64, 512))  # B, H of the benchmark's layers; other sizes do not shape a kernel
STEPS, INPUTS = 2, 39
PRODUCTS = {  # of those layers at 500 steps, M, N, K: by the input's weights, by the derivatives, and for a gradient
    "nt": ((8000, 1024, 39), (8000, 1024, 512), (32000, 2048, 512)),
    "nn": ((8000, 512, 1024), (32000, 512, 2048)),
    "tn": ((1024, 39, 8000), (1024, 512, 8000), (2048, 512, 32000)),
}
RECURRENT = re.compile(r"steps\.(forward|backward)\b")
TILED = re.compile(r"tiles\.product\[.*\bheight=(\d+).*\bwidth=(\d+).*\]")
FORBIDDEN = {  # in PTX
    "float64": r"\.f64\b",
    "local memory": r"\.local\b",
    "a call": r"^\s*call\b",
    "a load that other blocks' writes may miss": r"\bld\.global\.nc\b",
}
FORBIDDEN_CODE = {  # in SASS, by the opcode's first part
    "float64": re.compile("D(ADD|MUL|FMA|SETP|MNMX)|MUFU.*64|F2F.*F64|[IF]2[IF].*F64"),
    "local memory": re.compile(r"(LDL|STL)\b"),
}


def train_tiny_network(backend: Any, cell: str) -> None:
    """An update and a look at the outputs: each operation of a backend."""
    frames, lengths = np.zeros((7, 4, 2), np.float32), np.array([7, 7, 4, 4], np.int32)
    labels, label_lengths = np.array([[1, 2, 3]] * 2 + [[3, 0, 0]] * 2, np.int32), np.array([3, 3, 1, 1], np.int32)
    shape = {"cell": cell, "layers": 2, "hidden": 8, "stack": 2}
    config = NetworkConfig(inputs=2, outputs=4, middle=4, **shape, dropout=0.25, intermediate=0.5, consistency=0.2)
    network = Network(config, Network.initial(config, np.random.default_rng(1)), backend)
    network.loss_and_gradient(frames, lengths, labels, label_lengths, 0)
    network.norm()
    network.step(0.1, 0.9, 1.0)
    network.log_probs(frames, lengths)
    network.best(frames, lengths)


def run_layer(backend: Any, B: int, H: int, mode: str = "auto") -> None:
    """A training step of a recurrent layer as in the benchmark, for two steps of time: kernels do not depend on it."""
    shape = RecurrentShape("lstm", INPUTS, H)
    backend.mode = mode
    layer = backend.recurrent(shape)
    layer.pack({name: backend.zeros(size) for name, size in shape.parameter_shapes().items()})
    x, out = backend.zeros((STEPS, B, INPUTS)), backend.zeros((STEPS, B, shape.outputs))
    gradients = {name: backend.zeros(size) for name, size in shape.parameter_shapes().items()}
    lengths = np.full(B, STEPS, np.int32)
    layer.infer(x, lengths, out)
    layer.forward(x, lengths, out)
    layer.backward(x, lengths, out, out, gradients, x)


def launched(capability: tuple[int, int], work: Callable[[Any], None]) -> dict[str, Any]:
    """The kernels that some work on a backend launches, compiled and not run."""
    with driver.offline_gpu(cc=capability) as gpu, patch.object(driver, "launch_flat", lambda *launch: None):
        with np.errstate(invalid="ignore"):  # results of kernels that did not run
            work(CudaBackend())
        return {name: found for name, found in gpu.kernels.items() if found.launches}


def multiply(backend: Any, way: str, M: int, N: int, K: int) -> None:
    """One product by our own kernel; n and t say whether an operand is given as it is or transposed."""
    array = backend.empty((64,))  # as much as it takes where nothing is run
    a, b = (M if way[0] == "t" else K), (K if way[1] == "t" else N)
    transposed = {"a_transposed": way[0] == "t", "b_transposed": way[1] == "t"}
    Products(backend.device, cublas=False).multiply((array, 0, a), (array, 0, b), (array, 0, N), M, N, K, **transposed)


def workload(capability: tuple[int, int]) -> dict[str, Any]:
    """Name -> each kernel, once; recurrent ones and products are named by what they work on."""
    products = [(way, *sizes) for way, every_size in PRODUCTS.items() for sizes in every_size]
    work: dict[str, Callable[[Any], None]] = {
        **{f"{way} {M},{N},{K}": partial(multiply, way=way, M=M, N=N, K=K) for way, M, N, K in products},
        **{f"lstm {B},{H}": partial(run_layer, B=B, H=H) for B, H in LAYERS},
        "lstm stepwise": partial(run_layer, B=4, H=8, mode="stepwise"),
        **{cell: partial(train_tiny_network, cell=cell) for cell in CELLS},
    }
    every: dict[str, Any] = {}
    known: set[str] = set()
    for what, run in work.items():
        for name, found in launched(capability, run).items():
            if found.ptx not in known:
                known.add(found.ptx)
                every[label(name, what)] = found
    return every


def label(name: str, what: str) -> str:
    """A kernel's name in the snapshot: for time steps and products, what they worked on; for others the code's."""
    if way := RECURRENT.search(name):
        return f"{way[1]} {what}"
    form = rf"product {what}" if what[:2] in PRODUCTS else rf"product \1x\2 {what}"
    return TILED.sub(form, name)


@dataclass(frozen=True)
class Kernel:
    """A launched kernel: its PTX and what the assembler made of it; `shared` counts fixed and dynamic bytes."""

    ptx: str
    threads: int
    shared: int
    code: Assembled


def compiled(capability: tuple[int, int]) -> dict[str, Kernel]:
    """Name -> each kernel that the workload launches."""
    return {
        name: Kernel(found.ptx, found.threads, found.shared, static_counts.assemble(found.ptx))
        for name, found in workload(capability).items()
    }


@cache
def everything() -> dict[tuple[int, int], dict[str, Kernel]]:
    """All kernels of each architecture, made in as many processes as there are cores."""
    with ProcessPoolExecutor(min(len(SHARED), os.cpu_count() or 1), get_context("spawn")) as pool:
        return dict(zip(SHARED, pool.map(compiled, SHARED), strict=True))


def kernels(capability: tuple[int, int]) -> dict[str, Kernel]:
    return everything()[capability]


def faults(name: str, kernel: Kernel, capability: tuple[int, int]) -> Iterator[str]:
    """What is wrong with a kernel, one sentence each."""
    ptx = re.sub(r"//[^\n]*", "", kernel.ptx)
    for what, pattern in FORBIDDEN.items():
        if found := re.search(f".*{pattern}.*", ptx, re.MULTILINE):
            yield f"{name} has {what}: {found[0].strip()}"
    for opcode in sorted(set(kernel.code.opcodes())):
        for what, code in FORBIDDEN_CODE.items():
            if code.match(opcode):
                yield f"{name} has {what}: {opcode}"
    for alignment in re.findall(r"\.extern\s+\.shared\s+\.align\s+(\d+)", ptx):
        if int(alignment) < 16:
            yield f"{name} has dynamic shared memory on a boundary of {alignment} bytes, not 16"
    if kernel.code.stack or kernel.code.spills:
        yield f"{name} has a stack of {kernel.code.stack} bytes and spills {kernel.code.spills}"
    registers = -(-kernel.code.registers // REGISTER_STEP) * REGISTER_STEP * kernel.threads
    if registers > REGISTERS:
        yield f"{name} needs {registers} registers for {kernel.threads} threads, and there are {REGISTERS}"
    if kernel.shared > SHARED[capability]:
        yield f"{name} needs {kernel.shared} bytes of shared memory, and a block may have {SHARED[capability]}"
    counts = kernel.code.counts()
    if WIDE_LOOP.search(name) and not (counts.loop_lds == counts.loop_lds128 > 0):
        yield f"{name}: of {counts.loop_lds} loads in its hottest loop {counts.loop_lds128} are of 128 bits, not all"
    if WIDE_LOOP.search(name) and not NARROW.search(name) and not counts.ldg128:
        yield f"{name} has no load of 128 bits from the device's memory"


@pytest.fixture(params=SHARED, ids=lambda capability: "sm_{}{}".format(*capability))
def capability(request: pytest.FixtureRequest) -> tuple[int, int]:
    found: tuple[int, int] = request.param
    return found


def test_every_kernel_keeps_within_the_limits(capability: tuple[int, int]) -> None:
    every = kernels(capability)
    assert len(every) > 10
    wrong = [fault for name, kernel in every.items() for fault in faults(name, kernel, capability)]
    assert not wrong, "\n".join(wrong)


def architecture(capability: tuple[int, int]) -> str:
    return "sm_{}{}".format(*capability)


def test_counts_are_those_of_the_snapshot(capability: tuple[int, int]) -> None:
    arch = architecture(capability)
    found = {(name, arch): kernel.code.counts() for name, kernel in kernels(capability).items()}
    versions, table = static_counts.from_text(SNAPSHOT.read_text()) if SNAPSHOT.exists() else ("", {})
    if UPDATE:
        others = {key: counts for key, counts in table.items() if key[1] != arch}
        SNAPSHOT.write_text(static_counts.as_text(static_counts.toolchain(), others | found))
        return
    if versions != static_counts.toolchain():
        pytest.skip(f"the snapshot is of {versions}, and here is {static_counts.toolchain()}")
    expected = {key: counts for key, counts in table.items() if key[1] == arch}
    changes = differences(expected, found)
    assert not changes, "\n".join([*changes, "where this is meant: ASR_UPDATE_SNAPSHOT=1 pytest " + __file__])


def differences(expected: Table, found: Table) -> list[str]:
    """A line for each kernel that has come, gone, or changed, with the counts that changed, old and new."""
    lines = []
    for key in sorted(expected.keys() | found.keys()):
        name = " ".join(key)
        if key not in found:
            lines.append(f"{name}: is no more")
        elif key not in expected:
            lines.append(f"{name}: is new, {found[key]}")
        elif expected[key] != found[key]:
            old, new = asdict(expected[key]), asdict(found[key])
            lines.append(f"{name}: " + ", ".join(f"{k} {old[k]} -> {new[k]}" for k in old if old[k] != new[k]))
    return lines


def test_differences_name_old_and_new() -> None:
    one, other = Counts(*range(14)), Counts(*[9, *range(1, 14)])
    assert differences({("a", "sm_90"): one}, {("a", "sm_90"): one}) == []
    assert differences({("a", "sm_90"): one}, {("a", "sm_90"): other}) == ["a sm_90: registers 0 -> 9"]
    assert differences({("a", "sm_90"): one}, {}) == ["a sm_90: is no more"]
    assert differences({}, {("a", "sm_90"): one})[0].startswith("a sm_90: is new")


def test_a_snapshot_reads_as_it_was_written() -> None:
    table = {("recurrent_forward lstm", "sm_90"): Counts(*range(14)), ("fill", "sm_80"): Counts(*range(14, 28))}
    assert static_counts.from_text(static_counts.as_text("ptxas 1", table)) == ("ptxas 1", table)


FAULTY = """
.version 8.0
.target sm_80
.address_size 64
.extern .shared .align 4 .b8 dynamic[];
.visible .entry faulty(.param .u64 array, .param .u32 count)
{
    .local .align 8 .b8 stack[64];
    .reg .b64 %rd<6>;
    .reg .b32 %r<8>;
    .reg .f32 %f<8>;
    .reg .f64 %d<4>;
    .reg .pred %p<2>;
    ld.param.u64 %rd1, [array];
    ld.param.u32 %r1, [count];
    cvta.to.global.u64 %rd2, %rd1;
    ld.global.nc.f32 %f1, [%rd2];
    cvt.f64.f32 %d1, %f1;
    add.f64 %d2, %d1, %d1;
    cvt.rn.f32.f64 %f2, %d2;
    mov.u64 %rd3, stack;
    mov.f32 %f3, %f2;
    mov.u32 %r2, dynamic;
    mov.u32 %r3, 0;
LOOP:
    ld.shared.f32 %f4, [%r2];
    fma.rn.f32 %f3, %f4, %f4, %f3;
    mul.wide.u32 %rd4, %r3, 4;
    add.s64 %rd5, %rd3, %rd4;
    st.local.f32 [%rd5], %f3;
    add.u32 %r2, %r2, %r1;
    add.u32 %r3, %r3, 1;
    setp.lt.u32 %p1, %r3, %r1;
    @%p1 bra LOOP;
    mul.wide.u32 %rd4, %r1, 2;
    add.s64 %rd5, %rd3, %rd4;
    ld.local.f32 %f3, [%rd5];
    st.global.f32 [%rd2], %f3;
    ret;
}
"""


def test_each_fault_is_found() -> None:
    code = static_counts.assemble(FAULTY)
    kernel = Kernel(FAULTY, 1024, 200 << 10, code)
    found = "\n".join(faults("product nn 1,2,3", kernel, (8, 0)))
    for word in (
        "float64: .reg .f64",
        "float64: DADD",
        "local memory: .local",
        "local memory: STL",
        "writes may miss",
        "boundary of 4 bytes",
        "a stack of 64 bytes",
        "204800 bytes of shared memory",
        "loads in its hottest loop 0 are of 128 bits",
        "no load of 128 bits",
    ):
        assert word in found, word
    assert "registers for" not in found
    thirsty = Kernel(FAULTY, 8192, 0, code)
    assert "registers for 8192 threads" in "\n".join(faults("product nn 1,2,3", thirsty, (8, 0)))
    assert "a call" in "\n".join(faults("x", Kernel("  call.uni (x), f;", 1, 0, code), (8, 0)))
    counts = code.counts()
    assert counts.loop_ffma >= 1
    assert counts.loop_lds >= 1
    assert 0 < counts.loop_instructions < counts.instructions


def test_loads_under_way_end_where_one_is_waited_for() -> None:
    text = """
        /*0000*/                   LDG.E R1, [R20.64] ;
        /*0010*/                   LDG.E R2, [R20.64+0x4] ;
        /*0020*/                   LDG.E.128 R4, [R20.64+0x8] ;
        /*0030*/                   LDG.E R3, [R20.64+0x4] ;
        /*0040*/                   FADD R9, R2, R9 ;
        /*0050*/                   LDG.E R8, [R20.64+0x4] ;
        /*0060*/                   FADD R9, R7, R9 ;
"""
    code, loops = static_counts.disassembled(text)
    counts = Assembled(1, 0, 0, 0, code, loops).counts()
    assert (counts.ahead, counts.ahead128) == (3, 1)
    assert (counts.ldg, counts.ldg128) == (5, 1)


def test_innermost_loops_are_told_from_those_around_them() -> None:
    text = """
.L_outer:
        /*0000*/                   FFMA R1, R1, R1, R1 ;
.L_inner:
        /*0010*/              @!P0 LDS.128 R4, [R2] ;
        /*0020*/               @P0 BRA `(.L_inner) ;
        /*0030*/               @P1 BRA `(.L_outer) ;
.L_end:
        /*0040*/                   BRA `(.L_end);
        /*0050*/                   NOP;
"""
    code, loops = static_counts.disassembled(text)
    assert [opcode for opcode, _ in code] == ["FFMA", "LDS.128", "BRA", "BRA", "BRA"]
    assert loops == [(1, 2)]
