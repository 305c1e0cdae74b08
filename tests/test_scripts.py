"""What a user copies from scripts/ runs."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import tones

ROOT = Path(__file__).resolve().parents[1]


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_train_corpus_learns_the_language_of_tones(tmp_path: Path) -> None:
    tones.make(tmp_path / "train", utterances=160, seed=1)
    tones.make(tmp_path / "test", seed=2)
    printed = run("train_corpus.py", "tiny", tmp_path / "train", tmp_path / "test", tmp_path / "run")
    rates = [float(rate) for rate in re.findall(r"(\d+\.\d)%", printed)]
    assert len(rates) == 2
    assert max(rates) < 5


def test_transcribe_folder_lists_words_in_time() -> None:
    rows = list(csv.DictReader(run("transcribe_folder.py", ROOT / "samples").splitlines()))
    january = [row for row in rows if row["file"].endswith("january.flac")]
    assert january
    starts = [float(row["start"]) for row in january]
    assert starts == sorted(starts)
    assert all(float(row["start"]) <= float(row["end"]) and row["word"] for row in rows)


def test_time_series_beats_the_naive_forecast() -> None:
    errors = [float(error) for error in re.findall(r"error (\d\.\d+)", run("time_series.py"))]
    naive, untrained, *_, last = errors
    assert last < 0.25 * naive < untrained
