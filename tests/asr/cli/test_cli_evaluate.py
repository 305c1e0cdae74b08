"""`asr evaluate`: figures for a program, a report for a person."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import soundfile
from outcome import RunAsr


def test_json_has_these_figures(run_asr: RunAsr, tone_run: Path, tone_corpus: Path) -> None:
    code, out, err = run_asr("evaluate", "--model", tone_run / "model.safetensors", f"pairs:{tone_corpus}", "--json")
    assert code == 0
    assert err.startswith("asr: device: cpu, ")
    assert err.count("\n") == 1
    figures = json.loads(out)
    assert list(figures)[:5] == ["wer", "cer", "utterances", "words", "rtf"]
    assert figures["wer_interval"] == figures["cer_interval"] == [0, 0]
    assert figures["wer_interval_by_speaker"] is None
    words = sum(len(path.read_text().split()) for path in tone_corpus.glob("*.txt"))
    assert (figures["wer"], figures["cer"], figures["utterances"], figures["words"]) == (0, 0, 48, words)
    assert 0 < figures["rtf"] < 10


def test_rates_are_fractions_of_errors(run_asr: RunAsr, tone_run: Path, tone_corpus: Path, tmp_path: Path) -> None:
    for path in sorted(tone_corpus.glob("*"))[:4]:
        shutil.copy(path, tmp_path)
    first, second = sorted(tmp_path.glob("*.txt"))
    first.write_text("")  # every word heard is an insertion
    words = len(second.read_text().split())
    heard = len((tone_corpus / first.name).read_text().split())
    _, out, _ = run_asr("evaluate", "--model", tone_run / "model.safetensors", f"pairs:{tmp_path}", "--json")
    figures = json.loads(out)
    assert figures["words"] == words
    assert abs(figures["wer"] - heard / words) < 1e-6


def test_the_report_shows_rates_and_alignments(run_asr: RunAsr, model_file: Path, tone_corpus: Path) -> None:
    code, out, _ = run_asr("evaluate", "--model", model_file, tone_corpus)
    assert code == 0
    for part in (
        "word error rate",
        "character error rate",
        "best: tone",
        "median: tone",
        "worst: tone",
        "REF:",
        "HYP:",
    ):
        assert part in out


def test_tables_are_whole_when_asked_for(run_asr: RunAsr, model_file: Path, tone_corpus: Path) -> None:
    _, short, _ = run_asr("evaluate", "--model", model_file, tone_corpus)
    _, long, _ = run_asr("evaluate", "--model", model_file, tone_corpus, "--tables")
    assert " more\n" in short
    assert " more\n" not in long
    assert max(map(len, long.splitlines())) <= 110
    _, out, _ = run_asr("evaluate", "--model", model_file, tone_corpus, "--tables", "--json")
    figures = json.loads(out)
    assert figures["by_speaker"] == []
    for kind, total in (("substituted", "substitutions"), ("deleted", "deletions"), ("inserted", "insertions")):
        assert sum(row["count"] for row in figures[kind]) == figures[total]
    low, high = figures["wer_interval"]
    assert low < figures["wer"] < high


def test_speakers_are_in_a_table(run_asr: RunAsr, model_file: Path, tone_corpus: Path, tmp_path: Path) -> None:
    """A Kaldi folder, whose utt2spk names the speakers."""
    recordings = sorted(tone_corpus.glob("*.wav"))[:12]
    files: dict[str, list[str]] = {"wav.scp": [], "text": [], "utt2spk": []}
    for number, path in enumerate(recordings):
        files["wav.scp"].append(f"u{number:02} {path}")
        files["text"].append(f"u{number:02} {path.with_suffix('.txt').read_text().strip()}")
        files["utt2spk"].append(f"u{number:02} s{number:02}")
    for name, lines in files.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    _, out, _ = run_asr("evaluate", "--model", model_file, f"kaldi:{tmp_path}")
    assert "%, resampling its 12 speakers" in out
    table = out[out.index("speaker, worst first  utterances  words") :].split("\n\n")[0].splitlines()
    assert table[-1] == "and 2 more (--tables shows all)"
    rates = [float(row.split()[3]) for row in table[1:-1]]
    assert len(rates) == 10
    assert rates == sorted(rates, reverse=True)
    _, out, _ = run_asr("evaluate", "--model", model_file, f"kaldi:{tmp_path}", "--tables", "--json")
    figures = json.loads(out)
    assert figures["speakers"] == len(figures["by_speaker"]) == 12
    assert figures["wer_interval_by_speaker"] is not None


def test_without_errors_the_rule_of_three_holds(run_asr: RunAsr, tone_run: Path, tone_corpus: Path) -> None:
    _, out, _ = run_asr("evaluate", "--model", tone_run / "model.safetensors", tone_corpus)
    words = sum(len(path.read_text().split()) for path in tone_corpus.glob("*.txt"))
    assert f"  95 % interval       0.00 to {300 / words:.2f} %, by the rule of three\n" in out
    assert "most " not in out


def test_the_report_of_silence_has_no_rates(run_asr: RunAsr, model_file: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(16000), 16000)
    (tmp_path / "silence.txt").touch()
    code, out, _ = run_asr("evaluate", "--model", model_file, tmp_path)
    assert code == 0
    assert "word error rate       -   0 substituted" in out
    assert "interval" not in out
    assert "nan" not in out


def test_utterances_that_cannot_be_read_are_reported(
    run_asr: RunAsr, tone_run: Path, tone_corpus: Path, tmp_path: Path
) -> None:
    for path in sorted(tone_corpus.glob("*"))[:4]:
        shutil.copy(path, tmp_path)
    broken = min(tmp_path.glob("*.wav"))
    broken.write_bytes(b"no sound")
    code, out, err = run_asr("evaluate", "--model", tone_run / "model.safetensors", tmp_path, "--json")
    assert code == 1
    assert json.loads(out)["utterances"] == 1
    assert str(broken) in err
    assert "1 of 2 utterances failed" in err


def test_details_that_cannot_be_written_are_told_before_the_work(
    run_asr: RunAsr, model_file: Path, tone_corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    details = tmp_path / "file" / "x.jsonl"
    code, out, err = run_asr("evaluate", f"pairs:{tone_corpus}", "--model", model_file, "--details", details)
    assert (code, out) == (1, "")
    assert err.startswith(f"asr: --details {details}: cannot be written")


def test_figures_are_printed_where_details_cannot_be_written(
    run_asr: RunAsr, model_file: Path, tone_corpus: Path, tmp_path: Path
) -> None:
    details = tmp_path / (300 * "x")
    code, out, err = run_asr("evaluate", f"pairs:{tone_corpus}", "--model", model_file, "--json", "--details", details)
    assert code == 1
    assert "wer" in json.loads(out)
    assert f"--details {details}: cannot be written" in err


def test_a_corpus_that_is_not_there_is_one_sentence(run_asr: RunAsr, tone_run: Path, tmp_path: Path) -> None:
    code, out, err = run_asr("evaluate", "--model", tone_run / "model.safetensors", tmp_path / "nowhere")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
