"""What a person sees of a run."""

from __future__ import annotations

import io
import sys

import pytest

from asr.training.progress import Lines, Live, Progress, Quiet, automatic, epoch_line

RECORD = {
    "epoch": 3,
    "train_loss": 0.5124,
    "dev_loss": 0.25,
    "dev_cer": 0.0769,
    "dev_wer": 0.167,
    "frames_per_second": 15321.4,
    "seconds": 16.2,
    "skipped": 0,
}


def tell(progress: Progress) -> None:
    progress.begin("features of 3 utterances", 3)
    progress.advance(3)
    progress.end()
    progress.begin("training on 3 utterances, 80 updates", 80, done=2)
    progress.message("left out [1] utterance")
    progress.advance(1, "epoch 3/40", "loss 0.512")
    progress.epoch(RECORD, 40)
    progress.end()


def test_an_epoch_in_a_line() -> None:
    expected = "epoch   3/40  loss 0.512  dev loss 0.250  CER 7.69%  WER 16.70%  15,321 frames/s  16 s  10 min left"
    assert epoch_line(RECORD, 40) == expected


def test_what_is_not_known_is_not_said() -> None:
    none = {"dev_loss": None, "dev_cer": None, "dev_wer": None, "train_loss": None, "skipped": 2, "seconds": 200.0}
    line = epoch_line({**RECORD, **none}, 40)
    assert line == "epoch   3/40  loss -  15,321 frames/s  200 s  2 h 03 min left  2 updates skipped"


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    tell(Lines())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "features of 3 utterances",
        "training on 3 utterances, 80 updates, 2 of them done",
        "left out [1] utterance",
        epoch_line(RECORD, 40),
    ]


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    tell(Quiet())
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_live_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    progress = automatic()
    assert isinstance(progress, Live)
    tell(progress)
    shown = terminal.getvalue()
    for text in ("left out [1] utterance", "WER 16.70%", "epoch 3/40", "3/80", "loss 0.512"):
        assert text in shown


def test_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert type(automatic()) is Lines
