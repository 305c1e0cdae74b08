"""Pieces of utterances: tones say where words begin and end, so that cuts can be told to be right."""

from __future__ import annotations

import dataclasses
import os
import signal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tones
from case import Case
from watcher import Watcher

from asr.corpora import Utterance, open_corpus
from asr.errors import TrainingError, UsageError
from asr.model import Model
from asr.training.config import CorpusConfig, ScheduleConfig, TrainingConfig, load_config
from asr.training.pieces import SHORTEST, cut_pieces
from asr.training.trainer import train
from kernels.interface import Backend

FRAME = 0.01  # seconds; a change is found to a frame


@pytest.fixture(scope="module")
def learned(
    tiny: TrainingConfig, train_set: list[Utterance], dev_set: list[Utterance], backend: Backend, cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    """A model that knows the tones."""
    out = tmp_path_factory.mktemp("learned") / "run"
    train(tiny, train_set, dev_set, out, backend, progress=Watcher(), cache=cache)
    return out / "model.safetensors"


def asking(tiny: TrainingConfig, learned: Path, **corpus: float) -> TrainingConfig:
    once = ScheduleConfig(epochs=2, warmup=0.0)
    return dataclasses.replace(tiny, init=str(learned), schedule=once, corpora=(CorpusConfig("tr", **corpus),))


@pytest.fixture(scope="module")
def pieces(tiny: TrainingConfig, learned: Path, train_set: list[Utterance], backend: Backend) -> list[Utterance]:
    return cut_pieces(train_set, asking(tiny, learned, pieces=1.0), Model.load(learned), backend, Watcher())


def quiet(text: str) -> list[tuple[float, float]]:
    """From when to when it is quiet, in seconds: before the first word, between words, behind the last."""
    stretches, time = [], 0.0
    for word in text.split():
        stretches.append((max(0.0, time - tones.GAP), time + tones.PAUSE))
        time += tones.PAUSE + len(word) * (tones.TONE + tones.GAP)
    return [*stretches, (time - tones.GAP, time + tones.PAUSE)]


def test_cuts_are_where_it_is_quiet_between_the_words(pieces: list[Utterance], train_set: list[Utterance]) -> None:
    whole = {utterance.id: utterance for utterance in train_set}
    assert len(pieces) > len(train_set) // 2
    for piece in pieces:
        source = whole[piece.id.rpartition("@")[0]]
        assert (piece.audio, piece.speaker, piece.corpus) == (source.audio, source.speaker, source.corpus)
        words, said = source.text.split(), piece.text.split()
        between = quiet(source.text)
        places = [n for n in range(len(words)) if words[n : n + len(said)] == said]
        assert piece.end is not None
        assert any(
            between[n][0] - FRAME <= piece.start <= between[n][1] + FRAME
            and between[n + len(said)][0] - FRAME <= piece.end <= between[n + len(said)][1] + FRAME
            for n in places
        ), piece
        assert len(said) < len(words)
        assert piece.end - piece.start >= SHORTEST


def test_the_pieces_of_an_utterance_are_all_of_it(pieces: list[Utterance], train_set: list[Utterance]) -> None:
    for utterance in train_set:
        of_it = sorted((p for p in pieces if p.id.rpartition("@")[0] == utterance.id), key=lambda p: p.start)
        if of_it:
            assert " ".join(piece.text for piece in of_it) == utterance.text
            assert all(piece.end == following.start for piece, following in pairwise(of_it))
        else:
            assert len(utterance.text.split()) <= 3  # it was left whole


def test_so_many_are_cut_as_are_asked_for(
    tiny: TrainingConfig, learned: Path, train_set: list[Utterance], backend: Backend, pieces: list[Utterance]
) -> None:
    model = Model.load(learned)
    few = cut_pieces(train_set, asking(tiny, learned, pieces=0.25), model, backend, Watcher())
    assert 0 < len({piece.id.rpartition("@")[0] for piece in few}) <= 24
    assert {piece.id for piece in few} < {piece.id for piece in pieces}
    assert cut_pieces(train_set, asking(tiny, learned), model, backend, Watcher()) == []


def test_segments_have_pieces_at_their_place_in_the_file(
    tiny: TrainingConfig, learned: Path, train_set: list[Utterance], backend: Backend, tmp_path: Path
) -> None:
    first = next(utterance for utterance in train_set if len(utterance.text.split()) == 3)
    shifted = dataclasses.replace(first, start=0.05)
    config = asking(tiny, learned, pieces=1.0)
    whole, later = (cut_pieces([each], config, Model.load(learned), backend, Watcher()) for each in (first, shifted))
    for one, other in zip(whole, later, strict=True):
        assert other.start == pytest.approx(max(one.start, 0.05), abs=0.03)
        assert other.text == one.text


def test_what_cannot_be_heard_or_spelled_has_none(
    tiny: TrainingConfig, learned: Path, train_set: list[Utterance], backend: Backend, tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    bad = [
        dataclasses.replace(train_set[0], id="bad", audio=tmp_path / "bad.wav", text="ab cd"),
        dataclasses.replace(train_set[0], id="strange", text="ab xyz"),
        dataclasses.replace(train_set[0], id="long", text="abcd " * 100),
    ]
    assert cut_pieces(bad, asking(tiny, learned, pieces=1.0), Model.load(learned), backend, Watcher()) == []


def test_a_run_learns_pieces_and_resumes_with_the_same(
    tiny: TrainingConfig, learned: Path, train_set: list[Utterance], dev_set: list[Utterance], backend: Backend,
    cache: Path, tmp_path: Path,
) -> None:  # fmt: skip
    config = asking(tiny, learned, pieces=0.5, strings=0.25)
    case = Case(config, train_set[:24], dev_set, backend, cache)
    whole = case.run(tmp_path / "whole")
    rows = (tmp_path / "whole" / "pieces.jsonl").read_text().splitlines()
    assert rows
    listed = [u for u in open_corpus(f"nemo:{tmp_path / 'whole' / 'train.jsonl'}") if u.end is not None]
    assert len(listed) == len(rows)
    with pytest.raises(KeyboardInterrupt):
        case.run(tmp_path / "stopped", Watcher(5, lambda: os.kill(os.getpid(), signal.SIGINT)))
    kept = tmp_path / "stopped" / "pieces.jsonl"
    assert kept.read_text().splitlines() == rows
    again = case.run(tmp_path / "stopped", resume=True)
    np.testing.assert_array_equal(again.parameters.vector, whole.parameters.vector)


def test_a_disk_that_fills_with_pieces_leaves_a_run_that_resumes(
    tiny: TrainingConfig, learned: Path, train_set: list[Utterance], backend: Backend, cache: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def full(pieces: object, path: Path) -> None:
        raise OSError(28, "No space left on device")

    case = Case(asking(tiny, learned, pieces=0.5), train_set[:24], [], backend, cache)
    monkeypatch.setattr("asr.training.trainer.write_pieces", full)
    with pytest.raises(TrainingError, match=r"No space left on device.*make room and go on with --resume"):
        case.run(tmp_path / "run")
    monkeypatch.undo()
    model = case.run(tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "pieces.jsonl").is_file()
    np.testing.assert_array_equal(model.parameters.vector, case.run(tmp_path / "whole").parameters.vector)


def test_pieces_want_a_model() -> None:
    with pytest.raises(UsageError, match="corpora: pieces: a model must tell where the words are; set init or before"):
        dataclasses.replace(load_config("tiny"), corpora=(CorpusConfig("x", pieces=0.5),))
    with pytest.raises(UsageError, match=r"pieces: 1\.5 is not within \[0, 1\]"):
        CorpusConfig("x", pieces=1.5)
