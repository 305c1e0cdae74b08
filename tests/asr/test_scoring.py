"""Error counts: exact cases, and what must hold for any pair of texts."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import UsageError
from asr.scoring import Confusions, Counts, Score, alignment, confusions, score

TEXTS = st.lists(st.text("ab'", min_size=1, max_size=3), max_size=6).map(" ".join)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), max_size=5)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "words", "characters"),
    [
        ("one two three", "one two three", Counts(3), Counts(13)),
        ("one two three", "one too three", Counts(3, substitutions=1), Counts(13, substitutions=1)),
        ("one two", "one", Counts(2, deletions=1), Counts(7, deletions=4)),
        ("one", "one two", Counts(1, insertions=1), Counts(3, insertions=4)),
        ("", "oh no", Counts(0, insertions=2), Counts(0, insertions=5)),
        ("oh no", "", Counts(2, deletions=2), Counts(5, deletions=5)),
        ("", "", Counts(), Counts()),
        ("a\tb\r\nc ", " a  b c", Counts(3), Counts(5)),
    ],
)
def test_known_counts(reference: str, hypothesis: str, words: Counts, characters: Counts) -> None:
    assert score([reference], [hypothesis]) == Score(words, characters, 1)


def test_an_empty_reference_counts_beside_others() -> None:
    result = score(["one two", ""], ["one two", "three"])
    assert result.words == Counts(2, insertions=1)
    assert result.wer == 0.5
    assert result.utterances == 2


def test_no_utterances() -> None:
    result = score([], [])
    assert result == Score()
    assert math.isnan(result.wer)
    assert math.isnan(result.cer)


def test_unequal_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="1 references cannot be scored against 2 hypotheses"):
        score(["a"], ["a", "b"])


@given(PAIRS)
def test_errors_cover_the_difference_in_length(pairs: list[tuple[str, str]]) -> None:
    for reference, hypothesis in pairs:
        result = score([reference], [hypothesis])
        for counts, left, right in (
            (result.words, reference.split(), hypothesis.split()),
            (result.characters, list(reference), list(hypothesis)),
        ):
            assert counts.reference == len(left)
            assert counts.insertions - counts.deletions == len(right) - len(left)
            assert abs(len(right) - len(left)) <= counts.errors <= max(len(left), len(right))


@given(st.lists(TEXTS, max_size=5))
def test_identical_texts_have_no_errors(texts: list[str]) -> None:
    result = score(texts, texts)
    assert result.words.errors == result.characters.errors == 0


@given(PAIRS)
def test_scores_of_parts_add_up(pairs: list[tuple[str, str]]) -> None:
    whole = score([reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs])
    assert sum((score([reference], [hypothesis]) for reference, hypothesis in pairs), Score()) == whole


@given(TEXTS, TEXTS)
def test_exchanging_the_sides_keeps_the_number_of_errors(left: str, right: str) -> None:
    assert score([left], [right]).words.errors == score([right], [left]).words.errors


def test_alignment_is_drawn_in_columns() -> None:
    assert alignment("one three four five", "one too three and four") == "\n".join(
        [
            "REF: one *** three *** four five",
            "HYP: one too three and four ****",
            "         I         I        D",
        ]
    )
    assert alignment("go right", "go night") == "REF: go right\nHYP: go night\n        S"


def test_a_long_alignment_goes_on_below() -> None:
    drawn = alignment("one two three four", "one two tree four", width=13)
    assert drawn == "REF: one two\nHYP: one two\n\n\nREF: three\nHYP: tree\n     S\n\nREF: four\nHYP: four\n"


@given(TEXTS, TEXTS, st.integers(1, 40))
def test_width_changes_only_where_lines_end(left: str, right: str, width: int) -> None:
    whole, cut = (alignment(left, right, limit).split("\n") for limit in (10**6, width))
    for row in range(3):
        words = [word for line in cut[row::4] for word in line.removeprefix(("REF:", "HYP:", "    ")[row]).split()]
        assert words == whole[row][4:].split()


def test_alignment_of_equal_texts_has_an_empty_last_line() -> None:
    assert alignment("yes no", "yes no") == "REF: yes no\nHYP: yes no\n"


def test_alignment_with_nothing_recognised() -> None:
    assert alignment("yes", "") == "REF: yes\nHYP: ***\n     D"


def test_wide_characters_stay_in_their_columns() -> None:
    reference, hypothesis, _ = alignment("日本 a", "x a").splitlines()
    assert reference == "REF: 日本 a"
    assert hypothesis == "HYP: x    a"


def test_confusions_are_counted() -> None:
    found = confusions(["one two three", "one two", "so"], ["one too three", "and one too", ""])
    assert found == Confusions(Counter({("two", "too"): 2}), Counter({"so": 1}), Counter({"and": 1}))


@given(PAIRS)
def test_confusions_are_the_errors_one_by_one(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = [reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs]
    found, words = confusions(references, hypotheses), score(references, hypotheses).words
    kinds = found.substituted.total(), found.deleted.total(), found.inserted.total()
    assert kinds == (words.substitutions, words.deletions, words.insertions)
    assert all(right != wrong for right, wrong in found.substituted)
