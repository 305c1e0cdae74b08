"""How far hypotheses are from references: word and character error rates, and alignments to look at.

    Counts      substitutions, deletions, insertions against so many reference tokens; they add up
    Score       counts of words and of characters over a number of utterances
    score       references, hypotheses -> Score
    confusions  which words were taken for which, left out and put in, and how often
    alignment   one pair as three lines for a person

Words are what white space separates; characters include single spaces between words. Nothing else is
changed here: whoever wants case or punctuation disregarded normalises both sides first.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asr.errors import UsageError

_MARGIN = ["REF:", "HYP:", "    "]

if TYPE_CHECKING:
    from jiwer import CharacterOutput, WordOutput


@dataclass(frozen=True)
class Counts:
    """The cheapest edits that turn references into hypotheses (Levenshtein 1966; each edit costs 1).

    Parameters
    ----------
    reference : tokens (words or characters) in the references
    substitutions, deletions, insertions : edits, as seen from the reference
    """

    reference: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per reference token: a fraction that insertions may raise above 1; NaN without any reference."""
        return self.errors / self.reference if self.reference else math.nan

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.reference + other.reference,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True)
class Score:
    """Word and character counts over `utterances` pairs; scores of disjoint sets add up."""

    words: Counts = Counts()
    characters: Counts = Counts()
    utterances: int = 0

    @property
    def wer(self) -> float:
        """Word error rate, a fraction."""
        return self.words.rate

    @property
    def cer(self) -> float:
        """Character error rate, a fraction."""
        return self.characters.rate

    def __add__(self, other: Score) -> Score:
        return Score(self.words + other.words, self.characters + other.characters, self.utterances + other.utterances)


@dataclass(frozen=True)
class Confusions:
    """How often each word error was made.

    substituted : (reference word, hypothesis word) -> times
    deleted, inserted : word -> times
    """

    substituted: Counter[tuple[str, str]] = field(default_factory=Counter)
    deleted: Counter[str] = field(default_factory=Counter)
    inserted: Counter[str] = field(default_factory=Counter)


def score(references: Sequence[str], hypotheses: Sequence[str]) -> Score:
    """Count the edits between each reference and its hypothesis.

    An empty reference has no tokens, and each token of its hypothesis is an insertion. No pairs at all give
    a score of zeros, whose rates are NaN.

    Raises
    ------
    UsageError : the sequences differ in length
    """
    import jiwer

    if len(references) != len(hypotheses):
        raise UsageError(
            f"{len(references)} references cannot be scored against {len(hypotheses)} hypotheses: give one for each"
        )
    plain = [_spaced(text) for text in references], [_spaced(text) for text in hypotheses]
    return Score(_counts(jiwer.process_words(*plain)), _counts(jiwer.process_characters(*plain)), len(references))


def confusions(references: Sequence[str], hypotheses: Sequence[str]) -> Confusions:
    """The word errors between each reference and its hypothesis, along the alignment that `score` counts them by."""
    found = Confusions()
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        if reference == hypothesis:
            continue
        for right, wrong, letter in _columns(_spaced(reference), _spaced(hypothesis)):
            if letter == "S":
                found.substituted[right, wrong] += 1
            elif letter == "D":
                found.deleted[right] += 1
            elif letter == "I":
                found.inserted[wrong] += 1
    return found


def alignment(reference: str, hypothesis: str, width: int = 100) -> str:
    """The words of one pair in columns: the reference, the hypothesis, and a letter below each error.

    ::

        REF: one two *** four
        HYP: one too and four
                 S   I

    width : of the lines; what does not fit follows below. Only a single word may be wider
    """
    blocks: list[list[str]] = []
    for cells in _columns(_spaced(reference), _spaced(hypothesis)):
        needed = max(display_width(cell) for cell in cells)
        if not blocks or display_width(blocks[-1][0]) + 1 + needed > width:
            blocks.append(list(_MARGIN))
        for row, cell in enumerate(cells):
            missing = "*" if row < 2 and not cell else " "
            blocks[-1][row] += " " + cell + missing * (needed - display_width(cell))
    return "\n\n".join("\n".join(row.rstrip() for row in block) for block in blocks or [_MARGIN])


def display_width(text: str) -> int:
    """Terminal columns: two for wide East Asian characters, none for combining marks."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) != 0 for character in text)


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _counts(output: WordOutput | CharacterOutput) -> Counts:
    reference = output.hits + output.substitutions + output.deletions
    return Counts(reference, output.substitutions, output.deletions, output.insertions)


def _columns(reference: str, hypothesis: str) -> Iterator[tuple[str, str, str]]:
    """(reference word or "", hypothesis word or "", "" or S, D, I) along the alignment."""
    import jiwer

    output = jiwer.process_words([reference], [hypothesis])
    letters = {"equal": "", "substitute": "S", "delete": "D", "insert": "I"}
    for chunk in output.alignments[0]:
        left = output.references[0][chunk.ref_start_idx : chunk.ref_end_idx]
        right = output.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx]
        for i in range(max(len(left), len(right))):
            yield (left[i] if left else ""), (right[i] if right else ""), letters[chunk.type]
