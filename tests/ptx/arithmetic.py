"""Instructions that only compute: each a function that writes the LLVM IR of one instruction.

Where PTX approximates (`.approx`), the value is exact to the last bits; a wider bound belongs to hardware. What would
hide a coarse approximation (`tanh.approx`) is left unknown. Subnormal numbers stay: `.ftz` changes
nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from ptx import layout
from ptx.emitter import BITS, LLVM, Emitter, is_float, require, suffix, vector
from ptx.parser import Instruction, PtxError

Operation = Callable[[Emitter, Instruction], None]
OPERATIONS: dict[str, tuple[Operation, tuple[str, ...]]] = {}
ROUNDINGS = ("rn", "ftz")  # what LLVM's own operations do, or what we do not tell apart


def operation(*names: str, parts: tuple[str, ...] = ()) -> Callable[[Operation], Operation]:
    """Enter a function for instructions of these names, with the parts of the opcode that it understands."""

    def enter(function: Operation) -> Operation:
        OPERATIONS.update(dict.fromkeys(names, (function, parts)))
        return function

    return enter


def translate(emitter: Emitter, instruction: Instruction) -> None:
    """Write one instruction. PtxError for an unknown one."""
    if instruction.name not in OPERATIONS:
        raise PtxError(f"unknown instruction: {instruction.text}")
    function, parts = OPERATIONS[instruction.name]
    require(instruction, parts)
    function(emitter, instruction)


def _operands(e: Emitter, i: Instruction, kind: str | None = None) -> list[str]:
    """The values of all operands but the first."""
    return [e.read(operand, kind or i.type) for operand in i.operands[1:]]


def _result(e: Emitter, i: Instruction, expression: str, kind: str | None = None) -> None:
    e.write(i.operands[0], e.value(expression), kind or i.type)


def _intrinsic(e: Emitter, i: Instruction, name: str, kind: str | None = None) -> None:
    kind = kind or i.type
    args = [(LLVM[kind], value) for value in _operands(e, i, kind)]
    e.write(i.operands[0], e.call(f"@llvm.{name}.{suffix(kind)}", LLVM[kind], *args), kind)


@operation("add", "sub", "and", "or", "xor", parts=ROUNDINGS)
def _binary(e: Emitter, i: Instruction) -> None:
    a, b = _operands(e, i)
    _result(e, i, f"{'f' if is_float(i.type) else ''}{i.name} {LLVM[i.type]} {a}, {b}")


@operation("not", "cnot")
def _not(e: Emitter, i: Instruction) -> None:
    (a,) = _operands(e, i)
    if i.name == "cnot":
        zero = e.value(f"icmp eq {LLVM[i.type]} {a}, 0")
        _result(e, i, f"zext i1 {zero} to {LLVM[i.type]}")
    else:
        _result(e, i, f"xor {LLVM[i.type]} {a}, {'true' if i.type == 'pred' else '-1'}")


@operation("neg", parts=("ftz",))
def _neg(e: Emitter, i: Instruction) -> None:
    (a,) = _operands(e, i)
    _result(e, i, f"fneg {LLVM[i.type]} {a}" if is_float(i.type) else f"sub {LLVM[i.type]} 0, {a}")


@operation("abs", parts=("ftz",))
def _abs(e: Emitter, i: Instruction) -> None:
    if is_float(i.type):
        return _intrinsic(e, i, "fabs")
    (a,) = _operands(e, i)
    kind = LLVM[i.type]
    return e.write(i.operands[0], e.call(f"@llvm.abs.{kind}", kind, (kind, a), ("i1", "false")), i.type)


@operation("min", "max", parts=("ftz", "NaN"))
def _extreme(e: Emitter, i: Instruction) -> None:
    if is_float(i.type):
        return _intrinsic(e, i, f"{i.name}imum" if "NaN" in i.parts else f"{i.name}num")
    return _intrinsic(e, i, f"{'s' if i.type[0] == 's' else 'u'}{i.name}")


@operation("fma", parts=ROUNDINGS)
def _fma(e: Emitter, i: Instruction) -> None:
    _intrinsic(e, i, "fma")


@operation("mul", "mad", parts=(*ROUNDINGS, "lo", "hi", "wide"))
def _mul(e: Emitter, i: Instruction) -> None:
    kind = i.type
    if is_float(kind):
        if i.name == "mad":
            return _intrinsic(e, i, "fma")
        a, b = _operands(e, i)
        return _result(e, i, f"fmul {LLVM[kind]} {a}, {b}")
    if not {"lo", "hi", "wide"} & set(i.parts):
        raise PtxError(f"unknown instruction: {i.text}")
    a, b = (e.read(operand, kind) for operand in i.operands[1:3])
    if "lo" in i.parts:
        product = e.value(f"mul {LLVM[kind]} {a}, {b}")
    else:
        product, kind = _wide_product(e, i, a, b)
    if i.name == "mad":
        product = e.value(f"add {LLVM[kind]} {product}, {e.read(i.operands[3], kind)}")
    return e.write(i.operands[0], product, kind)


def _wide_product(e: Emitter, i: Instruction, a: str, b: str) -> tuple[str, str]:
    """The whole product, or its upper half, and its type."""
    kind, bits = i.type, BITS[i.type]
    extend = "sext" if kind[0] == "s" else "zext"
    a, b = (e.value(f"{extend} i{bits} {x} to i{2 * bits}") for x in (a, b))
    product = e.value(f"mul i{2 * bits} {a}, {b}")
    if "wide" in i.parts:
        return product, f"{kind[0]}{2 * bits}"
    high = e.value(f"lshr i{2 * bits} {product}, {bits}")
    return e.value(f"trunc i{2 * bits} {high} to i{bits}"), kind


@operation("div", "rem", parts=(*ROUNDINGS, "approx", "full"))
def _div(e: Emitter, i: Instruction) -> None:
    a, b = _operands(e, i)
    llvm = LLVM[i.type]
    if is_float(i.type):
        return _result(e, i, f"fdiv {llvm} {a}, {b}")
    e.emit(f"store i64 {layout.DIVISION}, ptr %fault_kind")
    e.emit(f"store i64 {e.place}, ptr %fault_place")
    e.stop_unless(e.value(f"icmp ne {llvm} {b}, 0"))
    if i.type[0] != "s":
        return _result(e, i, f"u{i.name} {llvm} {a}, {b}")
    minus = e.value(f"icmp eq {llvm} {b}, -1")  # the one quotient that may overflow, which is a trap on some CPUs
    safe = e.value(f"select i1 {minus}, {llvm} 1, {llvm} {b}")
    found = e.value(f"s{i.name} {llvm} {a}, {safe}")
    other = e.value(f"sub {llvm} 0, {a}") if i.name == "div" else "0"
    return _result(e, i, f"select i1 {minus}, {llvm} {other}, {llvm} {found}")


@operation("ex2", "lg2", "sin", "cos", "sqrt", parts=(*ROUNDINGS, "approx"))
def _function(e: Emitter, i: Instruction) -> None:
    _intrinsic(e, i, {"ex2": "exp2", "lg2": "log2"}.get(i.name, i.name))


@operation("rcp", "rsqrt", parts=(*ROUNDINGS, "approx"))
def _reciprocal(e: Emitter, i: Instruction) -> None:
    (a,) = _operands(e, i)
    if i.name == "rsqrt":
        a = e.call(f"@llvm.sqrt.{suffix(i.type)}", LLVM[i.type], (LLVM[i.type], a))
    _result(e, i, f"fdiv {LLVM[i.type]} 1.0, {a}")


@operation("copysign")
def _copysign(e: Emitter, i: Instruction) -> None:
    sign, size = _operands(e, i)
    kind = LLVM[i.type]
    e.write(i.operands[0], e.call(f"@llvm.copysign.{suffix(i.type)}", kind, (kind, size), (kind, sign)), i.type)


@operation("mov")
def _mov(e: Emitter, i: Instruction) -> None:
    target, source = i.operands
    bits = BITS[i.type]
    if target.startswith("{"):
        parts = vector(target)
        value, part = e.read(source, f"b{bits}"), bits // len(parts)
        for k, name in enumerate(parts):
            shifted = e.value(f"lshr i{bits} {value}, {k * part}")
            e.write(name, e.value(f"trunc i{bits} {shifted} to i{part}"), f"b{part}")
    elif source.startswith("{"):
        parts = vector(source)
        total, part = "0", bits // len(parts)
        for k, name in enumerate(parts):
            wide = e.value(f"zext i{part} {e.read(name, f'b{part}')} to i{bits}")
            total = e.value(f"or i{bits} {total}, {e.value(f'shl i{bits} {wide}, {k * part}')}")
        e.write(target, total, f"b{bits}")
    else:
        e.write(target, e.read(source, i.type), i.type)


@operation("selp")
def _selp(e: Emitter, i: Instruction) -> None:
    a, b = (e.read(operand, i.type) for operand in i.operands[1:3])
    _result(e, i, f"select i1 {e.read(i.operands[3], 'pred')}, {LLVM[i.type]} {a}, {LLVM[i.type]} {b}")


FLOAT_TESTS = {"eq": "oeq", "ne": "one", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "equ": "ueq", "neu": "une"}
FLOAT_TESTS |= {"ltu": "ult", "leu": "ule", "gtu": "ugt", "geu": "uge", "num": "ord", "nan": "uno"}
UNSIGNED_TESTS = {"lo": "ult", "ls": "ule", "hi": "ugt", "hs": "uge"}


@operation("setp", parts=(*FLOAT_TESTS, *UNSIGNED_TESTS, "ftz", "and", "or", "xor"))
def _setp(e: Emitter, i: Instruction) -> None:
    test, kind = i.parts[1], i.type
    a, b = (e.read(operand, kind) for operand in i.operands[1:3])
    if is_float(kind):
        found = e.value(f"fcmp {FLOAT_TESTS[test]} {LLVM[kind]} {a}, {b}")
    else:
        sign = "" if test in ("eq", "ne") else "s" if kind[0] == "s" else "u"
        found = e.value(f"icmp {UNSIGNED_TESTS.get(test, sign + test)} {LLVM[kind]} {a}, {b}")
    first, _, second = i.operands[0].partition("|")
    combined = [part for part in i.parts[2:] if part in ("and", "or", "xor")]
    other = e.value(f"xor i1 {found}, true") if second else ""
    for part in combined:
        also = e.read(i.operands[3], "pred")
        found = e.value(f"{part} i1 {found}, {also}")
        other = e.value(f"{part} i1 {other}, {also}") if second else ""
    e.write(first.strip(), found, "pred")
    if second:
        e.write(second.strip(), other, "pred")


@operation("shl", "shr")
def _shift(e: Emitter, i: Instruction) -> None:
    """Shifts by the width or more give 0, or the sign; LLVM's give anything."""
    bits, llvm = BITS[i.type], LLVM[i.type]
    a, wide = e.read(i.operands[1], i.type), e.read(i.operands[2], "b32")
    within = e.value(f"icmp ult i32 {wide}, {bits}")
    name = "shl" if i.name == "shl" else "ashr" if i.type[0] == "s" else "lshr"
    count = e.value(f"select i1 {within}, i32 {wide}, i32 {bits - 1 if name == 'ashr' else 0}")
    if bits != 32:
        count = e.value(f"{'zext' if bits > 32 else 'trunc'} i32 {count} to i{bits}")
    shifted = e.value(f"{name} {llvm} {a}, {count}")
    if name == "ashr":
        e.write(i.operands[0], shifted, i.type)
    else:
        _result(e, i, f"select i1 {within}, {llvm} {shifted}, {llvm} 0")


@operation("shf", parts=("l", "r", "wrap"))
def _funnel(e: Emitter, i: Instruction) -> None:
    low, high, count = _operands(e, i, "b32")
    if "wrap" not in i.parts:
        raise PtxError(f"unknown instruction: {i.text}")
    args = (("i32", high), ("i32", low), ("i32", count))
    e.write(i.operands[0], e.call(f"@llvm.fsh{i.parts[1]}.i32", "i32", *args), "b32")


@operation("popc", "clz", "brev")
def _count(e: Emitter, i: Instruction) -> None:
    (a,) = _operands(e, i)
    llvm = LLVM[i.type]
    if i.name == "brev":
        return e.write(i.operands[0], e.call(f"@llvm.bitreverse.{llvm}", llvm, (llvm, a)), i.type)
    if i.name == "popc":
        found = e.call(f"@llvm.ctpop.{llvm}", llvm, (llvm, a))
    else:
        found = e.call(f"@llvm.ctlz.{llvm}", llvm, (llvm, a), ("i1", "false"))
    return e.write(i.operands[0], found if llvm == "i32" else e.value(f"trunc {llvm} {found} to i32"), "b32")


@operation("lop3")
def _lop3(e: Emitter, i: Instruction) -> None:
    """Any function of three bits: bit k of the table is its value where the bits of a, b and c make the number k."""
    a, b, c = (e.read(operand, "b32") for operand in i.operands[1:4])
    table, total = int(i.operands[4], 0), "0"
    for k in range(8):
        if table >> k & 1:
            term = "-1"
            for shift, value in ((2, a), (1, b), (0, c)):
                chosen = value if k >> shift & 1 else e.value(f"xor i32 {value}, -1")
                term = e.value(f"and i32 {term}, {chosen}")
            total = e.value(f"or i32 {total}, {term}")
    e.write(i.operands[0], total, "b32")


@operation("prmt")
def _prmt(e: Emitter, i: Instruction) -> None:
    """Four bytes out of eight, as four digits choose; a digit's upper bit spreads the byte's sign."""
    a, b, choice = _operands(e, i, "b32")
    if i.parts != ("prmt", "b32"):
        raise PtxError(f"unknown instruction: {i.text}")
    low, high = (e.value(f"zext i32 {x} to i64") for x in (a, b))
    both = e.value(f"or i64 {low}, {e.value(f'shl i64 {high}, 32')}")
    total = "0"
    for k in range(4):
        digit = e.value(f"lshr i32 {choice}, {4 * k}")
        place = e.value(f"shl i32 {e.value(f'and i32 {digit}, 7')}, 3")
        shifted = e.value(f"lshr i64 {both}, {e.value(f'zext i32 {place} to i64')}")
        byte = e.value(f"trunc i64 {shifted} to i8")
        sign = e.value(f"ashr i8 {byte}, 7")
        spread = e.value(f"trunc i32 {e.value(f'lshr i32 {digit}, 3')} to i1")
        wide = e.value(f"zext i8 {e.value(f'select i1 {spread}, i8 {sign}, i8 {byte}')} to i32")
        total = e.value(f"or i32 {total}, {e.value(f'shl i32 {wide}, {8 * k}')}")
    e.write(i.operands[0], total, "b32")


@operation("bfe")
def _bfe(e: Emitter, i: Instruction) -> None:
    """A field of bits, 32 bits only; lengths that leave the word are cut."""
    if BITS[i.type] != 32:
        raise PtxError(f"unknown instruction: {i.text}")
    a = e.read(i.operands[1], i.type)
    start, length = (e.value(f"and i32 {e.read(operand, 'b32')}, 255") for operand in i.operands[2:4])
    extend = "sext" if i.type[0] == "s" else "zext"
    wide = e.value(f"{extend} i32 {a} to i128")
    small_start = e.call("@llvm.umin.i32", "i32", ("i32", start), ("i32", "63"))
    small = e.call("@llvm.umin.i32", "i32", ("i32", length), ("i32", "64"))
    shifted = e.value(f"lshr i128 {wide}, {e.value(f'zext i32 {small_start} to i128')}")
    away = e.value(f"zext i32 {e.value(f'sub i32 64, {small}')} to i128")
    top = e.value(f"shl i128 {e.value(f'shl i128 {shifted}, {away}')}, 64")
    down = "ashr" if i.type[0] == "s" else "lshr"
    back = e.value(f"{down} i128 {e.value(f'{down} i128 {top}, {away}')}, 64")
    _result(e, i, f"trunc i128 {back} to i32")


ROUND_TO_INTEGER = {"rzi": "trunc", "rni": "roundeven", "rmi": "floor", "rpi": "ceil"}


@operation("cvt", parts=("rn", "ftz", *ROUND_TO_INTEGER))
def _cvt(e: Emitter, i: Instruction) -> None:
    to, of = i.parts[-2:]
    value = e.read(i.operands[1], of)
    rounding = next((name for part, name in ROUND_TO_INTEGER.items() if part in i.parts), None)
    if is_float(of):
        if rounding:
            value = e.call(f"@llvm.{rounding}.{of}", LLVM[of], (LLVM[of], value))
        found = _of_float(e, to, of, value)
    elif is_float(to):
        found = e.value(f"{'si' if of[0] == 's' else 'ui'}tofp {LLVM[of]} {value} to {LLVM[to]}")
    elif BITS[of] < BITS[to]:
        found = e.value(f"{'sext' if of[0] == 's' else 'zext'} {LLVM[of]} {value} to {LLVM[to]}")
    else:
        found = value if BITS[of] == BITS[to] else e.value(f"trunc {LLVM[of]} {value} to {LLVM[to]}")
    e.write(i.operands[0], found, to)


def _of_float(e: Emitter, to: str, of: str, value: str) -> str:
    """A float as another float, or as the nearest integer that the type has; NaN is 0."""
    if not is_float(to):
        sign = "s" if to[0] == "s" else "u"
        return e.call(f"@llvm.fpto{sign}i.sat.{LLVM[to]}.{of}", LLVM[to], (LLVM[of], value))
    if to == of:
        return value
    return e.value(f"{'fpext' if BITS[to] > BITS[of] else 'fptrunc'} {LLVM[of]} {value} to {LLVM[to]}")
