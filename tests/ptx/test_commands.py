"""`asr train`, `transcribe` and `info` with `--device cuda`, from sound files on, under the executor's launch path."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tones

from asr.cli import main
from asr.model import Model
from ptx.driver import offline_gpu


def run(*arguments: str | Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, arguments)))
    assert not stop.value.code


def test_commands_do_on_the_device_what_they_do_on_the_cpu(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Three epochs from the same seed: the same losses and weights; then the same text of the same model."""
    tones.make(tmp_path / "train", 10, seed=1)
    tones.make(tmp_path / "dev", 2, seed=2)
    corpora = ["--corpus", f"pairs:{tmp_path / 'train'}", "--dev", f"pairs:{tmp_path / 'dev'}"]
    sizes = ["--layers", "1", "--hidden", "12", "--epochs", "3", "--seed", "3", "--set", "augment.copies=[]"]
    metrics, weights, texts = {}, {}, {}
    with offline_gpu(cc=(9, 0)) as gpu:
        for device in ("cpu", "cuda"):
            out = tmp_path / device
            run("train", "--config", "tiny", *corpora, *sizes, "--out", out, "--device", device)
            assert f"device: {device}" in capfd.readouterr().err
            metrics[device] = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
            weights[device] = Model.load(out / "model.safetensors").parameters.vector
        assert sum("forward" in launch.kernel for launch in gpu.launches) >= 4
        for device in ("cpu", "cuda"):
            run("transcribe", "--model", tmp_path / "cuda" / "model.safetensors", "--device", device, tmp_path / "dev")
            texts[device] = capfd.readouterr().out
        run("info", tmp_path / "cuda" / "model.safetensors", "--device", "cuda")
        assert "persistent, one launch" in capfd.readouterr().out
    assert [len(lines) for lines in metrics.values()] == [3, 3]
    for found, expected in zip(metrics["cuda"], metrics["cpu"], strict=True):
        assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-5)
        assert found["dev_loss"] == pytest.approx(expected["dev_loss"], rel=1e-4)
    np.testing.assert_allclose(weights["cuda"], weights["cpu"], rtol=0, atol=1e-5)
    assert texts["cuda"] == texts["cpu"]
