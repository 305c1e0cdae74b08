"""A run that comes before a run: one command for a recipe of two."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from case import Case
from watcher import Watcher

from asr.corpora import Utterance
from asr.errors import CorpusError, UsageError
from asr.model import Model
from asr.training.config import LanguageConfig, ScheduleConfig, TrainingConfig, load_config, save_config
from asr.training.trainer import train
from kernels.interface import Backend

STOPS = (5, 18, 19, 25)  # updates: within the first run, at its end, and within the second


@pytest.fixture(scope="module")
def case(
    restless: TrainingConfig, train_set: list[Utterance], dev_set: list[Utterance], backend: Backend, cache: Path
) -> Case:
    """A recipe of two runs of 18 updates each."""
    first = dataclasses.replace(restless, network=dataclasses.replace(restless.network, hidden=9), seed=3)
    return Case(dataclasses.replace(restless, before=first), train_set[:24], dev_set, backend, cache)


@pytest.fixture(scope="module")
def whole(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two that were never stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    watcher = Watcher()
    case.run(out, watcher)
    assert watcher.updates == 2 * 18
    return out


def vector(model: Path) -> bytes:
    return Model.load(model).parameters.vector.tobytes()


def test_it_is_two_runs_of_which_one_begins_with_the_others_model(case: Case, whole: Path, tmp_path: Path) -> None:
    first = case.config.before
    assert first is not None
    case.run(tmp_path / "first", before=None, network=first.network, seed=first.seed)
    assert vector(tmp_path / "first" / "model.safetensors") == vector(whole / "before" / "model.safetensors")
    init = str(tmp_path / "first" / "model.safetensors")
    second = case.run(tmp_path / "second", init=init)
    assert second.parameters.vector.tobytes() == vector(whole / "model.safetensors")
    assert second.network.hidden == 9


@pytest.mark.parametrize("after", STOPS)
def test_it_goes_on_where_it_was_stopped(after: int, case: Case, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        case.run(tmp_path / "run", Watcher(after, lambda: os.kill(os.getpid(), signal.SIGINT)))
    model = case.run(tmp_path / "run", resume=True)
    assert model.parameters.vector.tobytes() == vector(whole / "model.safetensors")
    assert vector(tmp_path / "run" / "before" / "model.safetensors") == vector(whole / "before" / "model.safetensors")


@pytest.mark.parametrize("after", [1, 7, 13])
def test_three_go_on_where_they_were_stopped(after: int, case: Case, tmp_path: Path) -> None:
    """In the innermost, in the middle one, in the last: of six updates each."""
    once = ScheduleConfig(epochs=1, warmup=0.0)
    run = {"schedule": once, "keep": "last"}
    inner = dataclasses.replace(case.config, before=None, **run)
    middle = dataclasses.replace(case.config, before=inner, **run)
    expected = case.run(tmp_path / "whole", before=middle, **run)
    with pytest.raises(KeyboardInterrupt):
        case.run(tmp_path / "run", Watcher(after, lambda: os.kill(os.getpid(), signal.SIGINT)), before=middle, **run)
    model = case.run(tmp_path / "run", resume=True, before=middle, **run)
    assert model.parameters.vector.tobytes() == expected.parameters.vector.tobytes()


def test_a_folder_that_holds_one_is_not_used_again(case: Case, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not empty"):
        case.run(whole)
    with pytest.raises(KeyboardInterrupt):
        case.run(tmp_path / "run", Watcher(5, lambda: os.kill(os.getpid(), signal.SIGINT)))
    with pytest.raises(UsageError, match="not empty"):
        case.run(tmp_path / "run")
    with pytest.raises(UsageError, match="no run to resume"):
        case.run(tmp_path / "other", resume=True)
    with pytest.raises(UsageError, match="resume with the --config that has it"):
        case.run(tmp_path / "run", resume=True, before=None)


def test_other_settings_are_refused_in_both(case: Case, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        case.run(tmp_path / "run", Watcher(5, lambda: os.kill(os.getpid(), signal.SIGINT)))
    first = case.config.before
    assert first is not None
    with pytest.raises(UsageError, match=r"before: seed is 4, but the run began with 3"):
        case.run(tmp_path / "run", resume=True, before=dataclasses.replace(first, seed=4))


def test_what_comes_after_training_may_differ_in_both(case: Case, whole: Path, tmp_path: Path) -> None:
    """As `--set language.order=3` does when a language model is asked for later."""
    with pytest.raises(KeyboardInterrupt):
        case.run(tmp_path / "run", Watcher(25, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert case.config.before is not None
    other = LanguageConfig(beam=16)
    first = dataclasses.replace(case.config.before, language=other)
    model = case.run(tmp_path / "run", resume=True, before=first, language=other)
    assert model.parameters.vector.tobytes() == vector(whole / "model.safetensors")


def test_a_text_that_is_not_there_is_told_before_the_first_run(case: Case, tmp_path: Path) -> None:
    config = dataclasses.replace(case.config, language=LanguageConfig(order=2))
    watcher = Watcher()
    with pytest.raises(CorpusError, match=r"no\.txt"):
        train(
            config,
            case.data,
            case.dev,
            tmp_path / "run",
            case.backend,
            progress=watcher,
            texts=[tmp_path / "no.txt"],
            cache=case.cache,
        )
    assert watcher.updates == 0


def test_a_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "first.toml").write_text('base = "tiny"\nseed = 7\n')
    (tmp_path / "second.toml").write_text('base = "first.toml"\nbefore = "first.toml"\n[network]\ndropout = 0.1\n')
    (tmp_path / "third.toml").write_text('base = "second.toml"\nbefore = ""\n')
    config = load_config(tmp_path / "second.toml", {"schedule.epochs": 3, "init": "en", "blend": 0.25})
    assert config.before is not None
    assert (config.before.seed, config.before.schedule.epochs, config.before.init) == (7, 3, "")
    assert (config.blend, config.before.blend) == (0.25, 0.0)
    assert config.before.network.dropout == load_config("tiny").network.dropout != config.network.dropout == 0.1
    assert config.before.before is None
    assert load_config(tmp_path / "third.toml").before is None
    save_config(config, tmp_path / "saved.toml")
    assert load_config(tmp_path / "saved.toml") == config
    assert load_config(tmp_path / "saved.toml", {"seed": 9}).before == dataclasses.replace(config.before, seed=9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("before = 3", "before: 3 where the name or path"),
        ('before = "nowhere"', "nowhere: neither a file nor one of the configurations"),
        ('before = "x.toml"', "the file is built on itself"),
        ("[before]\nlayers = 3", "before: layers: unknown key"),
    ],
)
def test_a_file_that_names_it_badly(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        load_config(tmp_path / "x.toml")
    assert message in str(caught.value)


def test_the_weights_are_not_those_of_the_first(whole: Path) -> None:
    first, second = (Model.load(folder / "model.safetensors") for folder in (whole / "before", whole))
    assert not np.array_equal(first.parameters.vector, second.parameters.vector)
