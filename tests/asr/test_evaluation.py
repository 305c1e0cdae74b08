"""Evaluation against references that are known: what the recogniser says, or that with known mistakes."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from babble import RATE, make_model, sound, write

from asr.corpora.utterance import Utterance
from asr.errors import AudioError, CorpusError
from asr.evaluation import Evaluation, Result, comparable, evaluate, most_frequent
from asr.recognizer import Recognizer
from asr.scoring import Counts, Score, score
from asr.statistics import Interval
from kernels import open_backend


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(make_model(), open_backend("cpu", threads=1))


@pytest.fixture(scope="module")
def utterances(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """Five recordings with what the recogniser hears in them as their references."""
    folder = tmp_path_factory.mktemp("corpus")
    paths = [write(folder / f"{index}.wav", sound(1.0 + index / 4, index)) for index in range(5)]
    return [Utterance(path.stem, path, recognizer.transcribe(path).text) for path in paths]


def test_what_it_says_itself_is_right(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    evaluation = evaluate(recognizer, utterances)
    assert evaluation.score.words == Counts(sum(len(utterance.text.split()) for utterance in utterances))
    assert evaluation.score.characters.errors == 0
    assert [result.id for result in evaluation.results] == ["0", "1", "2", "3", "4"]
    assert evaluation.audio_seconds == pytest.approx(7.5)
    assert evaluation.rtf == evaluation.decode_seconds / 7.5 > 0
    assert evaluation.failures == ()


def test_references_are_normalised_before_they_are_scored(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    shouted = [replace(each, text="\ufeff " + each.text.upper().replace(" ", " \r\n ")) for each in utterances]
    assert evaluate(recognizer, shouted).score.characters.errors == 0


def test_punctuation_counts_unless_the_model_never_saw_any(utterances: list[Utterance]) -> None:
    model = make_model()
    pointed = [replace(each, text=f"“{each.text}!”") for each in utterances]
    assert evaluate(Recognizer(model), pointed).score.words.errors > 0
    for punctuation, spelled in (("strip", "it's well known"), ("keep", "it's well-known.")):
        trained = replace(model, provenance={"config": {"text": {"punctuation": punctuation}}})
        assert comparable(trained)("It’s well-known.") == spelled
    stripped = replace(model, provenance={"config": {"text": {"punctuation": "strip"}}})
    assert evaluate(Recognizer(stripped), pointed).score.characters.errors == 0


def test_mistakes_are_counted(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    changed = [replace(utterances[0], text=utterances[0].text + " gone gone"), replace(utterances[1], text="")]
    evaluation = evaluate(recognizer, changed)
    heard = len(utterances[1].text.split())
    assert evaluation.results[0].score.words.deletions == 2
    assert evaluation.results[1].score.words == Counts(0, insertions=heard)
    assert evaluation.score.words.errors == 2 + heard
    assert "gone" in evaluation.results[0].alignment


def test_an_utterance_that_cannot_be_read_is_reported_and_left_out(
    recognizer: Recognizer, utterances: list[Utterance], tmp_path: Path
) -> None:
    missing = Utterance("lost", tmp_path / "lost.wav", "a b c")
    short = Utterance("short", write(tmp_path / "short.wav", sound(0.01)), "a b c")
    evaluation = evaluate(recognizer, [missing, *utterances, short])
    assert [name for name, _ in evaluation.failures] == ["lost", "short"]
    for _, error in evaluation.failures:
        assert isinstance(error, AudioError)
    assert "lost.wav" in str(evaluation.failures[0][1])
    assert "short.wav" in str(evaluation.failures[1][1])
    assert evaluation.score == evaluate(recognizer, utterances).score
    assert evaluation.summary()["failures"] == 2


def test_a_segment_is_heard_alone(recognizer: Recognizer, tmp_path: Path) -> None:
    both = np.concatenate([sound(1.0, 1), sound(2.0, 2)])
    path = write(tmp_path / "both.wav", both)
    evaluation = evaluate(recognizer, [Utterance("second", path, "x", start=1.0, end=3.0)])
    samples = np.trunc(both[RATE:] * 32767) / 32768  # as stored in 16 bits
    assert evaluation.results[0].seconds == 2.0
    assert evaluation.results[0].hypothesis == recognizer.transcribe(samples).text


def test_no_utterances_are_an_error(recognizer: Recognizer) -> None:
    with pytest.raises(CorpusError, match="no utterances"):
        evaluate(recognizer, [])


def made(errors: dict[str, tuple[str, str]]) -> Evaluation:
    results = [Result(name, *pair, score([pair[0]], [pair[1]]), 1.0, 0.5) for name, pair in errors.items()]
    return Evaluation(tuple(results), (), 0.25)


def test_examples_are_the_best_the_middle_and_the_worst() -> None:
    evaluation = made(
        {
            "right": ("a b", "a b"),
            "half": ("a b", "a"),
            "nothing": ("a b", "c d e"),
            "long and right": ("a b c d", "a b c d"),
            "third": ("a b c", "a b"),
        }
    )
    examples = evaluation.examples()
    assert {name: [result.id for result in results] for name, results in examples.items()} == {
        "best": ["long and right"],
        "median": ["third"],
        "worst": ["nothing"],
    }
    assert [result.id for results in evaluation.examples(5).values() for result in results] == [
        "long and right",
        "right",
        "third",
        "half",
        "nothing",
    ]


@pytest.mark.parametrize(("count", "kinds"), [(0, []), (1, ["best"]), (2, ["best", "worst"])])
def test_few_results_are_each_shown_once(count: int, kinds: list[str]) -> None:
    evaluation = made({str(index): ("a b", "a") for index in range(count)})
    assert [name for name, results in evaluation.examples().items() for _ in results] == kinds


def test_the_summary_is_plain_json() -> None:
    summary = json.loads(json.dumps(made({"x": ("a b", "a c"), "y": ("a b", "a b")}).summary(), allow_nan=False))
    assert summary == {
        "wer": 0.25,
        "cer": round(1 / 6, 6),
        "wer_interval": [0.0, 0.5],
        "wer_interval_by_speaker": None,
        "cer_interval": [0.0, round(1 / 3, 6)],
        "speakers": 0,
        "utterances": 2,
        "words": 4,
        "characters": 6,
        "substitutions": 1,
        "deletions": 0,
        "insertions": 0,
        "failures": 0,
        "audio_seconds": 2.0,
        "decode_seconds": 0.25,
        "rtf": 0.125,
    }


def spoken(speakers: str, hypotheses: list[str]) -> Evaluation:
    """Utterances "a b c d", one of each speaker's letter."""
    results = [
        Result(str(number), "a b c d", heard, score(["a b c d"], [heard]), 1.0, 0.5, speaker.strip())
        for number, (speaker, heard) in enumerate(zip(speakers, hypotheses, strict=True))
    ]
    return Evaluation(tuple(results), (), 0.25)


def test_speakers_are_listed_worst_first() -> None:
    evaluation = spoken("zyxyx", ["a b c d", "a b c", "a d", "a b c d", "a b c d"])
    assert {name: (one.utterances, one.wer) for name, one in evaluation.speakers.items()} == {
        "x": (2, 0.25),
        "y": (2, 0.125),
        "z": (1, 0.0),
    }
    assert list(evaluation.speakers) == ["x", "y", "z"]
    assert evaluation.tables()["by_speaker"][0] == {
        "speaker": "x",
        "utterances": 2,
        "words": 8,
        "wer": 0.25,
        "cer": round(4 / 14, 6),
    }


def test_intervals_by_speaker_need_several_and_all_names() -> None:
    heard = ["a b c d", "a b", "a b c d", "a b"]
    assert spoken("xxyy", heard).wer_interval_by_speaker == Interval(0.25, 0.25)  # both make as many errors
    assert spoken("xyxy", heard).wer_interval_by_speaker == Interval(0.0, 0.5)
    assert spoken("xxxx", heard).wer_interval_by_speaker is None
    assert spoken("xy y", heard).wer_interval_by_speaker is None
    assert spoken("xyxy", heard).wer_interval == spoken("xxxx", heard).wer_interval
    assert made({}).wer_interval is made({}).wer_interval_by_speaker is None


def test_an_interval_holds_the_rate_and_the_tables_are_json() -> None:
    evaluation = spoken("xxyyz", ["a b c d", "e b c", "a b c d", "a b f c d", "e b c d"])
    assert evaluation.wer_interval is not None
    assert evaluation.score.wer in evaluation.wer_interval
    tables = json.loads(json.dumps(evaluation.tables()))
    assert tables["substituted"] == [{"reference": "a", "hypothesis": "e", "count": 2}]
    assert tables["deleted"] == [{"word": "d", "count": 1}]
    assert tables["inserted"] == [{"word": "f", "count": 1}]


def test_the_most_frequent_come_first_and_equals_by_the_alphabet() -> None:
    assert most_frequent(Counter("bacabc" + "c")) == [("c", 3), ("a", 2), ("b", 2)]


def test_rates_without_words_are_null() -> None:
    evaluation = made({"x": ("", "")})
    assert evaluation.score == Score(Counts(), Counts(), 1)
    assert math.isnan(evaluation.score.wer)
    assert evaluation.summary()["wer"] is None
    assert math.isnan(made({}).rtf)


def test_an4_is_read_and_scored(recognizer: Recognizer, corpora: Path) -> None:
    """Twenty utterances of a real corpus through a model that knows nothing: all are heard, hardly a word is right."""
    from asr.corpora import open_corpus

    wideband = Recognizer(make_model(rate=16000), recognizer.backend)
    evaluation = evaluate(wideband, open_corpus(f"an4:{corpora / 'an4'}:test")[:20])
    assert len(evaluation.results) == evaluation.score.utterances == 20
    assert evaluation.score.wer > 0.5
