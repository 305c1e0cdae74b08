"""What a run begins with: another model's weights, average speech."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from watcher import Watcher

from asr.corpora import Utterance
from asr.errors import ModelError, TrainingError
from asr.model import Model
from asr.network import Network
from asr.parameters import Parameters
from asr.recognizer import Recognizer
from asr.scoring import score
from asr.training.beginning import blended, first_network, like
from asr.training.config import ScheduleConfig, TrainingConfig
from asr.training.trainer import train
from kernels.interface import Backend

STILL = 1e-30  # a rate that changes no weight


@pytest.fixture(scope="module")
def tutor(
    restless: TrainingConfig, train_set: list[Utterance], dev_set: list[Utterance], backend: Backend, cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    """A model file of a network and features that are not those of the other runs."""
    config = dataclasses.replace(
        restless,
        features=dataclasses.replace(restless.features, prior_frames=20),
        network=dataclasses.replace(restless.network, hidden=9, layers=2),
    )
    out = tmp_path_factory.mktemp("tutor") / "run"
    train(config, train_set[:24], dev_set, out, backend, progress=Watcher(), cache=cache)
    return out / "model.safetensors"


def test_a_run_begins_with_another_models_weights(
    tutor: Path, restless: TrainingConfig, train_set: list[Utterance], dev_set: list[Utterance], backend: Backend,
    cache: Path, tmp_path: Path,
) -> None:  # fmt: skip
    still = dataclasses.replace(restless.optimizer, rate=STILL)
    config = dataclasses.replace(
        restless, init=str(tutor), optimizer=still, schedule=ScheduleConfig(epochs=1), keep="last"
    )
    watcher = Watcher()
    model = train(config, train_set[:24], dev_set, tmp_path / "run", backend, progress=watcher, cache=cache)
    first = Model.load(tutor)
    assert model.features == first.features
    assert model.features.prior_mean
    assert model.network == dataclasses.replace(first.network, dropout=restless.network.dropout)
    np.testing.assert_array_equal(model.parameters.vector, first.parameters.vector)
    assert any("begins with" in message for message in watcher.messages)


def test_a_run_that_begins_with_a_model_can_be_resumed(
    tutor: Path, restless: TrainingConfig, train_set: list[Utterance], dev_set: list[Utterance], backend: Backend,
    cache: Path, tmp_path: Path,
) -> None:  # fmt: skip
    config = dataclasses.replace(restless, init=str(tutor))
    whole = train(config, train_set[:24], dev_set, tmp_path / "whole", backend, progress=Watcher(), cache=cache)
    with pytest.raises(KeyboardInterrupt):
        train(
            config,
            train_set[:24],
            dev_set,
            tmp_path / "run",
            backend,
            progress=Watcher(8, lambda: os.kill(os.getpid(), signal.SIGINT)),
            cache=cache,
        )
    resumed = train(config, train_set[:24], dev_set, tmp_path / "run", backend, True, progress=Watcher(), cache=cache)
    np.testing.assert_array_equal(resumed.parameters.vector, whole.parameters.vector)


def test_weights_that_the_run_began_with_have_a_share_in_its_result(
    tutor: Path, restless: TrainingConfig, train_set: list[Utterance], dev_set: list[Utterance], backend: Backend,
    cache: Path, tmp_path: Path,
) -> None:  # fmt: skip
    """The scores in the model are those of the mean; a run that has ended can be given another share."""
    config = dataclasses.replace(restless, init=str(tutor), keep="last", blend=0.25)
    watcher = Watcher()
    model = train(config, train_set[:24], dev_set, tmp_path / "run", backend, progress=watcher, cache=cache)
    first, last = Model.load(tutor), Model.load(tmp_path / "run" / "last.safetensors")
    mean = 0.75 * last.parameters.vector + 0.25 * first.parameters.vector
    np.testing.assert_allclose(model.parameters.vector, mean, rtol=1e-6, atol=1e-7)
    assert np.abs(last.parameters.vector - first.parameters.vector).max() > 1e-3
    assert any(
        message.startswith("with 25% of the weights that the run began with: dev loss") for message in watcher.messages
    )
    texts = [Recognizer(model).transcribe(utterance.audio).text for utterance in dev_set]
    measured = score([utterance.text for utterance in dev_set], texts)
    scores = model.provenance["scores"]
    assert (scores["dev_cer"], scores["dev_wer"]) == pytest.approx((measured.cer, measured.wer))
    assert scores["dev_loss"] != last.provenance["scores"]["dev_loss"]
    other = dataclasses.replace(config, blend=0.5)
    again = train(other, train_set[:24], dev_set, tmp_path / "run", backend, True, progress=Watcher(), cache=cache)
    half = 0.5 * (last.parameters.vector + first.parameters.vector)
    np.testing.assert_allclose(again.parameters.vector, half, rtol=1e-6, atol=1e-7)


def test_weights_of_another_shape_have_no_share(tutor: Path) -> None:
    first = Model.load(tutor)
    shape = dataclasses.replace(first.network, middle=4, intermediate=1.0)
    model = dataclasses.replace(first, network=shape, parameters=Parameters(Network.layout(shape)))
    model.parameters["middle.weight"][...] = 3.0
    mixed = blended(model, first, 0.5)
    assert np.all(mixed.parameters["middle.weight"] == 3.0)
    for name, weight in first.parameters.items():
        np.testing.assert_array_equal(mixed.parameters[name], weight / 2)


@pytest.mark.parametrize(("reads", "left"), [(1, 0.5), (2, 1.0)])
def test_the_middle_layers_output_is_shared_where_it_reads_the_same_layer(tutor: Path, reads: int, left: float) -> None:
    """1 is the middle one of two layers, by default."""
    first = Model.load(tutor)
    shape = dataclasses.replace(first.network, middle=4, intermediate=1.0)
    first = dataclasses.replace(first, network=shape, parameters=Parameters(Network.layout(shape)))
    other = dataclasses.replace(first, network=dataclasses.replace(shape, intermediate_after=reads))
    model = dataclasses.replace(other, parameters=Parameters(Network.layout(shape)))
    model.parameters.vector[...] = 1.0
    mixed = blended(model, first, 0.5).parameters
    assert {name: float(np.unique(view).item()) for name, view in mixed.items()} == {
        name: left if name.startswith("middle") else 0.5 for name in mixed.layout
    }


@pytest.mark.parametrize("reads", [1, 2])
def test_an_output_that_reads_another_layer_begins_anew(
    tutor: Path, restless: TrainingConfig, backend: Backend, tmp_path: Path, reads: int
) -> None:
    first = Model.load(tutor)
    shape = dataclasses.replace(first.network, middle=4, intermediate=1.0)
    first = dataclasses.replace(first, network=shape, parameters=Parameters(Network.layout(shape)))
    first.parameters.vector[...] = 3.0
    asked = dataclasses.replace(restless.network, layers=2, intermediate=1.0, intermediate_after=reads)
    config = like(first, dataclasses.replace(restless, network=asked))
    begun = first_network(config, first.network.outputs, 4, first, backend, tmp_path).parameters
    taken = {name for name in first.parameters.layout if np.all(backend.to_host(begun[name]) == 3.0)}
    assert taken == {name for name in first.parameters.layout if reads == 1 or not name.startswith("middle")}


def test_a_model_to_begin_with_must_be_there(
    restless: TrainingConfig, train_set: list[Utterance], backend: Backend, tmp_path: Path
) -> None:
    config = dataclasses.replace(restless, init=str(tmp_path / "no.safetensors"))
    with pytest.raises(ModelError, match=r"no\.safetensors"):
        train(config, train_set[:4], [], tmp_path / "run", backend, progress=Watcher())
    assert not (tmp_path / "run").exists()


def test_average_speech_is_measured_and_kept_in_the_model(tutor: Path, dev_set: list[Utterance]) -> None:
    """What is recognised is what was heard on development data while training."""
    model = Model.load(tutor)
    assert len(model.features.prior_mean) == len(model.features.prior_deviation) == model.features.dimension
    texts = [Recognizer(model).transcribe(utterance.audio).text for utterance in dev_set]
    measured = score([utterance.text for utterance in dev_set], texts)
    assert model.provenance["scores"]["dev_cer"] == pytest.approx(measured.cer)


def test_average_speech_of_files_that_cannot_be_read(
    restless: TrainingConfig, backend: Backend, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")
    config = dataclasses.replace(restless, features=dataclasses.replace(restless.features, prior_frames=20))
    with pytest.raises(TrainingError, match="none of the 2 training utterances tried can be read"):
        train(
            config, [Utterance(f"u{i}", bad, "a") for i in range(2)], [], tmp_path / "run", backend, progress=Watcher()
        )
