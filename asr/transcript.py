"""What was said in a recording: text, words with their times, and stretches short enough to read.

Times are seconds from the beginning of the recording; a confidence lies between 0 and 1.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """One word, from the first frame of its first label to the end of its last label's frames.

    Parameters
    ----------
    text : without white space
    start, end : seconds
    confidence : geometric mean of its labels' posteriors, 0..1
    """

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Segment:
    """Consecutive words to be shown together, as in a subtitle."""

    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def start(self) -> float:
        """Seconds."""
        return self.words[0].start

    @property
    def end(self) -> float:
        """Seconds."""
        return self.words[-1].end

    def lines(self, width: int) -> list[str]:
        """The text in lines of at most `width` characters; only a single word may be longer."""
        return textwrap.wrap(self.text, width, break_long_words=False, break_on_hyphens=False)


@dataclass(frozen=True)
class Alternative:
    """One of several readings of a recording.

    Parameters
    ----------
    text : its words with single spaces between them
    words : each with its time
    score : natural logarithm of what the decoder thinks it is worth, to be compared within one recording
    confidence : as `Transcript` has it
    """

    text: str
    words: tuple[Word, ...]
    score: float
    confidence: float


@dataclass(frozen=True)
class Transcript:
    """The text recognised in one recording.

    Parameters
    ----------
    text : the words with single spaces between them; empty where nothing was heard
    words : each with its time
    duration : seconds of audio
    confidence : geometric mean of the posteriors of all labels; 0 when the text is empty, since nothing was
        recognised that one could be sure of
    alternatives : the best readings, the best first, which is that of `text`; empty where they were not asked for
    """

    text: str
    words: tuple[Word, ...]
    duration: float
    confidence: float
    alternatives: tuple[Alternative, ...] = ()

    def segments(
        self, max_gap: float = 0.8, max_seconds: float = 7.0, width: int = 42, lines: int = 2
    ) -> tuple[Segment, ...]:
        """The words in stretches for reading: broken where the speaker pauses, and where one would be too long.

        Parameters
        ----------
        max_gap : seconds of pause between two words that stay together
        max_seconds : from the first word's start to the last word's end
        width, lines : characters a line, and how many lines. 42 characters, 2 lines and 7 seconds are the
            limits usual for subtitles (Netflix Timed Text Style Guide, English)

        A word that breaks a limit by itself stands alone.
        """
        segments: list[Segment] = []
        current: list[Word] = []
        for word in self.words:
            grown = Segment((*current, word))
            paused = bool(current) and word.start - current[-1].end > max_gap
            too_long = grown.end - grown.start > max_seconds or len(grown.lines(width)) > lines
            if current and (paused or too_long):
                segments.append(Segment(tuple(current)))
                current = []
            current.append(word)
        return (*segments, Segment(tuple(current))) if current else ()
