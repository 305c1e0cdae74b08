"""Lexicon and hot word files, the tree of spellings and the automaton of phrases, walked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.alphabet import Alphabet
from asr.decoding.hotwords import BOOST, HotWord, patterns, read_hotwords
from asr.decoding.lexicon import read_lexicon, some, spelling_tree, unspellable
from asr.errors import UsageError
from kernels.beam import NO_WORD, Patterns, Tree

ALPHABET = Alphabet(" abc")
WORDS = st.dictionaries(st.text("abc", min_size=1, max_size=6), st.integers(0, 99), max_size=40)


def walk(tree: Tree, word: str) -> int:
    """The number that a word leads to in a tree."""
    node = 0
    for label in ALPHABET.encode(word):
        children = range(tree.first[node], tree.first[node + 1])
        labels = [tree.label[child] for child in children]
        assert labels == sorted(set(labels))
        if label not in labels:
            return NO_WORD
        node = children[labels.index(label)]
    return int(tree.word[node])


@given(WORDS)
def test_each_word_leads_to_its_number_and_nothing_else_to_any(words: dict[str, int]) -> None:
    tree = spelling_tree(words, ALPHABET)
    assert {word: walk(tree, word) for word in words} == words
    prefixes = {word[:size] for word in words for size in range(len(word) + 1)} | {""}
    assert len(tree.label) == len(tree.word) == len(tree.first) - 1 == len(prefixes)
    assert all(walk(tree, word) == NO_WORD for word in prefixes - set(words))
    assert walk(tree, "cccccccc") == NO_WORD


@given(WORDS)
def test_each_node_knows_the_likeliest_word_below(words: dict[str, int]) -> None:
    if not words:
        return
    values = np.array([-1.0 - number for number in words.values()])
    tree = spelling_tree(words, ALPHABET, values)
    expected = {prefix: max(-1.0 - n for w, n in words.items() if w.startswith(prefix)) for prefix in [*words, ""]}
    found = {}
    for prefix in expected:
        node = 0
        for label in ALPHABET.encode(prefix):
            node = next(n for n in range(tree.first[node], tree.first[node + 1]) if tree.label[n] == label)
        found[prefix] = float(tree.best[node])
    assert found == expected


def gained(automaton: Patterns, text: str) -> float:
    """What a text has won and holds at its end."""
    state = automaton.start
    total = automaton.held[state]
    for label in [*ALPHABET.encode(text), 0]:
        there = automaton.next[state, label]
        total += automaton.held[there] - automaton.held[state] + automaton.won[there]
        state = there
    return float(total - automaton.held[state])


PHRASES = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=3).map(" ".join)


@given(
    st.dictionaries(PHRASES, st.integers(-3, 9), min_size=1, max_size=6), st.lists(PHRASES, max_size=8).map(" ".join)
)
def test_each_whole_phrase_in_a_text_counts_once_and_nothing_is_kept_of_parts(hot: dict[str, int], text: str) -> None:
    words = text.split()
    expected = 0
    for phrase, boost in hot.items():
        size = len(phrase.split())
        expected += boost * sum(words[i : i + size] == phrase.split() for i in range(len(words)))
    automaton = patterns([HotWord(phrase, boost) for phrase, boost in hot.items()], ALPHABET)
    assert gained(automaton, text) == pytest.approx(expected)


def test_a_loan_grows_along_a_phrase_and_is_given_back() -> None:
    automaton = patterns([HotWord("abc", 8.0)], ALPHABET)
    state, held = automaton.start, []
    for label in ALPHABET.encode("abcb"):
        state = automaton.next[state, label]
        held.append(float(automaton.held[state]))
    assert held == [2.0, 4.0, 6.0, 0.0]


def test_without_a_space_a_phrase_counts_wherever_it_stands() -> None:
    automaton = patterns([HotWord("ab", 3.0)], Alphabet("ab"))
    state, won = automaton.start, 0.0
    for label in Alphabet("ab").encode("aabab"):
        state = automaton.next[state, label]
        won += automaton.won[state]
    assert won == 6.0


def test_no_hot_words_are_worth_nothing() -> None:
    assert gained(patterns([], ALPHABET), "a b") == 0.0


def test_files_are_normalised(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("\ufeffAbc\r\n\n b \nabc\nCafé\n", encoding="utf-8")
    assert read_lexicon(tmp_path / "words.txt") == ["abc", "b", "café"]
    (tmp_path / "hot.txt").write_text("New  York\nbach\t-2.5\n\n", encoding="utf-8")
    assert read_hotwords(tmp_path / "hot.txt", 4.0) == [HotWord("new york", 4.0), HotWord("bach", -2.5)]
    assert read_hotwords(tmp_path / "hot.txt")[0].boost == BOOST


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb c\n", "line 2: 'b c' is not one word"),
        (b"\n \n", "no word in this lexicon"),
        (b"a\n\xff\n", "not a text in UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_lexicon_is_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as raised:
        read_lexicon(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tloud\n", "line 1: 'loud' is no boost"),
        ("a\tnan\n", "line 1: the boost of 'a' must be a number"),
        ("b\n\t3\n", "line 2: a hot word must be a normalised text"),
        ("\n", "no hot word"),
    ],
)
def test_wrong_hot_words_are_named(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "hot.txt"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        read_hotwords(path)


def test_hot_words_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="'aß' cannot be spelled: outside the alphabet: 'ß'"):
        patterns([HotWord("aß")], ALPHABET)
    with pytest.raises(UsageError, match="'a' stands twice"):
        patterns([HotWord("a", 1.0), HotWord("a", 2.0)], ALPHABET)


def test_words_for_a_message() -> None:
    assert unspellable(["abc", "abd", "ä"], ALPHABET) == ["abd", "ä"]
    assert some(["a"]) == "'a'"
    assert some(list("abcdefg")) == "'a', 'b', 'c', 'd', 'e' and 2 more"
