"""Segments: every word once, in order, and within the limits of what a person can read."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from asr.transcript import Segment, Transcript, Word


def transcript(words: list[Word]) -> Transcript:
    return Transcript(" ".join(word.text for word in words), tuple(words), words[-1].end if words else 1.0, 0.5)


@st.composite
def words(draw: st.DrawFn) -> list[Word]:
    made, now = [], 0.0
    for _ in range(draw(st.integers(0, 40))):
        start = now + draw(st.floats(0, 2))
        now = start + draw(st.floats(0.03, 3))
        made.append(Word(draw(st.text("abc'-", min_size=1, max_size=15)), start, now, 0.9))
    return made


@given(words())
def test_segments_hold_every_word_once_and_keep_the_limits(made: list[Word]) -> None:
    segments = transcript(made).segments(max_gap=0.8, max_seconds=7.0, width=20, lines=2)
    assert [word for segment in segments for word in segment.words] == made
    for segment in segments:
        lines = segment.lines(20)
        assert " ".join(lines) == segment.text
        assert len(lines) <= 2
        assert all(len(line) <= 20 for line in lines)
        assert segment.end - segment.start <= 7.0 or len(segment.words) == 1
        assert all(b.start - a.end <= 0.8 for a, b in pairwise(segment.words))


def test_a_pause_breaks_and_a_short_gap_does_not() -> None:
    a, b, c = Word("a", 0.0, 0.5, 1), Word("b", 1.0, 1.5, 1), Word("c", 2.5, 3.0, 1)
    assert transcript([a, b, c]).segments(max_gap=0.8) == (Segment((a, b)), Segment((c,)))
    assert transcript([a, b, c]).segments(max_gap=1.0) == (Segment((a, b, c)),)


def test_a_word_longer_than_a_line_stands_whole() -> None:
    long = Word("x" * 50, 0.0, 9.0, 1)
    (segment,) = transcript([long]).segments()
    assert segment.lines(42) == ["x" * 50]
    assert (segment.text, segment.start, segment.end) == ("x" * 50, 0.0, 9.0)


def test_no_words_no_segments() -> None:
    assert transcript([]).segments() == ()
