"""Back-off models: the plain definition against the automaton and against whole texts at once."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import ORDERS, TEXTS, model_of

from asr.language import NgramModel, read_arpa, write_arpa
from asr.language.prune import prune

QUESTIONS = st.lists(st.sampled_from(["a", "b", "c", "d", "unheard"]), max_size=7)
ARPA = """\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-99	<s>	-0.1
-1	</s>
-0.5	a	-0.2
-0.75	b	-0.3
-2	{unknown}

\\2-grams:
-0.25	<s> a	-0.4
-0.125	a b
-0.3	b a

\\3-grams:
-0.0625	<s> a b

\\end\\
"""


@pytest.fixture
def by_hand(tmp_path: Path) -> NgramModel:
    path = tmp_path / "by_hand.arpa"
    path.write_text(ARPA.format(unknown="<unk>"))
    return read_arpa(path)


@pytest.fixture
def closed(tmp_path: Path) -> NgramModel:
    """Without `<unk>`."""
    path = tmp_path / "closed.arpa"
    path.write_text(ARPA.format(unknown="c"))
    return read_arpa(path)


@pytest.mark.parametrize(
    ("history", "word", "log10"),
    [
        ("", "a", -0.5),
        ("<s>", "a", -0.25),
        ("<s> a", "b", -0.0625),
        ("x <s> a", "b", -0.0625),  # only the last two count
        ("<s> a", "a", -0.4 - 0.2 - 0.5),  # down to the word itself
        ("b a", "b", -0.125),  # the history `b a` has no weight: it is 1
        ("a b", "</s>", -0.3 - 1),
        ("<s>", "other", -0.1 - 2),
        ("other", "a", -0.5),  # after `<unk>`
    ],
)
def test_back_off_by_hand(by_hand: NgramModel, history: str, word: str, log10: float) -> None:
    assert by_hand.log_prob(history.split(), word) == pytest.approx(log10 * math.log(10))


def test_the_automaton_by_hand(by_hand: NgramModel) -> None:
    automaton = by_hand.automaton()
    # states: the empty history; <s>, a, b; <s> a. `a b` and `b a` tell nothing that `b` and `a` do not.
    assert automaton.arc_begin.tolist() == [0, 5, 6, 7, 8, 9]
    assert automaton.arc_word.tolist() == [0, 1, 2, 3, 4, 2, 3, 2, 3]
    assert automaton.arc_next.tolist() == [1, 0, 2, 3, 0, 4, 3, 2, 3]
    assert automaton.backoff_state.tolist() == [-1, 0, 0, 0, 2]
    assert automaton.backoff_log_prob == pytest.approx(-math.log(10) * np.array([0, 0.1, 0.2, 0.3, 0.4]))
    assert (automaton.start, automaton.end_word, automaton.unknown_word) == (1, 1, 4)
    types = [getattr(automaton, name).dtype.name for name in list(automaton.__annotations__)[:6]]
    assert types == ["int64", "int32", "float32", "int32", "float32", "int32"]


@given(TEXTS, ORDERS, QUESTIONS, st.integers(5, 60))
def test_automaton_and_whole_texts_agree_with_the_definition(
    sentences: list[str], order: int, question: list[str], size: int
) -> None:
    full = model_of(sentences, order)
    for model in (full, prune(full, max_ngrams=max(size, len(full.words)))):
        automaton, state, history, total = model.automaton(), model.automaton().start, ["<s>"], 0.0
        for word in [*question, "</s>"]:
            log_prob, state = automaton.step(state, model.ids.get(word, automaton.unknown_word))
            assert log_prob == pytest.approx(model.log_prob(history, word), abs=1e-5)
            total += model.log_prob(history, word)
            history.append(word)
        score = model.score([["a"], question])
        assert score.log_prob[1] + score.unknown_log_prob[1] == pytest.approx(total, abs=1e-9)
        assert score.words.tolist() == [1, len(question)]
        assert score.unknown[1] == sum(word not in model.ids for word in question)


@given(TEXTS, ORDERS)
def test_an_automatons_arrays_are_in_order(sentences: list[str], order: int) -> None:
    automaton = model_of(sentences, order).automaton()
    for state in range(len(automaton.backoff_state)):
        words = automaton.arc_word[automaton.arc_begin[state] : automaton.arc_begin[state + 1]]
        assert (np.diff(words) > 0).all()
        assert automaton.backoff_state[state] < max(state, 1) - (state == 0)
    assert len(automaton.arc_word) == automaton.arc_begin[-1]
    assert automaton.arc_next.max() < len(automaton.backoff_state)


def test_words_that_are_not_there_without_unk(closed: NgramModel) -> None:
    assert closed.log_prob(["a"], "unheard") == -math.inf
    assert closed.log_prob(["unheard"], "a") == closed.log_prob([], "a")
    assert closed.log_prob(["<s>", "a", "unheard"], "b") == closed.log_prob([], "b")
    assert closed.automaton().unknown_word == -1
    score = closed.score([["a", "unheard"]])
    assert score.log_prob[0] == pytest.approx(closed.log_prob(["<s>"], "a") + closed.log_prob([], "</s>"))
    assert (score.unknown_log_prob[0], score.unknown_rate) == (-math.inf, 0.5)
    assert score.open_perplexity > 1e300


def test_perplexity_by_hand(by_hand: NgramModel) -> None:
    score = by_hand.score([["a", "b"], ["other"]])
    # log10: a -0.25, b -0.0625, </s> after b -0.3 - 1; `<unk>` -0.1 - 2, </s> after it -1
    assert score.perplexity == pytest.approx(10 ** ((0.25 + 0.0625 + 1.3 + 1) / 4))
    assert score.open_perplexity == pytest.approx(10 ** ((0.25 + 0.0625 + 1.3 + 2.1 + 1) / 5))
    assert score.unknown_rate == pytest.approx(1 / 3)


def test_nothing_has_no_perplexity(by_hand: NgramModel) -> None:
    score = by_hand.score([])
    assert math.isnan(score.perplexity)
    assert math.isnan(score.unknown_rate)


def test_level_is_told_by_the_words(by_hand: NgramModel) -> None:
    assert by_hand.level == "word"
    assert replace(by_hand, words=["<s>", "</s>", "a", " ", "<unk>"]).level == "character"
    assert replace(by_hand, words=["<s>", "</s>", "ab", " ", "<unk>"]).level == "word"


def test_scores_are_kenlms(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm")
    model = model_of(["a b c", "b c a d", "a b d", "c", "d a b c"], 3)
    write_arpa(model, tmp_path / "model.arpa")
    theirs = kenlm.Model(str(tmp_path / "model.arpa"))
    for sentence in ("a b c", "d d d", "c a unheard b", "a"):
        score = model.score([sentence.split()])
        ours = (score.log_prob[0] + score.unknown_log_prob[0]) / math.log(10)
        assert ours == pytest.approx(theirs.score(sentence), abs=1e-4)
