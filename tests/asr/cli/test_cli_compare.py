"""`asr compare`: models on a corpus, details files, and what cannot be compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from outcome import RunAsr

CORPUS_FILES = 24  # twelve utterances of a recording and a text


@pytest.fixture
def few(tone_corpus: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "few"
    folder.mkdir()
    for path in sorted(tone_corpus.glob("*"))[:CORPUS_FILES]:
        shutil.copy(path, folder)
    return folder


def details(path: Path, hypotheses: list[str], reference: str = "one two three four") -> Path:
    lines = [{"id": str(n), "reference": reference, "hypothesis": text} for n, text in enumerate(hypotheses)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_a_trained_model_is_better_than_a_random_one(
    run_asr: RunAsr, tone_run: Path, model_file: Path, few: Path
) -> None:
    trained = tone_run / "model.safetensors"
    code, out, err = run_asr("compare", model_file, trained, few)
    assert code == 0
    assert err.count("asr: device: ") == 2
    assert "B  word error rate    0.00 % (0.00 to 0.00)" in out
    assert out.endswith("\n\nB is better than A: the interval of the difference leaves 0 out.\n")
    _, out, _ = run_asr("compare", trained, model_file, few, "--json")
    found = json.loads(out)
    assert found["systems"] == [str(trained), str(model_file)]
    assert found["a"]["wer"] == 0
    assert found["utterances"] == CORPUS_FILES / 2
    low, high = found["by_utterance"]["difference_interval"]
    assert 0 < low < found["difference"] == found["b"]["wer"] < high
    assert found["by_utterance"]["probability_a_better"] == 1
    assert found["by_speaker"] is None


def test_what_evaluate_wrote_is_compared_without_a_corpus(
    run_asr: RunAsr, tone_run: Path, model_file: Path, few: Path, tmp_path: Path
) -> None:
    files = [tmp_path / "out" / f"{letter}.jsonl" for letter in "ab"]
    for path, model in zip(files, (model_file, tone_run / "model.safetensors"), strict=True):
        code, out, _ = run_asr("evaluate", "--model", model, few, "--json", "--details", path)
        assert code == 0
        assert len(path.read_text().splitlines()) == json.loads(out)["utterances"] == CORPUS_FILES / 2
    code, out, err = run_asr("compare", *files, "--json")
    assert (code, err) == (0, "")
    from_files = json.loads(out)
    _, out, _ = run_asr("compare", model_file, files[1], few, "--json")  # a model and a file
    assert json.loads(out) == from_files | {"systems": [str(model_file), str(files[1])]}


def test_a_system_and_itself(run_asr: RunAsr, tmp_path: Path) -> None:
    path = details(tmp_path / "a.jsonl", ["one two", "one two three four", ""])
    code, out, _ = run_asr("compare", path, path)
    assert code == 0
    assert "+0.00 to +0.00 points" in out
    assert out.endswith("Both make as many word errors (6): neither is better here.\n")


def test_one_utterance_and_no_words(run_asr: RunAsr, tmp_path: Path) -> None:
    for hypotheses, reference in ((["one"], "one two"), (["", "one"], "")):
        path = details(tmp_path / "a.jsonl", hypotheses, reference)
        code, out, _ = run_asr("compare", path, path)
        assert code == 0
        assert "nan" not in out
        assert "Nothing can be said" in out


def test_other_utterances_are_refused(run_asr: RunAsr, tmp_path: Path) -> None:
    a, b = details(tmp_path / "a.jsonl", ["one"]), details(tmp_path / "b.jsonl", ["one", "two"])
    code, out, err = run_asr("compare", a, b)
    assert (code, out) == (1, "")
    assert err == (
        "asr: A and B are not about the same utterances: 1 only in B (1); evaluate both on the same corpus\n"
    )


def test_models_need_a_corpus_and_files_have_one(run_asr: RunAsr, model_file: Path, tmp_path: Path) -> None:
    path = details(tmp_path / "a.jsonl", ["one"])
    code, _, err = run_asr("compare", path, model_file)
    assert code == 2
    assert f"{model_file}: no file of evaluate --details, so a model, which needs a CORPUS" in err
    code, _, err = run_asr("compare", path, path, tmp_path)
    assert code == 2
    assert f"leave {tmp_path} out" in err
    for corpus in ([], [tmp_path]):
        code, _, err = run_asr("compare", tmp_path / "nothing.jsonl", path, *corpus)
        assert code == 1
        assert "nothing.jsonl: neither a file nor one of the bundled models" in err


def test_a_damaged_file_says_where(run_asr: RunAsr, tmp_path: Path) -> None:
    good, bad = details(tmp_path / "a.jsonl", ["one"]), tmp_path / "b.jsonl"
    bad.write_text("one two\n")
    code, out, err = run_asr("compare", good, bad)
    assert (code, out) == (1, "")
    assert f"{bad}, line 1: not JSON" in err


def test_what_cannot_be_read_is_compared_for_neither(run_asr: RunAsr, model_file: Path, few: Path) -> None:
    broken = min(few.glob("*.wav"))
    broken.write_bytes(b"no sound")
    code, out, err = run_asr("compare", model_file, model_file, few, "--json")
    assert code == 1
    assert json.loads(out)["utterances"] == CORPUS_FILES / 2 - 1
    assert str(broken) in err
    assert "1 of the utterances failed" in err
