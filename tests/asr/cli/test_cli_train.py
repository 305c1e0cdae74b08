"""`asr train` from corpus to a model that is used, stopped and resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from elsewhere import Elsewhere
from outcome import RunAsr

from asr.cli.train import parse_settings, public_name
from asr.errors import UsageError
from asr.model import Model


def test_a_model_trained_here_hears_every_word(run_asr: RunAsr, tone_run: Path, tone_corpus: Path) -> None:
    sounds = sorted(tone_corpus.glob("*.wav"))
    code, out, _ = run_asr("transcribe", "--model", tone_run / "model.safetensors", *sounds)
    assert code == 0
    texts = [sound.with_suffix(".txt").read_text().strip() for sound in sounds]
    assert out.splitlines() == [f"{sound}: {text}" for sound, text in zip(sounds, texts, strict=True)]


def test_the_model_names_its_corpus_without_folders(tone_run: Path) -> None:
    model = Model.load(tone_run / "model.safetensors")
    assert model.provenance["trained_on"] == ["pairs:tones"]
    assert str(tone_run.parent) not in str(model.provenance)


def test_the_path_of_the_model_is_the_result(run_asr: RunAsr, tone_corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, printed, err = run_asr("train", "--config", "tiny", "--epochs", 1, "--corpus", tone_corpus, "--out", out)
    assert code == 0
    assert Path(printed.strip()).is_file()
    assert "epoch   1/1" in err


def test_flags_become_settings_of_the_run(run_asr: RunAsr, tone_corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shape = ("--cell", "gru", "--layers", 2, "--hidden", 5, "--alphabet", " abcdefg")
    settings = ("--epochs", 1, "--seed", 7, "--set", "optimizer.rate=0.125", "--set", "keep=best")
    code, _, err = run_asr("train", "--config", "tiny", "--corpus", tone_corpus, "--out", out, *shape, *settings)
    assert code == 0, err
    saved = tomllib.loads((out / "config.toml").read_text())
    assert saved["network"]["cell"] == "gru"
    assert (saved["network"]["layers"], saved["network"]["hidden"]) == (2, 5)
    assert (saved["seed"], saved["schedule"]["epochs"]) == (7, 1)
    assert (saved["optimizer"]["rate"], saved["keep"]) == (0.125, "best")
    assert Model.load(out / "model.safetensors").alphabet.characters == " abcdefg"


def test_speakers_or_another_corpus_are_development_data(run_asr: RunAsr, tone_corpus: Path, tmp_path: Path) -> None:
    common = ("train", "--config", "tiny", "--epochs", 1, "--corpus", tone_corpus)
    _, _, without = run_asr(*common, "--out", tmp_path / "a")
    _, _, given = run_asr(*common, "--out", tmp_path / "b", "--dev", tone_corpus)
    _, _, held_out = run_asr(*common, "--out", tmp_path / "c", "--set", "dev_every=6")
    assert "WER" not in without
    assert "WER" in given
    assert "training on 48 utterances" in given
    assert "WER" in held_out
    assert "training on 40 utterances" in held_out


def test_one_command_ends_with_a_model_that_carries_a_language_model(
    run_asr: RunAsr, tone_corpus: Path, tmp_path: Path
) -> None:
    """Words of held-out speakers are in it, those of other development data are not."""
    text, out = tmp_path / "x.txt", tmp_path / "run"
    text.write_text("Face, cab!\nbeef\n")
    settings = ("--set", "language.order=2", "--set", "dev_every=6", "--set", "dev_fold=3")
    common = ("train", "--config", "tiny", "--epochs", 2, "--corpus", tone_corpus, "--text", text)
    code, printed, err = run_asr(*common, "--out", out, *settings)
    assert (code, printed) == (0, f"{out / 'model.safetensors'}\n"), err
    assert "development words wrong: " in err
    assert len((out / "dev.jsonl").read_text().splitlines()) == 8
    model = Model.load(out / "model.safetensors")
    assert model.language is not None
    texts = [path.read_text() for path in tone_corpus.glob("*.txt")]
    assert set(model.language.words) == {"<s>", "</s>", "<unk>", "face", "cab", "beef", *" ".join(texts).split()}
    code, _, err = run_asr(*common, "--out", tmp_path / "other")
    assert code == 2
    assert f"asr: {text}: a text for the language model, and there is none to be (language.order is 0)" in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--set", "optimizer.rate"], "KEY=VALUE"),
        (["--set", "language.order=12"], "language: order: 12 is not within 0..10"),
        (["--set", "dev_fold=10"], "dev_fold: 10 is not within 0..9"),
        (["--set", "optimizer.speed=1"], "optimizer.speed"),
        (["--cell", "brain"], "brain"),
        (["--config", "nothing"], "nothing"),
        (["--resume"], "--resume"),
    ],
)
def test_settings_that_cannot_be_are_wrong_usage(
    run_asr: RunAsr, tone_corpus: Path, tmp_path: Path, arguments: list[str], named: str
) -> None:
    code, out, err = run_asr("train", "--corpus", tone_corpus, "--out", tmp_path / "run", *arguments)
    assert (code, out) == (2, "")
    assert named in err
    assert not (tmp_path / "run").exists()


def test_a_folder_in_use_is_refused(run_asr: RunAsr, tone_run: Path, tone_corpus: Path) -> None:
    code, _, err = run_asr("train", "--config", "tiny", "--corpus", tone_corpus, "--out", tone_run)
    assert code == 2
    assert str(tone_run) in err


def test_interrupted_and_resumed_equals_never_stopped(run_asr: RunAsr, tone_corpus: Path, tmp_path: Path) -> None:
    common = ["train", "--config", "tiny", "--epochs", "30", "--corpus", str(tone_corpus), "--out"]
    assert run_asr(*common, tmp_path / "straight").code == 0
    stopped = str(tmp_path / "stopped")
    process = subprocess.Popen([sys.executable, "-m", "asr", *common, stopped], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    next(line for line in process.stderr if line.startswith("epoch   2/"))
    process.send_signal(signal.SIGINT)
    rest = process.communicate()[1]
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert not (tmp_path / "stopped" / "model.safetensors").exists()
    assert run_asr("train", "--resume", "--corpus", tone_corpus, "--out", stopped).code == 0
    straight, resumed = (Model.load(tmp_path / name / "model.safetensors") for name in ("straight", "stopped"))
    np.testing.assert_array_equal(resumed.parameters.vector, straight.parameters.vector)


def test_a_device_that_is_full_says_how_to_go_on(
    run_asr: RunAsr, tone_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first epoch goes from short to long; the remedy that the message names is taken, and suffices."""
    device = Elsewhere(room=80_000)
    monkeypatch.setattr("asr.backends.open_backend", lambda *_: device)
    common = ("train", "--corpus", tone_corpus, "--out", tmp_path / "run", "--device", "cuda")
    code, out, err = run_asr(*common, "--config", "tiny", "--epochs", 1, "--hidden", 8)
    assert (code, out) == (1, "")
    first, *_, last = err.splitlines()
    assert first == "device: elsewhere"
    assert last.startswith(f"asr: {tmp_path / 'run'}: epoch 1, update ")
    remedy = last.partition("; go on with ")[2]
    assert remedy == "--resume --set batches.size=2"
    code, out, _ = run_asr(*common, *remedy.split())
    assert (code, out) == (0, f"{tmp_path / 'run' / 'model.safetensors'}\n")


def test_settings_are_split_at_the_first_equals_sign() -> None:
    assert parse_settings(["a.b = 1", "text.alphabet==x"]) == {"a.b": "1", "text.alphabet": "=x"}
    with pytest.raises(UsageError, match="KEY=VALUE"):
        parse_settings(["=1"])


def test_public_names() -> None:
    assert public_name("an4:/home/someone/an4:train") == "an4:an4:train"
    assert public_name("pairs:recordings/") == "pairs:recordings"
