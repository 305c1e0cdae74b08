"""Training where the arrays live on a device: the same bits, few transfers, and a device whose memory is full."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elsewhere import Elsewhere
from watcher import Watcher

from asr.corpora import Utterance
from asr.errors import DeviceError
from asr.evaluation import evaluate
from asr.model import Model
from asr.recognizer import Recognizer
from asr.training.config import TrainingConfig, load_config
from asr.training.trainer import train
from kernels.interface import Backend

UPDATES = 12  # 16 utterances in fours, three epochs


@pytest.fixture
def run_on(
    restless: TrainingConfig, train_set: list[Utterance], dev_set: list[Utterance], cache: Path, tmp_path: Path
) -> Any:
    """`run_on(backend, "folder")` trains there."""

    def run(backend: Backend, name: str, watcher: Watcher | None = None, resume: bool = False, size: int = 4) -> Model:
        config = dataclasses.replace(restless, batches=dataclasses.replace(restless.batches, size=size))
        progress = watcher or Watcher()
        return train(config, train_set[:16], dev_set, tmp_path / name, backend, resume, progress, cache=cache)

    return run


def metrics(folder: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("seconds", "frames_per_second")} for record in records]


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_device_ends_with_the_bits_of_the_cpu(run_on: Any, backend: Backend, tmp_path: Path) -> None:
    expected, found = run_on(backend, "cpu"), run_on(Elsewhere(), "device")
    np.testing.assert_array_equal(found.parameters.vector, expected.parameters.vector)
    assert metrics(tmp_path / "device") == metrics(tmp_path / "cpu")


@pytest.mark.parametrize("after", [2, 4, 9])
def test_stopped_on_one_device_and_resumed_on_the_other(
    after: int, run_on: Any, backend: Backend, tmp_path: Path
) -> None:
    expected = run_on(backend, "whole")
    for name, first, second in (("a", Elsewhere(), backend), ("b", backend, Elsewhere()), ("c", *[Elsewhere()] * 2)):
        with pytest.raises(KeyboardInterrupt):
            run_on(first, name, Watcher(after, interrupt))
        found = run_on(second, name, resume=True)
        np.testing.assert_array_equal(found.parameters.vector, expected.parameters.vector)
        assert metrics(tmp_path / name) == metrics(tmp_path / "whole")


def test_weights_leave_the_device_for_checkpoints_alone(run_on: Any) -> None:
    """An update gives back losses and a norm, which are numbers; an epoch ends with weights and velocity."""
    device, seen = Elsewhere(), []
    run_on(device, "run", Watcher(after=UPDATES - 1, action=lambda: seen.append(device.downloads)))
    assert seen == [2 * 2]
    assert device.downloads == 2 * 3


def test_it_evaluates_and_transcribes_alike(run_on: Any, backend: Backend, dev_set: list[Utterance]) -> None:
    model, device = run_on(backend, "run"), Elsewhere()
    here, there = Recognizer(model, backend), Recognizer(model, device)
    assert evaluate(there, dev_set).results == evaluate(here, dev_set).results
    for utterance in dev_set[:3]:
        audio = utterance.read()
        assert there.transcribe(audio) == here.transcribe(audio)
        np.testing.assert_array_equal(there.log_probs(audio), here.log_probs(audio))


def test_best_paths_leave_the_device_not_posteriors(run_on: Any, backend: Backend, dev_set: list[Utterance]) -> None:
    device = Elsewhere()
    recognizer = Recognizer(run_on(backend, "run"), device)
    audio = dev_set[0].read()
    recognizer.transcribe(audio)
    assert device.downloads == 0
    recognizer.log_probs(audio)
    assert device.downloads == 1


def test_full_memory_names_the_batch_and_a_smaller_one_goes_on(
    run_on: Any, tmp_path: Path, train_set: list[Utterance]
) -> None:
    """The first epoch goes from short to long: its later batches do not fit any more."""
    device, watcher = Elsewhere(), Watcher(after=2, action=lambda: setattr(device, "room", 1000))
    message = (
        r"epoch 1, update 3: the GPU's memory is full.*; the batch has 4 utterances, the longest tone\d+ of \d\.\d s"
    )
    with pytest.raises(DeviceError, match=message + "; go on with --resume --set batches.size=2$") as stop:
        run_on(device, "run", watcher)
    assert str(stop.value).startswith(f"{tmp_path / 'run'}: ")
    assert watcher.updates == 2
    rest = Watcher()
    run_on(Elsewhere(), "run", rest, resume=True, size=2)
    assert rest.updates == 3 * 8  # the epoch begins anew: batches of another size are other batches
    assert load_config(tmp_path / "run" / "config.toml").batches.size == 2
    assert [record["updates"] for record in metrics(tmp_path / "run")] == [8, 16, 24]


def test_full_memory_on_development_data_costs_no_update(run_on: Any, backend: Backend, tmp_path: Path) -> None:
    device, watcher = Elsewhere(), Watcher(after=4, action=lambda: setattr(device, "room", 1000))
    with pytest.raises(DeviceError, match=r"development data of epoch 1: the GPU's memory is full.*batches.size=2"):
        run_on(device, "run", watcher)
    rest = Watcher()
    run_on(Elsewhere(), "run", rest, resume=True, size=2)
    assert rest.updates == 2 * 8
    assert [record["updates"] for record in metrics(tmp_path / "run")] == [8, 16, 24]


def test_with_the_same_batches_nothing_is_lost_to_full_memory(run_on: Any, backend: Backend, tmp_path: Path) -> None:
    expected = run_on(backend, "whole")
    device = Elsewhere()
    with pytest.raises(DeviceError):
        run_on(device, "run", Watcher(after=6, action=lambda: setattr(device, "room", 1000)))
    found = run_on(backend, "run", resume=True)
    np.testing.assert_array_equal(found.parameters.vector, expected.parameters.vector)


def test_a_network_that_does_not_fit_is_named(run_on: Any) -> None:
    with pytest.raises(DeviceError, match=r"the GPU's memory is full.*; take a smaller network \(network.hidden"):
        run_on(Elsewhere(room=1000), "run")


def test_a_batch_of_recordings_that_does_not_fit_is_named(
    run_on: Any, backend: Backend, dev_set: list[Utterance]
) -> None:
    device = Elsewhere()
    recognizer = Recognizer(run_on(backend, "run"), device)
    device.room = 1000
    paths = [utterance.audio for utterance in dev_set[:5]]
    named = r"tone\d+\.wav, .*tone\d+\.wav, .*tone\d+\.wav and 2 more: the GPU's memory is full"
    remedy = r"they are 5 stretches of up to \d\.\d s; use a smaller batch, as --batch \d+$"
    with pytest.raises(DeviceError, match=f"{named}.*; {remedy}"):
        list(recognizer.transcribe_many(paths))
    alone = r"tone\d+\.wav: the GPU's memory is full.*; it is one stretch of \d\.\d s; use the device cpu"
    with pytest.raises(DeviceError, match=alone):
        recognizer.transcribe(paths[0])
    with pytest.raises(DeviceError, match=r"the model: the GPU's memory is full.*; use the device cpu"):
        Recognizer(recognizer.model, Elsewhere(room=1000))
