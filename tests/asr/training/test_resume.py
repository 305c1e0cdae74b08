"""A run that was stopped, however it was, ends with the same bits as one that was not."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case import Case
from watcher import Watcher

from asr.corpora import Utterance
from asr.errors import ModelError, UsageError
from asr.model import Model
from asr.training import trainer
from asr.training.config import TrainingConfig, save_config
from kernels.interface import Backend

UPDATES = 18  # 24 utterances in fours, three epochs


@pytest.fixture(scope="module")
def case(
    restless: TrainingConfig, train_set: list[Utterance], dev_set: list[Utterance], backend: Backend, cache: Path
) -> Case:
    return Case(restless, train_set[:24], dev_set, backend, cache)


@pytest.fixture(scope="module")
def whole(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    watcher = Watcher()
    case.run(out, watcher)
    assert watcher.updates == UPDATES
    return out


def assert_same(run: Path, whole: Path) -> None:
    """Metrics, but for what the clock says, and all models are the same."""

    def lines(folder: Path) -> list[dict[str, Any]]:
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in record.items() if k not in ("seconds", "frames_per_second")} for record in records]

    assert lines(run) == lines(whole)
    for name in ("best", "last", "model"):
        one, other = (Model.load(folder / f"{name}.safetensors") for folder in (run, whole))
        assert one.parameters.vector.tobytes() == other.parameters.vector.tobytes()
        assert {**one.provenance, "date": ""} == {**other.provenance, "date": ""}


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("after", [1, 5, 6, 7, 12, 17])
def test_ctrl_c(after: int, case: Case, whole: Path, tmp_path: Path) -> None:
    watcher, handler = Watcher(after, interrupt), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        case.run(tmp_path / "run", watcher)
    assert watcher.updates == after
    device, watched, *others = watcher.messages
    assert device.startswith("device: cpu, 2 threads")
    assert watched.startswith("development data: ")
    assert others == [f"stopped; resume goes on from {tmp_path / 'run'}"]
    assert signal.getsignal(signal.SIGINT) is handler
    rest = Watcher()
    case.run(tmp_path / "run", rest, resume=True)
    assert rest.updates == UPDATES - after
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_behind_the_last_update_is_not_swallowed(number: int, case: Case, whole: Path, tmp_path: Path) -> None:
    class AtTheEnd(Watcher):
        def epoch(self, record: Mapping[str, Any], epochs: int) -> None:
            super().epoch(record, epochs)
            if record["epoch"] == epochs:
                os.kill(os.getpid(), number)

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        case.run(tmp_path / "run", AtTheEnd())
    assert not (tmp_path / "run" / "model.safetensors").exists()
    rest = Watcher()
    case.run(tmp_path / "run", rest, resume=True)
    assert rest.updates == 0
    assert_same(tmp_path / "run", whole)


def test_a_signal_that_the_program_ignores_stays_ignored(case: Case, whole: Path, tmp_path: Path) -> None:
    """As a job in the background of a script ignores Ctrl-C."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        case.run(tmp_path / "run", Watcher(5, interrupt))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)
    assert_same(tmp_path / "run", whole)


def test_ctrl_c_again_and_again(case: Case, whole: Path, tmp_path: Path) -> None:
    for stop in range(4):
        with pytest.raises(KeyboardInterrupt):
            case.run(tmp_path / "run", Watcher(4, interrupt), resume=stop > 0)
    case.run(tmp_path / "run", resume=True)
    assert_same(tmp_path / "run", whole)


def test_a_second_ctrl_c_does_not_wait(case: Case, tmp_path: Path) -> None:
    def twice() -> None:
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            interrupt()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        case.run(tmp_path / "run", Watcher(2, twice))


def test_sigterm(case: Case, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        case.run(tmp_path / "run", Watcher(8, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert stop.value.code == 143
    case.run(tmp_path / "run", resume=True)
    assert_same(tmp_path / "run", whole)


class CrashError(Exception):
    pass


@pytest.mark.parametrize(("every", "after"), [(1e9, 3), (1e9, 9), (0.0, 3), (0.0, 11)])
def test_a_crash_goes_on_from_the_checkpoint_before(
    every: float, after: int, case: Case, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the first epoch there may be none yet; with `every` 0 there is one after each update."""

    def crash() -> None:
        raise CrashError

    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", every)
    with pytest.raises(CrashError):
        case.run(tmp_path / "run", Watcher(after, crash))
    rest = Watcher()
    case.run(tmp_path / "run", rest, resume=True)
    assert rest.updates == UPDATES - (after - 1 if every == 0 else after // 6 * 6)
    assert_same(tmp_path / "run", whole)


PROGRAM = """
import sys
from pathlib import Path
from asr.corpora import open_corpus
from asr.training import load_config, train
from kernels import open_backend
corpus, config, out, cache = sys.argv[1:]
utterances = open_corpus(f"pairs:{corpus}/train")[:24]
train(load_config(config), utterances, open_corpus(f"pairs:{corpus}/dev"), out, open_backend("cpu", 2), cache=cache)
"""


def test_a_killed_process(case: Case, whole: Path, tone_folder: Path, tmp_path: Path) -> None:
    save_config(case.config, tmp_path / "config.toml")
    arguments = [str(tone_folder), str(tmp_path / "config.toml"), str(tmp_path / "run"), str(case.cache)]
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = []
    timer = threading.Timer(100, process.kill)
    timer.start()
    for line in process.stderr:
        lines.append(line)
        if line.startswith("epoch   1/3"):
            process.kill()
    timer.cancel()
    process.stderr.close()
    process.wait()
    assert any(line.startswith("epoch   1/3") for line in lines), lines
    case.run(tmp_path / "run", resume=True)
    assert_same(tmp_path / "run", whole)


def test_a_run_that_is_done_stays_as_it_is(case: Case, tmp_path: Path) -> None:
    first = case.run(tmp_path / "run")
    watcher = Watcher()
    again = case.run(tmp_path / "run", watcher, resume=True)
    assert watcher.updates == 0
    np.testing.assert_array_equal(again.parameters.vector, first.parameters.vector)


def test_nothing_to_resume(case: Case, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run to resume; start it without --resume"):
        case.run(tmp_path / "run", resume=True)


def test_other_settings_are_refused(case: Case, whole: Path) -> None:
    with pytest.raises(UsageError, match="seed is 8, but the run began with 7"):
        case.run(whole, resume=True, seed=8)
    network = dataclasses.replace(case.config.network, cell="gru")
    with pytest.raises(UsageError, match=r"network\.cell is gru, but the run began with lstm"):
        case.run(whole, resume=True, network=network)


@pytest.mark.parametrize("data", ["training", "development"])
def test_other_data_are_refused(data: str, case: Case, whole: Path) -> None:
    train = case.data[:-1] if data == "training" else case.data
    dev = case.dev[:-1] if data == "development" else case.dev
    other = Case(case.config, train, dev, case.backend, case.cache)
    with pytest.raises(UsageError, match="trained on other data"):
        other.run(whole, resume=True)


def test_a_damaged_checkpoint_is_refused(case: Case, tmp_path: Path) -> None:
    case.run(tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match="no checkpoint to resume from"):
        case.run(tmp_path / "run", resume=True)
