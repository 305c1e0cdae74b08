"""The language model that a training run ends with: what it is made of, what is tuned, and how it is stopped."""

from __future__ import annotations

import dataclasses
import json
import lzma
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elsewhere import Elsewhere
from watcher import Watcher

from asr.alphabet import Alphabet
from asr.corpora import Utterance, open_corpus
from asr.decoding.choice import DecodingChoice
from asr.errors import CorpusError, TrainingError, UsageError
from asr.evaluation import evaluate
from asr.model import Model
from asr.recognizer import load
from asr.training import load_config
from asr.training.config import CorpusConfig, LanguageConfig, TrainingConfig
from asr.training.language import gather, require_tunable
from asr.training.strings import with_strings
from asr.training.trainer import train
from kernels.interface import Backend

BIGRAMS = {"schedule.epochs": 3, "language.order": 2, "language.beam": 8}
GIVEN = {"language.lm_weight": 0.5, "language.word_bonus": 1.0}


class Case:
    """A short training, to be run in several folders."""

    def __init__(self, data: Sequence[Utterance], dev: Sequence[Utterance], backend: Backend, cache: Path):
        self.data, self.dev, self.backend, self.cache = data, dev, backend, cache

    def run(self, out: Path, watcher: Watcher | None = None, resume: bool = False, **options: Any) -> Model:
        config = load_config("tiny", BIGRAMS | options.pop("settings", {}))
        dev, backend = options.pop("dev", self.dev), options.pop("backend", self.backend)
        return train(config, self.data, dev, out, backend, resume, watcher or Watcher(), cache=self.cache, **options)


@pytest.fixture(scope="module")
def case(train_set: list[Utterance], dev_set: list[Utterance], backend: Backend, cache: Path) -> Case:
    return Case(train_set[:48], dev_set, backend, cache)


@pytest.fixture(scope="module")
def whole(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never stopped."""
    out = tmp_path_factory.mktemp("carried") / "run"
    case.run(out)
    return out


def vocabulary(model: Model) -> set[str]:
    assert model.language is not None
    return set(model.language.words)


def words(utterances: Sequence[Utterance]) -> set[str]:
    return {word for utterance in utterances for word in utterance.text.split()}


def test_the_model_carries_what_its_transcripts_say(whole: Path, case: Case) -> None:
    model = Model.load(whole / "model.safetensors")
    assert vocabulary(model) == {"<s>", "</s>", "<unk>"} | words(case.data)
    assert model.language is not None
    assert model.language.order == 2
    assert model.decoding["beam"] == 8
    assert Model.load(whole / "last.safetensors").language is None


def test_the_scores_are_those_of_the_development_data(whole: Path, case: Case) -> None:
    """The file decodes as the run has said, and greedily as the last epoch's line has."""
    path, dev = whole / "model.safetensors", open_corpus(f"nemo:{whole}:dev")
    last = json.loads((whole / "metrics.jsonl").read_text().splitlines()[-1])
    scores = Model.load(path).provenance["scores"]
    carried = evaluate(load(path, "cpu", 2), dev).score
    plain = evaluate(load(path, "cpu", 2, decoding=DecodingChoice(beam=0)), dev).score
    assert (carried.wer, carried.cer) == (scores["dev_wer_lm"], scores["dev_cer_lm"])
    assert (plain.wer, plain.cer) == (last["dev_wer"], last["dev_cer"]) == (scores["dev_wer"], scores["dev_cer"])
    assert carried.words.errors < plain.words.errors


def test_held_out_transcripts_count_in_the_end_but_tune_nothing(case: Case, whole: Path, tmp_path: Path) -> None:
    transcripts = [utterance.text for utterance in [*case.data, *case.dev]]
    model = case.run(tmp_path / "run", transcripts=transcripts)
    without = Model.load(whole / "model.safetensors")
    assert vocabulary(model) - vocabulary(without) == words(case.dev) - words(case.data) != set()
    assert model.decoding == without.decoding
    assert model.provenance["scores"] == without.provenance["scores"]


def test_other_texts_are_weighed_on_the_development_transcripts(case: Case, tmp_path: Path) -> None:
    near, far = tmp_path / "near.txt", tmp_path / "far.txt.xz"
    near.write_text("".join(utterance.text + "\n" for utterance in case.dev))
    far.write_bytes(lzma.compress(b"cab fab\nzoo\nface bad\n"))
    watcher = Watcher()
    model = case.run(tmp_path / "run", watcher, texts=[near, str(far)], settings={"half": True})
    assert model.provenance["texts"] == ["near.txt", "far.txt.xz"]
    assert {"cab", "face"} | words(case.dev) <= vocabulary(model)
    assert "zoo" not in vocabulary(model)  # it cannot be written with the network's alphabet
    told = watcher.messages[-1]
    shares = [float(part.split()[-1]) for part in told.partition("; ")[2].split(", ")]
    assert told.startswith("language model: order 2, ")
    assert sum(shares) == pytest.approx(1, abs=2e-3)
    assert shares[1] > shares[0] + shares[2]
    given = case.run(tmp_path / "other", texts=[near, far], settings={"language.weights": [1.0, 0.0, 3.0]})
    assert given.language is not None
    assert given.language.log_prob(["<s>"], "face") > given.language.log_prob(["<s>"], case.dev[0].text.split()[0])


def test_half_keeps_the_weights_in_float16(case: Case, tmp_path: Path) -> None:
    settings = {"language.order": 0, "half": True}
    model = case.run(tmp_path / "run", settings=settings)
    saved, last = (Model.load(tmp_path / "run" / f"{name}.safetensors") for name in ("model", "last"))
    assert saved.is_half
    assert not last.is_half
    np.testing.assert_array_equal(saved.parameters.vector, model.parameters.vector)
    np.testing.assert_array_equal(saved.parameters.vector, last.halved().parameters.vector)
    files = [(tmp_path / "run" / f"{name}.safetensors").stat().st_size for name in ("model", "last")]
    assert files[1] - files[0] == pytest.approx(2 * model.parameters.vector.size, abs=64)


def test_without_development_data_weight_and_bonus_are_as_given(case: Case, tmp_path: Path) -> None:
    model = case.run(tmp_path / "run", dev=[], settings=GIVEN)
    assert (model.decoding["lm_weight"], model.decoding["word_bonus"]) == (0.5, 1.0)
    assert model.provenance["scores"] == {}


def test_what_is_given_is_not_tuned(case: Case, tmp_path: Path) -> None:
    model = case.run(tmp_path / "run", settings=GIVEN)
    assert (model.decoding["lm_weight"], model.decoding["word_bonus"]) == (0.5, 1.0)
    assert "dev_wer_lm" in model.provenance["scores"]


def test_a_device_gives_the_same(case: Case, whole: Path, tmp_path: Path) -> None:
    case.run(tmp_path / "run", backend=Elsewhere())
    one, other = (Model.load(folder / "model.safetensors") for folder in (tmp_path / "run", whole))
    assert (one.decoding, one.provenance["scores"]) == (other.decoding, other.provenance["scores"])


# Stopped, resumed


def test_resuming_a_run_that_is_done_gives_the_same_file(case: Case, whole: Path) -> None:
    before = (whole / "model.safetensors").read_bytes()
    (whole / "model.safetensors").unlink()
    watcher = Watcher()
    case.run(whole, watcher, resume=True)
    assert watcher.updates == 0
    assert (whole / "model.safetensors").read_bytes() == before


class Disturbed(Watcher):
    """Something happens when the language model has been tuned."""

    def message(self, text: str) -> None:
        super().message(text)
        if text.startswith("development words wrong"):
            self._action()


def assert_resumable(case: Case, out: Path, whole: Path) -> None:
    assert not (out / "model.safetensors").exists()
    case.run(out, resume=True)
    one, other = (Model.load(folder / "model.safetensors") for folder in (out, whole))
    assert {**one.provenance, "date": ""} == {**other.provenance, "date": ""}
    assert one.parameters.vector.tobytes() == other.parameters.vector.tobytes()


def test_ctrl_c_loses_nothing(case: Case, whole: Path, tmp_path: Path) -> None:
    watcher = Disturbed(action=lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        case.run(tmp_path / "run", watcher)
    assert watcher.messages[-1] == f"stopped; resume goes on from {tmp_path / 'run'}"
    assert_resumable(case, tmp_path / "run", whole)


def test_a_full_disk_loses_nothing(case: Case, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    watcher = Disturbed(action=lambda: monkeypatch.setattr("os.fsync", full))
    with pytest.raises(TrainingError, match=r"No space left on device.*make room and go on with --resume"):
        case.run(tmp_path / "run", watcher)
    monkeypatch.undo()
    assert_resumable(case, tmp_path / "run", whole)


def test_a_finished_run_may_be_given_another_language_model(case: Case, whole: Path, tmp_path: Path) -> None:
    case.run(tmp_path / "run", settings={"language.order": 0})
    model = case.run(tmp_path / "run", resume=True)
    assert model.provenance["config"]["language"]["order"] == 2
    assert model.provenance["scores"] == Model.load(whole / "model.safetensors").provenance["scores"]


# What cannot be


@pytest.mark.parametrize(
    ("settings", "text", "message"),
    [
        ({"language.order": 0}, "a b\n", r"x\.txt: a text for the language model, and .*language\.order is 0"),
        ({"language.order": 9}, None, "no 9-gram can be had"),
        ({"language.max_ngrams": 10}, None, "max-ngrams: 10 is less than"),
        ({"language.weights": [1.0, 1.0]}, None, "weights: 2 for 1 texts"),
        ({"language.weights": [0.0, 0.0]}, "a b\n", "weights: 0, 0: none may be negative, and one must be above 0"),
        ({}, "...\n\n", r"x\.txt: no word in it"),
        ({"text.punctuation": "keep"}, "a <unk>\n", "the word <unk> has a meaning of its own"),
    ],
)
def test_what_cannot_be_made_is_refused_before_training(
    settings: dict[str, Any], text: str | None, message: str, case: Case, tmp_path: Path
) -> None:
    (tmp_path / "x.txt").write_text(text or "")
    watcher = Watcher()
    with pytest.raises(UsageError, match=message):
        case.run(tmp_path / "run", watcher, settings=settings, texts=[tmp_path / "x.txt"] if text else [])
    assert watcher.updates == 0


def test_a_text_that_is_not_there_is_named_before_training(case: Case, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"none\.txt: cannot be read"):
        case.run(tmp_path / "run", texts=[tmp_path / "none.txt"])


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({}, r"language\.lm_weight and language\.word_bonus and language\.weights"),
        ({"language.lm_weight": 1.0, "language.weights": [1.0, 1.0]}, r"language\.word_bonus"),
        (GIVEN, r"language\.weights"),
    ],
)
def test_without_development_data_nothing_can_be_tuned(
    settings: dict[str, Any], missing: str, case: Case, tmp_path: Path
) -> None:
    (tmp_path / "x.txt").write_text("a b\n")
    with pytest.raises(UsageError, match=f"^{missing}: found by means of development data, of which there are none"):
        case.run(tmp_path / "run", dev=[], settings=settings, texts=[tmp_path / "x.txt"])


# Its sources


@pytest.fixture
def bigrams() -> TrainingConfig:
    return load_config("tiny", BIGRAMS)


def test_transcripts_of_joined_strings_count_too(bigrams: TrainingConfig, train_set: list[Utterance]) -> None:
    config = dataclasses.replace(bigrams, corpora=(CorpusConfig("train", strings=0.5, longest=3),))
    data = with_strings(train_set, config, Watcher())
    every = [*(utterance.text for utterance in train_set), "fee"]
    sources = gather(config, data, every, [], Alphabet(" abcdef"))
    assert sources is not None
    assert sources.learnt.sentences == len(data) == 96 + 48
    assert sources.every.sentences == len(data) + 1
    assert sources.every.words == sources.learnt.words + 1


def test_transcripts_are_read_as_the_network_learns_them(bigrams: TrainingConfig) -> None:
    data = [Utterance("x", Path("x.wav"), "Don't, DON'T!"), Utterance("y", Path("y.wav"), "")]
    sources = gather(bigrams, data, None, [], Alphabet(" don't"))
    assert sources is not None
    assert sources.learnt.types == ["<s>", "</s>", "don't"]
    require_tunable(sources, bigrams.language, ["", "do"])
    with pytest.raises(UsageError, match="of which there are none"):
        require_tunable(sources, bigrams.language, ["", " "])


def test_an_alphabet_without_a_space_is_refused_before_training(bigrams: TrainingConfig) -> None:
    data = [Utterance("x", Path("x.wav"), "don't")]
    with pytest.raises(UsageError, match=r"text\.alphabet has no space, so that a language model could tell no words"):
        gather(bigrams, data, None, [], Alphabet("don't"))
    assert gather(dataclasses.replace(bigrams, language=LanguageConfig()), data, None, [], Alphabet("don't")) is None
