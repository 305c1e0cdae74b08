"""The tile: a small block of a matrix product kept in vector registers while k runs.

                         B, packed: [K][COLUMNS], one row of COLUMNS floats per k
                              k -> +----------------------------+
                                   | C vectors of LANES floats  |
                                   +----------------------------+
        A: rows, any stride        D: R rows of COLUMNS = C LANES floats
              k                    +------+------+------+------+
          +---o----------+         | acc  | acc  | acc  | acc  |   row 0
          |   o          |         +------+------+------+------+
          |   o          |         | acc  | acc  | acc  | acc  |   row 1
          |   ...        |         |              ...          |   ...
          +--------------+         +------+------+------+------+   row R-1

For each k: C loads of B, R values of A spread over a vector, R C fused multiply-adds. All R C accumulators stay
in registers through the loop: 6 x 4 of the 32 that AVX-512 and NEON have, 6 x 2 of AVX2's 16. Fewer accumulators
leave the multiply-add units waiting for their own results (2 units x 4 cycles of latency need at least 8), and
a flatter tile needs more loads for each of them.

`tile(height)` gives the Numba intrinsic of that many rows; `product` covers any number of rows with them.
"""

from __future__ import annotations

from functools import cache

from numba import types

from kernels.cpu.target import COLUMNS, LANES
from kernels.cpu.vector import I64, Vector, call_intrinsic, constant, data_pointer, emit_prefetch, llvm_vector, splat
from kernels.jit import intrinsic

_VECTOR = Vector(types.float32, LANES)
_VECTORS = COLUMNS // LANES
_UNROLL = 2
_AHEAD = 2048  # floats (8 KB)


@cache
def tile(rows, ldb=COLUMNS, packed_a=False):
    """An intrinsic `run(A, a, lda, B, b, D, d, ldd, K, blocks, a_block, b_block, add)` over flat float32 arrays:

        D[d + r ldd + n] (+)= sum_{o < blocks} sum_{k < K} A[a + o a_block + r lda + k] B[b + o b_block + k ldb + n]

    for r < rows, n < COLUMNS. `add` keeps what D holds. The outer sum walks operands that stand in blocks.
    With `packed_a`, A is transposed into panels: element (r, k) at a + o a_block + k lda + r.
    """

    @intrinsic
    def run(typingctx, A, a, lda, B, b, D, d, ldd, K, blocks, a_block, b_block, add):
        integers = [types.int64] * 2
        sig = types.void(A, *integers, B, types.int64, D, *[types.int64] * 6, types.boolean)

        def codegen(context, builder, sig, args):
            names = ["A", "a", "lda", "B", "b", "D", "d", "ldd", "K", "blocks", "a_block", "b_block", "add"]
            v = dict(zip(names, args, strict=True))
            for name in "ABD":
                v[name] = data_pointer(context, builder, sig.args[names.index(name)], v[name])
            _emit(builder, rows, ldb, packed_a, v)
            return context.get_dummy_value()

        return sig, codegen

    return run


def _emit(builder, rows, ldb, packed_a, v):
    """The whole tile: accumulators from D or from zero, the loops over blocks and k, back to D."""
    out = [_at(builder, _at(builder, v["D"], v["d"]), builder.mul(v["ldd"], I64(r))) for r in range(rows)]
    zero = constant(_VECTOR, 0.0)
    cells = [(r, c) for r in range(rows) for c in range(_VECTORS)]
    accumulators = [builder.select(v["add"], _load(builder, out[r], c), zero) for r, c in cells]
    a0, b0 = _at(builder, v["A"], v["a"]), _at(builder, v["B"], v["b"])

    def block(o, state):
        a_o = _at(builder, a0, builder.mul(o, v["a_block"]))
        b_o = _at(builder, b0, builder.mul(o, v["b_block"]))
        if packed_a:

            def a_at(k, r):
                return _at(builder, _at(builder, a_o, builder.mul(k, v["lda"])), I64(r))
        else:
            starts = [_at(builder, a_o, builder.mul(v["lda"], I64(r))) for r in range(rows)]

            def a_at(k, r):
                return _at(builder, starts[r], k)

        def step(k, state):
            b_k = _at(builder, b_o, builder.mul(k, I64(ldb)))
            vectors = [_load(builder, b_k, c) for c in range(_VECTORS)]
            if rows == 1:  # uses each value of B once: as fast as they come, and they come faster when asked for
                for c in range(_VECTORS):
                    emit_prefetch(builder, builder.gep(b_k, [I64(_AHEAD + c * LANES)]))
            result = []
            for r in range(rows):
                value = splat(builder, builder.load(a_at(k, r), align=4), _VECTOR)
                result += [_fma(builder, value, vectors[c], state[r * _VECTORS + c]) for c in range(_VECTORS)]
            return result

        return _unrolled_loop(builder, v["K"], state, step)

    accumulators = loop(builder, v["blocks"], accumulators, block)
    for (r, c), value in zip(cells, accumulators, strict=True):
        builder.store(value, _vector_at(builder, out[r], c), align=4)


def loop(builder, count, state, body):
    """`for i in range(count): state = body(i, state)`, with the state in registers (phi nodes); returns the state."""
    entry, head, done = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed(">", count, I64(0)), head, done)
    builder.position_at_end(head)
    i = builder.phi(I64)
    i.add_incoming(I64(0), entry)
    phis = [builder.phi(value.type) for value in state]
    for phi, value in zip(phis, state, strict=True):
        phi.add_incoming(value, entry)
    new = body(i, phis)
    following = builder.add(i, I64(1), flags=("nsw", "nuw"))
    end = builder.block
    i.add_incoming(following, end)
    for phi, value in zip(phis, new, strict=True):
        phi.add_incoming(value, end)
    builder.cbranch(builder.icmp_signed("<", following, count), head, done)
    builder.position_at_end(done)
    results = []
    for before, after in zip(state, new, strict=True):
        phi = builder.phi(before.type)
        phi.add_incoming(before, entry)
        phi.add_incoming(after, end)
        results.append(phi)
    return results


def _unrolled_loop(builder, count, state, step):
    """`loop` with several steps a turn, and a last loop over what is left."""
    turns = builder.udiv(count, I64(_UNROLL))

    def turn(i, state):
        first = builder.mul(i, I64(_UNROLL), flags=("nsw", "nuw"))
        for u in range(_UNROLL):
            state = step(builder.add(first, I64(u), flags=("nsw", "nuw")), state)
        return state

    state = loop(builder, turns, state, turn)
    done = builder.mul(turns, I64(_UNROLL))
    return loop(builder, builder.sub(count, done), state, lambda i, s: step(builder.add(done, i), s))


def _at(builder, pointer, index):
    return builder.gep(pointer, [index], inbounds=True)


def _vector_at(builder, pointer, c):
    return builder.bitcast(_at(builder, pointer, I64(c * LANES)), llvm_vector(_VECTOR).as_pointer())


def _load(builder, pointer, c):
    return builder.load(_vector_at(builder, pointer, c), align=4)


def _fma(builder, x, y, z):
    return call_intrinsic(builder, f"llvm.fmuladd.v{LANES}f32", x.type, [x, y, z])
