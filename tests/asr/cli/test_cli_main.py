"""The command line as a process: start, usage, interruption, a reader that goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from outcome import RunAsr, without_compiling

import asr
from asr.cli import messages
from kernels import DeviceFailedError, DeviceMemoryError

COMMANDS = ("transcribe", "train", "evaluate", "info", "doctor")


@pytest.mark.parametrize("arguments", [("--help",), *((command, "--help") for command in COMMANDS)])
def test_help_goes_to_stdout(run_asr: RunAsr, arguments: tuple[str, ...]) -> None:
    code, out, err = run_asr(*arguments)
    assert (code, err) == (0, "")
    assert "Usage: asr" in out


def test_version() -> None:
    printed = subprocess.run([sys.executable, "-m", "asr", "--version"], capture_output=True, text=True, check=True)
    assert printed.stdout == f"asr {asr.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("sing",),
        ("transcribe",),
        ("info", "en", "--loud"),
        ("train", "--out", "x"),
        ("transcribe", "x", "--threads", "0"),
    ],
)
def test_wrong_usage_exits_2_and_prints_nothing_on_stdout(run_asr: RunAsr, arguments: tuple[str, ...]) -> None:
    code, out, err = run_asr(*arguments)
    assert code == 2
    assert "Usage" in out + err
    assert not arguments or not out


def test_help_starts_quickly_and_loads_nothing_heavy() -> None:
    heavy = ["numba", "librosa", "soundfile", "soxr", "jiwer", "safetensors", "scipy", "numpy"]
    program = f"""
import sys
from asr.cli import main
try:
    main(["--help"])
except SystemExit:
    print("loaded:", [name for name in {heavy} if name in sys.modules])
"""
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.endswith("loaded: []\n")
    assert time.monotonic() - begun < 2  # generous: the machine may be busy


def test_an_unknown_device_in_the_environment_is_wrong_usage(
    run_asr: RunAsr, model_file: Path, noise: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASR_BACKEND", "abacus")
    code, _, err = run_asr("transcribe", "--model", model_file, noise("x.wav"))
    assert code == 2
    assert "abacus" in err


def test_interruption_ends_with_130_and_a_line(
    run_asr: RunAsr, model_file: Path, noise: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)  # until the signal is delivered

    monkeypatch.setattr("asr.recognizer.Recognizer.transcribe_many", interrupt)
    outcome = run_asr("transcribe", "--model", model_file, noise("x.wav"))
    assert (outcome.code, outcome.out) == (130, "")
    assert outcome.err.endswith("asr: interrupted\n")


def test_a_reader_that_goes_away_ends_it_quietly(model_file: Path, noise: Callable[[str], Path]) -> None:
    folder = noise("in/x.wav").parent
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [sys.executable, "-m", "asr", "transcribe", "--model", str(model_file), str(folder)]
    done = subprocess.run(arguments, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 141
    assert without_compiling(done.stderr).count("\n") == 1  # the device


def run_to(stdout: Path, *arguments: object, encoding: str = "utf-8") -> subprocess.CompletedProcess[str]:
    """The command line as a process of its own, whose stdout is a file or a device."""
    command = [sys.executable, "-m", "asr", *map(str, arguments)]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    with stdout.open("w") as stream:
        return subprocess.run(
            command, stdout=stream, stderr=subprocess.PIPE, text=True, check=False, env=environment, encoding="utf-8"
        )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("command", ["transcribe", "info"])
def test_a_full_disk_under_stdout_is_one_line(command: str, model_file: Path, noise: Callable[[str], Path]) -> None:
    arguments = [model_file] if command == "info" else ["--model", model_file, noise("x.wav")]
    done = run_to(Path("/dev/full"), command, *arguments)
    assert done.returncode == 1
    *device, line = without_compiling(done.stderr).splitlines()
    assert len(device) == (command == "transcribe")
    assert line == "asr: stdout: No space left on device"


def test_what_is_said_does_not_go_to_stdout_where_stderr_is_closed(
    model_file: Path, noise: Callable[[str], Path]
) -> None:
    command = [sys.executable, "-m", "asr", "transcribe", "--model", str(model_file), str(noise("x.wav"))]
    shell = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    done = subprocess.run(shell, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert "device" not in done.stdout


def test_stdout_is_utf8_whatever_the_system_prefers(
    model_file: Path, noise: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = noise("äöü — 日本/x.wav").parent
    done = run_to(tmp_path / "out", "transcribe", "--model", model_file, folder, encoding="ascii")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_text(encoding="utf-8").startswith(f"{folder / 'x.wav'}: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("transcribe", "NAME"),
        ("info", "NAME"),
        ("evaluate", "NAME"),
        ("train", "--corpus", "NAME", "--out", "x"),
        ("train", "--corpus", "pairs:CORPUS", "--out", "x", "--config", "NAME"),
        ("train", "--corpus", "pairs:CORPUS", "--out", "NAME"),
        ("train", "--corpus", "pairs:CORPUS", "--out", "NAME", "--resume"),
    ],
)
def test_a_name_that_no_file_can_have_is_a_sentence(
    run_asr: RunAsr, tone_corpus: Path, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    long = "x" * 400
    code, _, err = run_asr(*(part.replace("NAME", long).replace("CORPUS", str(tone_corpus)) for part in arguments))
    assert code in (1, 2)
    assert long in err
    assert err.count("\n") == 1


def test_what_the_machine_refuses_is_a_line(run_asr: RunAsr, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "somewhere/x")

    monkeypatch.setattr("asr.model.Model.load", refuse)
    assert run_asr("info", "en") == (1, "", "asr: somewhere/x: Permission denied\n")


def test_a_device_that_is_full_is_a_line(run_asr: RunAsr, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise DeviceMemoryError(5_000_000, 1_000_000, 8_000_000_000)

    monkeypatch.setattr("kernels.warmup.warm_up", refuse)
    code, out, err = run_asr("warmup")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("asr: the GPU's memory is full: 5.0 MB more were asked for")
    assert err.endswith("; end what else uses it, or use --device cpu\n")


def test_a_device_that_stops_is_a_line(run_asr: RunAsr, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DeviceFailedError("the GPU stopped")

    monkeypatch.setattr("kernels.warmup.warm_up", fail)
    assert run_asr("warmup") == (1, "", "asr: the GPU stopped\n")


def test_warnings_are_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    messages._show_warning(UserWarning("the disk is full"), UserWarning, "file.py", 1)
    messages._show_warning(DeprecationWarning("use y"), DeprecationWarning, "file.py", 1)
    assert capsys.readouterr().err == "asr: the disk is full\n"
