"""What a user copies from scripts/ runs."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tones

ROOT = Path(__file__).resolve().parents[1]


def start(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def run(script: str, *arguments: object) -> str:
    done = start(script, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(script: str, *arguments: object) -> str:
    """What it says when it cannot work, which is a sentence."""
    done = start(script, *arguments)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    return done.stderr


SCORES = "score_ensemble.py", "score_groups.py", "score_joined.py", "score_quiet.py", "score_words.py"


@pytest.mark.parametrize("script", SCORES)
def test_scores_tell_how_they_are_called(script: str) -> None:
    assert f"python scripts/{script}" in run(script, "--help")
    assert f"python scripts/{script}" in refused(script)
    assert f"{script.removesuffix('.py')}: " in refused(script, *["nowhere"] * (3 if "ensemble" in script else 2))


@pytest.mark.parametrize("script", ["train_corpus.py", "transcribe_folder.py"])
def test_examples_tell_how_they_are_called(script: str) -> None:
    assert f"python scripts/{script}" in refused(script)
    arguments = ["an4", "nowhere", "nowhere", "out"] if "train" in script else ["nowhere"]
    assert "nowhere" in refused(script, *arguments)


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


SETTINGS = """
config = "tiny"
[all]
"schedule.epochs" = 2
"dev_every" = 4
[settings]
"24 units" = { "network.hidden" = 24 }
"""


def test_compare_settings_has_a_row_for_each_and_trains_each_once(tmp_path: Path) -> None:
    tones.make(tmp_path / "tones", utterances=24)
    (tmp_path / "settings.toml").write_text(SETTINGS)
    arguments = ("compare_settings.py", tmp_path / "settings.toml", "--corpus", tmp_path / "tones")
    printed = run(*arguments, "--out", tmp_path / "runs")
    assert re.findall(r"^\| (.*?) \|", printed, re.MULTILINE) == ["setting", "---", "as it is", "24 units"]
    assert all(len(re.findall(r"[\d.]+%", row)) == 4 for row in printed.splitlines()[2:])
    runs = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert runs == ["24-units-0", "24-units-1", "as-it-is-0", "as-it-is-1"]
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/metrics.jsonl")}
    assert run(*arguments, "--out", tmp_path / "runs") == printed
    assert made == {path: path.stat().st_mtime_ns for path in made}

    (tmp_path / "settings.toml").write_text(SETTINGS.replace("24 }", "12 }"))
    assert "network.hidden is 12, but the run began with 24" in refused(*arguments, "--out", tmp_path / "runs")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ('config = "tiny"\n', "settings.toml: it needs config, [all] and [settings.NAME]"),
        ('config = "tiny"\nall = 3\n[settings.x]\n', "settings.toml: it needs config, [all] and [settings.NAME]"),
        ('config = "tiny"\n[settings]\na = 1\n', "settings.toml: it needs config, [all] and [settings.NAME]"),
        (SETTINGS + '"24: units" = {}\n', "settings.toml: '24 units' and '24: units' would have the same folder"),
    ],
)
def test_compare_settings_names_a_file_that_it_cannot_use(settings: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(settings)
    arguments = ("compare_settings.py", tmp_path / "settings.toml", "--corpus", "x", "--out", tmp_path)
    assert sentence in refused(*arguments)


def test_score_groups_has_a_line_for_each_group(tmp_path: Path) -> None:
    lines = [
        {"id": "1", "speaker": "ann", "reference": "a b", "hypothesis": "a"},
        {"id": "2", "speaker": "bo", "reference": "a b c d", "hypothesis": "a b c d"},
        {"id": "3", "speaker": "cy", "reference": "a b", "hypothesis": "a b"},
        {"id": "4", "speaker": "dee", "reference": "a", "hypothesis": "b"},
    ]
    (tmp_path / "details.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "groups.txt").write_text("ann child\nbo adult\ncy child\n")
    printed = run("score_groups.py", tmp_path / "details.jsonl", tmp_path / "groups.txt").splitlines()
    assert [re.split(r" \(|, CER", line)[0] for line in printed[:2]] == [
        "adult: 4 words, WER 0.00%",
        "child: 4 words, WER 25.00%",
    ]
    assert printed[2].startswith("no group: 1 words, WER 100.00%")
    (tmp_path / "groups.txt").write_text("ann child\nbo\n")
    assert "groups.txt: no group behind 'bo'" in refused(
        "score_groups.py", tmp_path / "details.jsonl", tmp_path / "groups.txt"
    )


def test_score_words_counts_what_was_said_in_training(tmp_path: Path) -> None:
    lines = [
        {"id": "1", "reference": "go on then go", "hypothesis": "go one go"},
        {"id": "2", "reference": "stop", "hypothesis": "stop it"},
    ]
    (tmp_path / "details.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    texts = ["Go!", *["on"] * 6, *["then"] * 2]
    train = [{"audio_filepath": f"{number}.wav", "text": text} for number, text in enumerate(texts)]
    for line in train:
        (tmp_path / line["audio_filepath"]).touch()
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in train))
    printed = run("score_words.py", tmp_path / "details.jsonl", f"nemo:{tmp_path / 'train.jsonl'}").splitlines()
    assert printed[2:] == [
        "| never | 1 | 0.0% |",  # stop: what was put in behind it is no error of its own
        "| 1 to 5 times | 3 | 33.3% |",  # go twice, and then, which is missing
        "| 6 to 20 times | 1 | 100.0% |",  # on
        "| 21 to 100 times | 0 |  |",
        "| 101 times or more | 0 |  |",
    ]


def test_score_ensemble_has_a_line_for_each_model_and_one_for_all(tmp_path: Path) -> None:
    """Twice the same model makes the same errors as once."""
    printed = run("score_ensemble.py", f"pairs:{ROOT / 'samples'}", "en", "en").splitlines()
    names, rates = zip(*(line.split(": ") for line in printed), strict=True)
    assert names == ("en", "en", "mean of the posteriors")
    assert len(set(rates)) == 1


def test_score_quiet_has_a_row_for_each_noise() -> None:
    rows = run("score_quiet.py", "en", f"pairs:{ROOT / 'samples'}", "0").splitlines()
    assert [re.findall(r"[^| ][^|]*[^| ]", row)[0] for row in rows] == ["noise", "none", "-40 dB", "-20 dB"]
    assert all(len(re.findall(r"\d\.\d%", row)) == 3 for row in rows[1:])


def test_score_joined_has_a_row_for_one_speaker_and_one_for_several(tmp_path: Path) -> None:
    unnamed = run("score_joined.py", "en", f"pairs:{ROOT / 'samples'}", "0", "5").splitlines()
    assert [row.split(" | ")[0] for row in unnamed] == ["| a recording of", "| several speakers"]
    entries = [
        {"audio_filepath": str(ROOT / "samples" / f"an4-{name}.flac"), "text": name, "speaker": name}
        for name in ("january", "melvin")
    ]
    (tmp_path / "two.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    rows = run("score_joined.py", "en", f"nemo:{tmp_path / 'two.jsonl'}", "0", "5").splitlines()
    assert [row.split(" | ")[0] for row in rows] == ["| a recording of", "| one speaker", "| several speakers"]
    assert all(len(re.findall(r"\d\.\d%", row)) == 4 for row in rows[1:])
