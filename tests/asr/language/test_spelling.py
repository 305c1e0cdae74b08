from __future__ import annotations

import math

import pytest

from asr.language.spelling import spelling_model

CHARACTERS = "abcdefghijklmnopqrstuvwxyz'"
NUMBERS = "thirty forty fifty sixty fourteen fifteen sixteen seventeen four six seven"


def log_prob(words: str, word: str) -> float:
    model = spelling_model(words.split(), CHARACTERS)
    return sum(model.log_prob(["<s>", *word[:index]], each) for index, each in enumerate([*word, "</s>"]))


def test_what_is_spelled_like_known_words_is_likely() -> None:
    assert log_prob(NUMBERS, "thirteen") > log_prob(NUMBERS, "thirteee") + 2
    assert log_prob(NUMBERS, "thirteen") > 9 * math.log(1 / 27) + 10  # as if all letters were as likely


def test_any_letter_may_follow() -> None:
    assert -60 < log_prob(NUMBERS, "jazz'z") < log_prob(NUMBERS, "sixen")


@pytest.mark.parametrize("history", ["", "thir", "x", "'"])
def test_letters_and_the_end_are_a_distribution(history: str) -> None:
    model = spelling_model(NUMBERS.split(), CHARACTERS)
    total = sum(math.exp(model.log_prob(["<s>", *history], each)) for each in [*CHARACTERS, "</s>", "<unk>"])
    assert total == pytest.approx(1)


def test_one_word_is_enough() -> None:
    assert log_prob("a", "a") > log_prob("a", "b")
