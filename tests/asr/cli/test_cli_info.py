"""`asr info`: a model file for a person."""

from __future__ import annotations

from pathlib import Path

from outcome import RunAsr


def test_info_shows_what_the_file_holds(run_asr: RunAsr, model_file: Path) -> None:
    code, out, err = run_asr("info", model_file)
    assert (code, err) == (0, "")
    cells = [[cell.strip() for cell in line.split("│")] for line in out.splitlines() if line.count("│") == 3]
    rows = {name: value for _, name, value, _ in cells}
    assert rows["cell"] == "lstm"
    assert rows["hidden"] == "8"
    assert rows["coefficients"] == "13"
    assert rows["characters"] == "␣abc"
    assert rows["trained_on"] == "nothing"
    assert rows["dev_wer"] == "0.5"
    assert rows["weights"] == "8,213 (0.03 MB)"


def test_a_foreign_file_is_refused_with_a_reason(run_asr: RunAsr, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"not a model at all")
    code, out, err = run_asr("info", foreign)
    assert (code, out) == (1, "")
    assert str(foreign) in err
