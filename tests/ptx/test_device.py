"""What the device says of itself, and what becomes of the driver's errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import kernels
from kernels.interface import RecurrentShape
from ptx.arrays import api_error
from ptx.driver import offline_gpu


def test_an_error_of_the_driver_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise api_error("cuMemcpyDtoHAsync", "CUDA_ERROR_LAUNCH_FAILED")

    with offline_gpu():
        backend = kernels.open_backend("cuda")
        array = backend.zeros((4,))
        monkeypatch.setattr(backend.device.driver, "copy_out", fail)
        with pytest.raises(kernels.DeviceFailedError, match=r"LAUNCH_FAILED.*ASR_CUDA_MODE=stepwise"):
            backend.to_host(array)


def test_a_device_describes_itself() -> None:
    with offline_gpu(cc=(8, 0)):
        text = kernels.open_backend("cuda").describe()
    assert text.startswith("cuda (executor of sm_80; own kernel, float32 (no cuBLAS")


@pytest.mark.parametrize(
    ("mode", "hidden", "batch", "expected"),
    [
        ("auto", 256, 16, "persistent, one launch; 128 blocks of 16 units x 4 utterances"),
        ("auto", 1024, 64, "stepwise, launches as a CUDA graph"),
        ("stepwise", 256, 16, "stepwise, launches as a CUDA graph"),
    ],
)
def test_the_choice_of_mode_is_explained(mode: str, hidden: int, batch: int, expected: str) -> None:
    with offline_gpu(cc=(9, 0)):
        backend = kernels.open_backend("cuda")
        backend.mode = mode
        assert backend.explain(RecurrentShape("lstm", 39, hidden), batch).startswith(expected)


def test_a_mode_that_cannot_be_had_is_refused() -> None:
    with offline_gpu(cc=(9, 0)):
        backend = kernels.open_backend("cuda")
        backend.mode = "persistent"
        with pytest.raises(ValueError, match="cannot hold all blocks"):
            backend.explain(RecurrentShape("lstm", 39, 1024), 64)
        backend.mode = "quick"
        with pytest.raises(ValueError, match="unknown mode 'quick'; choose one of auto, persistent, stepwise"):
            backend.recurrent(RecurrentShape("lstm", 39, 8))


def test_the_time_of_steps_is_that_of_their_kernel_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "scripts")
    from time_steps import Layer

    with offline_gpu() as gpu:
        backend = kernels.open_backend("cuda")
        layer = Layer(backend, RecurrentShape("gru", 3, 8), T=4, B=2)
        timed: list[set[str]] = []
        clock = backend.device.milliseconds

        def watched(work: Callable[[], None]) -> float:
            before = len(gpu.launches)
            spent = clock(work)
            timed.append({launch.kernel for launch in list(gpu.launches)[before:]})
            return spent

        monkeypatch.setattr(backend.device, "milliseconds", watched)
        assert min(layer.milliseconds(rounds=1)) > 0
    forward, back = timed[-2:]
    assert len(forward) == len(back) == 2
    assert forward & back == {"steps.clear"}
    assert layer.plan.startswith("persistent")
