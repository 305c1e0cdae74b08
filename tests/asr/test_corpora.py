"""Opening corpora by one notation, guessing layouts, holding out development data."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asr.alphabet import Alphabet, normalise
from asr.corpora import LAYOUTS, Utterance, open_corpus, parse, split_by_speaker
from asr.errors import AudioError, CorpusError, UsageError


def utterances(speakers: Iterable[str]) -> list[Utterance]:
    return [Utterance(f"u{index}", Path(f"u{index}.wav"), "yes", name) for index, name in enumerate(speakers)]


def pairs(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".wav").touch()
        path.with_suffix(".txt").write_text(f"text of {path.name}\n")
    return folder


# Notation


@pytest.mark.parametrize(
    ("notation", "expected"),
    [
        ("an4:corpora/an4:test", ("an4", "corpora/an4", "test")),
        ("an4:corpora/an4", ("an4", "corpora/an4", None)),
        ("corpora/an4", (None, "corpora/an4", None)),
        ("corpora/an4:test", (None, "corpora/an4", "test")),
        ("an4:/data/2020-01-01T10:30/an4", ("an4", "/data/2020-01-01T10:30/an4", None)),
        ("an4:/data/2020-01-01T10:30/an4:test", ("an4", "/data/2020-01-01T10:30/an4", "test")),
        (r"an4:C:\corpora\an4", ("an4", r"C:\corpora\an4", None)),
        (r"an4:C:\corpora\an4:test", ("an4", r"C:\corpora\an4", "test")),
        ("C:/corpora/an4", (None, "C:/corpora/an4", None)),
        ("librispeech:x:train-clean-100", ("librispeech", "x", "train-clean-100")),
        ("nemo:a/b.json", ("nemo", "a/b.json", None)),
        ("pairs::x", ("pairs", ":x", None)),
    ],
)
def test_parse(notation: str, expected: tuple[str | None, str, str | None]) -> None:
    assert parse(notation) == expected


@given(
    st.sampled_from([*LAYOUTS, None]),
    st.text("abc123 .-_", min_size=1).map(lambda name: "./" + name),
    st.none() | st.text("abc123-_.", min_size=1),
)
def test_parse_gives_back_what_was_put_together(layout: str | None, path: str, split: str | None) -> None:
    assert parse(":".join(part for part in (layout, path, split) if part)) == (layout, path, split)


def test_a_path_that_exists_with_its_colons_is_a_path(tmp_path: Path) -> None:
    folder = pairs(tmp_path / "take:2", "a")
    pairs(folder / "b:c", "d")
    assert [u.id for u in open_corpus(f"pairs:{folder}")] == ["a", "b:c/d"]
    assert [u.id for u in open_corpus(f"{folder}/b:c")] == ["d"]


@pytest.mark.parametrize(
    ("notation", "message"),
    [
        ("kalid:somewhere", "'kalid' is neither a layout nor a folder; did you mean 'kaldi'?"),
        ("zzz:somewhere", "choose one of: an4, commonvoice, deepspeech"),
        ("an4:", "no path is named"),
        ("", "no path is named"),
        ("an4:nowhere:", "no split is named"),
    ],
)
def test_a_wrong_notation_is_a_usage_error(notation: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_corpus(notation)
    assert message in str(caught.value)


def test_a_missing_path_is_a_corpus_error(tmp_path: Path) -> None:
    for notation in (f"{tmp_path}/no", f"an4:{tmp_path}/no:train", f"{tmp_path}/no:train"):
        with pytest.raises(CorpusError, match="/no: there is no such file or folder"):
            open_corpus(notation)


def test_relative_and_home_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs(tmp_path / "corpus" / "data", "a", "b/c")
    monkeypatch.chdir(tmp_path / "corpus")
    monkeypatch.setenv("HOME", str(tmp_path))
    for notation, ids in {
        "pairs:data": ["a", "b/c"],
        "pairs:.": ["data/a", "data/b/c"],
        "pairs:./data/": ["a", "b/c"],
        "pairs:.:data": ["a", "b/c"],
        "../corpus": ["data/a", "data/b/c"],
        "pairs:~/corpus/data": ["a", "b/c"],
    }.items():
        found = open_corpus(notation)
        assert [u.id for u in found] == ids
        assert all(u.audio.exists() for u in found)


def test_nothing_that_is_known_names_the_layouts(tmp_path: Path) -> None:
    (tmp_path / "notes.md").touch()
    with pytest.raises(CorpusError, match=r"no corpus of a known layout; name it as LAYOUT:PATH.* an4, commonvoice"):
        open_corpus(str(tmp_path))


def test_reading_an_utterance_reads_its_stretch(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.linspace(-0.5, 0.5, 32000), 16000, subtype="FLOAT")
    whole = Utterance("a", path, "yes").read()
    part = Utterance("a", path, "yes", start=0.5, end=1.5).read(16000)
    np.testing.assert_array_equal(part.samples, whole.samples[8000:24000])
    assert Utterance("a", path, "yes").read(8000).rate == 8000
    with pytest.raises(AudioError, match=r"b\.wav"):
        Utterance("b", tmp_path / "b.wav", "yes").read()


# Development data


def test_every_tenth_speaker_is_held_out() -> None:
    names = [f"s{index:02}" for index in range(21)]
    train, dev = split_by_speaker(utterances(reversed(names * 2)))
    assert {u.speaker for u in dev} == {"s00", "s10", "s20"}
    assert len(train) == 36


@given(st.lists(st.sampled_from(["", "a", "b", "c", "d", "e"]), min_size=2), st.integers(2, 12))
def test_splitting_loses_nothing_and_keeps_the_order(speakers: list[str], every: int) -> None:
    corpus = utterances(speakers)
    train, dev = split_by_speaker(corpus, every)
    assert train
    assert dev
    assert sorted(train + dev, key=corpus.index) == corpus
    assert all(part == sorted(part, key=corpus.index) for part in (train, dev))
    if "" not in speakers and len(set(speakers)) > 1:
        assert not {u.speaker for u in train} & {u.speaker for u in dev}


def test_each_corpus_with_several_speakers_holds_some_out() -> None:
    letters = [replace(u, corpus="letters") for u in utterances("abcdefghijkl")]
    digits = [replace(u, corpus="digits") for u in utterances(["zoe", "yan", "a"] * 2)]
    alone = [replace(u, corpus="alone") for u in utterances(["ann", "ann"])]
    nameless = [replace(u, corpus="nameless") for u in utterances(["x", "y", ""])]
    train, dev = split_by_speaker([*letters, *digits, *alone, *nameless])
    of_digits = [("digits", "a")] * 2
    assert [(u.corpus, u.speaker) for u in dev] == [("letters", "a"), ("letters", "k"), *of_digits, ("nameless", "x")]
    assert len(train) + len(dev) == 23


def test_a_speaker_held_out_of_one_corpus_is_held_out_of_all() -> None:
    first = [replace(u, corpus="first") for u in utterances("abc")]
    second = [replace(u, corpus="second") for u in utterances(["0", "a", "b"])]
    train, dev = split_by_speaker([*first, *second])
    assert [u.speaker for u in dev] == ["a", "0", "a"]
    assert {u.speaker for u in train} == {"b", "c"}
    chain = [replace(u, corpus=speakers) for speakers in ("ab", "bcd", "cd") for u in utterances(speakers)]
    with pytest.raises(UsageError, match="every speaker would be held out"):
        split_by_speaker(chain, 2)


def test_folds_hold_out_each_speaker_once() -> None:
    letters = [replace(u, corpus="letters") for u in utterances("abcdefghijkl")]
    digits = [replace(u, corpus="digits") for u in utterances("xyz")]
    folds = [split_by_speaker([*letters, *digits], 5, fold) for fold in range(5)]
    assert folds[0] == split_by_speaker([*letters, *digits], 5)
    held_out = ["".join(u.speaker for u in dev) for _, dev in folds]
    assert held_out == ["afkx", "bgly", "chz", "di", "ej"]  # of three speakers the last folds hold out none
    assert all(len(train) + len(dev) == 15 for train, dev in folds)
    _, dev = split_by_speaker(utterances("a" * 12), 5, 3)
    assert [u.id for u in dev] == ["u3", "u8"]


@pytest.mark.parametrize(
    ("speakers", "fold", "message"),
    [
        ("abc", 3, "fold 3 holds out nobody, there being no more than 3 speakers"),
        ("aaa", 4, "fold 4 holds out nobody, there being no more than 3 utterances"),
        ("abc", 5, "fold 5 is none of the 5"),
        ("abc", -1, "fold -1 is none of the 5"),
    ],
)
def test_folds_that_hold_out_nobody_are_refused(speakers: str, fold: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        split_by_speaker(utterances(speakers), 5, fold)


def test_without_speakers_every_tenth_utterance_is_held_out() -> None:
    for speaker in ("", "alone"):
        _, dev = split_by_speaker(utterances([speaker] * 25))
        assert [u.id for u in dev] == ["u0", "u10", "u20"]


@pytest.mark.parametrize(("count", "every"), [(0, 10), (1, 10), (10, 1), (10, 0)])
def test_a_split_that_leaves_nothing_is_refused(count: int, every: int) -> None:
    with pytest.raises(UsageError, match="cannot hold out"):
        split_by_speaker(utterances("ab" * count)[:count], every)


# The real corpora, with the figures of their own description


@pytest.mark.parametrize(
    ("notation", "count", "speakers", "words"),
    [
        ("an4:{}/an4:train", 948, 74, 5442),
        ("an4:{}/an4:test", 130, 10, 773),
        ("{}/an4", 948, 74, 5442),
        ("{}/an4:test", 130, 10, 773),
        ("kaldi:{}/speechocean762:train", 2500, 125, 15849),
        ("kaldi:{}/speechocean762:dev", 1260, 63, 8022),
        ("{}/speechocean762/dev", 1260, 63, 8022),
        ("pairs:{}/kathleen", 1462, 1, None),
        ("{}/kathleen:data", 1462, 1, None),
        ("fsdd:{}/fsdd", 2500, 5, 2500),
        ("{}/fsdd:train", 2250, 5, 2250),
        ("fsdd:{}/fsdd:test", 250, 5, 250),
    ],
)
def test_the_real_corpora(corpora: Path, notation: str, count: int, speakers: int, words: int | None) -> None:
    found = open_corpus(notation.format(corpora))
    assert len(found) == count
    assert len({u.id for u in found}) == count
    assert len({u.speaker for u in found}) == speakers
    if words is not None:  # kathleen's count splits words at punctuation
        assert sum(len(u.text.split()) for u in found) == words
    assert found[0].read().duration > 0.2
    assert found[-1].read().duration > 0.2


def test_the_development_speakers_of_an4(corpora: Path) -> None:
    train, dev = split_by_speaker(open_corpus(f"an4:{corpora}/an4"))
    assert sorted({u.speaker for u in dev}) == ["fash", "flmm2", "fwxs", "mdcs2", "mjbh", "mmal", "mrjc2", "mtje"]
    assert (len(train), len(dev)) == (850, 98)
    assert sum(len(u.text.split()) for u in dev) == 545


def test_the_alphabet_of_an4(corpora: Path) -> None:
    texts = [normalise(u.text) for u in open_corpus(f"an4:{corpora}/an4")]
    assert set(Alphabet.from_texts(texts).characters) <= set(" '.abcdefghijklmnopqrstuvwxyz")


def test_a_hundred_thousand_utterances_open_in_seconds(tmp_path: Path) -> None:
    count = 100_000
    (tmp_path / "a.wav").touch()
    names = [f"speaker{index // 100:04}-{index:06}" for index in range(count)]
    (tmp_path / "wav.scp").write_text(f"a {tmp_path}/a.wav\n")
    (tmp_path / "segments").write_text("".join(f"{name} a {i} {i + 1}\n" for i, name in enumerate(names)))
    (tmp_path / "text").write_text("".join(f"{name} THE WORDS OF IT\n" for name in names))
    (tmp_path / "utt2spk").write_text("".join(f"{name} {name[:11]}\n" for name in names))
    start = time.process_time()
    found = open_corpus(f"kaldi:{tmp_path}")
    assert time.process_time() - start < 10
    assert len(found) == count


def test_opening_asks_each_folder_once_and_opens_no_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "wavs"
    folder.mkdir()
    for index in range(50):
        (folder / f"{index}.wav").touch()
    (tmp_path / "train.csv").write_text(
        "wav_filename,wav_filesize,transcript\n" + "".join(f"wavs/{index}.wav,0,yes\n" for index in range(50))
    )
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scandir(path))
    monkeypatch.setattr(soundfile, "SoundFile", None)
    assert len(open_corpus(f"deepspeech:{tmp_path}:train")) == 50
    assert listed.count(str(folder)) == 1
