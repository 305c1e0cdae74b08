"""Memory of the host by its address, within compiled code."""

# mypy: allow-untyped-defs, allow-untyped-decorators, allow-untyped-calls
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numba.np.numpy_support import carray


def _pointer(kind: Any) -> Any:
    @intrinsic
    def cast(typing, address):
        def generate(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(types.CPointer(kind)))

        return types.CPointer(kind)(types.int64), generate

    return cast


_to_int32, _to_int64 = _pointer(types.int32), _pointer(types.int64)


@njit(inline="always")
def words(address, count):
    """int32 [count] that stand at an address."""
    return carray(_to_int32(address), count)


@njit(inline="always")
def longs(address, count):
    """int64 [count] that stand at an address."""
    return carray(_to_int64(address), count)


@intrinsic
def _call(typing, function, state, environment):
    """Call the translated code at an address: (state, environment) -> why it came back."""

    def generate(context, builder, signature, args):
        i64 = ir.IntType(64)
        kind = ir.FunctionType(ir.IntType(32), [i64, i64])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return types.int32(types.int64, types.int64, types.int64), generate


run_thread: Any = _call
