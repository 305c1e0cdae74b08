"""Instructions that touch memory or wait for other threads: loads, stores, atomics, barriers, shuffles, and the end."""

from __future__ import annotations

import re

from ptx import layout, runtime
from ptx.arithmetic import OPERATIONS, operation
from ptx.emitter import BITS, LLVM, Emitter, is_float, vector
from ptx.parser import Instruction, PtxError

__all__ = ["OPERATIONS"]

SPACES = ("global", "shared", "local", "param")
HINTS = ("ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc", "L1", "L2", "evict_first", "evict_last", "no_allocate")
ORDERS = ("weak", "relaxed", "acquire", "release", "acq_rel", "volatile", "cta", "gpu", "sys")
STRONG = {"relaxed", "acquire", "release", "acq_rel", "volatile"}


def space_of(instruction: Instruction) -> str:
    return next((part for part in instruction.parts if part in SPACES), "generic")


def _address(e: Emitter, operand: str) -> str:
    """The address within its space, of `[name]` or `[name+number]`."""
    found = re.fullmatch(r"\[\s*([^\s+\]]+)\s*(?:\+\s*(-?\w+))?\s*\]", operand)
    if not found:
        raise PtxError(f"unknown operand {operand}")
    base = e.read(found[1], "b64")
    return e.value(f"add i64 {base}, {int(found[2], 0)}") if found[2] else base


def _pointer(e: Emitter, space: str, address: str, size: int, kind: int) -> str:
    """A pointer of the host to what an address names, after all checks of an access to so many bytes."""
    site = e.sites
    e.sites += 1
    numbers = [("i32", str(number)) for number in (size, kind, e.place)]
    near = [("i64", "%environment_address"), ("i64", "%state_address")]
    if space == "global" and not e.races:
        _check_quickly(e, address, size, site, [("i64", address), *numbers, *near])
    else:
        last = [("i32", str(site))] if space == "global" else []
        function = runtime.address_of(space if space != "global" else "global", e.races)
        bad = e.call(function, "i32", ("i64", address), *numbers, *near, *last)
        e.stop_unless(e.value(f"icmp eq i32 {bad}, 0"))
    if space in ("shared", "local"):
        address = e.value(f"add i64 {address}, %{space}_base")
    return e.value(f"inttoptr i64 {address} to ptr")


def _check_quickly(e: Emitter, address: str, size: int, site: int, args: list[tuple[str, str]]) -> None:
    """Aligned, and within the array that this place met last: else ask."""
    pointers = [e.value(f"getelementptr i64, ptr %sites, i32 {2 * site + k}") for k in range(2)]
    begin, end = (e.value(f"load i64, ptr {pointer}") for pointer in pointers)
    offset = e.value(f"sub i64 {address}, {begin}")
    room = e.value(f"icmp ule i64 {offset}, {end}")
    low = e.value(f"and i64 {address}, {size - 1}")
    fine = e.value(f"and i1 {room}, {e.value(f'icmp eq i64 {low}, 0')}")
    near, far = e.fresh("near"), e.fresh("far")
    e.emit(f"br i1 {fine}, label %{near}, label %{far}, !prof !0")
    e.label(far)
    bad = e.call(runtime.address_of("global", False), "i32", *args, ("i32", str(site)))
    e.stop_unless(e.value(f"icmp eq i32 {bad}, 0"))
    e.emit(f"br label %{near}")
    e.label(near)


@operation("ld", parts=(*SPACES, *HINTS, *ORDERS, "v2", "v4"))
def _ld(e: Emitter, i: Instruction) -> None:
    names, size, space = vector(i.operands[0]), BITS[i.type] // 8, space_of(i)
    if space == "param":
        return e.write(names[0], _parameter(e, i), i.type)
    kind = layout.LOOK if STRONG & set(i.parts) else layout.READ
    address = _address(e, i.operands[1])
    pointer = _pointer(e, space, address, size * len(names), kind)
    _transfer(e, i, pointer, names, "load")
    if "acquire" in i.parts and e.races:
        _synchronise(e, "acquire", address)
    return _pause(e, i)


@operation("st", parts=(*SPACES, *HINTS, *ORDERS, "v2", "v4"))
def _st(e: Emitter, i: Instruction) -> None:
    names, size, space = vector(i.operands[1]), BITS[i.type] // 8, space_of(i)
    if space == "param":
        raise PtxError(f"unknown instruction: {i.text}")
    kind = layout.ATOMIC if STRONG & set(i.parts) else layout.WRITE
    address = _address(e, i.operands[0])
    pointer = _pointer(e, space, address, size * len(names), kind)
    if "release" in i.parts and e.races:
        _synchronise(e, "release", address)
    _transfer(e, i, pointer, names, "store")
    _pause(e, i)


def _transfer(e: Emitter, i: Instruction, pointer: str, names: list[str], direction: str) -> None:
    size, llvm = BITS[i.type] // 8, LLVM[i.type]
    for k, name in enumerate(names):
        place = e.value(f"getelementptr i8, ptr {pointer}, i64 {k * size}") if k else pointer
        if direction == "load":
            e.write(name, e.value(f"load {llvm}, ptr {place}, align {size}"), i.type)
        else:
            e.emit(f"store {llvm} {e.read(name, i.type)}, ptr {place}, align {size}")


def _parameter(e: Emitter, i: Instruction) -> str:
    name, _, further = i.operands[1].strip("[] ").partition("+")
    if name not in e.kernel.parameters or len(vector(i.operands[0])) > 1:
        raise PtxError(f"unknown instruction: {i.text}")
    offset = e.kernel.parameters[name][0] + int(further or 0)
    pointer = e.value(f"getelementptr i8, ptr %parameters, i64 {offset}")
    return e.value(f"load {LLVM[i.type]}, ptr {pointer}, align 1")


def _pause(e: Emitter, i: Instruction) -> None:
    """After what others may wait for, or be waited for, they get their turn; with preemption, after every access."""
    if STRONG & set(i.parts):
        e.give_up(layout.SPIN)
    elif e.preempt:
        e.give_up(layout.PREEMPTED)


def _synchronise(e: Emitter, what: str, address: str) -> None:
    args = [("i64", address), ("i64", "%environment_address"), ("i64", "%state_address")]
    e.call(runtime.address_of(what, True), "i32", *args)


READ_MODIFY_WRITE = {"add": "add", "and": "and", "or": "or", "xor": "xor", "exch": "xchg", "min": "min", "max": "max"}


@operation("atom", "red", parts=(*SPACES, *ORDERS, *READ_MODIFY_WRITE, "cas"))
def _atomic(e: Emitter, i: Instruction) -> None:
    result, operands = (i.operands[0], i.operands[1:]) if i.name == "atom" else ("_", i.operands)
    llvm, size = LLVM[i.type], BITS[i.type] // 8
    address = _address(e, operands[0])
    pointer = _pointer(e, space_of(i), address, size, layout.ATOMIC)
    if e.races and {"release", "acq_rel"} & set(i.parts):
        _synchronise(e, "release", address)
    values = [e.read(operand, i.type) for operand in operands[1:]]
    if "cas" in i.parts:
        exchange = f"cmpxchg ptr {pointer}, {llvm} {values[0]}, {llvm} {values[1]} seq_cst seq_cst"
        found = e.value(f"extractvalue {{{llvm}, i1}} {e.value(exchange)}, 0")
    else:
        name = next(text for part, text in READ_MODIFY_WRITE.items() if part in i.parts)
        if is_float(i.type) and name != "xchg":
            name = "f" + name
        elif name in ("min", "max") and i.type[0] != "s":
            name = "u" + name
        found = e.value(f"atomicrmw {name} ptr {pointer}, {llvm} {values[0]} seq_cst")
    e.write(result, found, i.type)
    if e.races and {"acquire", "acq_rel"} & set(i.parts):
        _synchronise(e, "acquire", address)
    e.give_up(layout.SPIN)


@operation("cvta", parts=(*SPACES, "to"))
def _cvta(e: Emitter, i: Instruction) -> None:
    """Between an address of a space and the generic one."""
    value, space = e.read(i.operands[1], "b64"), space_of(i)
    if space in ("shared", "local"):
        value = e.value(f"{'sub' if 'to' in i.parts else 'add'} i64 {value}, %{space}_base")
    e.write(i.operands[0], value, "b64")


@operation("membar", "fence", "nanosleep", parts=("gl", *ORDERS, "sc"))
def _fence(e: Emitter, i: Instruction) -> None:
    e.give_up(layout.SPIN)


@operation("bar", "barrier", parts=("sync", "warp", "red", "popc", "and", "or", "cta", "aligned"))
def _barrier(e: Emitter, i: Instruction) -> None:
    if "warp" in i.parts:
        return _meet(e, layout.MEET, mask=i.operands[0])
    if "red" in i.parts:
        return _counting_barrier(e, i)
    if i.operands != ("0",):
        raise PtxError(f"only barrier 0 of all threads of a block is known: {i.text}")
    e.set_state(layout.MAIL_MODE, str(layout.MEET))
    return e.give_up(layout.BARRIER)


def _counting_barrier(e: Emitter, i: Instruction) -> None:
    """A barrier that also counts the threads whose predicate is true, or asks whether any or all are."""
    result, barrier, predicate = i.operands
    if barrier != "0":
        raise PtxError(f"only barrier 0 of all threads of a block is known: {i.text}")
    e.set_state(layout.MAIL_VALUE, e.value(f"zext i1 {e.read(predicate, 'pred')} to i32"))
    mode = layout.COUNT if "popc" in i.parts else layout.ALL if "and" in i.parts else layout.ANY
    e.set_state(layout.MAIL_MODE, str(mode))
    e.give_up(layout.BARRIER)
    found = e.state(layout.MAIL_RESULT)
    if mode == layout.COUNT:
        e.write(result, found, "b32")
    else:
        e.write(result, e.value(f"trunc i32 {found} to i1"), "pred")


def _meet(e: Emitter, mode: int, mask: str, value: str = "0", lane: str = "0", clamp: str = "0") -> None:
    """Wait for the other threads of the warp that the mask names, and leave them something in the mailbox."""
    for word, found in (
        (layout.MAIL_VALUE, value),
        (layout.MAIL_LANE, lane),
        (layout.MAIL_CLAMP, clamp),
        (layout.MAIL_MODE, str(mode)),
        (layout.MAIL_MASK, e.read(mask, "b32")),
    ):
        e.set_state(word, found)
    e.give_up(layout.WARP)


SHUFFLES = {"up": layout.UP, "down": layout.DOWN, "bfly": layout.BUTTERFLY, "idx": layout.INDEX}


@operation("shfl", parts=(*SHUFFLES, "sync"))
def _shuffle(e: Emitter, i: Instruction) -> None:
    result, _, predicate = i.operands[0].partition("|")
    value, lane, clamp = (e.read(operand, "b32") for operand in i.operands[1:4])
    mode = next(mode for part, mode in SHUFFLES.items() if part in i.parts)
    _meet(e, mode, i.operands[4], value, lane, clamp)
    e.write(result.strip(), e.state(layout.MAIL_RESULT), "b32")
    if predicate:
        e.write(predicate.strip(), e.value(f"trunc i32 {e.state(layout.MAIL_PREDICATE)} to i1"), "pred")


VOTES = {"ballot": layout.BALLOT, "any": layout.ANY, "all": layout.ALL, "uni": layout.UNIFORM}


@operation("vote", parts=(*VOTES, "sync"))
def _vote(e: Emitter, i: Instruction) -> None:
    result, predicate, mask = i.operands
    mode = next(mode for part, mode in VOTES.items() if part in i.parts)
    _meet(e, mode, mask, e.value(f"zext i1 {e.read(predicate, 'pred')} to i32"))
    found = e.state(layout.MAIL_RESULT)
    if mode == layout.BALLOT:
        e.write(result, found, "b32")
    else:
        e.write(result, e.value(f"trunc i32 {found} to i1"), "pred")


@operation("bra", parts=("uni",))
def _bra(e: Emitter, i: Instruction) -> None:
    e.emit(f"br label %{e.target(i.operands[0])}")
    e.label(e.fresh("after"))


@operation("ret", "exit", parts=("uni",))
def _exit(e: Emitter, i: Instruction) -> None:
    e.emit(f"ret i32 {layout.EXIT}")
    e.label(e.fresh("after"))


@operation("trap")
def _trap(e: Emitter, i: Instruction) -> None:
    e.emit(f"store i64 {e.place}, ptr %fault_place")
    e.emit(f"ret i32 {layout.TRAP}")
    e.label(e.fresh("after"))
