"""Training from end to end on the language of tones, and all that can get in its way."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from watcher import Watcher

from asr.corpora import Utterance, open_corpus
from asr.errors import TrainingError, UsageError
from asr.model import Model
from asr.training import load_config, train
from asr.training.augment import PLAIN
from asr.training.cache import FeatureCache
from asr.training.communicator import Alone
from asr.training.config import TrainingConfig
from asr.training.folder import check_folder
from kernels.interface import Backend

KEYS = {"epoch", "updates", "rate", "train_loss", "gradient_norm", "dev_loss", "dev_cer", "dev_wer"}
KEYS |= {"frames_per_second", "seconds", "skipped"}


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory,
    tiny: TrainingConfig,
    train_set: list[Utterance],
    dev_set: list[Utterance],
    backend: Backend,
    cache: Path,
) -> Path:
    """The folder of a whole run."""
    out = tmp_path_factory.mktemp("runs") / "tones"
    train(tiny, train_set, dev_set, out, backend, progress=Watcher(), trained_on=["pairs:tones"], cache=cache)
    return out


def short(config: TrainingConfig, epochs: int = 1) -> TrainingConfig:
    return dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, epochs=epochs))


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_tones_are_learnt_without_error(run: Path) -> None:
    last = metrics(run)[-1]
    assert (last["dev_cer"], last["dev_wer"]) == (0, 0)


def test_metrics_have_a_line_per_epoch(run: Path, tiny: TrainingConfig) -> None:
    lines = metrics(run)
    assert [line["epoch"] for line in lines] == list(range(1, tiny.schedule.epochs + 1))
    assert [line["updates"] for line in lines] == [24 * line["epoch"] for line in lines]  # 96 utterances in fours
    assert all(line.keys() == KEYS for line in lines)
    assert lines[-1]["train_loss"] < 0.05 < lines[0]["train_loss"]
    assert lines[-1]["rate"] == pytest.approx(tiny.optimizer.rate * tiny.schedule.final)
    assert all(line["frames_per_second"] > 0 and line["gradient_norm"] > 0 and not line["skipped"] for line in lines)


def test_the_run_folder_is_complete(run: Path, tiny: TrainingConfig) -> None:
    assert {path.name for path in run.iterdir()} == {
        "best.safetensors",
        "checkpoint.safetensors",
        "config.toml",
        "dev.jsonl",
        "last.safetensors",
        "metrics.jsonl",
        "model.safetensors",
        "train.jsonl",
    }
    assert load_config(run / "config.toml") == tiny


def test_the_run_says_which_utterances_it_used(run: Path, train_set: list[Utterance], dev_set: list[Utterance]) -> None:
    for name, used in (("train", train_set), ("dev", dev_set)):
        found = open_corpus(str(run / f"{name}.jsonl"))
        assert [(u.audio, u.text) for u in found] == [(u.audio, u.text) for u in used]


def test_what_a_manifest_cannot_list_is_told(
    tiny: TrainingConfig, train_set: list[Utterance], backend: Backend, cache: Path, tmp_path: Path
) -> None:
    piped = dataclasses.replace(train_set[0], id="piped", command=f'cat "{train_set[0].audio}"')
    watcher, out = Watcher(), tmp_path / "run"
    train(short(tiny), [*train_set[:4], piped, train_set[1]], [], out, backend, progress=watcher, cache=cache)
    assert [u.audio for u in open_corpus(f"nemo:{out}:train")] == [u.audio for u in train_set[:4]]
    told = [message for message in watcher.messages if "train.jsonl" in message]
    why = "a command gives their sound, or they are where others are"
    assert told == [f"{out / 'train.jsonl'} does without 2 of 6 utterances: {why}"]


def test_the_model_says_where_it_comes_from(run: Path, tiny: TrainingConfig) -> None:
    model = Model.load(run / "model.safetensors")
    assert model.alphabet.characters == " abcdef"
    assert model.provenance["trained_on"] == ["pairs:tones"]
    assert model.provenance["epochs"] == tiny.schedule.epochs
    assert model.provenance["config"]["network"]["hidden"] == tiny.network.hidden
    assert model.provenance["scores"] == {key: metrics(run)[-1][key] for key in ("dev_loss", "dev_cer", "dev_wer")}
    assert model.provenance["seed"] == tiny.seed
    assert model.provenance["version"]
    assert model.provenance["date"]


def test_best_or_last_is_kept_as_asked(
    tiny: TrainingConfig,
    train_set: list[Utterance],
    dev_set: list[Utterance],
    backend: Backend,
    cache: Path,
    tmp_path: Path,
) -> None:
    """With a rate that grows wild after a good start, the last weights are not the best."""
    config = load_config("tiny", {"schedule.epochs": 5, "schedule.final": 1.0, "optimizer.rate": 1.5, "keep": "best"})
    model = train(config, train_set, dev_set, tmp_path / "best", backend, progress=Watcher(), cache=cache)
    lines = metrics(tmp_path / "best")
    rank = [(line["dev_wer"], line["dev_cer"], line["dev_loss"]) for line in lines]
    best = rank.index(min(rank))
    assert best < len(lines) - 1
    assert model.provenance["epochs"] == best + 1
    assert Model.load(tmp_path / "best" / "last.safetensors").provenance["epochs"] == len(lines)
    np.testing.assert_array_equal(
        Model.load(tmp_path / "best" / "best.safetensors").parameters.vector, model.parameters.vector
    )


def test_without_development_data_the_last_weights_are_kept(
    tiny: TrainingConfig, train_set: list[Utterance], backend: Backend, cache: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(short(tiny), keep="best")
    model = train(config, train_set[:8], [], tmp_path / "run", backend, progress=Watcher(), cache=cache)
    assert metrics(tmp_path / "run")[0]["dev_wer"] is None
    assert not (tmp_path / "run" / "best.safetensors").exists()
    assert not (tmp_path / "run" / "dev.jsonl").exists()
    assert model.provenance["scores"] == {}


def test_a_used_folder_is_refused(
    run: Path, tiny: TrainingConfig, train_set: list[Utterance], backend: Backend
) -> None:
    before = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(UsageError, match="is not empty; name a new one, or go on with --resume"):
        train(tiny, train_set, [], run, backend, progress=Watcher())
    assert (run / "metrics.jsonl").read_bytes() == before


def test_a_hidden_file_does_not_make_a_folder_a_used_one(tiny: TrainingConfig, tmp_path: Path) -> None:
    """Such as what a process that was killed has left of a file that it was writing."""
    (tmp_path / ".config.toml.1234abcd").touch()
    check_folder(tmp_path, tiny, resume=False)
    (tmp_path / "config.toml").touch()
    with pytest.raises(UsageError, match="is not empty"):
        check_folder(tmp_path, tiny, resume=False)


def test_a_file_is_no_folder(
    tiny: TrainingConfig, train_set: list[Utterance], backend: Backend, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="a file is where"):
        train(tiny, train_set, [], tmp_path / "file", backend, progress=Watcher())
    with pytest.raises(TrainingError, match="cannot be saved"):
        train(tiny, train_set, [], tmp_path / "file" / "run", backend, progress=Watcher())


def test_a_run_that_could_not_begin_leaves_an_empty_folder(
    tiny: TrainingConfig, train_set: list[Utterance], backend: Backend, cache: Path, tmp_path: Path
) -> None:
    missing = [Utterance("gone", tmp_path / "gone.wav", "a")]
    with pytest.raises(TrainingError, match="none of the 1 training utterances"):
        train(short(tiny), missing, [], tmp_path / "run", backend, progress=Watcher(), cache=cache)
    train(short(tiny), train_set[:4], [], tmp_path / "run", backend, progress=Watcher(), cache=cache)
    assert len(metrics(tmp_path / "run")) == 1


def test_the_same_seed_gives_the_same_bits_and_another_does_not(
    restless: TrainingConfig, train_set: list[Utterance], backend: Backend, cache: Path, tmp_path: Path
) -> None:
    def weights(name: str, seed: int) -> np.ndarray:
        config = dataclasses.replace(short(restless), seed=seed)
        return train(
            config, train_set[:12], [], tmp_path / name, backend, progress=Watcher(), cache=cache
        ).parameters.vector

    first = weights("a", 7)
    np.testing.assert_array_equal(first, weights("b", 7))
    assert not np.array_equal(first, weights("c", 8))


def test_a_loss_that_is_not_finite_skips_the_step_and_names_the_utterance(
    tiny: TrainingConfig, train_set: list[Utterance], backend: Backend, tmp_path: Path
) -> None:
    cache = FeatureCache(tiny.features, tiny.augment.snr_spread, Watcher(), tmp_path / "cache")
    cache.fill([(train_set[2], [PLAIN])], threads=1)
    broken = np.full_like(cache.frames(train_set[2], PLAIN), np.nan)
    cache._store(cache._path(train_set[2], PLAIN), broken)
    watcher = Watcher()
    model = train(
        short(tiny, 2), train_set[:8], [], tmp_path / "run", backend, progress=watcher, cache=tmp_path / "cache"
    )
    named = [message for message in watcher.messages if "update skipped" in message]
    assert len(named) == 2
    assert all(message.endswith(f"the loss is not finite for {train_set[2].id}") for message in named)
    assert [line["skipped"] for line in metrics(tmp_path / "run")] == [1, 1]
    assert [line["updates"] for line in metrics(tmp_path / "run")] == [2, 4]
    assert np.isfinite(model.parameters.vector).all()


def test_development_data_that_cannot_be_used_end_the_run(
    tiny: TrainingConfig, train_set: list[Utterance], backend: Backend, cache: Path, tmp_path: Path
) -> None:
    missing = [dataclasses.replace(train_set[0], audio=tmp_path / "gone.wav")]
    with pytest.raises(TrainingError, match="none of the 1 development utterances can be used"):
        train(short(tiny), train_set[:8], missing, tmp_path / "run", backend, progress=Watcher(), cache=cache)
    assert not (tmp_path / "run" / "config.toml").exists()


def test_it_is_said_whose_speech_a_run_is_watched_by(
    tiny: TrainingConfig, train_set: list[Utterance], backend: Backend, cache: Path, tmp_path: Path
) -> None:
    speakers = [dataclasses.replace(u, speaker="abc"[i % 3]) for i, u in enumerate(train_set[:9])]
    strange, known = [u for u in speakers if u.speaker == "c"], speakers[:2]
    trained = [u for u in speakers if u.speaker != "c"]
    elsewhere = [dataclasses.replace(u, corpus="another") for u in known]
    unnamed = "; some speakers are not named, so that those may be in training too"
    cases = [
        (trained, strange, "development data: 3 utterances; of 1 speaker, none of whom is in training"),
        (trained, known, "development data: 2 utterances; of 2 speakers, 2 of whom are in training too"),
        (trained, elsewhere, "development data: 2 utterances; of 2 speakers, none of whom is in training"),
        (trained, train_set[9:10], f"development data: 1 utterance{unnamed}"),
        ([*trained, train_set[9]], strange, f"development data: 3 utterances{unnamed}"),
    ]
    for number, (data, dev, line) in enumerate(cases):
        watcher = Watcher()
        train(short(tiny, 1), data, dev, tmp_path / str(number), backend, progress=watcher, cache=cache)
        assert line in watcher.messages


def test_a_run_that_diverges_says_so(
    tiny: TrainingConfig, train_set: list[Utterance], backend: Backend, cache: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(tiny, optimizer=dataclasses.replace(tiny.optimizer, rate=1e38, clip=1e38))
    with (
        np.errstate(all="ignore"),
        pytest.raises(TrainingError, match=r"diverged in epoch [12].*smaller optimizer\.rate"),
    ):
        train(config, train_set[:16], [], tmp_path / "run", backend, progress=Watcher(), cache=cache)


def test_a_full_disk_ends_the_run_with_a_sentence(
    tiny: TrainingConfig,
    train_set: list[Utterance],
    backend: Backend,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    watcher = Watcher(after=3, action=lambda: monkeypatch.setattr("os.fsync", full))  # in the second epoch
    with pytest.raises(TrainingError, match=r"No space left on device.*make room and go on with --resume"):
        train(short(tiny, 3), train_set[:8], [], tmp_path / "run", backend, progress=watcher, cache=cache)
    monkeypatch.undo()
    model = train(
        short(tiny, 3), train_set[:8], [], tmp_path / "run", backend, resume=True, progress=Watcher(), cache=cache
    )
    other = train(short(tiny, 3), train_set[:8], [], tmp_path / "other", backend, progress=Watcher(), cache=cache)
    np.testing.assert_array_equal(model.parameters.vector, other.parameters.vector)


class Twice(Alone):
    """As if another machine had had the same batch."""

    def __init__(self) -> None:
        self.calls = 0

    def sum(self, vector: np.ndarray) -> None:
        self.calls += 1
        vector *= 2


def test_the_gradient_goes_through_the_communicator(
    tiny: TrainingConfig, train_set: list[Utterance], backend: Backend, cache: Path, tmp_path: Path
) -> None:
    """The mean over two machines that have had the same batch is that of one."""
    config, communicator = short(tiny), Twice()
    config = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, clip=1e9))

    def weights(name: str, communicator: Alone) -> np.ndarray:
        out = tmp_path / name
        model = train(
            config, train_set[:8], [], out, backend, progress=Watcher(), cache=cache, communicator=communicator
        )
        return model.parameters.vector

    np.testing.assert_allclose(weights("a", communicator), weights("b", Alone()), rtol=1e-5, atol=1e-6)
    assert communicator.calls == 2 * 2


class Failing(Alone):
    """As if one loss of another machine were not finite in the first update."""

    def __init__(self) -> None:
        self.losses = 1

    def sum(self, vector: np.ndarray) -> None:
        if len(vector) == 2:
            vector[1] += self.losses
            self.losses = 0


def test_all_machines_skip_an_update_together(
    tiny: TrainingConfig, train_set: list[Utterance], backend: Backend, cache: Path, tmp_path: Path
) -> None:
    watcher = Watcher()
    train(
        short(tiny), train_set[:8], [], tmp_path / "run", backend, progress=watcher, cache=cache,
        communicator=Failing(),
    )  # fmt: skip
    assert [record["skipped"] for record in watcher.records] == [1]


def test_training_works_outside_the_main_thread(
    tiny: TrainingConfig, train_set: list[Utterance], backend: Backend, cache: Path, tmp_path: Path
) -> None:
    def work() -> None:
        train(short(tiny), train_set[:4], [], tmp_path / "run", backend, progress=Watcher(), cache=cache)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert (tmp_path / "run" / "model.safetensors").exists()
