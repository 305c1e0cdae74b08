"""What the driver does on hardware: memory, transfers, clocks, and a whole training run."""

from __future__ import annotations

import json
import math
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tones
from kernel_cases import assert_close

from asr.cli import main
from asr.errors import AsrError
from asr.network import Network, NetworkConfig
from kernels import DeviceMemoryError, open_backend

CONFIG = NetworkConfig(inputs=20, outputs=9, cell="lstm", layers=2, hidden=32, stack=2, dropout=0.25)


def batch(B: int = 6, T: int = 40) -> tuple[np.ndarray, ...]:
    """frames, lengths, labels, label_lengths"""
    rng = np.random.default_rng(5)
    lengths = np.linspace(T, T // 2, B).astype(np.int32)
    labels = rng.integers(1, CONFIG.outputs, (B, 5)).astype(np.int32)
    return rng.standard_normal((T, B, CONFIG.inputs), np.float32), lengths, labels, np.full(B, 5, np.int32)


def network(backend: Any) -> Network:
    return Network(CONFIG, Network.initial(CONFIG, np.random.default_rng(1)), backend)


def update(net: Network, step: int) -> np.ndarray:
    losses = net.loss_and_gradient(*batch(), step)
    net.step(0.1, 0.9, min(1.0, 1.0 / net.norm()))
    return losses


def test_updates_end_at_the_weights_of_the_cpu(gpu: Any) -> None:
    found, expected = network(gpu), network(open_backend("cpu"))
    for step in range(20):
        np.testing.assert_allclose(update(found, step), update(expected, step), rtol=1e-4)
    assert_close(gpu.to_host(found.parameters.vector), expected.parameters.vector, 1e-4)


def test_an_update_moves_only_its_batch_and_its_results(gpu: Any) -> None:
    net = network(gpu)
    for step in range(2):  # after the first, tables of its lengths are there
        update(net, step)
    before = astuple(gpu.device.counters)
    update(net, 2)
    _, _, uploaded, _, downloaded = np.subtract(astuple(gpu.device.counters), before)
    frames, *small = batch()
    assert frames.nbytes <= uploaded < frames.nbytes + sum(array.nbytes for array in small) + 1000
    assert downloaded < 100_000


def test_updates_take_no_more_memory_as_they_go_on(hardware: Any) -> None:
    net = network(hardware)
    for step in range(3):
        update(net, step)
    free, _ = hardware.device.driver.memory()
    for step in range(20):
        update(net, step)
    later, _ = hardware.device.driver.memory()
    assert free - later <= 2 << 20  # the driver rounds what it takes


def test_full_memory_is_told(gpu: Any) -> None:
    _, total = gpu.device.driver.memory()
    with pytest.raises(DeviceMemoryError, match=r"(?i)memory"):
        gpu.empty((2 * math.ceil(total / 4),))
    assert gpu.to_host(gpu.zeros((3,))).tolist() == [0, 0, 0]  # and the device goes on


@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_named(hardware: Any, tmp_path: Path) -> None:
    """A network so wide that its second work array does not fit."""
    _, total = hardware.device.driver.memory()
    hidden = 64
    T = math.ceil(total / (4 * 8 * hidden))  # the first layer's columns alone are larger than the memory
    config = NetworkConfig(inputs=1, outputs=3, cell="lstm", layers=1, hidden=hidden, stack=1, dropout=0.0)
    net = Network(config, Network.initial(config, np.random.default_rng(1)), hardware)
    frames, lengths = np.zeros((T, 1, 1), np.float32), np.array([T], np.int32)
    with pytest.raises((DeviceMemoryError, AsrError), match=r"(?i)memory"):
        net.log_probs(frames, lengths)


def test_the_device_s_clock_counts_work(hardware: Any) -> None:
    vector = hardware.zeros((1 << 24,))

    def work(times: int) -> None:
        for _ in range(times):
            hardware.sgd_step(vector, vector, vector, 0.0, 0.0, 1.0)

    work(3)
    few, many = (hardware.device.milliseconds(lambda n=n: work(n)) for n in (5, 50))
    assert 0 < few < many


def test_the_language_of_tones_is_learnt_without_error(hardware: Any, tmp_path: Path) -> None:
    """`asr train --device cuda` from sound files to a character error rate of 0."""
    tones.make(tmp_path / "train", 96, seed=1)
    tones.make(tmp_path / "dev", 12, seed=2)
    arguments = ["train", "--config", "tiny", "--device", "cuda", "--out", str(tmp_path / "run")]
    arguments += ["--corpus", f"pairs:{tmp_path / 'train'}", "--dev", f"pairs:{tmp_path / 'dev'}"]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert not stop.value.code
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["dev_cer"], last["dev_wer"]) == (0, 0)


def test_a_model_says_the_same_on_both_devices(hardware: Any, capfd: pytest.CaptureFixture[str]) -> None:
    samples = sorted(map(str, (Path(__file__).resolve().parents[2] / "samples").glob("*.flac")))
    texts = []
    for device in ("cpu", "cuda"):
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["transcribe", "--device", device, *samples])
        assert not stop.value.code
        texts.append(capfd.readouterr().out)
    assert texts[0] == texts[1]
    assert texts[0].strip()
