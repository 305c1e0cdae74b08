"""Each layout on a small corpus, read by its name and guessed, and spoilt in every way that its reader looks for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.corpora import LAYOUTS, Utterance, nemo, open_corpus
from asr.errors import AudioError, CorpusError


def lay(root: Path, files: dict[str, str | bytes]) -> Path:
    """Write a corpus: text files with their content; audio is empty, for readers do not open it."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


AN4: dict[str, str | bytes] = {
    "etc/an4_train.fileids": "an4_clstk/fash/an251-fash-b\nan4_clstk/mblb/an1-mblb-b\nan4_clstk/mblb/an2-mblb-b\n",
    "etc/an4_train.transcription": "<s> YES </s> (an251-fash-b)\n<s> A B </s> (an1-mblb-b)\n"
    "<s> C'S </s> (an2-mblb-b)\n",
    "etc/an4_test.fileids": "an4test_clstk/fcaw/an406-fcaw-b\n",
    "etc/an4_test.transcription": "RUBOUT G M (an406-fcaw-b)\n",
    "wav/an4_clstk/fash/an251-fash-b.sph": "",
    "wav/an4_clstk/mblb/an1-mblb-b.raw": "",
    "wav/an4_clstk/mblb/an2-mblb-b.wav": "",
    "wav/an4test_clstk/fcaw/an406-fcaw-b.flac": "",
}
KALDI: dict[str, str | bytes] = {
    "train/wav.scp": "r1 audio/r1.flac\nr2   audio/r 2.flac\n",
    "train/segments": "r1-a r1 0.5 1.25\nr1-b r1 2 3.5\nr2-a r2 1 -1\n",
    "train/text": "r1-a HELLO\tTHERE\nr1-b IT'S  ME\nr2-a\n",
    "train/utt2spk": "r1-a anna\nr1-b bert\nr2-a anna\n",
    "dev/wav.scp": "u1 audio/r1.flac\n",
    "dev/text": "u1 YES\n",
    "audio/r1.flac": "",
    "audio/r 2.flac": "",
}
PAIRS: dict[str, str | bytes] = {
    "b/2.opus": "",
    "b/2.txt": "\ufeffSecond\r\none \r\n",
    "a/1.MP3": "",
    "a/1.txt": "First one.\n",
    "LICENCE.txt": "CC0",
}
LIBRISPEECH: dict[str, str | bytes] = {
    "dev-clean/84/121/84-121.trans.txt": "84-121-0000 GO ON\n84-121-0001 I SEE\n",
    "dev-clean/84/121/84-121-0000.flac": "",
    "dev-clean/84/121/84-121-0001.flac": "",
    "test-clean/9/7/9-7.trans.txt": "9-7-0000 NO\n",
    "test-clean/9/7/9-7-0000.flac": "",
    "SPEAKERS.TXT": ";ID |SEX\n",
}
DEEPSPEECH: dict[str, str | bytes] = {
    "train.csv": '\ufeffwav_filename,wav_filesize,transcript\r\nclips/1.wav,44,"well, yes"\r\nclips/2.wav,44,no\r\n',
    "dev.csv": "wav_filename,transcript,speaker\nclips/3.wav,perhaps,anna\n",
    "clips/1.wav": "",
    "clips/2.wav": "",
    "clips/3.wav": "",
}
NEMO: dict[str, str | bytes] = {
    "train.json": json.dumps({"audio_filepath": "clips/1.wav", "duration": 2.5, "text": "yes "})
    + "\n"
    + json.dumps({"audio_filepath": "clips/2.wav", "duration": 1.5, "offset": 3, "text": "né", "speaker": 7})
    + "\n",
    "dev.json": '{"audio_filepath": "clips/1.wav", "text": ""}\n',
    "clips/1.wav": "",
    "clips/2.wav": "",
}
COMMONVOICE: dict[str, str | bytes] = {
    "train.tsv": 'client_id\tpath\tsentence\tup_votes\nabc\tcv_1.mp3\tIt\\"s “so”.\t2\n\tcv_2\tGo\t\n',
    "validated.tsv": "path\tsentence\tclient_id\ncv_1.mp3\tYes\tabc\n",
    "clips/cv_1.mp3": "",
    "clips/cv_2.mp3": "",
}
LJSPEECH: dict[str, str | bytes] = {
    "metadata.csv": 'LJ001-0001|In 1455, "so"|In fourteen fifty-five, "so"\nLJ001-0002|only this\n',
    "short.csv": "LJ001-0002|only this|only this\n",
    "wavs/LJ001-0001.wav": "",
    "wavs/LJ001-0002.wav": "",
}
FSDD: dict[str, str | bytes] = {
    "recordings/0_theo_4.wav": "",
    "recordings/9_jackson_5.wav": "",
    "recordings/7_theo_10.wav": "",
    "README.md": "digits",
}
CORPORA = {
    "an4": AN4,
    "kaldi": KALDI,
    "pairs": PAIRS,
    "librispeech": LIBRISPEECH,
    "deepspeech": DEEPSPEECH,
    "nemo": NEMO,
    "commonvoice": COMMONVOICE,
    "ljspeech": LJSPEECH,
    "fsdd": FSDD,
}
Row = tuple[str, str, str, str, float, float | None]  # id, audio, text, speaker, start, end
EXPECTED: list[tuple[str, str | None, list[Row]]] = [
    (
        "an4",
        None,
        [
            ("an251-fash-b", "wav/an4_clstk/fash/an251-fash-b.sph", "YES", "fash", 0, None),
            ("an1-mblb-b", "wav/an4_clstk/mblb/an1-mblb-b.raw", "A B", "mblb", 0, None),
            ("an2-mblb-b", "wav/an4_clstk/mblb/an2-mblb-b.wav", "C'S", "mblb", 0, None),
        ],
    ),
    ("an4", "test", [("an406-fcaw-b", "wav/an4test_clstk/fcaw/an406-fcaw-b.flac", "RUBOUT G M", "fcaw", 0, None)]),
    (
        "kaldi",
        "train",
        [
            ("r1-a", "audio/r1.flac", "HELLO\tTHERE", "anna", 0.5, 1.25),
            ("r1-b", "audio/r1.flac", "IT'S  ME", "bert", 2, 3.5),
            ("r2-a", "audio/r 2.flac", "", "anna", 1, None),
        ],
    ),
    ("kaldi", "dev", [("u1", "audio/r1.flac", "YES", "", 0, None)]),
    (
        "pairs",
        None,
        [("a/1", "a/1.MP3", "First one.", "", 0, None), ("b/2", "b/2.opus", "Second one", "", 0, None)],
    ),
    ("pairs", "b", [("2", "b/2.opus", "Second one", "", 0, None)]),
    (
        "librispeech",
        None,
        [
            ("84-121-0000", "dev-clean/84/121/84-121-0000.flac", "GO ON", "84", 0, None),
            ("84-121-0001", "dev-clean/84/121/84-121-0001.flac", "I SEE", "84", 0, None),
            ("9-7-0000", "test-clean/9/7/9-7-0000.flac", "NO", "9", 0, None),
        ],
    ),
    ("librispeech", "test-clean", [("9-7-0000", "test-clean/9/7/9-7-0000.flac", "NO", "9", 0, None)]),
    (
        "deepspeech",
        None,
        [("clips/1", "clips/1.wav", "well, yes", "", 0, None), ("clips/2", "clips/2.wav", "no", "", 0, None)],
    ),
    ("deepspeech", "dev", [("clips/3", "clips/3.wav", "perhaps", "anna", 0, None)]),
    (
        "nemo",
        None,
        [("clips/1", "clips/1.wav", "yes", "", 0, None), ("clips/2@3-4.5", "clips/2.wav", "né", "7", 3, 4.5)],
    ),
    ("nemo", "dev", [("clips/1", "clips/1.wav", "", "", 0, None)]),
    (
        "commonvoice",
        None,
        [("cv_1", "clips/cv_1.mp3", 'It"s “so”.', "abc", 0, None), ("cv_2", "clips/cv_2.mp3", "Go", "", 0, None)],
    ),
    ("commonvoice", "validated", [("cv_1", "clips/cv_1.mp3", "Yes", "abc", 0, None)]),
    (
        "ljspeech",
        None,
        [
            ("LJ001-0001", "wavs/LJ001-0001.wav", 'In fourteen fifty-five, "so"', "", 0, None),
            ("LJ001-0002", "wavs/LJ001-0002.wav", "only this", "", 0, None),
        ],
    ),
    ("ljspeech", "short", [("LJ001-0002", "wavs/LJ001-0002.wav", "only this", "", 0, None)]),
    (
        "fsdd",
        None,
        [
            ("0_theo_4", "recordings/0_theo_4.wav", "zero", "theo", 0, None),
            ("7_theo_10", "recordings/7_theo_10.wav", "seven", "theo", 0, None),
            ("9_jackson_5", "recordings/9_jackson_5.wav", "nine", "jackson", 0, None),
        ],
    ),
    ("fsdd", "test", [("0_theo_4", "recordings/0_theo_4.wav", "zero", "theo", 0, None)]),
]


@pytest.mark.parametrize(("layout", "split", "rows"), EXPECTED)
@pytest.mark.parametrize("named", [True, False])
def test_each_layout_named_and_guessed(
    tmp_path: Path, layout: str, split: str | None, rows: list[Row], named: bool
) -> None:
    root = lay(tmp_path, CORPORA[layout])
    notation = ":".join(part for part in (layout if named else None, str(root), split) if part)
    found = open_corpus(notation)
    corpus = f"{layout}:{root.name}"
    assert found == [Utterance(name, root / audio, *rest, corpus=corpus) for name, audio, *rest in rows]


def test_no_layout_is_forgotten() -> None:
    assert set(LAYOUTS) == set(CORPORA) == {layout for layout, _, _ in EXPECTED}


@pytest.mark.parametrize("file", ["train.csv", "train.json", "train.tsv"])
def test_a_manifest_may_be_the_path(tmp_path: Path, file: str) -> None:
    corpus = {"train.csv": DEEPSPEECH, "train.json": NEMO, "train.tsv": COMMONVOICE}[file]
    root = lay(tmp_path, corpus)
    assert len(open_corpus(f"{root}/{file}")) == 2
    with pytest.raises(CorpusError, match="a file has no splits"):
        open_corpus(f"{root}/{file}:train")


def test_utterances_written_as_a_manifest_come_back(tmp_path: Path) -> None:
    root = lay(tmp_path / "a: ü", {"1.wav": "", "2.flac": ""})
    kept = [
        Utterance("x", root / "1.wav", 'né "so"'),
        Utterance("y", root / "1.wav", "", "ann", 0.25, 1.5),
        Utterance("z", root / "2.flac", "YES", "bob", 0.0, 2.0),
        Utterance("end", root / "2.flac", "no", "7", 2.125),
    ]
    same = Utterance("again", root / "1.wav", "twice")
    piped = Utterance("pipe", Path("sox x |"), "no file", command="sox x")
    lines = nemo.lines([*kept[:2], same, piped, *kept[2:]])
    (tmp_path / "x.jsonl").write_text("".join(lines))
    found = open_corpus(f"{tmp_path / 'x.jsonl'}")
    assert [replace(u, id="", corpus="") for u in found] == [replace(u, id="") for u in kept]
    assert nemo.lines(found) == lines


def test_speakers_and_segments_of_a_manifest_are_told_apart(tmp_path: Path) -> None:
    """A speaker may be the number 0; two people may speak at once; recordings may be long."""
    root = lay(tmp_path, {"a.wav": ""})
    entry = {"audio_filepath": "a.wav", "text": "x"}
    places = [(0, 0, 1), (1, 0, 2), (None, 36000.25, 1), ("", 36000.5, 1)]
    entries = [entry | {"speaker": who, "offset": start, "duration": length} for who, start, length in places]
    (root / "m.jsonl").write_text("".join(json.dumps(each) + "\n" for each in entries))
    found = open_corpus(f"nemo:{root / 'm.jsonl'}")
    assert [u.speaker for u in found] == ["0", "1", "", ""]
    assert [u.id for u in found] == ["a@0-1", "a@0-2", "a@36000.25-36001.25", "a@36000.5-36001.5"]


def test_the_text_beside_a_recording_may_be_written_large(tmp_path: Path) -> None:
    root = lay(tmp_path, {"X.WAV": "", "X.TXT": "yes"})
    assert [(u.id, u.text) for u in open_corpus(str(root))] == [("X", "yes")]


Change = Callable[[dict[str, str | bytes]], object]


def put(name: str, content: str | bytes) -> Change:
    return lambda files: files.update({name: content})


def add(name: str, line: str) -> Change:
    return lambda files: files.update({name: str(files[name]) + line})


def drop(name: str) -> Change:
    return lambda files: files.pop(name)


SPOILT: list[tuple[str, str | None, Change, str]] = [
    # AN4
    ("an4", "dev", drop("wav/an4_clstk/fash/an251-fash-b.sph"), r"an4_dev.fileids: .* choose one of: test, train"),
    ("an4", None, drop("wav/an4_clstk/fash/an251-fash-b.sph"), r"an4_train.fileids, line 1: .*fash/an251-fash-b\.\* "),
    ("an4", None, add("etc/an4_train.fileids", "x/y/z\n"), r"an4_train.fileids, line 4: nothing in an4_train.transc"),
    (
        "an4",
        None,
        add("etc/an4_train.transcription", "A (z)\n"),
        r"transcription, line 4: nothing in an4_train.fileids",
    ),
    ("an4", "test", put("etc/an4_test.transcription", "RUBOUT G M\n"), r"transcription, line 1: not of the form"),
    (
        "an4",
        "test",
        put("etc/an4_test.transcription", "RUBOUT (an407-fcaw-b)\n"),
        r"line 1: has the id an407-fcaw-b, but",
    ),
    ("an4", "test", drop("etc/an4_test.transcription"), r"an4_test.transcription: cannot be read: No such file"),
    ("an4", "test", put("etc/an4_test.fileids", "\n"), r"an4_test.transcription, line 1: nothing in an4_test.fileids"),
    # Kaldi
    ("kaldi", None, drop("audio/r1.flac"), r": there is no wav.scp here; choose one of: dev, train"),
    ("kaldi", "test", drop("audio/r1.flac"), r"test: there is no such folder; choose one of: audio, dev, train"),
    ("kaldi", "train", drop("audio/r1.flac"), r"wav.scp, line 1: there is no audio file .*train/audio/r1.flac"),
    (
        "kaldi",
        "train",
        add("train/wav.scp", "r1 audio/r1.flac\n"),
        r"wav.scp, line 3: r1 .* second time, first in line 1",
    ),
    ("kaldi", "train", add("train/wav.scp", "r3\n"), r"wav.scp, line 3: not of the form 'RECORDING PATH': 'r3'"),
    ("kaldi", "train", add("train/segments", "x r9 1 2\n"), r"segments, line 4: recording r9 is not in wav.scp"),
    ("kaldi", "train", add("train/segments", "x r1 1\n"), r"segments, line 4: not of the form 'UTTERANCE RECORDING"),
    ("kaldi", "train", add("train/segments", "x r1 1 two\n"), r"segments, line 4: not of the form"),
    ("kaldi", "train", add("train/segments", "x r1 1 2 0\n"), r"segments, line 4: not of the form"),
    ("kaldi", "train", add("train/segments", "x r1 2 1\n"), r"segments, line 4: 2 s to 1 s is no stretch"),
    ("kaldi", "train", add("train/segments", "x r1 -1 1\n"), r"segments, line 4: -1 s to 1 s is no stretch"),
    ("kaldi", "train", add("train/segments", "x r1 nan 1\n"), r"segments, line 4: nan s"),
    ("kaldi", "train", add("train/segments", "x r1 0 inf\n"), r"segments, line 4: 0 s to inf s"),
    ("kaldi", "train", add("train/segments", "x r1 1 2\n"), r"segments, line 4: utterance x is not in text"),
    ("kaldi", "train", add("train/text", "x YES\n"), r"text, line 4: utterance x is not in segments"),
    ("kaldi", "dev", add("dev/text", "x YES\n"), r"text, line 2: utterance x is not in wav.scp"),
    ("kaldi", "train", put("train/utt2spk", "r1-a anna\n"), r"text, line 2: utterance r1-b is not in utt2spk"),
    ("kaldi", "dev", put("dev/text", b"\n\nu1 NA\xefVE\n"), r"text, line 3: not UTF-8 \(byte 0xef\); convert"),
    ("kaldi", "dev", drop("dev/text"), r"dev/text: cannot be read: No such file"),
    (
        "kaldi",
        "dev",
        lambda files: files.update({"dev/wav.scp": "", "dev/text": ""}),
        r"text: this corpus holds no utt",
    ),
    # Audio beside its text
    ("pairs", None, drop("a/1.txt"), r"a/1.MP3: there is no text beside this file; write it into 1.txt"),
    ("pairs", None, put("a/1.wav", ""), r"a/1.wav: a second utterance with the id a/1"),
    ("pairs", "c", drop("a/1.txt"), r"c: there is no such folder; choose one of: a, b"),
    ("pairs", None, put("a/1.txt", b"one\ncaf\xe9\n"), r"a/1.txt, line 2: not UTF-8"),
    ("pairs", None, lambda files: [files.pop(n) for n in ("a/1.MP3", "b/2.opus")], r"holds no utterance"),
    # LibriSpeech
    ("librispeech", "dev", drop("SPEAKERS.TXT"), r"dev: there is no such folder; choose one of: dev-clean, test-clean"),
    ("librispeech", None, drop("dev-clean/84/121/84-121-0001.flac"), r"84-121.trans.txt, line 2: .* 84-121-0001|0001"),
    ("librispeech", None, add("test-clean/9/7/9-7.trans.txt", "9-7-0000 NO\n"), r"9-7.trans.txt, line 2: 9-7-0000"),
    ("librispeech", None, put("z/9-7.trans.txt", "9-7-0000 NO\n"), r"z/9-7.trans.txt, line 1: .*9-7-0000"),
    # DeepSpeech
    ("deepspeech", "test", drop("clips/1.wav"), r"no file test \(.csv\) here; choose one of: dev, train"),
    ("deepspeech", None, drop("clips/2.wav"), r"train.csv, line 3: there is no audio file .*clips/2.wav"),
    ("deepspeech", None, add("train.csv", "clips/1.wav,44,again\n"), r"train.csv, line 4: a second .* clips/1"),
    ("deepspeech", None, add("train.csv", "clips/1.wav,yes\n"), r"train.csv, line 4: has 2 fields, but the header 3"),
    ("deepspeech", None, add("train.csv", ",44,yes\n"), r"train.csv, line 4: its wav_filename is empty"),
    ("deepspeech", None, add("train.csv", 'clips/1.wav,44,"yes\n'), r"train.csv, line 4: not CSV"),
    ("deepspeech", None, put("train.csv", "path,text\na.wav,yes\n"), r"train.csv, line 1: a header with the columns"),
    ("deepspeech", None, put("train.csv", ""), r"train.csv, line 1: a header with the columns"),
    ("deepspeech", "dev", put("dev.csv", "wav_filename,transcript\n"), r"dev.csv: this corpus holds no utterance"),
    # NeMo
    ("nemo", "test", drop("clips/1.wav"), r"no file test \(.json or .jsonl\) here; choose one of: dev, train"),
    ("nemo", None, drop("clips/2.wav"), r"train.json, line 2: there is no audio file .*clips/2.wav"),
    ("nemo", None, add("train.json", "{'audio_filepath': 1}\n"), r"train.json, line 3: not JSON"),
    ("nemo", None, add("train.json", '{"audio_filepath": "a.wav"}\n'), r"train.json, line 3: not of the form"),
    ("nemo", None, add("train.json", "[1]\n"), r"train.json, line 3: not of the form"),
    (
        "nemo",
        None,
        add("train.json", '{"audio_filepath": "clips/1.wav", "text": "", "offset": "1"}\n'),
        r"train.json, line 3: offset must be a number of seconds, not '1'",
    ),
    (
        "nemo",
        None,
        add("train.json", '{"audio_filepath": "clips/1.wav", "text": "", "offset": 1' + 400 * "0" + "}\n"),
        r"train.json, line 3: offset must be a number of seconds, not 1000",
    ),
    ("nemo", None, add("train.json", 100_000 * "[" + "\n"), r"train.json, line 3: not JSON"),
    (
        "nemo",
        None,
        add("train.json", '{"audio_filepath": "clips/1.wav", "text": "", "offset": 1, "duration": 0}\n'),
        r"train.json, line 3: a segment needs a duration above 0",
    ),
    (
        "nemo",
        None,
        add("train.json", '{"audio_filepath": "clips/1.wav", "text": ""}\n'),
        r"line 3: a second .* clips/1",
    ),
    # Common Voice
    ("commonvoice", "test", drop("clips/cv_1.mp3"), r"no file test \(.tsv\) here; choose one of: train, validated"),
    ("commonvoice", None, drop("clips/cv_2.mp3"), r"train.tsv, line 3: there is no audio file .*clips/cv_2.mp3"),
    ("commonvoice", None, add("train.tsv", "abc\tcv_1.mp3\n"), r"train.tsv, line 4: has 2 fields, and at least 3"),
    ("commonvoice", None, add("train.tsv", "abc\tcv_1.mp3\tYes\t0\n"), r"train.tsv, line 4: a second .* cv_1"),
    ("commonvoice", None, put("train.tsv", "path\ttext\n"), r"train.tsv, line 1: a header with the columns client_id"),
    (
        "commonvoice",
        None,
        put("train.tsv", "client_id\tpath\tsentence\n"),
        r"train.tsv: this corpus holds no utterance",
    ),
    # LJSpeech
    ("ljspeech", None, drop("wavs/LJ001-0002.wav"), r"metadata.csv, line 2: there is no audio file .*LJ001-0002"),
    ("ljspeech", None, add("metadata.csv", "LJ001-0003\n"), r"metadata.csv, line 3: not of the form"),
    ("ljspeech", None, add("metadata.csv", "a|b|c|d\n"), r"metadata.csv, line 3: not of the form"),
    ("ljspeech", None, add("metadata.csv", "LJ001-0001|a|a\n"), r"metadata.csv, line 3: a second .* LJ001-0001"),
    ("ljspeech", "test", drop("short.csv"), r"no file test \(.csv\) here; choose one of: metadata"),
    # FSDD
    ("fsdd", "dev", drop("README.md"), r"there is no split 'dev'; choose one of: train, test"),
    ("fsdd", None, put("recordings/noise.wav", ""), r"noise.wav: not named DIGIT_SPEAKER_INDEX"),
    ("fsdd", None, put("recordings/0_theo_4.flac", ""), r"0_theo_4.wav: a second utterance with the id 0_theo_4"),
    ("fsdd", "test", drop("recordings/0_theo_4.wav"), r"this corpus holds no utterance"),
]


@pytest.mark.parametrize(("layout", "split", "change", "message"), SPOILT)
def test_spoilt_corpora_say_where(tmp_path: Path, layout: str, split: str | None, change: Change, message: str) -> None:
    files = dict(CORPORA[layout])
    change(files)
    lay(tmp_path, files)
    with pytest.raises(CorpusError, match=message) as caught:
        open_corpus(":".join(part for part in (layout, str(tmp_path), split) if part))
    assert str(caught.value).startswith(str(tmp_path))


def test_all_missing_files_are_counted(tmp_path: Path) -> None:
    files = {name: content for name, content in DEEPSPEECH.items() if not name.startswith("clips/")}
    with pytest.raises(CorpusError, match=r"line 2: .*clips/1.wav \(and 1 more are missing\)"):
        open_corpus(f"deepspeech:{lay(tmp_path, files)}")


def test_an_empty_folder_is_no_corpus(tmp_path: Path) -> None:
    for layout in LAYOUTS:
        with pytest.raises(CorpusError):
            open_corpus(f"{layout}:{tmp_path}")


def test_utf16_with_its_mark_is_read(tmp_path: Path) -> None:
    files = dict(COMMONVOICE) | {"train.tsv": str(COMMONVOICE["train.tsv"]).encode("utf-16")}
    assert [u.text for u in open_corpus(f"commonvoice:{lay(tmp_path, files)}")] == ['It"s “so”.', "Go"]


def test_line_ends_of_every_kind(tmp_path: Path) -> None:
    for index, end in enumerate(("\n", "\r\n", "\r")):
        files = {
            name: content.replace("\n", end) if isinstance(content, str) and name.startswith("etc/") else content
            for name, content in AN4.items()
        }
        found = open_corpus(f"an4:{lay(tmp_path / str(index), files)}")
        assert [u.text for u in found] == ["YES", "A B", "C'S"]


# Kaldi's relative paths and commands


def test_kaldi_looks_in_the_directory_then_its_parent_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    data = lay(tmp_path / "corpus/data", {"wav.scp": "u a.wav\n", "text": "u YES\n"})
    (here / "a.wav").touch()
    assert open_corpus(f"kaldi:{data}")[0].audio == Path("a.wav")
    (data.parent / "a.wav").touch()
    assert open_corpus(f"kaldi:{data}")[0].audio == data.parent / "a.wav"
    (data / "a.wav").touch()
    assert open_corpus(f"kaldi:{data}")[0].audio == data / "a.wav"
    (data / "wav.scp").write_text(f"u {here}/a.wav\n")
    assert open_corpus(f"kaldi:{data}")[0].audio == here / "a.wav"


def test_kaldi_knows_the_parent_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = lay(tmp_path / "corpus/data", {"wav.scp": "u a.wav\n", "text": "u YES\n"})
    (data.parent / "a.wav").touch()
    monkeypatch.chdir(data)
    assert open_corpus("kaldi:.")[0].audio == data.parent / "a.wav"


def test_kaldi_commands_are_refused_unless_asked_for(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(16000, 0.25), 16000, subtype="FLOAT")
    lay(tmp_path, {"wav.scp": f"r touch {tmp_path}/ran; cat {tmp_path}/a.wav |\n", "text": "u YES\n"})
    lay(tmp_path, {"segments": "u r 0.25 0.75\n"})
    with pytest.raises(CorpusError, match=r"wav.scp, line 1: the audio of r is a command \(touch .*run_commands=True"):
        open_corpus(f"kaldi:{tmp_path}")
    (utterance,) = open_corpus(f"kaldi:{tmp_path}", run_commands=True)
    assert not (tmp_path / "ran").exists()
    sound = utterance.read(16000)
    assert (tmp_path / "ran").exists()
    np.testing.assert_array_equal(sound.samples, np.full(8000, 0.25, np.float32))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("echo no disk >&2; exit 3", r"utterance u \(echo .*exit status 3: no disk"),
        ("true", r"utterance u \(true\): this sound is empty"),
        ("echo hello", r"utterance u \(echo hello\): not a sound"),
    ],
)
def test_a_command_that_fails_names_its_utterance(tmp_path: Path, command: str, message: str) -> None:
    lay(tmp_path, {"wav.scp": f"u {command} |\n", "text": "u YES\n"})
    (utterance,) = open_corpus(f"kaldi:{tmp_path}", run_commands=True)
    with pytest.raises(AudioError, match=message):
        utterance.read()
