"""A kernel of PTX to machine code of this CPU: one function that runs one thread until it ends or must wait."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm

from ptx import accesses, arithmetic, layout
from ptx.emitter import Emitter
from ptx.parser import Instruction, PtxError, PtxKernel, parse

assert accesses.OPERATIONS is arithmetic.OPERATIONS  # imported, its instructions are known


@dataclass(frozen=True)
class Translated:
    """Machine code of one kernel.

    function : the address of `int32 run(state, environment)`
    words : 32-bit words of a thread's state
    sites : accesses to global memory in the text
    """

    kernel: PtxKernel
    function: int
    words: int
    sites: int
    engine: Any  # owns the code


@lru_cache(maxsize=512)
def translate(ptx: str, preempt: bool = False, races: bool = False) -> Translated:
    """Translate once. `preempt`: a thread also gives up control after each access; `races`: see `ptx.runtime`.

    PtxError names the instruction that is not known.
    """
    kernel = parse(ptx)
    emitter = ThreadEmitter(kernel, preempt, races)
    emitter.write_body()
    function, engine = _compile(emitter.module())
    return Translated(kernel, function, emitter.words, emitter.sites, engine)


class ThreadEmitter(Emitter):
    """The whole function."""

    def write_body(self) -> None:
        for place, entry in enumerate(self.kernel.body):
            self.place = place
            if isinstance(entry, str):
                self.emit(f"br label %{self.target(entry)}")
                self.label(self.target(entry))
            elif entry.guard is None:
                arithmetic.translate(self, entry)
            else:
                self._guarded(entry)
        self.emit(f"ret i32 {layout.EXIT}")

    def _guarded(self, entry: Instruction) -> None:
        """An instruction that runs only where its predicate says so."""
        condition = self.read(str(entry.guard), "pred")
        then, after = self.fresh("then"), self.fresh("after")
        jump = entry.name == "bra"
        yes = self.target(entry.operands[0]) if jump else then
        self.branch_if(condition, *((after, yes) if entry.negated else (yes, after)))
        if not jump:
            self.label(then)
            arithmetic.translate(self, entry)
            self.emit(f"br label %{after}")
        self.label(after)

    def module(self) -> str:
        """The text of the module."""
        points = " ".join(f"i32 {k}, label %resume{k}" for k in range(1, self.resumptions + 1))
        words = {"shared_base": layout.SHARED, "local_base": layout.LOCAL}
        pointers = {"parameters": layout.PARAMETERS, "sites": layout.SITES}
        faults = {"fault_kind": layout.FAULT_KIND, "fault_place": layout.FAULT_PLACE}
        lines = ["define i32 @run(i64 %state_address, i64 %environment_address) {", "entry:"]
        lines += ["  %state = inttoptr i64 %state_address to ptr"]
        lines += ["  %environment = inttoptr i64 %environment_address to ptr"]
        for name, word in (words | pointers | faults).items():
            lines.append(f"  %at.{name} = getelementptr i64, ptr %environment, i32 {word}")
        for name in words:
            lines.append(f"  %{name} = load i64, ptr %at.{name}")
        for name in pointers:
            lines += [f"  %address.{name} = load i64, ptr %at.{name}"]
            lines += [f"  %{name} = inttoptr i64 %address.{name} to ptr"]
        for name in faults:
            lines.append(f"  %{name} = getelementptr i8, ptr %at.{name}, i64 0")
        lines += self.slots()
        lines += ["  %resumed = load i32, ptr %state", f"  switch i32 %resumed, label %begin [{points}]", "begin:"]
        lines += [*self.lines, "}", *sorted(self.declarations)]
        lines += ['!0 = !{!"branch_weights", i32 2000, i32 1}']
        return "\n".join(lines)


def _machine() -> Any:
    """This CPU; an engine takes it over, so each has its own."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(opt=1, features=features, cpu=llvm.get_host_cpu_name(), jit=True)


def _compile(text: str) -> tuple[int, Any]:
    """The address of `run`, and what owns it."""
    try:
        module = llvm.parse_assembly(text)
    except RuntimeError as error:
        raise PtxError(f"the translation is not LLVM IR: {error}") from error
    machine = _machine()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=1))
    passes = llvm.create_new_module_pass_manager()
    for add in ("sroa", "instruction_combine", "simplify_cfg"):
        getattr(passes, f"add_{add}_pass")()
    passes.run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine.get_function_address("run"), engine
