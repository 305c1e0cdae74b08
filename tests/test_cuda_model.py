"""The model of the time on a GPU: its arithmetic, its sources, and what it promises."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "scripts"))

from benchmarks import cuda_cases, cuda_model  # noqa: E402
from benchmarks.cuda_model import BEST, LIKELY, MACHINES, WORST, Loop, Loss, Prospect, Shape, Time  # noqa: E402

H100 = MACHINES["H100 SXM"]
SIZES = sorted({(B, H) for _, B, _, H in cuda_cases.LAYERS})
ALLOWED = {(16, 256): 5.0, (64, 512): 10.0}  # microseconds of a step on an H100, mean of both ways


def prospect(B: int, H: int, machine: cuda_model.Machine = H100) -> Prospect:
    plan = cuda_model.plan_for(machine, B, H)
    return Prospect(machine, plan, cuda_model.kernels_of(machine, B, H, cuda_model.loops()))


def test_a_step_s_floor_is_its_multiply_adds_at_the_peak() -> None:
    assert pytest.approx(132 * 128 * 2 * 1.755) == H100.peak
    flops = 2 * 16 * 2 * 4 * 256 * 256  # a multiply and an add, utterances, directions, gates, weights of each
    assert cuda_model.step_floor(H100, 16, 256) == pytest.approx(flops / H100.peak / 1e3)


def test_a_layer_s_floor_is_the_longer_of_operations_and_bytes() -> None:
    shape = Shape(500, 64, 512, 512)
    by_operations = shape.flops(train=True) / H100.peak / 1e6
    assert cuda_model.layer_floor(H100, shape, True) == pytest.approx(by_operations)
    slow = replace(H100, memory=1.0)
    assert cuda_model.layer_floor(slow, shape, True) == pytest.approx(shape.bytes(True) / 1e6)


@pytest.mark.parametrize(("places", "clocks"), [
    ([0] * 32, 2),  # all the same: half a warp at a time
    ([4 * lane for lane in range(32)], 4),  # 512 bytes, 128 in a clock
    ([lane // 2 * 4 for lane in range(32)], 2),  # neighbours alike
    ([32 * lane for lane in range(32)], 32),  # all on the same banks
])  # fmt: skip
def test_wide_loads_take_as_long_as_their_banks(places: list[int], clocks: int) -> None:
    assert Prospect._wavefronts(places) == clocks


@pytest.mark.parametrize("sizes", ALLOWED)
def test_steps_are_as_fast_as_they_are_meant_to_be(sizes: tuple[int, int]) -> None:
    found = prospect(*sizes)
    mean = (found.step("forward").total + found.step("backward").total) / 2
    assert cuda_model.step_floor(H100, *sizes) < mean < ALLOWED[sizes]


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda machine: machine.name)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_no_estimate_is_below_its_floor(machine: cuda_model.Machine, sizes: tuple[int, int]) -> None:
    shape = Shape(500, sizes[0], 512, sizes[1])
    times = [
        cuda_model.layer_time(replace(prospect(*sizes, machine), latencies=latencies), shape, True).total
        for latencies in (BEST, LIKELY, WORST)
    ]
    assert cuda_model.layer_floor(machine, shape, True) < times[0] < times[1] < times[2]


def test_more_instructions_and_fewer_loads_at_once_take_longer() -> None:
    usual = prospect(64, 512)
    loop = usual.kernels["forward"]
    longer = {**usual.kernels, "forward": replace(loop, instructions=2 * loop.instructions)}
    waiting = {**usual.kernels, "forward": replace(loop, ahead128=1)}
    step = usual.step("forward")
    assert replace(usual, kernels=longer).step("forward").products > 1.5 * step.products
    assert replace(usual, kernels=waiting).step("forward").exchange > 1.4 * step.exchange


def test_the_longer_of_device_and_host_counts() -> None:
    total = Time(3.0, 1.0) + Time(1.0, 4.0)
    assert (total.device, total.host, total.total) == (4.0, 5.0, 5.0)


def test_counts_come_from_the_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.txt"
    path.write_text(
        "# ptxas 1\nkernel  arch  loop_ffma  loop_instructions  ahead  ahead128\n"
        "forward lstm 1,2  sm_90  64  86  4  8\nfill  sm_90  0  0  1  0\n"
    )
    assert cuda_model.loops(path) == {("forward lstm 1,2", "sm_90"): Loop(64, 86, 4, 8)}


def test_the_tables_have_every_case() -> None:
    lines = cuda_model.tables(H100, list(cuda_cases.LAYERS), list(cuda_cases.LOSSES)).splitlines()
    for name in (*cuda_cases.LAYERS, *cuda_cases.LOSSES):
        (line,) = [line for line in lines if f"{','.join(map(str, name))} |" in line]
        assert " to " in line  # an estimate's range
    assert sum(line.startswith("| training step of AN4's network |") for line in lines) == 1


def test_a_frame_of_a_loss_waits_for_the_one_before() -> None:
    short, long = (cuda_model.loss_time(H100, LIKELY, Loss(T, 64, 29, 60)).device for T in (100, 1100))
    assert long - short > 1000 * LIKELY.walk / H100.clock / 1e6
