"""Which registers still matter at each instruction: only those are kept while a thread waits."""

from __future__ import annotations

from collections.abc import Sequence

from ptx.parser import Instruction, PtxError, PtxKernel, names

NO_RESULT = {"st", "red", "bar", "barrier", "bra", "ret", "exit", "trap", "membar", "fence", "nanosleep"}
ENDS = {"ret", "exit", "trap"}


def results(instruction: Instruction) -> list[str]:
    """The names that an instruction writes."""
    if instruction.name in NO_RESULT or not instruction.operands:
        return []
    return names(instruction.operands[0])


class Liveness:
    """For each entry of a kernel's body, the registers that are read after it before they are written."""

    def __init__(self, kernel: PtxKernel):
        self._order = list(kernel.registers)
        self._number = {name: 1 << k for k, name in enumerate(self._order)}
        self._labels = {entry: place for place, entry in enumerate(kernel.body) if isinstance(entry, str)}
        reads, writes, follows = zip(*[self._effect(*entry, kernel) for entry in enumerate(kernel.body)], strict=True)
        self._after = _fixed_point(reads, writes, follows)

    def after(self, place: int) -> list[str]:
        bits, found = self._after[place], []
        while bits:
            low = bits & -bits
            found.append(self._order[low.bit_length() - 1])
            bits ^= low
        return found

    def _effect(self, place: int, entry: Instruction | str, kernel: PtxKernel) -> tuple[int, int, list[int]]:
        """Registers read and written, as sets of bits, and the places that may come next."""
        targets = [place + 1]
        reads = writes = 0
        if isinstance(entry, Instruction):
            written = results(entry)
            read = [name for operand in entry.operands[1 if written else 0 :] for name in names(operand)]
            if entry.guard:
                read += [entry.guard, *written]  # what is not written stays
            reads, writes = self._bits(read), self._bits(written)
            if entry.name == "bra":
                targets = [self._label(entry), *(targets if entry.guard else [])]
            elif entry.name in ENDS and not entry.guard:
                targets = []
        return reads, writes, [target for target in targets if target < len(kernel.body)]

    def _label(self, branch: Instruction) -> int:
        if branch.operands[0] not in self._labels:
            raise PtxError(f"no such label: {branch.text}")
        return self._labels[branch.operands[0]]

    def _bits(self, found: list[str]) -> int:
        total = 0
        for name in found:
            total |= self._number.get(name, 0)
        return total


def _fixed_point(reads: Sequence[int], writes: Sequence[int], follows: Sequence[list[int]]) -> list[int]:
    """What is live after each place: live before = read, or live after and not written."""
    before, after = [0] * len(reads), [0] * len(reads)
    changed = True
    while changed:
        changed = False
        for place in reversed(range(len(reads))):
            after[place] = 0
            for target in follows[place]:
                after[place] |= before[target]
            value = reads[place] | (after[place] & ~writes[place])
            if value != before[place]:
                before[place], changed = value, True
    return after
