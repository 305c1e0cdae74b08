"""Each format, byte for byte on one transcript, and what must hold for any."""

from __future__ import annotations

import json
import os
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.output import WRITERS
from asr.output.subtitles import cues
from asr.transcript import Transcript, Word

WORDS = (Word("one", 0.3, 0.6601, 0.98765), Word("two", 0.75, 1.2, 0.5), Word("thrée", 3661.5, 3662.0, 1.0))
SPOKEN = Transcript("one two thrée", WORDS, 3663.04, 0.7905694)
SILENT = Transcript("", (), 2.0, 0.0)
FILE = Path("talks/a b.wav")

EXPECTED = {
    "txt": "one two thrée\n",
    "json": '{"file": "talks/a b.wav", "text": "one two thrée", "duration": 3663.04, "confidence": 0.7906, "words": ['
    '{"text": "one", "start": 0.3, "end": 0.66, "confidence": 0.9877}, '
    '{"text": "two", "start": 0.75, "end": 1.2, "confidence": 0.5}, '
    '{"text": "thrée", "start": 3661.5, "end": 3662.0, "confidence": 1.0}]}\n',
    "srt": "1\n00:00:00,300 --> 00:00:01,500\none two\n\n2\n01:01:01,500 --> 01:01:02,500\nthrée\n\n",
    "vtt": "WEBVTT\n\n00:00:00.300 --> 00:00:01.500\none two\n\n01:01:01.500 --> 01:01:02.500\nthrée\n",
    "tsv": "start\tend\tconfidence\tword\n0.300\t0.660\t0.9877\tone\n0.750\t1.200\t0.5000\ttwo\n"
    "3661.500\t3662.000\t1.0000\tthrée\n",
    "ctm": "a_b 1 0.300 0.360 one 0.9877\na_b 1 0.750 0.450 two 0.5000\na_b 1 3661.500 0.500 thrée 1.0000\n",
}

NOTHING = {
    "txt": "\n",
    "json": '{"file": "talks/a b.wav", "text": "", "duration": 2.0, "confidence": 0.0, "words": []}\n',
    "srt": "",
    "vtt": "WEBVTT\n",
    "tsv": "start\tend\tconfidence\tword\n",
    "ctm": "",
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format(name: str) -> None:
    assert WRITERS[name](FILE, SPOKEN) == EXPECTED[name]


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_heard(name: str) -> None:
    assert WRITERS[name](FILE, SILENT) == NOTHING[name]


@pytest.mark.parametrize("name", ["json", "ctm"])
def test_a_file_name_that_is_no_text_can_still_be_written(name: str) -> None:
    path = Path(os.fsdecode(b"caf\xe9.wav"))
    assert "caf\ufffd" in WRITERS[name](path, SPOKEN).encode("utf-8").decode("utf-8")


def test_markup_is_escaped_in_vtt() -> None:
    markup = Transcript("<b> & c", (Word("<b>", 0, 1, 1), Word("&", 1, 2, 1), Word("c", 2, 3, 1)), 3.0, 1.0)
    assert "&lt;b&gt; &amp; c" in WRITERS["vtt"](FILE, markup)


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    now, words = 0.0, []
    for _ in range(draw(st.integers(0, 30))):
        start = now + draw(st.sampled_from([0.0, 0.03, 0.3, 1.5]))
        now = start + draw(st.sampled_from([0.03, 0.3, 8.0]))
        words.append(Word(draw(st.text("abc", min_size=1, max_size=12)), start, now, draw(st.floats(0, 1))))
    return Transcript(" ".join(word.text for word in words), tuple(words), now + draw(st.floats(0, 2)), 0.5)


@given(transcripts())
def test_cues_follow_each_other_and_can_be_read(transcript: Transcript) -> None:
    shown = list(cues(transcript))
    assert " ".join(line for cue in shown for line in cue.lines) == transcript.text
    for cue in shown:
        assert cue.start < cue.end
        assert len(cue.lines) <= 2
        assert all(0 < len(line) <= 42 for line in cue.lines)
    assert all(a.end <= b.start for a, b in pairwise(shown))


@given(transcripts())
def test_json_comes_back(transcript: Transcript) -> None:
    table = json.loads(WRITERS["json"](FILE, transcript))
    assert table["text"] == " ".join(word["text"] for word in table["words"]) == transcript.text
    assert [word["start"] for word in table["words"]] == [round(word.start, 3) for word in transcript.words]


@given(transcripts())
def test_subtitles_are_numbered_and_timed(transcript: Transcript) -> None:
    blocks = WRITERS["srt"](FILE, transcript).split("\n\n")[:-1]
    for number, block in enumerate(blocks, start=1):
        first, times, *lines = block.split("\n")
        assert first == str(number)
        assert re.fullmatch(r"\d\d:[0-5]\d:[0-5]\d,\d{3} --> \d\d:[0-5]\d:[0-5]\d,\d{3}", times)
        assert lines
