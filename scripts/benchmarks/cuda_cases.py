"""What is compared on a GPU, and the ratios that we want to reach there: cuDNN's time by ours, in float32."""

from __future__ import annotations

from typing import Any

from benchmarks.cases import OTHER_CELLS, Case, Rival, comma
from benchmarks.processes import Contender
from kernels.cells import CELLS

# T, B, D, H -> least ratio of a training step and of inference, None where none was set
LAYERS: dict[tuple[int, ...], tuple[float, float | None]] = {
    (500, 16, 39, 256): (1.0, 1.2),
    (500, 16, 512, 256): (1.0, 1.2),
    (500, 64, 512, 256): (1.0, None),
    (500, 64, 512, 512): (1.0, None),
}
LOSSES = {(500, 64, 29, 60): 2.0}  # T, B, C, S -> ratio
UPDATE = 1.0


def recurrence(tf32: bool) -> list[Case]:
    cases = []
    for sizes, (train, infer) in LAYERS.items():
        cases.append(_layer("lstm", "train", sizes, train, tf32))
        cases.append(_layer("lstm", "infer", sizes, infer, tf32))
    return cases + [_layer(cell, "train", OTHER_CELLS, None, tf32) for cell in CELLS if cell != "lstm"]


def ctc(tf32: bool) -> list[Case]:
    return [_case(f"ctc {comma(sizes)}", "ctc", target, tf32, sizes=sizes) for sizes, target in LOSSES.items()]


def train_step(tf32: bool, folder: str) -> list[Case]:
    """Updates of a whole network over the batches in a folder; PyTorch takes them packed, and so computes the same."""
    return [_case("updates", "train network", UPDATE, tf32, folder=folder, packed=True)]


def _layer(cell: str, kind: str, sizes: tuple[int, ...], target: float | None, tf32: bool) -> Case:
    return _case(f"{cell} {comma(sizes)} {kind}", f"{kind} layer", target, tf32, cell=cell, sizes=sizes)


def _case(name: str, task: str, target: float | None, tf32: bool, **arguments: Any) -> Case:
    name = f"{name} cuda{' tf32' if tf32 else ''}"
    arguments |= {"device": "cuda", "tf32": tf32}
    rival = Rival(Contender("torch"), "device", target)
    return Case(name, task, arguments, Contender("ours"), (rival,), clock="device")
