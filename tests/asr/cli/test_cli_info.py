"""`asr info`: a model file for a person."""

from __future__ import annotations

from pathlib import Path

import pytest
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
    assert "device" not in rows


@pytest.mark.parametrize(
    ("named", "layers", "units"), [(True, 1, "lstm, 117 to 2 x 8"), (False, 3, "lstm, 117 to 2 x 256")]
)
def test_info_says_how_the_layers_would_run(
    run_asr: RunAsr, model_file: Path, named: bool, layers: int, units: str
) -> None:
    model = [model_file] if named else []
    code, out, err = run_asr("info", *model, "--device", "cpu", "--threads", 1)
    assert (code, err) == (0, "")
    rows = [line.split("│")[1].strip() for line in out.splitlines() if line.count("│") == 3]
    assert [row for row in rows if row.endswith(" at once")] == [
        f"layer{layer}, {batch} at once" for layer in range(layers) for batch in (1, 16)
    ]
    assert f"{units}: 2 tasks, each a direction" in out
    assert "cpu, 1 thread, " in out


def test_a_foreign_file_is_refused_with_a_reason(run_asr: RunAsr, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"not a model at all")
    code, out, err = run_asr("info", foreign)
    assert (code, out) == (1, "")
    assert str(foreign) in err
