"""Beam decoding of texts: against every text by the definition, and what a user may get wrong."""

from __future__ import annotations

import itertools
import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asr.alphabet import Alphabet
from asr.decoding import greedy
from asr.decoding.beam import BeamDecoder, BeamOptions
from asr.decoding.hotwords import HotWord
from asr.errors import UsageError
from asr.language import NgramModel, read_arpa
from asr.language.ngram import SPECIAL
from asr.language.spelling import spelling_model

ALPHABET = Alphabet(" ab")
STEP = 0.03
WIDE = BeamOptions(beam=2000, lm_weight=0.6, word_bonus=0.3, nbest=2000, floor=-1e30)

WORD_ARPA = """\\data\\
ngram 1=6
ngram 2=4

\\1-grams:
-99 <s> -0.2
-1.0 </s>
-1.6 <unk>
-0.6 a -0.3
-0.9 ab -0.1
-1.4 ba

\\2-grams:
-0.2 <s> a
-0.5 a a
-0.4 a ab
-0.1 ab </s>

\\end\\
"""
LETTER_ARPA = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-99 <s> -0.2
-1.0 </s>
-0.8 <space> -0.3
-0.6 a -0.3
-0.9 b -0.1

\\2-grams:
-0.2 <s> a
-0.5 a <space>
-0.4 <space> b

\\end\\
"""


@pytest.fixture
def words(tmp_path: Path) -> NgramModel:
    return model(tmp_path, WORD_ARPA)


@pytest.fixture
def letters(tmp_path: Path) -> NgramModel:
    return model(tmp_path, LETTER_ARPA)


def model(folder: Path, text: str) -> NgramModel:
    path = folder / "model.arpa"
    path.write_text(text)
    return read_arpa(path)


def posteriors(seed: int, T: int, sharpness: float = 1.5) -> np.ndarray:
    logits = np.random.default_rng(seed).standard_normal((T, ALPHABET.size)) * sharpness
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def along(path: str, probability: float = 0.9) -> np.ndarray:
    """Log-probabilities whose best path is written with `_` for the blank."""
    labels = ["_ ab".index(character) for character in path]
    probabilities = np.full((len(path), ALPHABET.size), (1 - probability) / (ALPHABET.size - 1))
    probabilities[np.arange(len(path)), labels] = probability
    return np.log(probabilities).astype(np.float32)


def masses(log_probs: np.ndarray) -> dict[str, float]:
    """ln P of every text by the sound alone."""
    found: dict[str, float] = {}
    for path in itertools.product(range(ALPHABET.size), repeat=len(log_probs)):
        text = " ".join("".join("_ ab"[label] for label, _ in itertools.groupby(path) if label).split())
        value = float(sum(log_probs[t, label] for t, label in enumerate(path)))
        found[text] = float(np.logaddexp(found.get(text, -math.inf), value))
    return found


def spelled(language: NgramModel, word: str) -> float:
    """How likely an unknown word is spelled so."""
    model = spelling_model([known for known in language.words if known not in SPECIAL], "ab")
    return sum(model.log_prob(["<s>", *word[:index]], each) for index, each in enumerate([*word, "</s>"]))


def language_score(language: NgramModel, text: str, options: BeamOptions) -> float:
    tokens = text.split() if language.level == "word" else list(text)
    total = 0.0
    for index, token in enumerate(tokens):
        total += options.lm_weight * language.log_prob(["<s>", *tokens[:index]], token) + options.word_bonus
        if token not in language.words and language.level == "word":
            total += options.lm_weight * spelled(language, token)
    return total + options.lm_weight * language.log_prob(["<s>", *tokens], "</s>")


@pytest.mark.parametrize("kind", ["words", "letters"])
def test_a_wide_beam_ranks_every_text_by_the_definition(kind: str, request: pytest.FixtureRequest) -> None:
    language: NgramModel = request.getfixturevalue(kind)
    decoder = BeamDecoder(ALPHABET, WIDE, language, threads=1)
    for seed in range(4):
        log_probs = posteriors(seed, 5)
        expected = {text: mass + language_score(language, text, WIDE) for text, mass in masses(log_probs).items()}
        (found,) = decoder.decode_each([log_probs], STEP)
        assert {each.text: each.score for each in found} == pytest.approx(expected, abs=1e-4)
        assert found[0].text == max(expected, key=lambda text: expected[text])


@pytest.mark.parametrize("kind", ["words", "letters"])
def test_a_penalty_makes_the_blank_less_likely(kind: str, request: pytest.FixtureRequest) -> None:
    language: NgramModel = request.getfixturevalue(kind)
    log_probs = posteriors(11, 5)
    before = log_probs.copy()
    less = log_probs - np.array([1.25, 0, 0, 0], np.float32)
    expected = {text: mass + language_score(language, text, WIDE) for text, mass in masses(less).items()}
    decoder = BeamDecoder(ALPHABET, replace(WIDE, blank_penalty=1.25), language, threads=1)
    (found,) = decoder.decode_each([log_probs], STEP)
    assert {each.text: each.score for each in found} == pytest.approx(expected, abs=1e-4)
    np.testing.assert_array_equal(log_probs, before)
    assert "blank penalty 1.25" in decoder.describe()


def test_a_language_model_turns_the_balance(words: NgramModel) -> None:
    log_probs = along("a_ bb", 0.6)  # "a b" by the sound; "b" is no word
    alone = BeamDecoder(ALPHABET).decode_each([log_probs], STEP)[0][0]
    with_words = BeamDecoder(ALPHABET, BeamOptions(lm_weight=1.0), words).decode_each([log_probs], STEP)[0][0]
    assert (alone.text, with_words.text) == ("a b", "ab")


def test_words_end_in_a_long_noise_that_no_word_fits(words: NgramModel) -> None:
    """Unless what a word begun will cost is reckoned with, the best reading is one that never ends."""
    log_probs = posteriors(7, 600, sharpness=1.0)
    (reading,) = BeamDecoder(ALPHABET, BeamOptions(beam=16, lm_weight=0.6), words).decode_each([log_probs], STEP)[0]
    assert max(len(word.text) for word in reading.words) < 12
    (wide,) = BeamDecoder(ALPHABET, BeamOptions(beam=400, lm_weight=0.6), words).decode_each([log_probs], STEP)[0]
    assert reading.score > wide.score - 20


def test_a_lexicon_allows_its_words_alone(words: NgramModel) -> None:
    log_probs = [posteriors(seed, 30) for seed in range(5)]
    for language in (None, words):
        decoder = BeamDecoder(ALPHABET, BeamOptions(nbest=3), language, ["ab", "bb"])
        for readings in decoder.decode_each(log_probs, STEP):
            assert {word for reading in readings for word in reading.text.split()} <= {"ab", "bb"}


def test_a_hot_word_is_preferred_although_nobody_knows_it(words: NgramModel) -> None:
    log_probs = along("b_bb__aa_", 0.7)
    plain = BeamDecoder(ALPHABET, language=words).decode_each([log_probs], STEP)[0][0]
    hot = BeamDecoder(ALPHABET, language=words, hotwords=[HotWord("bba", 9.0)]).decode_each([log_probs], STEP)[0][0]
    assert plain.text != "bba"
    assert hot.text == "bba"


def test_a_boost_is_in_the_score_of_finished_words_alone() -> None:
    log_probs = [posteriors(3, 6)]
    options = BeamOptions(beam=500, nbest=500, floor=-1e30)
    plain = {each.text: each.score for each in BeamDecoder(ALPHABET, options).decode_each(log_probs, STEP)[0]}
    decoder = BeamDecoder(ALPHABET, options, hotwords=[HotWord("ab", 2.0), HotWord("a b", 0.5)])
    hot = {each.text: each.score for each in decoder.decode_each(log_probs, STEP)[0]}
    assert hot["ab"] == pytest.approx(plain["ab"] + 2.0)
    assert hot["a b"] == pytest.approx(plain["a b"] + 0.5)
    assert hot["aba"] == pytest.approx(plain["aba"])


def test_words_have_the_times_and_confidences_that_greedy_decoding_finds() -> None:
    log_probs = along("__aab_ _b__")
    (reading,) = BeamDecoder(ALPHABET).decode_each([log_probs], 0.1)[0]
    path = greedy.decode(log_probs, ALPHABET, 0.1)
    assert reading.words == path.words
    assert reading.confidence == path.confidence
    assert reading.score > path.score


def test_each_is_read_as_if_alone_and_no_step_as_nothing() -> None:
    each = [posteriors(seed, T) for seed, T in enumerate([9, 20, 0])]
    decoder = BeamDecoder(ALPHABET, BeamOptions(nbest=2))
    together = decoder.decode_each(each, STEP)
    assert together == [decoder.decode_each([one], STEP)[0] for one in each]
    assert together[2][0].text == ""


def test_other_options_change_nothing_in_the_first(words: NgramModel) -> None:
    log_probs = [posteriors(1, 12)]
    first = BeamDecoder(ALPHABET, BeamOptions(lm_weight=0.0), words)
    before = first.decode_each(log_probs, STEP)
    second = first.with_options(BeamOptions(lm_weight=2.0))
    assert second.decode_each(log_probs, STEP) != before
    assert first.decode_each(log_probs, STEP) == before


def test_a_beam_that_empties_falls_back_to_the_best_path_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    log_probs = along("b__b__b", 1 - 1e-9)
    decoder = BeamDecoder(ALPHABET, BeamOptions(beam=1, floor=-30.0), lexicon=["bbab"])
    with caplog.at_level(logging.WARNING, "asr"):
        ((reading,),) = decoder.decode_each([log_probs], STEP, ["here.wav"])
    assert reading == greedy.decode(log_probs, ALPHABET, STEP)
    assert "here.wav: no words of the lexicon fit" in caplog.text


def test_words_that_cannot_be_spelled_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    language = model(tmp_path, WORD_ARPA.replace(" ba\n", " straße\n"))
    with caplog.at_level(logging.WARNING, "asr"):
        BeamDecoder(ALPHABET, language=language)
    assert "1 of the language model's 3 words cannot be spelled with this alphabet" in caplog.text
    assert "'straße'" in caplog.text
    with pytest.raises(UsageError, match="for another alphabet: none of its 3 words, such as 'a', 'ab'"):
        BeamDecoder(Alphabet(" xyz"), language=language)


def test_characters_that_a_model_lacks_are_named(letters: NgramModel, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "asr"):
        BeamDecoder(Alphabet(" abz"), language=letters)
    assert "lacks characters of this alphabet, which become unlikely: 'z'" in caplog.text
    with pytest.raises(UsageError, match="none of the characters ' xyz'"):
        BeamDecoder(Alphabet(" xyz"), language=letters)


def test_a_hot_word_outside_the_lexicon_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "asr"):
        BeamDecoder(ALPHABET, lexicon=["ab"], hotwords=[HotWord("ab ba")])
    assert "hot words outside the lexicon can never be recognised: 'ba'" in caplog.text


def test_what_does_not_fit_is_refused(words: NgramModel) -> None:
    with pytest.raises(UsageError, match="words of the lexicon cannot be spelled with ' ab': 'abc'"):
        BeamDecoder(ALPHABET, lexicon=["ab", "abc"])
    with pytest.raises(UsageError, match="a lexicon holds at least one word"):
        BeamDecoder(ALPHABET, lexicon=[])
    with pytest.raises(UsageError, match="no space"):
        BeamDecoder(Alphabet("ab"), language=words)
    with pytest.raises(UsageError, match=r"\[T, 4\], not \[3, 5\]"):
        BeamDecoder(ALPHABET).decode_each([np.zeros((3, 5), np.float32)], STEP)
    with pytest.raises(UsageError, match="no log-probabilities"):
        BeamDecoder(ALPHABET).decode_each([np.ones((3, 4), np.float32)], STEP)


@pytest.mark.parametrize(
    "values",
    [
        {"beam": 0},
        {"lm_weight": -0.1},
        {"lm_weight": math.inf},
        {"word_bonus": math.nan},
        {"blank_penalty": -0.5},
        {"blank_penalty": math.inf},
        {"nbest": 0},
        {"nbest": 33},
        {"floor": 0.0},
        {"beam": 65537},
    ],
)
def test_options_that_cannot_work_are_named(values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(values))):
        BeamOptions(**values)  # type: ignore[arg-type]
