"""Vectors of float32 or float64 lanes as a Numba type, so that kernels say which loop is vector code.

A compiler's own vectoriser gives up on loops over many arrays (it cannot prove that they do not overlap), and
says nothing. Here `load(a, i)` gives a vector, arithmetic on vectors is LLVM vector arithmetic, and the plain
functions of `kernels.scalar` and `kernels.cells` compile for vectors as they do for scalars.

    x = load(a, i, LANES)       a flat array's values i .. i + LANES
    y = sigmoid(x * scale)      scale a float32: spread over the lanes
    store(a, i, y, LANES)

Nothing here checks bounds.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.core.datamodel.registry import register_default
from numba.core.imputils import lower_builtin, lower_cast
from numba.core.typeconv.castgraph import Conversion
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import overload

from kernels import scalar
from kernels.jit import intrinsic

I32 = ir.IntType(32)
I64 = ir.IntType(64)


class Vector(types.Type):
    """`lanes` values of `dtype`, float32 or float64 (or boolean: the mask of a comparison)."""

    def __init__(self, dtype, lanes):
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"vector({dtype} x {lanes})")

    def can_convert_from(self, typingctx, other):
        return Conversion.safe if isinstance(other, types.Float) and self.dtype != types.boolean else None


@register_default(Vector)
class _VectorModel(PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, llvm_vector(fe_type))


def llvm_scalar(dtype):
    return {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.boolean: ir.IntType(1)}[dtype]


def llvm_vector(vector):
    return ir.VectorType(llvm_scalar(vector.dtype), vector.lanes)


def splat(builder, value, vector):
    """One value in every lane."""
    kind = ir.VectorType(value.type, vector.lanes)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, I32(0))
    zeros = ir.Constant(ir.VectorType(I32, vector.lanes), [I32(0)] * vector.lanes)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)


def constant(vector, value):
    return ir.Constant(llvm_vector(vector), [ir.Constant(llvm_scalar(vector.dtype), value)] * vector.lanes)


def call_intrinsic(builder, name, result, arguments):
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


@lower_cast(types.Float, Vector)
def _cast_scalar(context, builder, fromty, toty, value):
    return splat(builder, context.cast(builder, value, fromty, toty.dtype), toty)


# Arithmetic and comparisons: vector with vector, or with a scalar that is spread


def _define(operation, emit, comparison=False):
    @infer_global(operation)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            vectors = [a for a in args if isinstance(a, Vector)]
            if kws or not vectors or not all(isinstance(a, (Vector, types.Float)) for a in args):
                return None
            vector = vectors[0]
            result = Vector(types.boolean, vector.lanes) if comparison else vector
            return signature(result, *([vector] * len(args)))

    arity = 1 if operation is operator.neg else 2

    @lower_builtin(operation, *([Vector] * arity))
    def _lower(context, builder, sig, args):
        return emit(builder, *args)


_define(operator.add, lambda b, x, y: b.fadd(x, y))
_define(operator.sub, lambda b, x, y: b.fsub(x, y))
_define(operator.mul, lambda b, x, y: b.fmul(x, y))
_define(operator.truediv, lambda b, x, y: b.fdiv(x, y))
_define(operator.neg, lambda b, x: b.fneg(x))
_define(operator.lt, lambda b, x, y: b.fcmp_ordered("<", x, y), comparison=True)
_define(operator.gt, lambda b, x, y: b.fcmp_ordered(">", x, y), comparison=True)


# Memory. The loads and stores say align 4 (8): an address need only be one of a float.


def data_pointer(context, builder, array_type, array):
    return context.make_array(array_type)(context, builder, array).data


def _address(context, builder, array_type, array, index, vector):
    pointer = builder.gep(data_pointer(context, builder, array_type, array), [index], inbounds=True)
    return builder.bitcast(pointer, llvm_vector(vector).as_pointer())


@intrinsic(prefer_literal=True)
def load(typingctx, array, index, lanes):
    """The vector of a flat array's values index .. index + lanes; lanes is a compile-time constant."""
    vector = Vector(array.dtype, lanes.literal_value)

    def codegen(context, builder, sig, args):
        pointer = _address(context, builder, sig.args[0], args[0], args[1], vector)
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return vector(array, types.int64, lanes), codegen


@intrinsic(prefer_literal=True)
def store(typingctx, array, index, value, lanes):
    """Write a vector, or a scalar to every lane, to a flat array's values index .. index + lanes."""
    vector = Vector(array.dtype, lanes.literal_value)

    def codegen(context, builder, sig, args):
        pointer = _address(context, builder, sig.args[0], args[0], args[1], vector)
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, vector, lanes), codegen


def emit_prefetch(builder, pointer):
    """Ask for the cache line at an address, which may lie anywhere."""
    address = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    read, keep, data = I32(0), I32(3), I32(1)
    call_intrinsic(builder, "llvm.prefetch.p0", ir.VoidType(), [address, read, keep, data])


@intrinsic
def prefetch(typingctx, array, index):
    """Ask for the cache line of a flat array's value; an index beyond the array does no harm."""

    def codegen(context, builder, sig, args):
        emit_prefetch(builder, builder.gep(data_pointer(context, builder, sig.args[0], args[0]), [args[1]]))
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


def _across(builder, x, combine):
    """`combine` over all lanes, by halves: the result in every lane of what is left, one."""
    lanes = x.type.count
    while lanes > 1:
        lanes //= 2
        low = ir.Constant(ir.VectorType(I32, lanes), [I32(i) for i in range(lanes)])
        high = ir.Constant(ir.VectorType(I32, lanes), [I32(i + lanes) for i in range(lanes)])
        x = combine(builder.shuffle_vector(x, x, low), builder.shuffle_vector(x, x, high))
    return builder.extract_element(x, I32(0))


@intrinsic
def total(typingctx, x):
    """The sum of the lanes, a scalar."""
    return x.dtype(x), lambda context, builder, sig, args: _across(builder, args[0], builder.fadd)


@intrinsic
def largest(typingctx, x):
    """The largest lane, a scalar; not specified where a lane is NaN."""

    def codegen(context, builder, sig, args):
        return _across(builder, args[0], lambda p, q: builder.select(builder.fcmp_ordered(">", p, q), p, q))

    return x.dtype(x), codegen


@intrinsic(prefer_literal=True)
def spread(typingctx, value, lanes):
    """A vector with `value` in every lane."""
    vector = Vector(value, lanes.literal_value)
    return vector(value, lanes), lambda context, builder, sig, args: splat(builder, args[0], vector)


@intrinsic
def flush_denormals(typingctx):
    """Treat denormal numbers as zero from here on (x86; elsewhere nothing); returns what `restore_denormals` takes.

    An operation on a denormal number can cost 150 cycles, and vanishing probabilities are full of them.
    """

    def codegen(context, builder, sig, args):
        if "x86" not in builder.module.triple:
            return I32(0)
        word = cgutils.alloca_once(builder, I32)
        address = builder.bitcast(word, ir.IntType(8).as_pointer())
        call_intrinsic(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), [address])
        old = builder.load(word)
        builder.store(builder.or_(old, I32(0x8040)), word)  # flush to zero, denormals are zero
        call_intrinsic(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [address])
        return old

    return types.int32(), codegen


@intrinsic
def restore_denormals(typingctx, old):
    """Back to what it was before `flush_denormals`."""

    def codegen(context, builder, sig, args):
        if "x86" in builder.module.triple:
            word = cgutils.alloca_once(builder, I32)
            builder.store(args[0], word)
            address = builder.bitcast(word, ir.IntType(8).as_pointer())
            call_intrinsic(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [address])
        return context.get_dummy_value()

    return types.void(types.int32), codegen


# The twins of `kernels.scalar`'s three primitives


@intrinsic
def _select(typingctx, mask, x, y):
    vector = x if isinstance(x, Vector) else y if isinstance(y, Vector) else Vector(x, mask.lanes)
    return vector(mask, vector, vector), lambda context, builder, sig, args: builder.select(*args)


@overload(scalar.select)
def _overload_select(condition, x, y):
    if isinstance(condition, Vector):
        return lambda condition, x, y: _select(condition, x, y)
    return None


@intrinsic
def _reciprocal(typingctx, x):
    return x(x), lambda context, builder, sig, args: emit_reciprocal(builder, args[0], x)


def emit_reciprocal(builder, x, vector):
    """1 / x: the processor's estimate and one Newton step (relative error 1.5e-7), or a division where it has none."""
    one = constant(vector, 1.0)
    if vector != Vector(types.float32, 16) or "x86_64" not in builder.module.triple:
        return builder.fdiv(one, x)  # AVX's rcpps gives 12 bits: one Newton step leaves 3e-7, two cost a division
    everywhere = ir.IntType(16)(-1)
    arguments = [x, ir.Constant(x.type, ir.Undefined), everywhere]
    y = call_intrinsic(builder, "llvm.x86.avx512.rcp14.ps.512", x.type, arguments)
    error = builder.fsub(one, builder.fmul(x, y))
    return builder.fadd(y, builder.fmul(y, error))


@overload(scalar.reciprocal)
def _overload_reciprocal(x):
    if isinstance(x, Vector):
        return lambda x: _reciprocal(x)
    return None


@intrinsic
def _scale_by_low_bits(typingctx, p, t):
    """p 2**n for p, t of float32 lanes, n the integer in the low bits of t."""

    def codegen(context, builder, sig, args):
        integers = ir.VectorType(I32, p.lanes)
        shift = ir.Constant(integers, [I32(23)] * p.lanes)
        exponent = builder.shl(builder.bitcast(args[1], integers), shift)
        return builder.bitcast(builder.add(builder.bitcast(args[0], integers), exponent), llvm_vector(p))

    return p(p, t), codegen


@overload(scalar.scale_by_low_bits)
def _overload_scale(p, t):
    if isinstance(p, Vector):
        return lambda p, t: _scale_by_low_bits(p, t)
    return None
