"""The executor against NumPy: each kind of instruction alone, then what threads do together."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernels.cuda.device import cuda
from ptx.machine import KernelFaultError, Options, launch, launch_flat
from ptx.parser import PtxError, parse
from ptx.toolchain import ARCHITECTURES, compile_ptx, missing
from ptx.translate import translate

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

DTYPES: dict[str, Any] = {
    "s16": np.int16,
    "u16": np.uint16,
    "s32": np.int32,
    "u32": np.uint32,
    "s64": np.int64,
    "u64": np.uint64,
}
DTYPES |= {"b32": np.uint32, "b64": np.uint64, "f32": np.float32, "f64": np.float64, "u8": np.uint8}
COUNT = 64

TEMPLATE = """
.version 8.0
.target sm_80
.address_size 64
.visible .entry kernel({parameters})
{{
    .reg .pred %p<4>;
    .reg .b32 %r<8>;
    .reg .b64 %d<8>;
    {registers}
    mov.u32 %r0, %tid.x;
    {loads}
    {lines}
    ld.param.u64 %d1, [out];
    mul.wide.u32 %d2, %r0, {out_size};
    add.s64 %d3, %d1, %d2;
    st.global.{out_kind} [%d3], %o;
    ret;
}}
"""


def elementwise(lines: str, kinds: list[str], out_kind: str) -> str:
    """A kernel that reads %a, %b, %c from arrays at the thread's index and writes %o."""
    sizes = [np.dtype(DTYPES[kind]).itemsize for kind in (*kinds, out_kind)]
    registers = [f".reg .b{max(16, 8 * size)} %{name};" for name, size in zip("abc", sizes[:-1], strict=False)]
    loads = [
        f"ld.param.u64 %d1, [in{k}]; mul.wide.u32 %d2, %r0, {sizes[k]}; add.s64 %d3, %d1, %d2; "
        f"ld.global.{kind} %{'abc'[k]}, [%d3];"
        for k, kind in enumerate(kinds)
    ]
    return TEMPLATE.format(
        parameters=", ".join(f".param .u64 {name}" for name in (*(f"in{k}" for k in range(len(kinds))), "out")),
        registers=" ".join([*registers, f".reg .b{max(16, 8 * sizes[-1])} %o;"]),
        loads="\n    ".join(loads),
        lines=lines,
        out_size=sizes[-1],
        out_kind=out_kind,
    )


def values(kind: str, seed: int) -> np.ndarray:
    """Random values of a type after its extremes."""
    rng, dtype = np.random.default_rng(seed), np.dtype(DTYPES[kind])
    if dtype.kind == "f":
        edges = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e30, 0.5, 2.5, -2.5], dtype)
        drawn = rng.standard_normal(COUNT) * 10.0 ** rng.integers(-3, 4, COUNT)
    else:
        info = np.iinfo(dtype)
        edges = np.array([0, 1, info.max, info.min, 2, 31, 32, 33], dtype)
        drawn = rng.integers(info.min, info.max, COUNT, dtype, endpoint=True)
    found = drawn.astype(dtype)
    found[: len(edges)] = np.roll(edges, seed)
    return found


def run_elementwise(lines: str, kinds: list[str], out_kind: str, arrays: list[np.ndarray]) -> np.ndarray:
    out = np.zeros(COUNT, DTYPES[out_kind])
    every = [*arrays, out]
    ranges = [(array.ctypes.data, array.ctypes.data + array.nbytes) for array in every]
    addresses = [array.ctypes.data for array in every]
    launch_flat(elementwise(lines, kinds, out_kind), (1,), (COUNT,), addresses, ranges, 0, Options())
    return out


def rounded(a: np.ndarray, how: Callable[[np.ndarray], np.ndarray], dtype: Any) -> np.ndarray:
    """Floats as integers, clamped to what the type has; NaN is 0."""
    info = np.iinfo(dtype)
    wide = np.clip(np.nan_to_num(how(a.astype(np.float64)), nan=0.0), info.min, float(info.max))
    return np.where(wide >= float(info.max), info.max, wide.astype(np.int64)).astype(dtype)


def high(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([int(x) * int(y) >> 32 for x, y in zip(a, b, strict=True)]).astype(a.dtype)


def shift(a: np.ndarray, n: np.ndarray, left: bool) -> np.ndarray:
    """As hardware shifts: by its width or more gives 0, or the sign."""
    bits = 8 * a.itemsize
    found = [int(x) << min(int(k), bits) if left else int(x) >> min(int(k), bits) for x, k in zip(a, n, strict=True)]
    return np.array([x & (2**bits - 1) for x in found], f"u{a.itemsize}").view(a.dtype)


def permuted(a: np.ndarray, b: np.ndarray, choice: np.ndarray) -> np.ndarray:
    """Four bytes of eight, as each of four digits chooses."""
    found = np.zeros(len(a), np.uint32)
    for i in range(len(a)):
        source = np.array([a[i], b[i]], np.uint32).view(np.uint8)
        for k in range(4):
            digit = int(choice[i]) >> 4 * k & 15
            byte = int(source[digit & 7])
            byte = (255 if byte & 128 else 0) if digit & 8 else byte
            found[i] |= np.uint32(byte << 8 * k)
    return found


INT, UINT, FLOAT = ["s32", "s32"], ["u32", "u32"], ["f32", "f32"]
CASES: dict[str, tuple[list[str], str, Callable[..., Any]]] = {
    "add.s32 %o, %a, %b;": (INT, "s32", lambda a, b: a + b),
    "sub.s64 %o, %a, %b;": (["s64", "s64"], "s64", lambda a, b: a - b),
    "add.ftz.f32 %o, %a, %b;": (FLOAT, "f32", lambda a, b: a + b),
    "sub.f32 %o, %a, %b;": (FLOAT, "f32", lambda a, b: a - b),
    "mul.rn.f32 %o, %a, %b;": (FLOAT, "f32", lambda a, b: a * b),
    "add.f64 %o, %a, %b;": (["f64", "f64"], "f64", lambda a, b: a + b),
    "fma.rn.f64 %o, %a, 0d4000000000000000, %b;": (["f64", "f64"], "f64", lambda a, b: a * 2 + b),
    "mul.lo.s32 %o, %a, %b;": (INT, "s32", lambda a, b: a * b),
    "mul.hi.s32 %o, %a, %b;": (INT, "s32", high),
    "mul.hi.u32 %o, %a, %b;": (UINT, "u32", high),
    "mul.wide.s32 %o, %a, %b;": (INT, "s64", lambda a, b: a.astype(np.int64) * b),
    "mul.wide.u32 %o, %a, %b;": (UINT, "u64", lambda a, b: a.astype(np.uint64) * b),
    "mad.lo.s32 %o, %a, %b, %a;": (INT, "s32", lambda a, b: a * b + a),
    "and.b32 %o, %a, %b;": (["b32", "b32"], "b32", lambda a, b: a & b),
    "or.b64 %o, %a, %b;": (["b64", "b64"], "b64", lambda a, b: a | b),
    "xor.b32 %o, %a, 0xff;": (["b32"], "b32", lambda a: a ^ np.uint32(255)),
    "not.b32 %o, %a;": (["b32"], "b32", lambda a: ~a),
    "neg.s32 %o, %a;": (["s32"], "s32", lambda a: -a),
    "neg.f32 %o, %a;": (["f32"], "f32", lambda a: -a),
    "abs.f32 %o, %a;": (["f32"], "f32", np.abs),
    "abs.s32 %o, %a;": (["s32"], "s32", np.abs),
    "min.s32 %o, %a, %b;": (INT, "s32", np.minimum),
    "max.u32 %o, %a, %b;": (UINT, "u32", np.maximum),
    "max.f32 %o, %a, %b;": (FLOAT, "f32", np.fmax),
    "min.NaN.f32 %o, %a, %b;": (FLOAT, "f32", np.minimum),
    "shl.b32 %o, %a, %b;": (["b32", "b32"], "b32", lambda a, b: shift(a, b, True)),
    "shr.s32 %o, %a, %b;": (["s32", "u32"], "s32", lambda a, b: shift(a, b, False)),
    "shr.u64 %o, %a, %b;": (["u64", "u32"], "u64", lambda a, b: shift(a, b, False)),
    "shf.l.wrap.b32 %o, %a, %b, 5;": (["b32", "b32"], "b32", lambda a, b: b << np.uint32(5) | a >> np.uint32(27)),
    "popc.b32 %o, %a;": (["b32"], "u32", lambda a: np.array([int(x).bit_count() for x in a], np.uint32)),
    "clz.b32 %o, %a;": (["b32"], "u32", lambda a: np.array([32 - int(x).bit_length() for x in a], np.uint32)),
    "brev.b32 %o, %a;": (["b32"], "b32", lambda a: np.array([int(f"{x:032b}"[::-1], 2) for x in a], np.uint32)),
    "bfe.u32 %o, %a, 5, 7;": (["u32"], "u32", lambda a: a >> np.uint32(5) & np.uint32(127)),
    "bfe.s32 %o, %a, 20, 12;": (["s32"], "s32", lambda a: a >> np.int32(20)),
    "lop3.b32 %o, %a, %b, %c, 0x96;": (["b32"] * 3, "b32", lambda a, b, c: a ^ b ^ c),
    "lop3.b32 %o, %a, %b, %c, 0xe8;": (["b32"] * 3, "b32", lambda a, b, c: a & b | a & c | b & c),
    "prmt.b32 %o, %a, %b, %c;": (["b32"] * 3, "b32", permuted),
    "copysign.f32 %o, %a, %b;": (FLOAT, "f32", lambda a, b: np.copysign(b, a)),
    "cvt.rn.f32.s32 %o, %a;": (["s32"], "f32", lambda a: a.astype(np.float32)),
    "cvt.rn.f32.u64 %o, %a;": (["u64"], "f32", lambda a: a.astype(np.float32)),
    "cvt.f64.f32 %o, %a;": (["f32"], "f64", lambda a: a.astype(np.float64)),
    "cvt.rn.f32.f64 %o, %a;": (["f64"], "f32", lambda a: a.astype(np.float32)),
    "cvt.rzi.s32.f32 %o, %a;": (["f32"], "s32", lambda a: rounded(a, np.trunc, np.int32)),
    "cvt.rni.s32.f32 %o, %a;": (["f32"], "s32", lambda a: rounded(a, np.rint, np.int32)),
    "cvt.rzi.u32.f32 %o, %a;": (["f32"], "u32", lambda a: rounded(a, np.trunc, np.uint32)),
    "cvt.rmi.f32.f32 %o, %a;": (["f32"], "f32", np.floor),
    "cvt.s64.s32 %o, %a;": (["s32"], "s64", lambda a: a.astype(np.int64)),
    "cvt.u64.u32 %o, %a;": (["u32"], "u64", lambda a: a.astype(np.uint64)),
    "cvt.u32.u64 %o, %a;": (["u64"], "u32", lambda a: a.astype(np.uint32)),
    "cvt.s32.s16 %o, %a;": (["s16"], "s32", lambda a: a.astype(np.int32)),
    "cvt.u32.u8 %o, %a;": (["u8"], "u32", lambda a: a.astype(np.uint32)),
    "setp.lt.s32 %p0, %a, %b; selp.b32 %o, 1, 2, %p0;": (INT, "s32", lambda a, b: np.where(a < b, 1, 2)),
    "setp.lo.u32 %p0, %a, %b; selp.b32 %o, 1, 2, %p0;": (UINT, "s32", lambda a, b: np.where(a < b, 1, 2)),
    "setp.neu.f32 %p0, %a, %b; selp.f32 %o, %a, %b, %p0;": (FLOAT, "f32", lambda a, b: np.where(a != b, a, b)),
    "setp.ne.f32 %p0, %a, %b; selp.b32 %o, 1, 2, %p0;": (
        FLOAT,
        "s32",
        lambda a, b: np.where((a != b) & ~np.isnan(a) & ~np.isnan(b), 1, 2),
    ),
    "setp.gtu.f32 %p0, %a, %b; selp.b32 %o, 1, 2, %p0;": (FLOAT, "s32", lambda a, b: np.where(~(a <= b), 1, 2)),
    "setp.nan.f32 %p0, %a, %a; selp.b32 %o, 1, 2, %p0;": (["f32"], "s32", lambda a: np.where(np.isnan(a), 1, 2)),
    "setp.gt.s32 %p0, %a, 0; setp.eq.and.s32 %p1|%p2, %b, %b, %p0; selp.b32 %o, 1, 2, %p1;": (
        INT,
        "s32",
        lambda a, b: np.where(a > 0, 1, 2),
    ),
    "setp.ge.s32 %p0, %a, %b; not.pred %p1, %p0; @%p1 mov.u32 %o, 7; @!%p1 mov.u32 %o, 9;": (
        INT,
        "s32",
        lambda a, b: np.where(a < b, 7, 9),
    ),
    "setp.ge.s32 %p0, %a, %b; @%p0 bra $L1; mov.u32 %o, 7; bra.uni $L2; $L1: mov.u32 %o, 9; $L2:": (
        INT,
        "s32",
        lambda a, b: np.where(a >= b, 9, 7),
    ),
    "mov.b64 {%r1, %r2}, %a; mov.b64 %o, {%r2, %r1};": (
        ["b64"],
        "b64",
        lambda a: a << np.uint64(32) | a >> np.uint64(32),
    ),
    "{ .reg .b32 low; cvt.u32.u64 low, %a; mov.b32 %o, low; }": (["u64"], "u32", lambda a: a.astype(np.uint32)),
    "mov.b64 %d4, {%a, %b}; add.rn.f32x2 %d5, %d4, %d4; mov.b64 {%r1, %r2}, %d5; add.f32 %o, %r1, %r2;": (
        FLOAT,
        "f32",
        lambda a, b: (a + a) + (b + b),
    ),
    "mov.u32 %o, %ntid.x; mad.lo.s32 %o, %o, 1000, %laneid;": (["s32"], "s32", lambda a: 64000 + np.arange(64) % 32),
}


@pytest.mark.parametrize("lines", CASES)
def test_instruction_is_exact(lines: str) -> None:
    kinds, out_kind, function = CASES[lines]
    arrays = [values(kind, k) for k, kind in enumerate(kinds)]
    with np.errstate(all="ignore"):
        expected = function(*arrays).astype(DTYPES[out_kind])
    found = run_elementwise(lines.replace(";", ";\n"), kinds, out_kind, arrays)
    np.testing.assert_array_equal(found, expected)


def test_fused_multiply_add_rounds_once() -> None:
    rng = np.random.default_rng(1)
    a, b, c = (rng.standard_normal(COUNT).astype(np.float32) for _ in range(3))
    exact = a.astype(np.float64) * b + c  # the product is exact in float64, the sum nearly
    found = run_elementwise("fma.rn.ftz.f32 %o, %a, %b, %c;", ["f32"] * 3, "f32", [a, b, c])
    assert np.abs(found - exact).max() <= np.abs(np.spacing(found)).max()
    assert (found == exact.astype(np.float32)).all()
    assert (found != a * b + c).any()


@pytest.mark.parametrize(
    ("name", "function"),
    [("ex2", np.exp2), ("lg2", np.log2), ("rcp", np.reciprocal), ("sqrt", np.sqrt), ("rsqrt", lambda x: x**-0.5)],
)
def test_approximate_function(name: str, function: Callable[[np.ndarray], np.ndarray]) -> None:
    x = np.random.default_rng(2).uniform(0.01, 20, COUNT).astype(np.float32)
    found = run_elementwise(f"{name}.approx.ftz.f32 %o, %a;", ["f32"], "f32", [x])
    np.testing.assert_allclose(found, function(x.astype(np.float64)), rtol=2e-7)


@pytest.mark.parametrize("kind", ["s32", "u32", "s64"])
def test_division_of_integers_is_that_of_c(kind: str) -> None:
    a, b = values(kind, 0), values(kind, 1)
    b[b == 0] = 3
    expected = [abs(int(x)) // abs(int(y)) * (1 if (x < 0) == (y < 0) else -1) for x, y in zip(a, b, strict=True)]
    remainders = [int(x) - q * int(y) for x, y, q in zip(a, b, expected, strict=True)]
    wrapped = np.array([q & (2 ** (8 * a.itemsize) - 1) for q in expected], f"u{a.itemsize}").view(a.dtype)
    found = run_elementwise(f"div.{kind} %o, %a, %b;", [kind, kind], kind, [a, b])
    np.testing.assert_array_equal(found, wrapped)
    rest = run_elementwise(f"rem.{kind} %o, %a, %b;", [kind, kind], kind, [a, b])
    np.testing.assert_array_equal(rest, remainders)


def test_division_by_zero_is_a_fault() -> None:
    zero = np.zeros(COUNT, np.int32)
    with pytest.raises(KernelFaultError, match="division by zero"):
        run_elementwise("div.s32 %o, %a, %b;", INT, "s32", [zero, zero])


@pytest.mark.parametrize(
    "line", ["tanh.approx.f32 %o, %a;", "add.sat.f32 %o, %a, %a;", "frobnicate.b32 %o, %a;", "bar.sync 1, 64;"]
)
def test_unknown_instruction_is_named(line: str) -> None:
    with pytest.raises(PtxError) as caught:
        translate(elementwise(line, ["f32"], "f32"))
    assert line.strip(";") in str(caught.value)


def test_text_without_a_kernel_is_refused() -> None:
    with pytest.raises(PtxError, match="exactly one kernel"):
        parse(".version 8.0")


# ---- what threads do together, compiled by numba-cuda


@pytest.fixture(params=ARCHITECTURES, ids=lambda cc: "sm_{}{}".format(*cc))
def cc(request: pytest.FixtureRequest) -> tuple[int, int]:
    found: tuple[int, int] = request.param
    return found


def arrays_of(*kinds: str) -> list[Any]:
    types = importlib.import_module("numba.cuda.types")
    return [types.Array(getattr(types, kind), 1, "C") for kind in kinds]


def compiled(function: Callable[..., None], cc: tuple[int, int], *kinds: str) -> str:
    return compile_ptx(function, arrays_of(*kinds), cc)


def shuffles(x: Any, out: Any) -> None:
    i = cuda.grid(1)
    total = x[i]
    for distance in (16, 8, 4, 2, 1):
        total += cuda.shfl_xor_sync(0xFFFFFFFF, total, distance)
    up = cuda.shfl_up_sync(0xFFFFFFFF, x[i], 3)
    down = cuda.shfl_down_sync(0xFFFFFFFF, x[i], 5)
    first = cuda.shfl_sync(0xFFFFFFFF, x[i], 7)
    out[4 * i], out[4 * i + 1], out[4 * i + 2], out[4 * i + 3] = total, up, down, first


@pytest.mark.parametrize("seed", [None, 3])
def test_shuffles(cc: tuple[int, int], seed: int | None) -> None:
    x = np.random.default_rng(0).integers(-9, 9, 256).astype(np.float32)
    out = np.zeros(4 * 256, np.float32)
    launch(compiled(shuffles, cc, "float32", "float32"), (2,), (128,), [x, out], options=Options(seed))
    warps, lanes = x.reshape(-1, 32), np.arange(32)
    expected = np.stack(
        [
            np.repeat(warps.sum(1)[:, None], 32, 1),
            warps[:, np.where(lanes >= 3, lanes - 3, lanes)],
            warps[:, np.where(lanes + 5 < 32, lanes + 5, lanes)],
            np.repeat(warps[:, 7:8], 32, 1),
        ],
        axis=-1,
    )
    np.testing.assert_array_equal(out, expected.ravel())


def votes(x: Any, out: Any) -> None:
    i = cuda.threadIdx.x
    out[3 * i] = cuda.ballot_sync(0xFFFFFFFF, x[i] > 0)
    out[3 * i + 1] = cuda.any_sync(0xFFFFFFFF, x[i] > 5)
    out[3 * i + 2] = cuda.syncthreads_count(np.int32(x[i] > 0))


def test_votes_and_counting_barriers(cc: tuple[int, int]) -> None:
    x = np.random.default_rng(0).integers(-5, 6, 64).astype(np.int32)
    x[3] = 6
    out = np.zeros(3 * 64, np.int32)
    launch(compiled(votes, cc, "int32", "int32"), (1,), (64,), [x, out], options=Options(1))
    ballots = [sum(1 << k for k in range(32) if warp[k] > 0) for warp in x.reshape(2, 32)]
    np.testing.assert_array_equal(out[::3].view(np.uint32), np.repeat(ballots, 32))
    np.testing.assert_array_equal(out[1::3], np.repeat([1, 0], 32))
    np.testing.assert_array_equal(out[2::3], (x > 0).sum())


def count_up(counter: Any, seen: Any, largest: Any) -> None:
    i = cuda.grid(1)
    seen[cuda.atomic.add(counter, 0, 1)] = i
    cuda.atomic.max(largest, 0, i)
    cuda.atomic.add(largest, 1, 2)
    cuda.atomic.cas(counter[1:], 0, 0, i + 1)


@pytest.mark.parametrize("seed", [None, 1])
def test_atomics_count_each_thread_once(cc: tuple[int, int], seed: int | None) -> None:
    counter, seen, largest = np.zeros(2, np.int32), np.full(192, -1, np.int32), np.zeros(2, np.int32)
    ptx = compiled(count_up, cc, "int32", "int32", "int32")
    launch(ptx, (3,), (64,), [counter, seen, largest], options=Options(seed, races=True))
    assert counter[0] == 192
    assert sorted(seen) == list(range(192))
    assert (seen.tolist() == list(range(192))) == (seed is None)
    assert largest.tolist() == [191, 384]
    assert 1 <= counter[1] <= 192


def reverse(x: Any, out: Any) -> None:
    shared = cuda.shared.array(128, np.float32)
    i = cuda.threadIdx.x
    shared[i] = x[cuda.grid(1)]
    cuda.syncthreads()
    out[cuda.grid(1)] = shared[127 - i]


@pytest.mark.parametrize(
    "options", [Options(), Options(5), Options(5, preempt=True), Options(5, preempt=True, races=True, resident=1)]
)
def test_shared_memory_and_barriers(cc: tuple[int, int], options: Options) -> None:
    x = np.arange(512, dtype=np.float32)
    out = np.zeros_like(x)
    launch(compiled(reverse, cc, "float32", "float32"), (4,), (128,), [x, out], options=options)
    np.testing.assert_array_equal(out, x.reshape(4, 128)[:, ::-1].ravel())


def places(out: Any) -> None:
    i = cuda.threadIdx.x + cuda.blockDim.x * (cuda.threadIdx.y + cuda.blockDim.y * cuda.threadIdx.z)
    j = cuda.blockIdx.x + cuda.gridDim.x * (cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z)
    out[j * cuda.blockDim.x * cuda.blockDim.y * cuda.blockDim.z + i] = 1000 * j + i


def test_threads_of_three_axes(cc: tuple[int, int]) -> None:
    out = np.zeros(12 * 30, np.int32)
    launch(compiled(places, cc, "int32"), (2, 3, 2), (5, 3, 2), [out])
    np.testing.assert_array_equal(out, (1000 * np.arange(12)[:, None] + np.arange(30)).ravel())


def scratch(x: Any, out: Any) -> None:
    i = cuda.grid(1)
    own = cuda.local.array(8, np.float32)
    for k in range(8):
        own[(k * 3 + i) % 8] = x[i] + k
    total = np.float32(0)
    for k in range(out.size // x.size + 6):
        total = total * np.float32(2) + own[k]
    out[i] = total


def test_local_memory(cc: tuple[int, int]) -> None:
    x = np.arange(40, dtype=np.float32)
    out = np.zeros_like(x)
    launch(compiled(scratch, cc, "float32", "float32"), (2,), (20,), [x, out])
    own = np.zeros((40, 8))
    for k in range(8):
        own[np.arange(40), (3 * k + np.arange(40)) % 8] = x + k
    np.testing.assert_array_equal(out, own[:, :7] @ 2.0 ** np.arange(6, -1, -1))


def warp_stages(x: Any, out: Any) -> None:
    shared = cuda.shared.array(64, np.float32)
    i = cuda.threadIdx.x
    shared[i] = x[i]
    for distance in (16, 8, 4, 2, 1):
        cuda.syncwarp()
        value = shared[i ^ distance]
        cuda.syncwarp()
        shared[i] += value
    cuda.syncwarp()
    out[i] = shared[i]


@pytest.mark.parametrize("seed", range(3))
def test_a_warps_barrier_orders_its_accesses(cc: tuple[int, int], seed: int) -> None:
    x = np.arange(64, dtype=np.float32)
    out = np.zeros_like(x)
    launch(compiled(warp_stages, cc, "float32", "float32"), (1,), (64,), [x, out], options=Options(seed))
    np.testing.assert_array_equal(out, np.repeat(x.reshape(2, 32).sum(1), 32))


def test_same_seed_same_order(cc: tuple[int, int]) -> None:
    ptx = compiled(count_up, cc, "int32", "int32", "int32")
    orders = []
    for seed in (7, 7, 8):
        seen = np.full(192, -1, np.int32)
        launch(ptx, (3,), (64,), [np.zeros(2, np.int32), seen, np.zeros(2, np.int32)], options=Options(seed))
        orders.append(seen.tolist())
    assert orders[0] == orders[1] != orders[2]
