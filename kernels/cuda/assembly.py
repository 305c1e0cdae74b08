"""The functions of `kernels.cuda.memory` for the compiler, as LLVM instructions and lines of PTX."""

from __future__ import annotations

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


@intrinsic
def load4(typing, array, i):
    def generate(context, builder, signature, args):
        pointer = _address(context, builder, signature.args[0], *args)
        wide = builder.load(builder.bitcast(pointer, _VECTOR.as_pointer(pointer.type.addrspace)))
        wide.align = 16
        return cgutils.pack_array(builder, [builder.extract_element(wide, _lane(k)) for k in range(4)])

    return types.UniTuple(types.float32, 4)(array, i), generate


@intrinsic
def store4(typing, array, i, values):
    def generate(context, builder, signature, args):
        pointer = _address(context, builder, signature.args[0], *args[:2])
        wide = ir.Constant(_VECTOR, ir.Undefined)
        for k, value in enumerate(cgutils.unpack_tuple(builder, args[2], 4)):
            wide = builder.insert_element(wide, value, _lane(k))
        stored = builder.store(wide, builder.bitcast(pointer, _VECTOR.as_pointer(pointer.type.addrspace)))
        stored.align = 16
        return context.get_dummy_value()

    return types.void(array, i, types.UniTuple(types.float32, 4)), generate


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

        return types.UniTuple(types.float32, count)(), generate

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

        tuples = (types.UniTuple(types.float32, n) for n in (rows * columns, rows, columns))
        return sums(*tuples), generate

    made: Callable[..., Any] = add
    return made


@cuda.jit(device=True, inline="always")
def dynamic_shared():
    return cuda.shared.array(0, types.float32, alignment=16)
