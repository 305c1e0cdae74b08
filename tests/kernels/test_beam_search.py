"""The beam search against a search through every path, by hand, and against itself in pieces."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from beam_cases import SYMBOLS, TASKS, Task, all_texts, collapse, posteriors
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.beam import Grammar, Reading, empty_grammar, open_beam_search
from kernels.cpu.beam import CpuBeamSearch
from kernels.cpu.team import Team

SEARCH = open_beam_search(threads=2)
NO_FLOOR = -1e30
WIDE = 5000  # more than there are prefixes of a few steps
ANY_TEXT = empty_grammar(len(SYMBOLS), SYMBOLS.index(" "))


def text_of(reading: Reading) -> str:
    return "".join(SYMBOLS[label] for label in reading.labels)


def search(
    each: list[np.ndarray], grammar: Grammar = ANY_TEXT, beam: int = WIDE, most: int = 1, floor: float = NO_FLOOR
) -> list[list[Reading]]:
    return SEARCH(each, beam, floor, most, grammar)


@pytest.mark.parametrize("name", TASKS)
def test_a_wide_beam_finds_what_a_search_through_every_path_finds(name: str) -> None:
    task = TASKS[name]
    utterances = [posteriors(seed, T) for seed, T in enumerate([1, 2, 3, 4, 5, 5, 5])]
    for log_probs, readings in zip(utterances, search(utterances, task.grammar(), most=WIDE), strict=True):
        expected = {}
        for text, found in all_texts(log_probs).items():
            if task.added(text) > -math.inf:
                expected[text] = found.mass + task.added(text)
        assert {text_of(reading): reading.score for reading in readings} == pytest.approx(expected, abs=1e-5)
        assert len(readings) == len(expected)
        scores = [reading.score for reading in readings]
        assert scores == sorted(scores, reverse=True)


def test_masses_and_places_are_those_of_all_paths_and_of_the_likeliest() -> None:
    for seed in range(6):
        log_probs = posteriors(seed, 5)
        every = all_texts(log_probs)
        for reading in search([log_probs], most=WIDE)[0]:
            mass, path = every[text_of(reading)]
            assert reading.acoustic == pytest.approx(mass, abs=1e-5)
            assert reading.score == reading.acoustic
            runs = [(label, len(list(run))) for label, run in itertools.groupby(path)]
            ends = list(itertools.accumulate(size for _, size in runs))
            placed = [(label, end - size, end) for (label, size), end in zip(runs, ends, strict=True) if label]
            spoken = [(label, first, stop) for label, first, stop in placed if SYMBOLS[label] != " "]
            ours = zip(reading.labels.tolist(), reading.first.tolist(), reading.stop.tolist(), strict=True)
            assert [place for place in ours if SYMBOLS[place[0]] != " "] == spoken
            for label, first, stop, peak in zip(reading.labels, reading.first, reading.stop, reading.peak, strict=True):
                if SYMBOLS[label] != " ":
                    assert peak == log_probs[first:stop, label].max()


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_beam_1_reads_what_the_best_path_spells_where_it_is_sure(seed: int, T: int) -> None:
    """At nine tenths for each step's label no sum of other paths outweighs it."""
    rng = np.random.default_rng(seed)
    path = rng.integers(0, len(SYMBOLS), T)
    probabilities = rng.random((T, len(SYMBOLS))) + 1e-3
    probabilities[np.arange(T), path] = 0.0
    probabilities *= 0.1 / probabilities.sum(axis=1, keepdims=True)
    probabilities[np.arange(T), path] = 0.9
    log_probs = np.log(probabilities).astype(np.float32)
    ((reading,),) = search([log_probs], beam=1)
    assert text_of(reading).strip() == collapse(path)
    assert reading.score >= T * math.log(0.9) - 1e-4


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 4))
@settings(max_examples=50)
def test_a_narrow_beam_keeps_what_its_definition_keeps(seed: int, T: int, beam: int) -> None:
    """The recurrence with dictionaries, of any posteriors, merging what spells the same."""
    log_probs = posteriors(seed, T)
    kept = {"": (0.0, -math.inf)}
    for y in log_probs.astype(float):
        new: dict[str, list[list[float]]] = {}
        for text, (blank, spoken) in kept.items():
            mass = np.logaddexp(blank, spoken)
            here = new.setdefault(text, [[], []])
            if text == "" or text.endswith(" "):
                here[0] += [mass + y[0], mass + y[1]]
            else:
                here[0].append(mass + y[0])
                here[1].append(spoken + y[SYMBOLS.index(text[-1])])
            for label in range(1, len(SYMBOLS)):
                symbol = SYMBOLS[label]
                if symbol == " " and (text == "" or text.endswith(" ")):
                    continue
                came = (blank if text.endswith(symbol) else mass) + y[label]
                new.setdefault(text + symbol, [[], []])[0 if symbol == " " else 1].append(came)
        sums = {t: tuple(float(np.logaddexp.reduce([-np.inf, *part])) for part in parts) for t, parts in new.items()}
        ranked = sorted(sums, key=lambda t: -np.logaddexp(*sums[t]))
        kept = {text: sums[text] for text in ranked[:beam]}
    expected: dict[str, float] = {}
    for text, parts in kept.items():
        expected[text.strip()] = float(np.logaddexp(expected.get(text.strip(), -np.inf), np.logaddexp(*parts)))
    (readings,) = search([log_probs], beam=beam, most=beam)
    assert {text_of(reading): reading.score for reading in readings} == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", TASKS)
def test_scores_are_what_the_texts_are_worth_however_narrow_the_beam(name: str) -> None:
    task = TASKS[name]
    for readings in search([posteriors(seed, 40) for seed in range(8)], task.grammar(), beam=12, most=5):
        for reading in readings:
            assert reading.score == pytest.approx(reading.acoustic + task.added(text_of(reading)), abs=1e-4)


def test_labels_below_the_floor_do_not_extend() -> None:
    log_probs = np.log(np.array([[0.05, 0.05, 0.6, 0.29, 0.01], [0.9, 0.02, 0.02, 0.02, 0.04]])).astype(np.float32)
    texts = {text_of(reading) for reading in search([log_probs], most=WIDE, floor=math.log(0.1))[0]}
    assert texts == {"", "a", "b"}


def test_a_grammar_that_forbids_all_leaves_nothing() -> None:
    log_probs = np.full((3, len(SYMBOLS)), -30, np.float32)
    log_probs[:, SYMBOLS.index("b")] = -1e-6
    assert SEARCH([log_probs], 2, -9.0, 1, Task(lexicon=("abc",)).grammar())[0][0].labels.size == 0
    log_probs[:, :2] = -np.inf
    assert SEARCH([log_probs], 2, -9.0, 1, Task(lexicon=("abc",)).grammar()) == [[]]


def same(left: Reading, right: Reading) -> bool:
    return all(np.array_equal(*pair) for pair in zip(left, right, strict=True))


@pytest.mark.parametrize("name", TASKS)
def test_a_small_workspace_and_more_threads_change_nothing(name: str) -> None:
    grammar = TASKS[name].grammar()
    each = [posteriors(seed, T) for seed, T in enumerate([300, 7, 1, 120, 64])]
    roomy = CpuBeamSearch(Team(1), room=100_000)(each, 10, -9.0, 4, grammar)
    cramped = CpuBeamSearch(Team(3), room=41)
    for _ in range(2):  # the second time with what the first has left
        found = cramped(each, 10, -9.0, 4, grammar)
        assert [len(readings) for readings in found] == [len(readings) for readings in roomy]
        assert all(same(*pair) for a, b in zip(found, roomy, strict=True) for pair in zip(a, b, strict=True))


def test_memory_grows_with_the_text_alone() -> None:
    """Ten minutes of blanks, now and then unsure, take no more room than a few steps of them."""
    x = np.log(np.tile(np.array([0.95, 0.01, 0.02, 0.01, 0.01], np.float32), (20_000, 1)))
    searcher = CpuBeamSearch(Team(1), room=512)
    searcher([x], 8, -9.0, 1, ANY_TEXT)
    assert len(searcher._scratch[0].workspace.parent) <= 1024


def test_utterances_of_any_length_and_of_none() -> None:
    each = [posteriors(0, 3), posteriors(1, 6)[:0], posteriors(2, 5)]
    together = search(each, beam=20)
    assert all(
        same(found[0], search([one], beam=20)[0][0]) for found, one in zip(together, each, strict=True) if len(one)
    )
    assert (together[1][0].labels.size, together[1][0].score) == (0, 0.0)
    assert search([]) == []


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_are_one_at_least(threads: int) -> None:
    with pytest.raises(ValueError, match=f"threads must be at least 1, not {threads}"):
        open_beam_search(threads)


def test_certain_and_impossible_labels() -> None:
    log_probs = np.full((5, len(SYMBOLS)), -np.inf, np.float32)
    log_probs[np.arange(5), [2, 0, 2, 1, 3]] = 1e-6  # as rounding may leave it
    ((reading,),) = search([log_probs], beam=3, most=3)
    assert (text_of(reading), reading.score) == ("aa b", pytest.approx(5e-6))


@pytest.mark.parametrize("value", [np.nan, 0.5, np.inf])
def test_what_is_no_log_probability_is_refused(value: float) -> None:
    log_probs = posteriors(0, 4)
    log_probs[2, 3] = value
    with pytest.raises(ValueError, match="utterance 0 holds values that are no log-probabilities"):
        search([log_probs])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beam": 0}, "at least 1"),
        ({"most": 0}, "at least 1"),
        ({"utterances": [np.zeros((4, 5))]}, "utterance 0 must be float32"),
        (
            {"utterances": [np.zeros((4, 5), np.float32), np.zeros((4, 6), np.float32)]},
            "utterance 1 must have the shape",
        ),
        ({"grammar": empty_grammar(6)}, "utterance 0 must have the shape"),
        ({"grammar": ANY_TEXT._replace(patterns=empty_grammar(6).patterns)}, "patterns must have the shape"),
        ({"grammar": ANY_TEXT._replace(space=5)}, r"space must be a label in 0\.\.4"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, object], message: str) -> None:
    arguments = {
        "utterances": [np.zeros((4, 5), np.float32)],
        "beam": 4,
        "floor": -9.0,
        "most": 1,
        "grammar": ANY_TEXT,
    }
    with pytest.raises(ValueError, match=message):
        SEARCH(**arguments | change)  # type: ignore[arg-type]
