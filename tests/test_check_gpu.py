"""The check of a GPU: it writes a report whatever happens, and tells nothing of a user's folders."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kernels import BackendUnavailableError, open_backend

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "scripts"))

import check_gpu  # noqa: E402
import typer  # noqa: E402
from check_gpu import Part  # noqa: E402


def python(name: str, code: str, **options: Any) -> Part:
    """A part that runs a line of Python."""
    return Part(name, ("-c", code), **({"needs_gpu": False} | options))


def check(monkeypatch: pytest.MonkeyPatch, out: Path, *parts: Part, missing: str = "") -> tuple[int, str]:
    """Exit code and report of a check with these parts."""
    monkeypatch.setattr(check_gpu, "parts", lambda: list(parts))
    monkeypatch.setattr(check_gpu, "why_no_gpu", lambda: missing)
    with pytest.raises(typer.Exit) as stop:
        check_gpu.main(out)
    return stop.value.exit_code, out.read_text()


def results(report: str) -> list[dict[str, Any]]:
    """What the report says for machines."""
    found: list[dict[str, Any]] = json.loads(report.split("```json")[1].split("```")[0])["results"]
    return found


def test_without_a_gpu_there_is_a_report_of_facts(tmp_path: Path) -> None:
    try:
        backend = open_backend("cuda")
    except BackendUnavailableError as error:
        reason = str(error)
    else:
        pytest.skip(f"there is a GPU: {backend.describe()}")
    out = tmp_path / "report.md"
    command = [sys.executable, str(ROOT / "scripts" / "check_gpu.py"), "--out", str(out), "--only", "recurrence"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": ""}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no GPU can be used: {reason}" in done.stderr
    text = out.read_text()
    assert reason in text
    assert re.search(r"- processor: .*numpy \d", text)
    assert [(result["name"], result["outcome"]) for result in results(text)] == [("recurrence", "left out")]


def test_a_failing_part_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parts = python("breaks", "raise ValueError('on purpose')"), python("works", "print('fine')")
    code, text = check(monkeypatch, tmp_path / "report.md", *parts)
    assert code == 1
    assert [result["outcome"] for result in results(text)] == ["failed", "passed"]
    assert "ValueError: on purpose" in text
    assert "\nfine\n" in text
    assert check(monkeypatch, tmp_path / "report.md", parts[1])[0] == 0


def test_ctrl_c_leaves_what_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    interrupt = (
        "import os, signal, time; print('begun', flush=True); os.kill(os.getppid(), signal.SIGINT); time.sleep(60)"
    )
    parts = python("first", "print('fine')"), python("second", interrupt), python("third", "print('never')")
    code, text = check(monkeypatch, tmp_path / "report.md", *parts)
    assert code == 130
    assert [result["outcome"] for result in results(text)] == ["passed", "interrupted"]
    assert "begun" in text
    assert "never" not in text


def test_a_part_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slow = python("hangs", "import time; print('begun', flush=True); time.sleep(60)", limit=1.0)
    code, text = check(monkeypatch, tmp_path / "report.md", slow)
    assert code == 1
    assert "begun" in text
    assert "ended after 1 s" in text


def test_rows_of_the_benchmark_become_a_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from benchmarks.report import Row, as_json

    good = Row("lstm 1,2,3,4 train cuda", 2.0, "torch", 3.0, 1.5, clock="device", target=1.0)
    code = f"import sys; print({as_json([good])!r}); print('a word', file=sys.stderr)"
    status, text = check(monkeypatch, tmp_path / "report.md", python("recurrence", code, is_json=True))
    assert status == 0
    assert "| lstm 1,2,3,4 train cuda | torch | 2.00 | 3.00 | device | 1.50 | 1 | yes |" in text
    assert "a word" in text
    assert results(text)[0]["rows"][0]["ratio"] == 1.5
    wrong = f"print({as_json([Row('case', 1.0, 'torch', 1.0, 1.0, failed='another result')])!r})"
    status, text = check(monkeypatch, tmp_path / "report.md", python("recurrence", wrong, is_json=True))
    assert status == 1
    assert "another result" in text


def test_folders_of_the_user_are_not_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    said = f"print({str(tmp_path / 'secret')!r}, {str(ROOT / 'kernels')!r}); print('line\\n' * 1000)"
    _, text = check(monkeypatch, tmp_path / "report.md", python("tells", said))
    assert str(tmp_path) not in text
    assert str(ROOT) not in text
    assert text.count("line\n") <= check_gpu.KEPT_LINES
    _, text = check(monkeypatch, tmp_path / "report.md", python("tells", said.partition(";")[0]))
    assert "~/secret ./kernels" in text


def test_every_part_can_be_asked_for_alone() -> None:
    names = [part.name for part in check_gpu.parts()]
    assert [part.name for part in check_gpu.chosen(["ctc"])] == ["ctc"]
    assert [part.name for part in check_gpu.chosen([])] == names
    with pytest.raises(typer.BadParameter, match="doctor, hardware tests"):
        check_gpu.chosen(["gpu"])
