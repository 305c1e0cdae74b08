"""Text and labels."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.alphabet import Alphabet, normalise, strip_punctuation
from asr.errors import UsageError

ENGLISH = Alphabet(" 'abcdefghijklmnopqrstuvwxyz")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\ufeffHello\r\n  World \t!", "hello world !"),
        ("DON’T ‘stop’ itʼs", "don't 'stop' it's"),
        ("cafe\u0301", "café"),
        ("ﬁne", "ﬁne"),  # NFC, not NFKC: nothing is spelled otherwise than it was
        ("a\u00a0b\u3000c\u2028d", "a b c d"),
        ("co\u00adoperate\u200b", "cooperate"),
        ("ΟΔΟΣ", "οδος"),
        ("<s> YES  no </s>\n", "yes no"),
        ("<S> </S>", ""),
        ("no </s>", "no </s>"),
        ("", ""),
        (" \r\n", ""),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(st.one_of(st.text(), st.lists(st.sampled_from(["<s>", "</S>", "a"])).map(" ".join)))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert once == " ".join(once.split())
    assert unicodedata.is_normalized("NFC", once)


@given(st.text())
def test_normalise_does_not_see_the_form_of_composition(text: str) -> None:
    assert normalise(unicodedata.normalize("NFD", text)) == normalise(unicodedata.normalize("NFC", text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("not at this case, Tom, apologized.", "not at this case Tom apologized"),
        ("well-known — yes...no", "well known yes no"),
        ("'tis the dogs' rock'n'roll, don't 'quote'", "tis the dogs rock'n'roll don't quote"),
        ("3.5 / $20", "3 5 20"),
        ("snake_case", "snake case"),
        ("हिन्दी", "हिन्दी"),  # vowel signs are marks, not letters
        ("' '' -", ""),
    ],
)
def test_strip_punctuation(text: str, expected: str) -> None:
    assert strip_punctuation(text) == expected


@given(st.text())
def test_stripping_twice_changes_nothing(text: str) -> None:
    once = strip_punctuation(text)
    assert strip_punctuation(once) == once
    assert all(c in " '" or unicodedata.category(c)[0] in "LMN" for c in once)


@given(st.text(alphabet=ENGLISH.characters))
def test_labels_give_the_text_back(text: str) -> None:
    labels = ENGLISH.encode(text)
    assert labels.dtype == np.int32
    assert labels.shape == (len(text),)
    assert not (labels == 0).any()
    assert ENGLISH.decode(labels) == text


@given(st.lists(st.text(min_size=1), min_size=1))
def test_an_alphabet_of_texts_holds_them_all(texts: list[str]) -> None:
    if not set("".join(texts)) - {" "}:
        texts = [*texts, "a"]
    alphabet = Alphabet.from_texts(texts)
    assert alphabet.characters == " " + "".join(sorted(set("".join(texts)) - {" "}))
    assert alphabet.size == len(alphabet.characters) + 1
    for text in texts:
        assert not alphabet.outside(text)
        assert alphabet.decode(alphabet.encode(text)) == text


def test_labels_are_places_in_the_alphabet() -> None:
    assert ENGLISH.encode(" 'az").tolist() == [1, 2, 3, 28]
    assert ENGLISH.size == 29
    assert ENGLISH.decode([0, 3, 0, 3, 0]) == "aa"
    assert ENGLISH.decode([]) == ""


def test_characters_outside_are_named() -> None:
    with pytest.raises(UsageError, match=r"'é' \(U\+00E9\).*'日' \(U\+65E5\)"):
        ENGLISH.encode("café 日")
    assert ENGLISH.outside("café 日") == {"é", "日"}


@pytest.mark.parametrize("labels", [[-1], [29], [0, 1, 100]])
def test_labels_of_nothing_are_refused(labels: list[int]) -> None:
    with pytest.raises(UsageError, match=r"0\.\.28"):
        ENGLISH.decode(labels)


@pytest.mark.parametrize("characters", ["", "abca"])
def test_impossible_alphabets_are_refused(characters: str) -> None:
    with pytest.raises(UsageError, match="alphabet"):
        Alphabet(characters)


@pytest.mark.parametrize("texts", [[], [""], ["", "  "]])
def test_texts_without_characters_make_no_alphabet(texts: list[str]) -> None:
    with pytest.raises(UsageError, match="transcripts"):
        Alphabet.from_texts(texts)
