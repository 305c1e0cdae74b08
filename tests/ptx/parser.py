"""The text of PTX to instructions: one kernel (`.entry`) with its parameters, variables, registers and body.

The grammar that is read is what NVVM writes and what stands in lines of inline assembly: PTX ISA, NVIDIA, chapters 4-9.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

WIDTHS = {"pred": 1} | {f"{kind}{bits}": bits for kind in "bus" for bits in (8, 16, 32, 64)}
WIDTHS |= {"f16": 16, "f32": 32, "f64": 64}


class PtxError(Exception):
    """PTX that the executor cannot read, or an instruction that it does not know."""


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    parts : the opcode between its dots, as ("ld", "global", "v4", "f32")
    operands : as written, a vector in its braces and an address in its brackets
    guard : the predicate register that decides whether it runs, or None; `negated` where a `!` stands before it
    text : all of it, for messages
    """

    parts: tuple[str, ...]
    operands: tuple[str, ...]
    guard: str | None
    negated: bool
    text: str

    @property
    def name(self) -> str:
        return self.parts[0]

    @property
    def type(self) -> str:
        """The last part, which names the type that most instructions work on."""
        return self.parts[-1]


@dataclass
class PtxKernel:
    """One kernel as it is written.

    parameters : name -> (offset in the block of parameters, type)
    registers : name -> bits
    shared, local : variable -> offset in bytes; dynamic shared memory begins where the static ends
    body : instructions, and labels as text
    threads : the largest block by `.maxntid`, or None
    """

    name: str
    target: str
    parameters: dict[str, tuple[int, str]]
    registers: dict[str, int] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)
    shared_bytes: int = 0
    dynamic: list[str] = field(default_factory=list)
    dynamic_alignment: int = 1
    local: dict[str, int] = field(default_factory=dict)
    local_bytes: int = 0
    body: list[Instruction | str] = field(default_factory=list)
    threads: int | None = None


def parse(ptx: str) -> PtxKernel:
    """The kernel of a text that holds exactly one. PtxError for anything else."""
    text = re.sub(r"//[^\n]*", "", re.sub(r"/\*.*?\*/", "", ptx, flags=re.DOTALL)).rstrip("\0 \n")
    entries = list(re.finditer(r"\.entry\s+([\w$.]+)\s*(?:\(([^)]*)\))?([^{;]*)\{", text))
    if len(entries) != 1:
        raise PtxError(f"a text of PTX with exactly one kernel is needed, and this one has {len(entries)}")
    entry = entries[0]
    target = re.search(r"\.target\s+(\w+)", text)
    kernel = PtxKernel(entry[1], target[1] if target else "", _parameters(entry[2] or ""))
    bounds = re.search(r"\.maxntid\s+([\d,\s]+)", entry[3])
    if bounds:
        kernel.threads = 1
        for size in bounds[1].split(","):
            kernel.threads *= int(size)
    body = _block(text, entry.end())
    for part in (text[: entry.start()], body):
        _variables(part, kernel)
    kernel.shared_bytes = _aligned(kernel.shared_bytes, kernel.dynamic_alignment)
    kernel.shared |= dict.fromkeys(kernel.dynamic, kernel.shared_bytes)
    for statement in _statements(body):
        _add(statement, kernel)
    return kernel


def _block(text: str, begin: int) -> str:
    """What stands between the brace before `begin` and its closing one."""
    depth = 1
    for brace in re.finditer(r"[{}]", text[begin:]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[begin : begin + brace.start()]
    raise PtxError("the kernel's closing brace is missing")


def _parameters(text: str) -> dict[str, tuple[int, str]]:
    found: dict[str, tuple[int, str]] = {}
    offset = 0
    for declaration in filter(None, map(str.strip, text.split(","))):
        words = declaration.split()
        if "[" in declaration:
            raise PtxError(f"a parameter that is an array: {declaration}")
        kind = next(word[1:] for word in words if word[1:] in WIDTHS)
        size = WIDTHS[kind] // 8
        offset = _aligned(offset, size)
        found[words[-1]] = offset, kind
        offset += size
    return found


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def _variables(text: str, kernel: PtxKernel) -> None:
    pattern = r"\.(shared|local)\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+([\w$]+)(\[\d*\])?\s*;"
    for space, align, kind, name, count in re.findall(pattern, text):
        size, alignment = WIDTHS[kind] // 8, int(align or WIDTHS[kind] // 8)
        if space == "shared" and count == "[]":
            kernel.dynamic_alignment = max(kernel.dynamic_alignment, alignment)
            kernel.dynamic.append(name)
        elif space == "shared":
            kernel.shared[name] = _aligned(kernel.shared_bytes, alignment)
            kernel.shared_bytes = kernel.shared[name] + size * int(count.strip("[]") or 1)
        else:
            kernel.local[name] = _aligned(kernel.local_bytes, alignment)
            kernel.local_bytes = kernel.local[name] + size * int(count.strip("[]") or 1)


def _statements(body: str) -> list[str]:
    """Labels with their colon, directives and instructions, without the semicolons."""
    labelled = re.sub(r"(?m)^\s*([$\w]+):", r"\1: ;", body)
    # A brace on its own opens or closes a scope, which changes no name that NVVM writes; one after a blank or a comma
    # within an instruction is a vector.
    found = []
    for statement in labelled.split(";"):
        words = " ".join(statement.split())
        while words[:1] in ("{", "}"):
            words = words[1:].strip()
        if words:
            found.append(words)
    return found


def _add(statement: str, kernel: PtxKernel) -> None:
    if statement.endswith(":"):
        kernel.body.append(statement[:-1])
    elif statement.startswith(".reg"):
        _registers(statement, kernel)
    elif statement.startswith((".loc", ".pragma", ".shared", ".local", ".param")):
        return
    elif statement.startswith("."):
        raise PtxError(f"unknown directive: {statement}")
    else:
        kernel.body.append(_instruction(statement))


def _registers(statement: str, kernel: PtxKernel) -> None:
    _, kind, names = statement.split(maxsplit=2)
    for name in names.split(","):
        many = re.fullmatch(r"\s*(\S+)<(\d+)>\s*", name)
        declared = [f"{many[1]}{k}" for k in range(int(many[2]))] if many else [name.strip()]
        for register in declared:
            bits = WIDTHS[kind[1:]]
            if kernel.registers.setdefault(register, bits) != bits:
                raise PtxError(f"register {register} is declared with two sizes")


def _instruction(text: str) -> Instruction:
    guarded = re.fullmatch(r"@(!?)\s*(\S+)\s+(.*)", text)
    bare = guarded[3] if guarded else text
    opcode, _, rest = bare.partition(" ")
    return Instruction(
        tuple(part for part in re.split(r"[.:]+", opcode) if part),
        tuple(_operands(rest)),
        guarded[2] if guarded else None,
        bool(guarded and guarded[1]),
        text,
    )


def _operands(text: str) -> list[str]:
    """Split at the commas that stand in no bracket."""
    found, depth, begin = [], 0, 0
    for place, letter in enumerate(text):
        if letter in "{[(":
            depth += 1
        elif letter in "}])":
            depth -= 1
        elif letter == "," and depth == 0:
            found.append(text[begin:place].strip())
            begin = place + 1
    found.append(text[begin:].strip())
    return [operand for operand in found if operand]


def names(text: str) -> list[str]:
    """All that could be names of registers or variables in an operand."""
    return re.findall(r"[%$\w][\w$.]*", text)
