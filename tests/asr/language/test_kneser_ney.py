"""Counts and modified Kneser-Ney smoothing, against hand-computed values, plain Python and KenLM's lmplz."""

from __future__ import annotations

import logging
import math
import random
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from small import ORDERS, TEXTS, assert_sums_to_one, counts_of, model_of, ngrams

from asr.language import read_arpa, trie
from asr.language.kneser_ney import FALLBACK, adjust, estimate_discounts

SENTENCES = ["a b", "a b", "a c"]


def test_every_value_of_a_bigram_model_of_three_sentences() -> None:
    """Worked out by hand.

    Too few n-grams to estimate discounts: D1 = 0.5, D2 = 1, D3+ = 1.5.
    Words by the number of words before them: a 1 (<s>), b 1 (a), c 1 (a), </s> 2 (b, c); together 5.
    gamma() = (3 * 0.5 + 1 * 1) / 5 = 0.5, shared by <unk>, </s>, a, b, c: 0.1 each.
        p(a) = p(b) = p(c) = (1 - 0.5) / 5 + 0.1 = 0.2, p(</s>) = (2 - 1) / 5 + 0.1 = 0.3, p(<unk>) = 0.1
    Bigrams by count: <s> a 3, a b 2, a c 1, b </s> 2, c </s> 1.
        gamma(<s>) = 1.5 / 3 = 0.5      p(a | <s>) = (3 - 1.5) / 3 + 0.5 * 0.2 = 0.6
        gamma(a) = (1 + 0.5) / 3 = 0.5  p(b | a) = (2 - 1) / 3 + 0.5 * 0.2 = 13 / 30
                                        p(c | a) = (1 - 0.5) / 3 + 0.5 * 0.2 = 8 / 30
        gamma(b) = 1 / 2 = 0.5          p(</s> | b) = (2 - 1) / 2 + 0.5 * 0.3 = 0.65
        gamma(c) = 0.5 / 1 = 0.5        p(</s> | c) = (1 - 0.5) / 1 + 0.5 * 0.3 = 0.65
    Nothing follows <unk> and </s>: their weights are 1.
    """
    by_hand = {
        ("<unk>",): (0.1, 1.0),
        ("</s>",): (0.3, 1.0),
        ("a",): (0.2, 0.5),
        ("b",): (0.2, 0.5),
        ("c",): (0.2, 0.5),
        ("<s>",): (1e-99, 0.5),
        ("<s>", "a"): (0.6, 1.0),
        ("a", "b"): (13 / 30, 1.0),
        ("a", "c"): (8 / 30, 1.0),
        ("b", "</s>"): (0.65, 1.0),
        ("c", "</s>"): (0.65, 1.0),
    }
    model = ngrams(model_of(SENTENCES, 2))
    assert model.keys() == by_hand.keys()
    for words, (p, backoff) in by_hand.items():
        assert model[words] == pytest.approx((math.log(p), math.log(backoff)), abs=1e-12), words


def test_lower_orders_count_the_words_before_but_for_the_sentence_beginning() -> None:
    counts = counts_of(["a b", "a b", "a c", "b b"], 3)
    adjusted = adjust(counts)
    found = {}
    for order in (1, 2, 3):
        rows = trie.rows_of(counts.grams, order, 0, len(counts.grams[order - 1]))
        found |= {
            " ".join(counts.words[number] for number in row): int(a)
            for row, a in zip(rows, adjusted[order - 1], strict=True)
        }
    assert {words: found[words] for words in ("<s>", "<unk>", "a", "b", "</s>")} == {
        "<s>": 0,  # never predicted
        "<unk>": 0,
        "a": 1,  # after <s>
        "b": 3,  # after <s>, a, b
        "</s>": 2,  # after b, c
    }
    assert {words: found[words] for words in ("<s> a", "a b", "b </s>")} == {"<s> a": 3, "a b": 1, "b </s>": 2}
    assert (found["<s> a b"], found["a b </s>"]) == (2, 2)  # plain counts in the highest order


@given(TEXTS, ORDERS)
def test_counts_are_those_of_a_dictionary(sentences: list[str], order: int) -> None:
    counts = counts_of(sentences, order)
    expected: Counter[tuple[str, ...]] = Counter()
    for sentence in sentences:
        words = ["<s>", *sentence.split(), "</s>"]
        for length in range(1, order + 1):
            expected.update(tuple(words[i : i + length]) for i in range(len(words) - length + 1))
    found = {}
    for length, occurring in enumerate(counts.counts, start=1):
        for row, number in zip(trie.rows_of(counts.grams, length, 0, len(occurring)), occurring, strict=True):
            found[tuple(counts.words[i] for i in row)] = int(number)
    assert found.pop(("<unk>",)) == 0
    assert found == dict(expected)
    assert counts.events == sum(len(sentence.split()) + 1 for sentence in sentences)


@given(TEXTS, ORDERS)
def test_probabilities_sum_to_one(sentences: list[str], order: int) -> None:
    assert_sums_to_one(model_of(sentences, order))


def test_words_without_a_count_share_what_is_left() -> None:
    model = model_of(SENTENCES, 2, ["<unk>", "<s>", "</s>", "a", "b", "c", "d"])
    assert model.log_prob([], "d") == model.log_prob([], "never heard") == pytest.approx(math.log(0.5 / 6))
    assert_sums_to_one(model)


def test_unknown_words_of_the_text_count_as_a_word() -> None:
    model = model_of(["a x", "a y", "a b"], 2, ["<unk>", "<s>", "</s>", "a", "b"])
    assert model.log_prob(["a"], "z") > model.log_prob(["a"], "b")
    assert_sums_to_one(model)


def test_discounts_by_hand() -> None:
    # Y = 4 / (4 + 2 * 2) = 0.5; D1 = 1 - 2 Y 2 / 4; D2 = 2 - 3 Y 1 / 2; D3 = 3 - 4 Y 1 / 1
    assert estimate_discounts([4, 2, 1, 1]) == pytest.approx((0.5, 1.25, 1.0))


@pytest.mark.parametrize("odd", [[0, 0, 0, 0], [4, 2, 1, 0], [0, 2, 1, 1], [4, 1, 10, 1], [4, 2, 1, 2]])
def test_odd_counts_have_no_discounts(odd: list[int]) -> None:
    assert estimate_discounts(odd) is None


def test_fallback_discounts_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        model_of(SENTENCES, 2)
    assert [record.getMessage() for record in caplog.records] == [
        f"text: too small or too odd to estimate discounts of 1-grams, 2-grams; taking {FALLBACK}"
    ]


def chatter(sentences: int) -> list[str]:
    """Text with words of all frequencies that stand in some order."""
    rng = random.Random(1)
    words = [f"w{number}" for number in range(300)]
    weights = [1 / (number + 1) for number in range(300)]
    text = []
    for _ in range(sentences):
        begun = rng.choices(range(300), weights)[0]
        text.append(" ".join(words[(begun + rng.choice((0, 1, 1, 7, 50))) % 300] for _ in range(rng.randint(1, 9))))
    return text


@pytest.mark.skipif(shutil.which("lmplz") is None, reason="KenLM's lmplz is not installed")
@pytest.mark.parametrize("order", [2, 3, 4])
def test_the_model_is_that_of_lmplz(order: int, tmp_path: Path) -> None:
    """lmplz tallies its very last n-gram of each lower order by the plain count: here that is its a(.) all the same."""
    text = [*chatter(3000), "w0 w1 last"]
    path = tmp_path / "kenlm.arpa"
    with path.open("wb") as file:
        command = ["lmplz", "-o", str(order), "-S", "100M", "-T", str(tmp_path), "--discount_fallback"]
        subprocess.run(command, input="\n".join(text).encode() + b"\n", stdout=file, stderr=subprocess.PIPE, check=True)
    ours, theirs = ngrams(model_of(text, order)), ngrams(read_arpa(path))
    assert ours.keys() == theirs.keys()
    compared = [words for words in ours if words != ("<s>",)]  # whose probability has no meaning
    np.testing.assert_allclose([ours[words] for words in compared], [theirs[words] for words in compared], atol=1e-5)
