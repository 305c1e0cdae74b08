"""Settings found on development data, stored beside a model or inside it, and the decoders that they come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from babble import ALPHABET as LETTERS
from babble import make_model, sound
from test_beam import ALPHABET, STEP, WORD_ARPA, along

from asr import tensorfile
from asr.audio import Audio
from asr.config import to_table
from asr.decoding.beam import BeamDecoder, BeamOptions
from asr.decoding.choice import DecodingChoice, Tuned, digest, open_decoder
from asr.decoding.hotwords import HotWord
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.tune import BONUSES, MOST, PENALTIES, WEIGHTS, Point, Tuning, tune
from asr.errors import ModelError, UsageError
from asr.language import NgramModel, read_arpa
from asr.language.pack import from_arrays, to_arrays
from asr.model import FORMAT, LANGUAGE, Model
from asr.recognizer import Recognizer
from asr.scoring import Counts, Score


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    path = tmp_path / "words.arpa"
    path.write_text(WORD_ARPA)
    return path


@pytest.fixture
def language(arpa: Path) -> NgramModel:
    return read_arpa(arpa)


@pytest.fixture
def model(language: NgramModel) -> Model:
    """It carries a language model, with settings of its own."""
    return replace(make_model(), language=language, decoding={"beam": 7, "lm_weight": 0.25, "word_bonus": 2.0})


def test_tuning_finds_what_reads_best(language: NgramModel) -> None:
    """Sound that is unsure between "ab" and "b", and a language model that knows "ab" alone."""
    unsure = along("_ab_ab_", 0.97)
    unsure[1, [0, 2]] = np.log([0.55, 0.43])
    heard: list[float] = []
    found = tune(
        BeamDecoder(ALPHABET, language=language), [unsure] * 2, ["abab", "ABAB"], STEP, str.lower,
        lambda point: heard.append(point.lm_weight),
    )  # fmt: skip
    assert {(point.lm_weight, point.word_bonus) for point in found.points} > {(w, b) for w in WEIGHTS for b in BONUSES}
    assert len(heard) == len(found.points)
    best = found.best
    assert best.score.words.errors == min(point.score.words.errors for point in found.points)
    options = BeamOptions(lm_weight=best.lm_weight, word_bonus=best.word_bonus, blank_penalty=best.blank_penalty)
    again = BeamDecoder(ALPHABET, options, language)
    texts = [readings[0].text for readings in again.decode_each([unsure], STEP)]
    assert (texts == ["abab"]) == (best.score.words.errors == 0)


def test_what_is_given_is_not_searched(language: NgramModel) -> None:
    def tried(**given: float) -> tuple[set[float], set[float]]:
        points = tune(BeamDecoder(ALPHABET, language=language), [along("_ab_", 0.9)], ["ab"], STEP, **given).points
        penalties = {point.blank_penalty for point in points}
        assert penalties == {given["blank_penalty"]} if "blank_penalty" in given else penalties > set(PENALTIES)
        return {point.lm_weight for point in points}, {point.word_bonus for point in points}

    weights, bonuses = tried(lm_weight=0.3)
    assert weights == {0.3}
    assert bonuses > set(BONUSES)
    weights, bonuses = tried(word_bonus=-0.7)
    assert weights > set(WEIGHTS)
    assert bonuses == {-0.7}
    assert tried(lm_weight=3.0, word_bonus=5.0) == ({3.0}, {5.0})
    assert tried(lm_weight=3.0, word_bonus=5.0, blank_penalty=0.3) == ({3.0}, {5.0})


def test_a_penalty_is_found(language: NgramModel) -> None:
    """Sound that is nearly sure of blanks where "b" was said."""
    faint = along("_a_b_", 0.97)
    faint[3] = np.log([0.8, 0.001, 0.004, 0.195])
    found = tune(BeamDecoder(ALPHABET, language=language), [faint], ["ab"], STEP, lm_weight=0.0, word_bonus=0.0)
    assert found.best.score.words.errors == 0
    assert 1.3 < found.best.blank_penalty < 2
    assert all(point.score.words.errors for point in found.points if point.blank_penalty == 0)


def errors(**groups: int) -> Point:
    """So many of a hundred words wrong in each group."""
    scores = {name: Score(Counts(100, wrong), Counts(400, wrong), 10) for name, wrong in groups.items()}
    return Point(float(sum(groups.values())), 0.0, 0.0, scores)  # each with a weight of its own


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (errors(easy=2, hard=41), errors(easy=3, hard=40)),  # a third of the errors for a fortieth
        (errors(easy=3, hard=36), errors(easy=2, hard=44)),  # one may be chance, eight are none
        (errors(easy=3, hard=30), errors(easy=3, hard=40)),
        (errors(easy=0, hard=40), errors(easy=2, hard=38)),
        (errors(easy=0, hard=30), errors(easy=0, hard=40)),
        (errors(easy=3, hard=20), errors(easy=2, hard=40)),
        (errors(alone=0), errors(alone=1)),
    ],
)
def test_a_change_counts_by_how_sure_it_is_in_each_group(better: Point, worse: Point) -> None:
    assert Tuning((better, worse)).best is Tuning((worse, better)).best is better


def test_groups_are_kept_apart(language: NgramModel) -> None:
    """Sound like "a b", of which a language model makes "ab": three of a large group said that, one of a small this."""
    decoder, spoken = BeamDecoder(ALPHABET, language=language), [along("a_ bb", 0.6)] * 4
    references, groups = ["a b"] * 3 + ["ab"], ["large"] * 3 + ["small"]
    together = tune(decoder, spoken, references, STEP).best
    assert together.score.words.errors == 2
    apart = tune(decoder, spoken, references, STEP, groups=groups).best
    assert {group: score.wer for group, score in apart.groups.items()} == {"large": 1, "small": 0}
    assert apart.score.words.errors == 6


class Fussy:
    """A decoder that makes an error for each quarter that the bonus is away from 6.5, beyond the grid."""

    def __init__(self, options: BeamOptions) -> None:
        self.options = options

    def with_options(self, options: BeamOptions) -> Fussy:
        return Fussy(options)

    def decode_each(self, utterances: Sequence[np.ndarray], step_seconds: float) -> list[list[Hypothesis]]:
        wrong = round(4 * abs(self.options.word_bonus - 6.5))
        return [[Hypothesis(" ".join(["wrong"] * wrong + ["right"] * (40 - wrong)), (), 1.0, 0.0)] for _ in utterances]


def test_the_search_goes_on_as_long_as_it_finds_something_better() -> None:
    found = tune(Fussy(BeamOptions()), [np.zeros((1, 2))], [" ".join(["right"] * 40)], STEP)  # type: ignore[arg-type]
    assert found.best.word_bonus == 6.5
    assert found.best.score.words.errors == 0
    assert len(found.points) < MOST


def test_nothing_can_be_tuned_on_nothing(language: NgramModel) -> None:
    with pytest.raises(UsageError, match="nothing to tune on"):
        tune(BeamDecoder(ALPHABET, language=language), [], [], STEP)
    with pytest.raises(UsageError, match="nothing to tune on: no word stands in this corpus's transcripts"):
        tune(BeamDecoder(ALPHABET, language=language), [np.zeros((0, ALPHABET.size))], [" "], STEP)


def test_settings_are_found_beside_the_model_for_the_same_language_model(arpa: Path, tmp_path: Path) -> None:
    beside = tmp_path / "model.safetensors"
    path = Tuned(digest(arpa), 0.75, 2.5, 1.25).save(beside)
    assert path == tmp_path / "model.decoding.toml"
    decoder = open_decoder(make_model(), DecodingChoice(language=arpa), beside=beside)
    assert decoder is not None
    assert (decoder.options.lm_weight, decoder.options.word_bonus) == (0.75, 2.5)
    assert decoder.options.blank_penalty == 1.25
    asked = open_decoder(make_model(), DecodingChoice(language=arpa, lm_weight=0.125), beside=beside)
    assert asked is not None
    assert (asked.options.lm_weight, asked.options.word_bonus) == (0.125, 2.5)
    renamed = arpa.rename(tmp_path / "renamed.arpa")
    decoder = open_decoder(make_model(), DecodingChoice(language=renamed), beside=beside)
    assert decoder is not None
    assert decoder.options.lm_weight == 0.75
    other = arpa
    other.write_text(renamed.read_text() + "\n")
    decoder = open_decoder(make_model(), DecodingChoice(language=other), beside=beside)
    assert decoder is not None
    assert decoder.options == BeamOptions()
    path.write_text("language = 3")
    with pytest.raises(UsageError, match=r"model\.decoding\.toml: lm_weight: missing key"):
        open_decoder(make_model(), DecodingChoice(language=other), beside=beside)


def test_a_model_decodes_with_what_it_carries_unless_told_otherwise(model: Model, language: NgramModel) -> None:
    decoder = open_decoder(model, DecodingChoice())
    assert decoder is not None
    assert decoder.options == BeamOptions(beam=7, lm_weight=0.25, word_bonus=2.0)
    assert "beam 7, a language model of words of order 2 with weight 0.25, word bonus 2" in decoder.describe()
    assert open_decoder(model, DecodingChoice(beam=0)) is None
    assert open_decoder(make_model(), DecodingChoice()) is None
    other = open_decoder(model, DecodingChoice(language=language))
    assert other is not None
    assert other.options == BeamOptions()  # those settings were found with another language model
    alone = open_decoder(make_model(), DecodingChoice(beam=4, hotwords=[HotWord("bad", 2.0)], lexicon=["bad", "cab"]))
    assert alone is not None
    assert alone.describe() == "beam 4, a lexicon of 2 words, 1 hot word"


def test_lexicon_and_hot_words_are_given_as_words_or_as_a_files_name(tmp_path: Path) -> None:
    (tmp_path / "lexicon.txt").write_text("bad\ncab\n")
    (tmp_path / "hot.txt").write_text("cab\nbad\t1\n")
    heard = Recognizer(make_model()).log_probs(Audio(sound(1.5), 8000))

    def read(**choice: object) -> list[tuple[str, float]]:
        decoder = open_decoder(make_model(), DecodingChoice(beam=8, nbest=8, **choice))  # type: ignore[arg-type]
        assert decoder is not None
        return [(each.text, each.score) for each in decoder.decode_each([heard], STEP)[0]]

    words = read(lexicon=["bad", "cab"])
    assert {word for text, _ in words for word in text.split()} <= {"bad", "cab"}
    assert read(lexicon=str(tmp_path / "lexicon.txt")) == read(lexicon=tmp_path / "lexicon.txt") == words
    hot = read(hotwords=[HotWord("cab", 3.0), HotWord("bad", 1.0)])
    assert read(hotwords=["Cab", HotWord("bad", 1.0)], hot_boost=3.0) == hot
    assert read(hotwords=str(tmp_path / "hot.txt"), hot_boost=3.0) == hot
    assert read(hotwords=tmp_path / "hot.txt", hot_boost=3.0) == hot != read()


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (DecodingChoice(beam=0, nbest=2), "nbest: not with a beam of 0"),
        (DecodingChoice(lm_weight=1.0), "no language model"),
        (DecodingChoice(hot_boost=1.0), "no hot words that could take it"),
        (DecodingChoice(nbest=40), "nbest: 40 is not within 1 and the beam, 32"),
    ],
)
def test_choices_that_cannot_work_are_refused(choice: DecodingChoice, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_decoder(make_model(), choice)


def test_a_model_file_carries_its_language_model(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model.safetensors")
    loaded = Model.load(tmp_path / "model.safetensors")
    assert loaded.language is not None
    assert model.language is not None
    assert loaded.language.words == model.language.words
    assert dict(loaded.decoding) == dict(model.decoding)
    assert loaded.parameters.vector.tobytes() == model.parameters.vector.tobytes()
    for word in model.language.words[1:]:
        for history in (["<s>"], ["a"], ["<s>", "a"], ["ba"], []):
            expected = model.language.log_prob(history, word)
            assert loaded.language.log_prob(history, word) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("change", ["no words", "a word too many", "no backoff", "children", "order"])
def test_arrays_that_do_not_fit_are_refused(change: str, language: NgramModel) -> None:
    arrays, vocabulary = to_arrays(language)
    if change == "no words":
        vocabulary = ""
    elif change == "a word too many":
        vocabulary += "\nbb"
    elif change == "no backoff":
        del arrays["backoff1"]
    elif change == "children":
        arrays["children2"] = arrays["children2"][::-1].copy() * 2
    else:
        arrays["word2"] = arrays["word2"][::-1].copy()
    with pytest.raises(ModelError, match="do not fit each other"):
        from_arrays(arrays, vocabulary)


def test_a_damaged_language_model_is_a_damaged_model(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model.save(path)
    tensors, texts = tensorfile.read(path, FORMAT)
    del tensors[LANGUAGE + "log_prob2"], texts["format"]
    tensorfile.write(path, FORMAT, tensors, texts)
    with pytest.raises(ModelError, match="the model is damaged: the arrays of its language model do not fit"):
        Model.load(path)


def test_a_recogniser_decodes_with_its_decoder(model: Model) -> None:
    options = BeamOptions(beam=8, nbest=3)
    plain = Recognizer(model, batch_seconds=60.0)
    wide = Recognizer(model, batch_seconds=60.0, decoder=BeamDecoder(LETTERS, options))
    samples = [sound(1.0), np.zeros(8000, np.float32), sound(2.0, seed=2)]
    for one in samples:
        transcript = wide.transcribe(one)
        if not one.any():
            assert transcript == plain.transcribe(one)
            continue
        (readings,) = BeamDecoder(LETTERS, options).decode_each([plain.log_probs(Audio(one, 8000))], model.step_seconds)
        assert transcript.text == readings[0].text
        assert [(each.text, each.score) for each in transcript.alternatives] == [(r.text, r.score) for r in readings]
        assert transcript.alternatives[0].words == transcript.words
        for each in transcript.alternatives:
            assert " ".join(word.text for word in each.words) == each.text
            assert all(0 <= word.start < word.end <= transcript.duration for word in each.words)
        assert all(0 <= word.start < word.end <= transcript.duration for word in transcript.words)
        assert plain.transcribe(one).alternatives == ()


def test_options_become_a_table_and_come_back(model: Model) -> None:
    options = BeamOptions(beam=9, floor=-2.0)
    decoder = open_decoder(replace(model, decoding=to_table(options)), DecodingChoice())
    assert decoder is not None
    assert decoder.options == options
