"""What the assembler makes of a kernel: registers, shared memory, and the instructions of its hottest loop.

`ptxas` and `nvdisasm` come with nvidia-cuda-nvcc and nvidia-cuda-nvdisasm; neither needs a GPU.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cache
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from ptx.toolchain import utility

PACKAGES = ("numba-cuda", "nvidia-nvvm")  # what the PTX depends on, beside our own code
INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\b([^;]*);")
LABEL = re.compile(r"^(\.L_\w+):", re.MULTILINE)


@dataclass(frozen=True)
class Counts:
    """One kernel on one architecture.

    registers : of a thread
    shared : bytes of shared memory of a block whose size the kernel's code fixes; what a launch adds is not in it
    ffma, lds, lds128, ldg, ldg128, instructions : in the whole kernel, the wide ones counted in both
    loop_ffma ... loop_instructions : in the innermost loop that has the most multiply-adds; 0 where none has any
    ahead, ahead128 : the most loads of the device's memory, of 32 and of 128 bits, that a thread has under way before
        it waits for one
    """

    registers: int
    shared: int
    ffma: int
    lds: int
    lds128: int
    ldg: int
    ldg128: int
    instructions: int
    loop_ffma: int
    loop_lds: int
    loop_lds128: int
    loop_instructions: int
    ahead: int
    ahead128: int


@dataclass(frozen=True)
class Assembled:
    """What `ptxas` says of a kernel, and its code: opcodes with their operands, in order; `loops` are first and last
    index of each innermost loop."""

    registers: int
    shared: int
    stack: int
    spills: int
    code: Sequence[tuple[str, str]]
    loops: Sequence[tuple[int, int]]

    def opcodes(self) -> list[str]:
        return [opcode for opcode, _ in self.code]

    def counts(self) -> Counts:
        every = self.opcodes()
        bodies = [every[first : last + 1] for first, last in self.loops]
        hottest = max(bodies, key=lambda body: _count(body, "FFMA"), default=[])
        if not _count(hottest, "FFMA"):
            hottest = []
        return Counts(
            self.registers,
            self.shared,
            _count(every, "FFMA"),
            _count(every, "LDS"),
            _count(every, "LDS", "128"),
            _count(every, "LDG"),
            _count(every, "LDG", "128"),
            len(every),
            _count(hottest, "FFMA"),
            _count(hottest, "LDS"),
            _count(hottest, "LDS", "128"),
            len(hottest),
            self._under_way(1),
            self._under_way(4),
        )

    def _under_way(self, width: int) -> int:
        """The most loads of so many registers that are pending, as the code stands. One that is waited for has those
        before it done as well."""
        pending: list[set[int]] = []
        most = 0
        for opcode, operands in self.code:
            named = {int(register) for register in re.findall(r"\bR(\d+)\b", operands)}
            waited = [index for index, loaded in enumerate(pending) if loaded & named]
            pending = pending[max(waited) + 1 :] if waited else pending
            name, *details = opcode.split(".")
            target = re.match(r"\s*R(\d+)", operands)
            if name == "LDG" and target and width == next((n for n, d in ((4, "128"), (2, "64")) if d in details), 1):
                pending.append(set(range(int(target[1]), int(target[1]) + width)))
                most = max(most, len(pending))
        return most


def _count(opcodes: Sequence[str], name: str, width: str = "") -> int:
    """How many are `name`, or its variants with this width."""
    parts = (opcode.split(".") for opcode in opcodes)
    return sum(part[0] == name and (not width or width in part) for part in parts)


@cache
def toolchain() -> str:
    """The versions that decide what a kernel becomes."""
    said = subprocess.run([found("ptxas"), "--version"], capture_output=True, text=True, check=True).stdout
    versions = [f"ptxas {re.findall(r'V([0-9.]+)', said)[0]}"]
    return ", ".join([*versions, *(f"{package} {metadata.version(package)}" for package in PACKAGES)])


def found(tool: str) -> str:
    """The path of one of NVIDIA's programs. FileNotFoundError where it is not installed."""
    path = utility(tool)
    if path is None:
        raise FileNotFoundError(f"{tool} is not installed: pip install nvidia-cuda-nvcc nvidia-cuda-nvdisasm")
    return path


def assemble(ptx: str) -> Assembled:
    """Assemble for the architecture that the PTX names, and take apart. RuntimeError with the assembler's words where
    it refuses."""
    with TemporaryDirectory() as folder:
        source, binary = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        source.write_text(ptx.rstrip("\0"))
        architecture = re.findall(r"^\s*\.target\s+(\w+)", ptx, re.MULTILINE)[0]
        command = [found("ptxas"), "-v", f"-arch={architecture}", str(source), "-o", str(binary)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        if done.returncode:
            raise RuntimeError(said)
        command = [found("nvdisasm"), "-c", str(binary)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    code, loops = disassembled(text)
    spills = _stated(r"(\d+) bytes spill stores", said) + _stated(r"(\d+) bytes spill loads", said)
    registers, shared = _stated(r"Used (\d+) registers", said), _stated(r"(\d+) bytes smem", said)
    return Assembled(registers, shared, _stated(r"(\d+) bytes stack frame", said), spills, code, loops)


def _stated(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


def disassembled(text: str) -> tuple[list[tuple[str, str]], list[tuple[int, int]]]:
    """Instructions of `nvdisasm -c`, and the innermost of the loops that its backward branches close."""
    places: dict[str, int] = {}
    code: list[tuple[str, str]] = []
    for line in text.splitlines():
        if label := LABEL.match(line):
            places[label[1]] = len(code)
        code += [(opcode, operands) for _, opcode, operands in INSTRUCTION.findall(line) if opcode != "NOP"]
    loops = sorted(_loops(code, places))
    return code, [loop for loop in loops if not any(_within(other, loop) for other in loops)]


def _loops(code: Sequence[tuple[str, str]], places: dict[str, int]) -> Iterator[tuple[int, int]]:
    for index, (opcode, operands) in enumerate(code):
        target = re.search(r"`\((\.L_\w+)\)", operands)
        if opcode.split(".")[0] == "BRA" and target and places[target[1]] < index:  # `X: BRA X` only fills up
            yield places[target[1]], index


def _within(inner: tuple[int, int], outer: tuple[int, int]) -> bool:
    return inner != outer and outer[0] <= inner[0] and inner[1] <= outer[1]


HEADINGS = ("kernel", "arch", *(field.name for field in fields(Counts)))
Table = dict[tuple[str, str], Counts]


def as_text(versions: str, table: Table) -> str:
    """A file for people: a line for each kernel and architecture."""
    lines = [HEADINGS, *((*key, *map(str, astuple(table[key]))) for key in sorted(table))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([f"# {versions}", *rows, ""])


def from_text(text: str) -> tuple[str, Table]:
    """The versions and the table of a file that `as_text` made."""
    first, _, *rows = text.splitlines()
    table = {}
    for row in rows:
        name, architecture, *values = re.split(r"  +", row.strip())
        table[name, architecture] = Counts(*map(int, values))
    return first.removeprefix("# "), table
