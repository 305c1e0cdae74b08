"""The functions of `kernels.cuda.memory` for the compiler, as LLVM instructions and lines of PTX."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir

from kernels.cuda.device import cuda

types: Any = importlib.import_module("numba.cuda.types")
intrinsic: Any = importlib.import_module("numba.cuda.extending").intrinsic
cgutils: Any = importlib.import_module("numba.cuda.cgutils")

_I32, _I64, _F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
_VECTOR = ir.VectorType(_F32, 4)


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """A pointer to an array's value; of a wide index the low 32 bits count."""
    data = context.make_array(array_type)(context, builder, value=array).data
    if index.type.width > 32:
        index = builder.trunc(index, _I32)
    return builder.gep(data, [builder.zext(index, _I64) if index.type.width < 64 else index])


def _lane(k: int) -> Any:
    return ir.Constant(_I32, k)


@intrinsic
def load(typing, array, i):
    def generate(context, builder, signature, args):
        pointer = _address(context, builder, signature.args[0], *args)
        return context.unpack_value(builder, signature.return_type, pointer)

    return array.dtype(array, i), generate


@intrinsic
def store(typing, array, i, value):
    def generate(context, builder, signature, args):
        pointer = _address(context, builder, signature.args[0], *args[:2])
        context.pack_value(builder, signature.args[2], args[2], pointer)
        return context.get_dummy_value()

    return types.void(array, i, array.dtype), generate


def _load_quad(builder: Any, pointer: Any) -> list[Any]:
    """Four floats from a 16-byte boundary."""
    wide = builder.load(builder.bitcast(pointer, _VECTOR.as_pointer(pointer.type.addrspace)))
    wide.align = 16
    return [builder.extract_element(wide, _lane(k)) for k in range(4)]


def _store_quad(builder: Any, pointer: Any, values: list[Any]) -> None:
    wide = ir.Constant(_VECTOR, ir.Undefined)
    for k, value in enumerate(values):
        wide = builder.insert_element(wide, value, _lane(k))
    builder.store(wide, builder.bitcast(pointer, _VECTOR.as_pointer(pointer.type.addrspace))).align = 16


def _further(builder: Any, pointer: Any, count: int, step: Any, offset: int = 0) -> Any:
    """The pointer, count step + offset values further on: constants become part of an access's address."""
    if step.type.width < 64:
        step = builder.zext(step, _I64)
    far = builder.add(builder.mul(step, ir.Constant(_I64, count)), ir.Constant(_I64, offset))
    return builder.gep(pointer, [far])


def _floats(count: int) -> Any:
    return types.UniTuple(types.float32, count)


@intrinsic
def load4(typing, array, i):
    def generate(context, builder, signature, args):
        pointer = _address(context, builder, signature.args[0], *args)
        return cgutils.pack_array(builder, _load_quad(builder, pointer))

    return _floats(4)(array, i), generate


@intrinsic
def store4(typing, array, i, values):
    def generate(context, builder, signature, args):
        pointer = _address(context, builder, signature.args[0], *args[:2])
        _store_quad(builder, pointer, cgutils.unpack_tuple(builder, args[2], 4))
        return context.get_dummy_value()

    return types.void(array, i, _floats(4)), generate


@cache
def load_quads(count: int, offset: int = 0) -> Callable[..., Any]:
    @intrinsic
    def read(typing, array, start, gap):
        def generate(context, builder, signature, args):
            first = _address(context, builder, signature.args[0], *args[:2])
            values: list[Any] = []
            for q in range(count):
                values += _load_quad(builder, _further(builder, first, q, args[2], offset))
            return cgutils.pack_array(builder, values)

        return _floats(4 * count)(array, start, gap), generate

    made: Callable[..., Any] = read
    return made


@cache
def store_quads(rows: int, count: int) -> Callable[..., Any]:
    @intrinsic
    def write(typing, array, start, stride, gap, values):
        def generate(context, builder, signature, args):
            first = _address(context, builder, signature.args[0], *args[:2])
            given = cgutils.unpack_tuple(builder, args[4], 4 * rows * count)
            for r in range(rows):
                row = _further(builder, first, r, args[2])
                for q in range(count):
                    value = 4 * (r * count + q)
                    _store_quad(builder, _further(builder, row, q, args[3]), given[value : value + 4])
            return context.get_dummy_value()

        return types.void(array, start, stride, gap, _floats(4 * rows * count)), generate

    made: Callable[..., Any] = write
    return made


@cache
def gather(pattern: tuple[int | None, ...]) -> Callable[..., Any]:
    @intrinsic
    def read(typing, array, start, stride):
        def generate(context, builder, signature, args):
            first = _address(context, builder, signature.args[0], *args[:2])
            values = [
                ir.Constant(_F32, 0.0) if p is None else builder.load(_further(builder, first, p, args[2]))
                for p in pattern
            ]
            return cgutils.pack_array(builder, values)

        return _floats(len(pattern))(array, start, stride), generate

    made: Callable[..., Any] = read
    return made


@cache
def scatter(count: int) -> Callable[..., Any]:
    @intrinsic
    def write(typing, array, start, stride, values):
        def generate(context, builder, signature, args):
            first = _address(context, builder, signature.args[0], *args[:2])
            for p, value in enumerate(cgutils.unpack_tuple(builder, args[3], count)):
                builder.store(value, _further(builder, first, p, args[2]))
            return context.get_dummy_value()

        return types.void(array, start, stride, _floats(count)), generate

    made: Callable[..., Any] = write
    return made


@cache
def arrange(count: int, pattern: tuple[int | None, ...]) -> Callable[..., Any]:
    @intrinsic
    def pick(typing, values):
        def generate(context, builder, signature, args):
            given = cgutils.unpack_tuple(builder, args[0], count)
            zero = ir.Constant(_F32, 0.0)
            return cgutils.pack_array(builder, [zero if place is None else given[place] for place in pattern])

        return _floats(len(pattern))(_floats(count)), generate

    made: Callable[..., Any] = pick
    return made


@cache
def total(count: int) -> Callable[..., Any]:
    @intrinsic
    def add(typing, values):
        def generate(context, builder, signature, args):
            return functools.reduce(builder.fadd, cgutils.unpack_tuple(builder, args[0], count))

        return types.float32(_floats(count)), generate

    made: Callable[..., Any] = add
    return made


@cache
def plus(count: int) -> Callable[..., Any]:
    @intrinsic
    def add(typing, a, b):
        def generate(context, builder, signature, args):
            left, right = (cgutils.unpack_tuple(builder, arg, count) for arg in args)
            return cgutils.pack_array(builder, [builder.fadd(x, y) for x, y in zip(left, right, strict=True)])

        return _floats(count)(_floats(count), _floats(count)), generate

    made: Callable[..., Any] = add
    return made


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_F32, [_F32] * 3), "llvm.fma.f32")
    return builder.call(function, [a, b, c])


@intrinsic
def fma(typing, a, b, c):
    def generate(context, builder, signature, args):
        return _fma(builder, *args)

    return types.float32(types.float32, types.float32, types.float32), generate


def _assembly(result: Any, text: str, constraints: str) -> Callable[..., Any]:
    """Code of an intrinsic that is one line of PTX."""

    def generate(context, builder, signature, args):
        code = ir.InlineAsm(ir.FunctionType(result, [arg.type for arg in args]), text, constraints, side_effect=True)
        value = builder.call(code, args)
        return context.get_dummy_value() if isinstance(result, ir.VoidType) else value

    return generate


@intrinsic
def reciprocal(typing, x):
    return types.float32(types.float32), _assembly(_F32, "rcp.approx.ftz.f32 $0, $1;", "=f,f")


@intrinsic
def trap(typing):
    return types.void(), _assembly(ir.VoidType(), "trap;", "")


@intrinsic
def arrive(typing, counters, i):
    def generate(context, builder, signature, args):
        place = builder.ptrtoint(_address(context, builder, signature.args[0], *args), _I64)
        return _assembly(ir.VoidType(), "red.release.gpu.global.add.u32 [$0], 1;", "l,~{memory}")(
            context, builder, signature, [place]
        )

    return types.void(counters, i), generate


@intrinsic
def acquire(typing, counters, i):
    def generate(context, builder, signature, args):
        place = builder.ptrtoint(_address(context, builder, signature.args[0], *args), _I64)
        return _assembly(_I32, "ld.acquire.gpu.global.u32 $0, [$1];", "=r,l,~{memory}")(
            context, builder, signature, [place]
        )

    return types.int32(counters, i), generate


@cache
def zeros(count: int) -> Callable[[], Any]:
    @intrinsic
    def make(typing):
        def generate(context, builder, signature, args):
            return cgutils.pack_array(builder, [ir.Constant(_F32, 0.0)] * count)

        return _floats(count)(), generate

    made: Callable[[], Any] = make
    return made


@cache
def outer(rows: int, columns: int) -> Callable[..., Any]:
    @intrinsic
    def add(typing, sums, a, b):
        def generate(context, builder, signature, args):
            total, left, right = (
                cgutils.unpack_tuple(builder, arg, n)
                for arg, n in zip(args, (rows * columns, rows, columns), strict=True)
            )
            made = [
                _fma(builder, left[r], right[c], total[r * columns + c]) for r in range(rows) for c in range(columns)
            ]
            return cgutils.pack_array(builder, made)

        tuples = (_floats(n) for n in (rows * columns, rows, columns))
        return sums(*tuples), generate

    made: Callable[..., Any] = add
    return made


@cuda.jit(device=True, inline="always")
def dynamic_shared():
    return cuda.shared.array(0, types.float32, alignment=16)
