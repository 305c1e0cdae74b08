"""LLVM IR for one kernel while it is written: values, registers, addresses, branches, and the points of resumption.

A register of PTX is a stack slot of LLVM, which LLVM turns into values; `live` says what a thread must keep while it
waits. Addresses in shared and local memory are offsets, as on hardware; generic and global ones are those of the host.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ptx import layout
from ptx.liveness import Liveness
from ptx.parser import WIDTHS, Instruction, PtxError, PtxKernel

PAIR = "f32x2"
BITS = WIDTHS | {PAIR: 64}
LLVM = {kind: f"i{bits}" for kind, bits in WIDTHS.items()} | {"f16": "half", "f32": "float", "f64": "double"}
LLVM |= {PAIR: "<2 x float>"}
SUFFIX = {"f16": "f16", "f32": "f32", "f64": "f64", PAIR: "v2f32"}


def is_float(kind: str) -> bool:
    return kind in SUFFIX


def suffix(kind: str) -> str:
    """How LLVM's intrinsics name a type."""
    return SUFFIX.get(kind, LLVM[kind])


class Emitter:
    """The body of the function that runs one thread until it must wait."""

    def __init__(self, kernel: PtxKernel, preempt: bool, races: bool):
        self.kernel = kernel
        self.preempt, self.races = preempt, races
        self.live = Liveness(kernel)
        self.lines: list[str] = []
        self.declarations: set[str] = set()
        self.resumptions = 0
        self.sites = 0  # global accesses
        self.place = 0  # index in the kernel's body
        self._values = 0
        self._kept: dict[str, int] = {}
        self._words = layout.REGISTERS

    @property
    def words(self) -> int:
        """32-bit words of a thread's state."""
        return self._words + self._words % 2

    def emit(self, line: str) -> None:
        self.lines.append("  " + line)

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")

    def fresh(self, stem: str = "v") -> str:
        self._values += 1
        return f"{stem}{self._values}"

    def value(self, expression: str) -> str:
        name = "%" + self.fresh()
        self.emit(f"{name} = {expression}")
        return name

    def call(self, name: str, result: str, *args: tuple[str, str]) -> str:
        """Call an intrinsic of LLVM, or a function of the host by its address; args are (type, value)."""
        if name.startswith("@"):
            self.declarations.add(f"declare {result} {name}({', '.join(kind for kind, _ in args)})")
        passed = ", ".join(f"{kind} {value}" for kind, value in args)
        return self.value(f"call {result} {name}({passed})")

    # ---- registers and operands

    def read(self, operand: str, kind: str) -> str:
        """The value of an operand, as LLVM has that type of PTX."""
        bits, llvm = BITS[kind], LLVM[kind]
        if operand in self.kernel.registers:
            value, have = self.value(f"load {self._slot(operand)}"), self.kernel.registers[operand]
        elif operand in layout.SPECIAL_NAMES:
            word = layout.SPECIALS + layout.SPECIAL_NAMES.index(operand)
            value, have = self.state(word), 32
        else:
            value, have = self._constant(operand, kind), bits
        if have > bits:
            value = self.value(f"trunc i{have} {value} to i{bits}")
        elif have < bits:
            value = self.value(f"zext i{have} {value} to i{bits}")
        return self.value(f"bitcast i{bits} {value} to {llvm}") if is_float(kind) else value

    def write(self, register: str, value: str, kind: str) -> None:
        """Into a register; a narrow signed value fills a wider one with its sign. `_` takes nothing."""
        if register == "_":
            return
        if register not in self.kernel.registers:
            raise PtxError(f"unknown register {register}")
        bits, have = BITS[kind], self.kernel.registers[register]
        if is_float(kind):
            value = self.value(f"bitcast {LLVM[kind]} {value} to i{bits}")
        if bits < have:
            value = self.value(f"{'sext' if kind[0] == 's' else 'zext'} i{bits} {value} to i{have}")
        elif bits > have:
            value = self.value(f"trunc i{bits} {value} to i{have}")
        self.emit(f"store i{have} {value}, ptr {_name(register)}")

    def _slot(self, register: str) -> str:
        return f"i{self.kernel.registers[register]}, ptr {_name(register)}"

    def _constant(self, operand: str, kind: str) -> str:
        """The bits of a literal or the address of a variable, as a decimal number."""
        for variables in (self.kernel.shared, self.kernel.local):
            if operand in variables:
                return str(variables[operand])
        if re.fullmatch(r"0[fFdD][0-9a-fA-F]+", operand):
            return str(int(operand[2:], 16))
        if re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)U?", operand):
            number = int(operand.rstrip("U"), 0)
            return ("true" if number else "false") if kind == "pred" else str(number)
        if operand == "WARP_SZ":
            return "32"
        raise PtxError(f"unknown operand {operand}")

    # ---- the state of the thread, the environment of the block

    def state_pointer(self, word: int) -> str:
        return self.value(f"getelementptr i32, ptr %state, i32 {word}")

    def state(self, word: int) -> str:
        return self.value(f"load i32, ptr {self.state_pointer(word)}")

    def set_state(self, word: int, value: str) -> None:
        self.emit(f"store i32 {value}, ptr {self.state_pointer(word)}")

    def environment(self, word: int) -> str:
        pointer = self.value(f"getelementptr i64, ptr %environment, i32 {word}")
        return self.value(f"load i64, ptr {pointer}")

    # ---- control

    def branch_if(self, condition: str, yes: str, no: str) -> None:
        self.emit(f"br i1 {condition}, label %{yes}, label %{no}")

    def stop_unless(self, condition: str, code: int = layout.FAULT) -> None:
        """Give up for good where the condition does not hold."""
        fine, bad = self.fresh("fine"), self.fresh("bad")
        self.emit(f"br i1 {condition}, label %{fine}, label %{bad}, !prof !0")
        self.label(bad)
        self.emit(f"ret i32 {code}")
        self.label(fine)

    def target(self, label: str) -> str:
        """LLVM's name for a label."""
        return "label." + re.sub(r"\W", "_", label)

    def give_up(self, code: int) -> None:
        """Return to the scheduler; the thread resumes here with the registers that are live after the instruction."""
        self.resumptions += 1
        kept = sorted(self.live.after(self.place))
        for register in kept:
            pointer = self.state_pointer(self._word(register))
            self.emit(f"store i{self._held(register)} {self._loaded(register)}, ptr {pointer}")
        self.set_state(layout.RESUME, str(self.resumptions))
        self.emit(f"ret i32 {code}")
        self.label(f"resume{self.resumptions}")
        for register in kept:
            held, bits = self._held(register), self.kernel.registers[register]
            value = self.value(f"load i{held}, ptr {self.state_pointer(self._word(register))}")
            if held > bits:
                value = self.value(f"trunc i{held} {value} to i{bits}")
            self.emit(f"store i{bits} {value}, ptr {_name(register)}")

    def _held(self, register: str) -> int:
        return max(32, self.kernel.registers[register])

    def _loaded(self, register: str) -> str:
        bits, held = self.kernel.registers[register], self._held(register)
        value = self.value(f"load i{bits}, ptr {_name(register)}")
        return self.value(f"zext i{bits} {value} to i{held}") if held > bits else value

    def _word(self, register: str) -> int:
        """Where the state keeps a register."""
        if register not in self._kept:
            words = self._held(register) // 32
            self._words += self._words % words
            self._kept[register] = self._words
            self._words += words
        return self._kept[register]

    def slots(self) -> list[str]:
        return [f"  {_name(name)} = alloca i{bits}" for name, bits in self.kernel.registers.items()]


def _name(register: str) -> str:
    return "%r." + re.sub(r"\W", "_", register.lstrip("%"))


def vector(operand: str) -> list[str]:
    """The registers of `{a, b}`, or the one that stands alone."""
    return [name.strip() for name in operand.strip("{} ").split(",")]


def require(instruction: Instruction, known: Sequence[str]) -> None:
    """PtxError unless every part of the opcode is a type or among the known."""
    for part in instruction.parts[1:]:
        if part not in BITS and part not in known:
            raise PtxError(f"unknown instruction (its part .{part}): {instruction.text}")
