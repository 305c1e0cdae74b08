"""Decoding options, `asr lm tune` and `asr model bundle`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tones
from outcome import RunAsr

Noise = Callable[[str], Path]

ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-99 <s> -0.2
-1.0 </s>
-1.6 <unk>
-0.6 low -0.3
-0.9 mid -0.1

\\2-grams:
-0.2 <s> low
-0.5 low mid

\\end\\
"""


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    """A language model of two words of the language of tones, in letters that the model of noise has."""
    path = tmp_path / "words.arpa"
    path.write_text(ARPA.replace("low", "ab").replace("mid", "ca"))
    return path


def test_transcribe_says_how_it_decodes_and_gives_alternatives(
    run_asr: RunAsr, model_file: Path, noise: Noise, arpa: Path
) -> None:
    path = noise("x.wav")
    result = run_asr("transcribe", path, "--model", model_file, "--lm", arpa, "--nbest", 3, "--format", "json")
    assert result.code == 0
    assert "asr: decoding: beam 32, a language model of words of order 2 with weight 0.5\n" in result.err
    found = json.loads(result.out)
    assert found["alternatives"][0]["text"] == found["text"]
    assert len(found["alternatives"]) == 3
    scores = [each["score"] for each in found["alternatives"]]
    assert scores == sorted(scores, reverse=True)
    assert found["alternatives"][0]["words"] == found["words"]
    for each in found["alternatives"]:
        assert " ".join(word["text"] for word in each["words"]) == each["text"]
    greedy = run_asr("transcribe", path, "--model", model_file, "--beam", 0, "--format", "json")
    assert "decoding" not in greedy.err
    assert "alternatives" not in json.loads(greedy.out)


def test_a_lexicon_and_hot_words(run_asr: RunAsr, model_file: Path, noise: Noise, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("ab\nc\nbca\n")
    (tmp_path / "hot.txt").write_text("c\nbca\t9\n")
    path = noise("x.wav")
    options = ["--lexicon", tmp_path / "words.txt", "--hotwords", tmp_path / "hot.txt", "--hot-boost", 2, "--beam", 8]
    result = run_asr("transcribe", path, "--model", model_file, *options)
    assert result.code == 0
    assert set(result.out.split()) <= {"ab", "c", "bca"}
    assert "beam 8, a lexicon of 3 words, 2 hot words" in result.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--beam", "0", "--nbest", "2", "--format", "json"], "nbest: not with a beam of 0"),
        (["--lm-weight", "1"], "no language model"),
        (["--lm", "none.arpa"], "none.arpa"),
        (["--lexicon", "none.txt"], "none.txt: cannot be read"),
        (["--hotwords", "none.txt"], "none.txt: cannot be read"),
        (["--word-bonus", "inf"], "word_bonus: inf is not a finite number"),
        (["--blank-penalty", "inf"], "blank_penalty: inf is not a number from 0 on"),
        (["--beam", "0", "--blank-penalty", "1"], "blank_penalty: not with a beam of 0"),
        (["--beam", "100000000"], "beam: 100000000 is not within 1 and 65536"),
        (["--nbest", "2"], "--nbest 2: json alone shows other readings than the best"),
    ],
)
def test_wrong_options_are_one_line(
    options: list[str], message: str, run_asr: RunAsr, model_file: Path, noise: Noise
) -> None:
    result = run_asr("transcribe", noise("x.wav"), "--model", model_file, *options)
    assert result.code in (1, 2)
    assert message in result.err
    assert "Traceback" not in result.err


def test_of_several_corpora_the_rate_of_each_is_told(
    run_asr: RunAsr, tone_run: Path, tone_corpus: Path, tmp_path: Path
) -> None:
    model, arpa, other = tmp_path / "tones.safetensors", tmp_path / "tones.arpa", tmp_path / "others"
    model.write_bytes(next(tone_run.glob("*.safetensors")).read_bytes())
    tones.make(other, 6, seed=2)
    corpora = [f"pairs:{tone_corpus}", f"pairs:{other}"]
    assert run_asr("lm", "build", corpora[0], "--out", arpa).code == 0
    tuned = run_asr("lm", "tune", model, *corpora, "--lm", arpa, "--beam", 4)
    assert tuned.code == 0, tuned.err
    assert [line.split(": ")[0].strip() for line in tuned.out.splitlines()[-2:]] == corpora
    alone = run_asr("lm", "tune", model, corpora[1], "--lm", arpa, "--beam", 4)
    assert alone.out.splitlines()[-1].startswith("best: ")


def test_tune_bundle_and_decode(run_asr: RunAsr, tone_run: Path, tone_corpus: Path, tmp_path: Path) -> None:
    """From a trained model and the texts of its corpus to one file that decodes with a language model by itself."""
    model = tmp_path / "tones.safetensors"
    model.write_bytes(next(tone_run.glob("*.safetensors")).read_bytes())
    arpa, out = tmp_path / "tones.arpa", tmp_path / "bundle.safetensors"
    corpus = f"pairs:{tone_corpus}"
    assert run_asr("lm", "build", corpus, "--order", 2, "--out", arpa).code == 0
    tuned = run_asr("lm", "tune", model, corpus, "--lm", arpa, "--beam", 4)
    assert tuned.code == 0, tuned.err
    assert "weight \\ bonus" in tuned.out
    assert "*" in tuned.out
    assert "best: --lm-weight " in tuned.out
    assert f"stored in {tmp_path / 'tones.decoding.toml'}" in tuned.err
    bundled = run_asr("model", "bundle", model, "--lm", arpa, "--beam", 6, "--out", out)
    assert bundled.code == 0, bundled.err
    assert "blank penalty 0.5" in tuned.out
    weight, bonus, penalty = (
        float(tuned.out.split(f"--{name} ")[1].split()[0].rstrip(","))
        for name in ("lm-weight", "word-bonus", "blank-penalty")
    )
    assert f"with weight {weight:g}" in bundled.err
    assert f"word bonus {bonus:g}" in bundled.err or bonus == 0
    assert f"blank penalty {penalty:g}" in bundled.err or penalty == 0
    other = tmp_path / "other.safetensors"
    given = run_asr("model", "bundle", model, "--lm", arpa, "--blank-penalty", 0.75, "--out", other)
    assert "blank penalty 0.75" in given.err
    info = run_asr("info", out)
    assert "language model" in info.out
    scores = [json.loads(run_asr("evaluate", corpus, "--model", path, "--json").out)["wer"] for path in (model, out)]
    assert scores[1] <= scores[0]
    assert "decoding: beam 6" in run_asr("evaluate", corpus, "--model", out, "--json").err
    assert "decoding" not in run_asr("evaluate", corpus, "--model", out, "--json", "--beam", 0).err
    again = run_asr("lm", "tune", out, corpus)
    assert again.code == 0, again.err
    assert "decoding: beam 6" in again.err
    assert f"not stored; to keep it: asr model bundle {out} --lm-weight" in again.err
    heavier = run_asr("model", "bundle", out, "--lm-weight", 0.875, "--out", other)
    assert "beam 6, a language model of words of order 2 with weight 0.875" in heavier.err
    wrong = run_asr("model", "bundle", model, "--lm", arpa, "--out", tmp_path / "bundle.bin")
    assert wrong.code == 2
    assert "ends in .safetensors" in wrong.err
    for command in (["lm", "tune", model, corpus], ["model", "bundle", model, "--out", other]):
        none = run_asr(*command)
        assert none.code == 2
        assert "carries no language model" in none.err


def test_tuning_goes_on_without_what_cannot_be_read_and_says_so(
    run_asr: RunAsr, model_file: Path, noise: Noise, arpa: Path, tmp_path: Path
) -> None:
    (tmp_path / "corpus").mkdir()
    noise("corpus/x.wav")
    (tmp_path / "corpus" / "x.txt").write_text("ab ca")
    (tmp_path / "corpus" / "y.wav").write_bytes(b"no sound")
    (tmp_path / "corpus" / "y.txt").write_text("ab")
    tuned = run_asr("lm", "tune", model_file, tmp_path / "corpus", "--lm", arpa, "--beam", 4)
    assert tuned.code == 1
    assert "y.wav" in tuned.err
    assert "1 of the utterances failed" in tuned.err
    assert "best: " in tuned.out
    (tmp_path / "corpus" / "x.txt").write_text("")
    nothing = run_asr("lm", "tune", model_file, tmp_path / "corpus", "--lm", arpa)
    assert nothing.code == 2
    assert "nothing to tune on: no word stands" in nothing.err
