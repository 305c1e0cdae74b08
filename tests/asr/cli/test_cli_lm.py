"""`asr lm`: models made and texts scored from the command line."""

from __future__ import annotations

import gzip
import io
import lzma
from pathlib import Path

import numpy as np
import pytest
from outcome import RunAsr

from asr.language import read_arpa

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture
def counting(tmp_path: Path) -> Path:
    """Sentences that count upwards."""
    path = tmp_path / "counting.txt"
    lines = [" ".join(WORDS[start : start + length]) for start in range(10) for length in (2, 3, 5)]
    path.write_text("\n".join(line.capitalize() + "." for line in lines) + "\n")
    return path


@pytest.fixture
def shouting(tmp_path: Path) -> Path:
    """Sentences of another kind, compressed."""
    path = tmp_path / "shouting.txt.gz"
    path.write_bytes(gzip.compress(b"HELLO THERE!\nHELLO YOU!\nYOU THERE!\nONE OF YOU!\n"))
    return path


def figure(out: str, name: str) -> str:
    return next(line.removeprefix(name).strip() for line in out.splitlines() if line.startswith(name))


def test_a_model_of_a_text(run_asr: RunAsr, counting: Path, tmp_path: Path) -> None:
    out = tmp_path / "models" / "counting.arpa"
    code, printed, _ = run_asr("lm", "build", counting, "--out", out)
    assert code == 0
    model = read_arpa(out)
    assert model.words == ["<unk>", "<s>", "</s>", *sorted(WORDS)]
    assert [int(figure(printed, f"{order}-grams")) for order in (1, 2, 3)] == model.sizes
    assert figure(printed, "text") == f"{counting}: 30 sentences, 86 words"
    assert printed.splitlines()[-1] == str(out)
    assert "perplexity" not in printed
    assert model.log_prob(["two", "three"], "four") > model.log_prob(["two", "three"], "one")


def test_the_perplexity_is_that_of_score(run_asr: RunAsr, counting: Path, shouting: Path, tmp_path: Path) -> None:
    out = tmp_path / "lm.arpa.gz"
    _, built, _ = run_asr("lm", "build", counting, "--order", 2, "--held-out", shouting, "--out", out)
    code, scored, err = run_asr("lm", "score", out, shouting)
    assert (code, err) == (0, "")
    assert gzip.decompress(out.read_bytes()).startswith(b"\\data\\\nngram 1=13\nngram 2=")
    for name in ("perplexity", "unknown words", "with unknown words"):
        assert figure(built, name) == figure(scored, name)
    assert figure(scored, "unknown words") == "88.89 %   8 of 9"
    assert figure(scored, "perplexity").endswith(" of 4 sentences, 9 words, unknown ones left out")


def test_sentences_with_their_probabilities(run_asr: RunAsr, counting: Path, tmp_path: Path) -> None:
    out, text = tmp_path / "lm.arpa", tmp_path / "text.txt"
    text.write_text("Two three!\n\nnine ducks\n")
    run_asr("lm", "build", counting, "--out", out)
    code, printed, err = run_asr("lm", "score", out, text, "--sentences")
    assert code == 0
    assert err.startswith("perplexity")
    rows = [line.split("\t") for line in printed.splitlines()]
    assert [row[1:] for row in rows] == [["0", "two three"], ["1", "nine ducks"]]
    model = read_arpa(out)
    history = ["<s>", "two", "three", "</s>"]
    log10 = sum(model.log_prob(history[:place], history[place]) for place in (1, 2, 3)) / 2.302585093
    assert float(rows[0][0]) == pytest.approx(log10, abs=1e-4)


def test_a_text_from_stdin(run_asr: RunAsr, counting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, piped = tmp_path / "named.arpa", tmp_path / "piped.arpa"
    run_asr("lm", "build", counting, "--out", named)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(counting.read_bytes())))
    assert run_asr("lm", "build", "-", "--out", piped).code == 0
    assert piped.read_bytes() == named.read_bytes()
    monkeypatch.setattr("sys.stdin", None)
    code, _, err = run_asr("lm", "build", "-", "--out", piped)
    assert (code, err) == (2, "asr: -: stdin is closed; name a file\n")


def test_a_model_gives_out_the_language_model_that_it_carries(
    run_asr: RunAsr, model_file: Path, tmp_path: Path
) -> None:
    arpa, bundled, out = tmp_path / "lm.arpa", tmp_path / "both.safetensors", tmp_path / "out.arpa.gz"
    text = tmp_path / "text.txt"
    text.write_text("ab ca\nab bc ab\nca ab\n")
    run_asr("lm", "build", text, "--out", arpa)
    assert run_asr("model", "bundle", model_file, "--lm", arpa, "--out", bundled).code == 0
    code, printed, _ = run_asr("lm", "export", bundled, "--out", out)
    assert (code, printed) == (0, f"{out}\n")
    ours, theirs = read_arpa(out), read_arpa(arpa)
    assert (ours.words, ours.sizes) == (theirs.words, theirs.sizes)
    np.testing.assert_allclose(np.concatenate(ours.log_probs), np.concatenate(theirs.log_probs), rtol=1e-3)
    code, _, err = run_asr("lm", "export", model_file, "--out", out)
    assert (code, err) == (2, f"asr: {model_file} carries no language model\n")
    code, _, err = run_asr("lm", "export", bundled, "--out", tmp_path)
    assert code == 1
    assert "a folder; name a file" in err


def test_several_texts(run_asr: RunAsr, counting: Path, shouting: Path, tmp_path: Path) -> None:
    out, test = tmp_path / "lm.arpa", tmp_path / "test.txt"
    test.write_text("hello there\nyou there\ntwo three four\n")
    _, together, _ = run_asr("lm", "build", counting, shouting, "--out", out)
    assert figure(together, "texts are") == "counted together"
    _, tuned, _ = run_asr("lm", "build", counting, shouting, "--held-out", test, "--out", out)
    assert figure(tuned, "texts are") == "interpolated, weights tuned on the held-out text"
    weights = [float(line.rsplit("weight ", 1)[1]) for line in tuned.splitlines() if "weight " in line]
    assert len(weights) == 2
    assert sum(weights) == pytest.approx(1, abs=1e-3)
    _, given, _ = run_asr("lm", "build", counting, shouting, "--weights", "3,1", "--held-out", test, "--out", out)
    assert figure(given, "texts are") == "interpolated, weights as given"
    assert "4 sentences, 9 words, weight 0.2500" in given
    assert float(figure(tuned, "perplexity").split()[0]) < float(figure(given, "perplexity").split()[0])


def test_a_corpus_is_its_transcripts(run_asr: RunAsr, tone_corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "lm.arpa"
    code, printed, _ = run_asr("lm", "build", f"pairs:{tone_corpus}", "--order", 2, "--out", out)
    assert code == 0
    words = {word for path in tone_corpus.glob("*.txt") for word in path.read_text().split()}
    assert set(read_arpa(out).words) == words | {"<unk>", "<s>", "</s>"}
    assert "48 sentences" in printed
    code, printed, _ = run_asr("lm", "score", out, tone_corpus)
    assert (code, figure(printed, "unknown words")) == (0, f"0.00 %   0 of {printed.split(', ')[1].split()[0]}")


def test_pruning_tells_what_went(run_asr: RunAsr, counting: Path, tmp_path: Path) -> None:
    out = tmp_path / "lm.arpa"
    _, printed, _ = run_asr("lm", "build", counting, "--max-ngrams", 30, "--out", out)
    assert 20 < sum(read_arpa(out).sizes) <= 30
    assert "(of " in figure(printed, "2-grams")
    _, printed, _ = run_asr("lm", "build", counting, "--prune", 0.5, "--out", out)
    assert figure(printed, "3-grams").startswith("0 (of ")
    assert read_arpa(out).order == 1


def test_vocabularies(run_asr: RunAsr, counting: Path, tmp_path: Path) -> None:
    out, vocabulary = tmp_path / "lm.arpa", tmp_path / "words.txt"
    vocabulary.write_text("One\nTWO\nthree ducks\n")
    run_asr("lm", "build", counting, "--vocab", vocabulary, "--out", out)
    assert read_arpa(out).words[3:] == ["ducks", "one", "three", "two"]
    run_asr("lm", "build", counting, "--min-count", 7, "--out", out)
    assert 3 < len(read_arpa(out).words) < 13
    run_asr("lm", "build", counting, "--alphabet", "neotwhr", "--out", out)
    assert read_arpa(out).words[3:] == ["one", "three", "two"]


def test_a_character_model(run_asr: RunAsr, counting: Path, tmp_path: Path) -> None:
    out = tmp_path / "lm.arpa"
    _, printed, _ = run_asr("lm", "build", counting, "--level", "character", "--order", 5, "--out", out)
    model = read_arpa(out)
    assert model.level == "character"
    assert set(model.words[3:]) == set(" ".join(WORDS))
    assert model.log_prob([*"two", " ", *"thr"], "e") > -0.5
    code, printed, _ = run_asr("lm", "score", out, counting, "--sentences")
    assert code == 0
    assert printed.splitlines()[0].endswith("\t0\tzero one")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["EMPTY"], 2, "empty.txt: no word in it; give a text with one sentence a line, or a corpus"),
        (["nowhere.txt"], 1, "nowhere.txt: there is no such file or folder"),
        (["TEXT", "--held-out", "EMPTY"], 2, "empty.txt: no word in it"),
        (["TEXT", "--order", "8"], 2, "order: no 8-gram can be had, the longest sentence having 5 words"),
        (["TEXT", "--order", "11"], 2, "order: 11 is not within 1..10"),
        (["TEXT", "--weights", "1;2"], 2, "--weights 1;2: write numbers between commas"),
        (["TEXT", "--weights", "1,2"], 2, "weights: 2 for 1 texts; give one for each"),
        (["TEXT", "--vocab", "EMPTY"], 2, "empty.txt: no word in it; give a file with one word a line"),
        (["TEXT", "--vocab", "TEXT", "--alphabet", "neo"], 2, "the vocabulary has words outside the alphabet ('zero'"),
        (["TEXT", "--alphabet", "xyz"], 2, "the vocabulary is empty"),
        (["TEXT", "--max-ngrams", "5"], 2, "max-ngrams: 5 is less than the 13 words"),
        (["TEXT", "--prune", "2"], 2, "prune: 2 is not within [0, 1)"),
        (["BROKEN"], 1, "broken.txt.xz: the compressed file is damaged or cut off"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(
    run_asr: RunAsr, counting: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "empty.txt").write_text("\n...\n")
    (tmp_path / "broken.txt.xz").write_bytes(lzma.compress(b"one two\n" * 100)[:-40])
    files = {"TEXT": counting, "EMPTY": tmp_path / "empty.txt", "BROKEN": tmp_path / "broken.txt.xz"}
    found = run_asr("lm", "build", *[files.get(argument, argument) for argument in arguments], "--out", tmp_path / "lm")
    lines = found.err.splitlines()
    assert (found.code, found.out) == (code, "")
    assert message in lines[-1]
    assert not (tmp_path / "lm").exists()


def test_where_nothing_can_be_written(run_asr: RunAsr, counting: Path, tmp_path: Path) -> None:
    code, out, err = run_asr("lm", "build", counting, "--out", tmp_path)
    assert (code, out) == (1, "")
    assert err == f"asr: {tmp_path}: a folder; name a file\n"
    code, out, err = run_asr("lm", "build", counting, "--out", counting / "lm.arpa")
    assert (code, out) == (1, "")
    assert "cannot be written" in err


def test_what_cannot_be_scored_is_one_sentence(run_asr: RunAsr, counting: Path, tmp_path: Path) -> None:
    model, empty = tmp_path / "lm.arpa", tmp_path / "empty.txt"
    run_asr("lm", "build", counting, "--out", model)
    empty.touch()
    assert run_asr("lm", "score", model, empty) == (
        2,
        "",
        f"asr: {empty}: no word in it; give a text with one sentence a line, or a corpus\n",
    )
    model.write_text(model.read_text().replace("ngram 2=", "ngram 2=1"))
    code, out, err = run_asr("lm", "score", model, counting)
    assert (code, out) == (1, "")
    assert err.startswith(f"asr: {model}, line ")
    assert err.count("\n") == 1


def test_without_a_command_it_says_what_there_is(run_asr: RunAsr) -> None:
    _, out, err = run_asr("lm", "--help")
    for command in ("build", "score"):
        assert command in out + err
