"""The command line in this process, a small model with random weights, and recordings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tones
from outcome import Outcome, RunAsr, without_compiling

from asr.alphabet import Alphabet
from asr.cli import main
from asr.features import FeatureConfig
from asr.model import Model
from asr.network import Network, NetworkConfig


@pytest.fixture
def run_asr(capfd: pytest.CaptureFixture[str]) -> Iterator[RunAsr]:
    """`run_asr("info", path)` runs the command line and returns exit code, stdout and stderr."""

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(int(stop.value.code or 0), captured.out, without_compiling(captured.err))

    yield run
    for name in ("asr", "kernels"):
        logging.getLogger(name).handlers.clear()


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt nothing, but runs."""
    features, alphabet = FeatureConfig(), Alphabet(" abc")
    config = NetworkConfig(inputs=features.dimension, outputs=alphabet.size, layers=1, hidden=8, dropout=0.0)
    parameters = Network.initial(config, np.random.default_rng(1))
    parameters["output.bias"][1:] = 1.0  # rather any character than the blank
    path = tmp_path_factory.mktemp("model") / "random.safetensors"
    provenance = {"trained_on": ["nothing"], "epochs": 0, "scores": {"dev_wer": 0.5}}
    Model(features, alphabet, config, parameters, provenance).save(path)
    return path


@pytest.fixture
def noise(tmp_path: Path) -> Callable[[str], Path]:
    """`noise("a/x.wav")` writes half a second of noise there."""
    rng = np.random.default_rng(1)

    def write(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(8000), 16000)
        return path

    return write


@pytest.fixture(scope="session")
def tone_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus in the language of tones."""
    folder = tmp_path_factory.mktemp("corpora") / "tones"
    tones.make(folder)
    return folder


@pytest.fixture(scope="session")
def tone_run(tmp_path_factory: pytest.TempPathFactory, tone_corpus: Path) -> Path:
    """The folder of a run of `asr train` that has learnt the language of tones."""
    folder = tmp_path_factory.mktemp("runs") / "tones"
    with pytest.raises(SystemExit) as stop:
        main(["train", "--config", "tiny", "--corpus", f"pairs:{tone_corpus}", "--out", str(folder)])
    assert not stop.value.code
    return folder
