"""`asr transcribe`: what goes to stdout, to files, to stderr, and which exit code says so."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from elsewhere import Elsewhere
from outcome import RunAsr

Noise = Callable[[str], Path]


def test_one_file_prints_its_text_alone(run_asr: RunAsr, model_file: Path, noise: Noise) -> None:
    code, out, err = run_asr("transcribe", "--model", model_file, noise("x.wav"), "--device", "cpu", "--threads", 2)
    assert code == 0
    assert re.fullmatch(r"asr: device: cpu, 2 threads, (4|8|16) lanes\n", err)
    assert out.endswith("\n")
    assert out.count("\n") == 1
    assert set(out.strip()) <= set(" abc")
    assert out.strip()


def test_several_files_are_labelled_in_the_order_given(run_asr: RunAsr, model_file: Path, noise: Noise) -> None:
    second, first = noise("b.wav"), noise("a.wav")
    code, out, _ = run_asr("transcribe", "--model", model_file, second, first)
    assert code == 0
    assert [line.split(": ")[0] for line in out.splitlines()] == [str(second), str(first)]


def test_a_folder_is_labelled_even_with_one_recording(run_asr: RunAsr, model_file: Path, noise: Noise) -> None:
    path = noise("folder/x.wav")
    _, out, _ = run_asr("transcribe", "--model", model_file, path.parent)
    assert out.startswith(f"{path}: ")


def test_a_file_named_twice_is_transcribed_once(run_asr: RunAsr, model_file: Path, noise: Noise) -> None:
    path = noise("folder/x.wav")
    _, out, _ = run_asr("transcribe", "--model", model_file, path, path.parent)
    assert len(out.splitlines()) == 1


def test_json_is_one_object_a_line(run_asr: RunAsr, model_file: Path, noise: Noise) -> None:
    paths = [noise("a.wav"), noise("b.wav")]
    _, out, _ = run_asr("transcribe", "--model", model_file, "--format", "json", *paths)
    objects = [json.loads(line) for line in out.splitlines()]
    assert [each["file"] for each in objects] == [str(path) for path in paths]
    assert all({"text", "words", "duration"} <= each.keys() for each in objects)


def test_bad_recordings_are_reported_and_the_rest_go_on(
    run_asr: RunAsr, model_file: Path, noise: Noise, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"this is no sound")
    missing = tmp_path / "missing.wav"
    code, out, err = run_asr("transcribe", "--model", model_file, missing, bad, good := noise("good.wav"))
    assert code == 1
    assert err.startswith("asr: device: ")
    assert out.startswith(f"{good}: ")
    assert str(bad) in err
    assert str(missing) in err
    assert "Traceback" not in err


def test_out_writes_a_file_per_recording_and_format(
    run_asr: RunAsr, model_file: Path, noise: Noise, tmp_path: Path
) -> None:
    noise("in/x.wav")
    noise("in/deeper/y.wav")
    out = tmp_path / "out"
    code, printed, _ = run_asr(
        "transcribe", "--model", model_file, "--format", "txt", "--format", "srt", "--out", out, tmp_path / "in"
    )
    assert (code, printed) == (0, "")
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert written == ["deeper/y.srt", "deeper/y.txt", "x.srt", "x.txt"]
    assert "-->" in (out / "x.srt").read_text()


def test_out_keeps_suffixes_where_names_would_meet(
    run_asr: RunAsr, model_file: Path, noise: Noise, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, *_ = run_asr("transcribe", "--model", model_file, "--out", out, noise("x.wav"), noise("x.flac"))
    assert code == 0
    assert sorted(path.name for path in out.iterdir()) == ["x.flac.txt", "x.wav.txt"]
    code, *_ = run_asr("transcribe", "--model", model_file, "--out", out, noise("x.wav.flac").parent)
    assert code == 0
    assert sorted(path.name for path in out.iterdir()) == ["x.flac.txt", "x.wav.flac.txt", "x.wav.txt"]


def test_inputs_of_one_name_can_be_printed(run_asr: RunAsr, model_file: Path, noise: Noise) -> None:
    paths = [noise("a/x.wav"), noise("b/x.wav")]
    code, out, _ = run_asr("transcribe", "--model", model_file, *paths)
    assert code == 0
    assert [line.split(": ")[0] for line in out.splitlines()] == [str(path) for path in paths]


def test_a_reference_beside_its_recording_is_not_replaced(
    run_asr: RunAsr, model_file: Path, noise: Noise, tmp_path: Path
) -> None:
    noise("refs/x.wav")
    for name in ("x.txt", "x.TXT"):
        (tmp_path / "refs" / name).write_text("what was said")
        code, _, err = run_asr("transcribe", "--model", model_file, "--out", tmp_path / "refs", tmp_path / "refs")
        assert code == 2
        assert f"{tmp_path / 'refs' / name} stands beside its recording" in err
        assert (tmp_path / "refs" / name).read_text() == "what was said"
        (tmp_path / "refs" / name).unlink()
    for _ in range(2):
        options = ["--format", "json", "--out", tmp_path / "refs"]
        assert run_asr("transcribe", "--model", model_file, *options, tmp_path / "refs").code == 0


def test_a_name_as_long_as_can_be_is_written(run_asr: RunAsr, model_file: Path, noise: Noise, tmp_path: Path) -> None:
    name = 251 * "x"
    code, *_ = run_asr("transcribe", "--model", model_file, "--out", tmp_path / "out", noise(name + ".wav"))
    assert code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name + ".txt"]


def test_a_line_end_in_a_name_does_not_make_two_lines(run_asr: RunAsr, model_file: Path, noise: Noise) -> None:
    code, out, _ = run_asr("transcribe", "--model", model_file, noise("a\nb.wav"), noise("c.wav"))
    assert code == 0
    assert len(out.splitlines()) == 2


def test_out_refuses_inputs_of_one_name(run_asr: RunAsr, model_file: Path, noise: Noise, tmp_path: Path) -> None:
    code, _, err = run_asr(
        "transcribe", "--model", model_file, "--out", tmp_path / "out", noise("a/x.wav"), noise("b/x.wav")
    )
    assert code == 2
    assert "x.wav" in err


def test_out_that_cannot_be_made_is_wrong_usage(run_asr: RunAsr, model_file: Path, noise: Noise) -> None:
    path = noise("x.wav")
    code, _, err = run_asr("transcribe", "--model", model_file, "--out", path, path)
    assert code == 2
    assert "--out" in err


def test_a_result_that_cannot_be_written_is_a_failure(
    run_asr: RunAsr, model_file: Path, noise: Noise, tmp_path: Path
) -> None:
    (tmp_path / "out" / "x.txt").mkdir(parents=True)  # in the way
    paths = [noise("x.wav"), noise("y.wav")]
    code, _, err = run_asr("transcribe", "--model", model_file, "--out", tmp_path / "out", *paths)
    assert code == 1
    assert f"{tmp_path / 'out' / 'x.txt'}: cannot be written" in err
    assert (tmp_path / "out" / "y.txt").is_file()


def test_a_full_disk_ends_it(
    run_asr: RunAsr, model_file: Path, noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("asr.files.write_atomically", full)
    paths = [noise("x.wav"), noise("y.wav")]
    code, _, err = run_asr("transcribe", "--model", model_file, "--out", tmp_path / "out", *paths)
    assert code == 1
    assert err.count("No space left on device") == 1


def test_what_cannot_share_stdout_is_wrong_usage(run_asr: RunAsr, model_file: Path, noise: Noise) -> None:
    path = noise("folder/x.wav")
    assert run_asr("transcribe", "--model", model_file, "--format", "srt", path).code == 0
    assert run_asr("transcribe", "--model", model_file, "--format", "srt", path.parent).code == 2
    assert run_asr("transcribe", "--model", model_file, "--format", "srt", "--format", "txt", path).code == 2


def test_unknown_format_names_the_known_ones(run_asr: RunAsr, model_file: Path, noise: Noise) -> None:
    code, _, err = run_asr("transcribe", "--model", model_file, "--format", "doc", noise("x.wav"))
    assert code == 2
    assert "json" in err


def test_unknown_model_is_one_sentence(run_asr: RunAsr, noise: Noise) -> None:
    code, out, err = run_asr("transcribe", "--model", "martian", noise("x.wav"))
    assert (code, out) == (1, "")
    assert "martian" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["transcribe", "evaluate"])
def test_a_device_that_is_full_names_the_recordings(
    command: str, run_asr: RunAsr, model_file: Path, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [noise(f"in/{letter}.wav") for letter in "abcdef"]
    for path in paths:
        path.with_suffix(".txt").write_text("abc")
    device = Elsewhere()
    monkeypatch.setattr("asr.recognizer.open_backend", lambda *_: device)
    assert run_asr(command, "--model", model_file, paths[0].parent, "--batch", 60).code == 0
    device.room = 40_000  # the model fits, the batch does not
    code, out, err = run_asr(command, "--model", model_file, paths[0].parent, "--device", "cuda")
    assert (code, out) == (1, "")
    first, line = err.splitlines()
    assert first == "asr: device: elsewhere"
    assert line.startswith(f"asr: {paths[0]}, {paths[1]}, {paths[2]} and 3 more: the GPU's memory is full: ")
    assert line.endswith("6 stretches of up to 0.5 s; use a smaller batch, as --batch 1")
