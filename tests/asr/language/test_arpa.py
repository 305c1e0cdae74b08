"""ARPA files: what toolkits write is read, what is damaged is told by file and line."""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from small import ORDERS, TEXTS, model_of, ngrams

from asr.errors import ModelError
from asr.language import NgramModel, read_arpa, write_arpa

PLAIN = """\\data\\
ngram 1=4
ngram 2=3

\\1-grams:
-99\t<s>\t-0.5
-1\t</s>\t0
-0.5\ta\t-0.25
-0.75\t<unk>\t0

\\2-grams:
-0.125\t<s> a
-0.5\ta a
-0.3\ta </s>

\\end\\
"""

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(content: str | bytes) -> Path:
        path = tmp_path / "model.arpa"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def test_a_file_by_hand(write: Write) -> None:
    model = read_arpa(write(PLAIN))
    assert (model.words, model.order, model.sizes) == (["<s>", "</s>", "a", "<unk>"], 2, [4, 3])
    log10 = {words: (p / math.log(10), b / math.log(10)) for words, (p, b) in ngrams(model).items()}
    assert log10[("a",)] == pytest.approx((-0.5, -0.25))
    assert log10[("<s>",)] == pytest.approx((-99, -0.5))
    assert log10[("a", "</s>")] == pytest.approx((-0.3, 0))


@pytest.mark.parametrize(
    "variant",
    [
        PLAIN.replace("\t", " "),
        PLAIN.replace("\t", "  \t "),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\t0\n", "\n"),  # SRILM leaves out weights of 1
        "\ufeff" + PLAIN,
        "made by hand\nngram 7=1\n\n" + PLAIN,
        PLAIN.replace("a </s>\n", "a </s>\t0\n").replace("a a\n", "a a\t0\n"),
        PLAIN.replace("<s>", "<S>").replace("</s>", "</S>").replace("<unk>", "<UNK>"),
        PLAIN.replace("<s> a", "<S> a"),
        PLAIN.replace(" a", " A").replace("\ta\t", "\tA\t").replace("a ", "A "),  # a model in upper case
        PLAIN.replace("ngram 1=4", "ngram  1 = 4"),
        PLAIN.replace("\n-", "\n\n-"),
        PLAIN.replace("-99", "-inf"),
        PLAIN.removesuffix("\n"),
        PLAIN + "\nwritten by hand\n",
    ],
)
def test_variants_are_the_same_model(variant: str, write: Write) -> None:
    expected = ngrams(read_arpa(write(PLAIN)))
    assert ngrams(read_arpa(write(variant))) == expected


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_files_are_known_by_their_first_bytes(compress: Callable[[bytes], bytes], write: Write) -> None:
    expected = ngrams(read_arpa(write(PLAIN)))
    assert ngrams(read_arpa(write(compress(PLAIN.encode())))) == expected
    with pytest.raises(ModelError, match=r"model\.arpa: .*damaged or cut off"):
        read_arpa(write(compress(PLAIN.encode())[:-20]))


def test_words_that_become_another_word_stay_as_written(write: Write) -> None:
    text = PLAIN.replace("1=4", "1=6").replace("\\2", "-2\tA\n-2\tÉ\n\n\\2", 1)
    assert read_arpa(write(text)).words == ["<s>", "</s>", "a", "<unk>", "A", "é"]


def test_what_pruning_left_out_is_backed_off_to(write: Write) -> None:
    """Pruned files lack n-grams that are parts of others."""
    header = "\\data\\\nngram 1=4\nngram 2=1\nngram 3=1\nngram 4=1\n\n\\1-grams:\n"
    words = "-99\t<s>\t-0.5\n-1\t</s>\n-0.5\ta\t-0.25\n-0.75\tb\t-0.125\n\n"
    rest = "\\2-grams:\n-0.1\ta b\t-0.2\n\n\\3-grams:\n-0.3\tb a b\n\n\\4-grams:\n-0.4\ta b b a\n\n\\end\\\n"
    model = read_arpa(write(header + words + rest))
    log10 = {words: (p / math.log(10), b / math.log(10)) for words, (p, b) in ngrams(model).items()}
    assert log10[("b", "a")] == pytest.approx((-0.125 - 0.5, 0))  # p(a) with the weight of b
    assert log10[("b", "b")] == pytest.approx((-0.125 - 0.75, 0))
    assert log10[("a", "b", "b")] == pytest.approx((-0.2 - 0.125 - 0.75, 0))
    assert log10[("b", "b", "a")] == pytest.approx((0 - 0.125 - 0.5, 0))
    assert log10[("a", "b", "b", "a")] == pytest.approx((-0.4, 0))
    assert model.sizes == [4, 3, 3, 1]


@pytest.mark.parametrize("space", ["<space>", "|", "▁", "_", "<sp>"])
def test_a_character_model_has_a_space(space: str, write: Write) -> None:
    path = write(PLAIN.replace("<unk>", space))
    model = read_arpa(path)
    assert model.words == ["<s>", "</s>", "a", " "]
    assert model.level == "character"
    write_arpa(model, path)
    assert "\t<space>\t" in path.read_text()
    assert read_arpa(path).words == model.words


@given(TEXTS, ORDERS)
def test_written_and_read_again_it_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, sentences: list[str], order: int
) -> None:
    model = model_of(sentences, order)
    for name in ("model.arpa", "model.arpa.gz"):
        path = tmp_path_factory.getbasetemp() / name
        write_arpa(model, path)
        again = read_arpa(path)
        assert again.words == model.words
        expected, found = ngrams(model), ngrams(again)
        assert found.keys() == expected.keys()
        for words, values in expected.items():
            assert found[words] == pytest.approx(values, rel=1e-6, abs=1e-6)


def test_compression_depends_on_the_name_alone(tmp_path: Path) -> None:
    model = model_of(["a b"], 2)
    for folder in ("first", "second"):
        write_arpa(model, tmp_path / folder / "model.arpa.gz")
    first, second = ((tmp_path / folder / "model.arpa.gz").read_bytes() for folder in ("first", "second"))
    assert first == second
    write_arpa(model, tmp_path / "model.arpa")
    assert gzip.decompress(first) == (tmp_path / "model.arpa").read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2=3", "2=4", r"line 16: '\\end\\' where more 2-grams belong"),
        ("2=3", "2=2", r"line 14: .* where \\end\\ belongs; the header says there are 2 2-grams"),
        ("1=4", "1=3", r"line 9: .* where \\2-grams: belongs; the header says there are 3 1-grams"),
        ("1=4", "1=5", r"line 11: .*where more 1-grams belong"),
        ("1=4", "1=four", r"line 2: 'ngram 1=four' where 'ngram 1=COUNT' belongs"),
        ("ngram 2", "ngram 3", r"line 3: .* where 'ngram 2=COUNT' belongs"),
        ("\\1-grams:", "\\2-grams:", r"line 5: '\\2-grams:' where"),
        ("\\2-grams:", "\\3-grams:", r"line 11: '\\3-grams:' where \\2-grams: belongs"),
        ("\\end\\\n", "", r"line 15: the file ends without \\end\\"),
        ("\n-0.3\ta </s>\n\n\\end\\\n", "\n", r"line 13: the file ends where 1 more 2-grams belong"),
        ("\\data\\", "data", r"the file ends without \\data\\; it is no ARPA file"),
        ("-0.5\ta a", "-0.5\ta c", r"line 13: the word 'c' is not among the unigrams"),
        ("-0.5\ta a", "-0.5\ta", r"line 13: '-0.5 a' is not of the form 'NUMBER 2 WORDS \[NUMBER\]'"),
        ("-0.5\ta a", "-0.5\ta a a a", r"line 13: '-0.5 a a a a' is not of the form"),
        ("-0.5\ta a", "half\ta a", r"line 13: 'half a a' is not of the form"),
        ("-0.5\ta\t-0.25", "-0.5\ta\tquarter", r"line 8: '-0.5 a quarter' is not of the form 'NUMBER WORD \[NUMBER\]'"),
        ("-0.5\ta a", "nan\ta a", r"line 13: 'nan' is not a finite number"),
        ("-0.5\ta\t-0.25", "-0.5\ta\tNaN", r"line 8: 'NaN' is not a finite number"),
        ("-0.5\ta a", "inf\ta a", r"line 13: 'inf' is not a finite number"),
        ("-0.5\ta a", "0.5\ta a", r"line 13: '0.5' as log10 of a probability is above 0"),
        ("-0.5\ta a", "-0.5\t<s> a", r"line 13: the same 2-gram as in line 12"),
        ("\t<unk>\t", "\ta\t", r"line 9: the word 'a' stands here a second time"),
        ("\t<unk>\t", "\t<S>\t", r"line 9: the word '<s>' stands here a second time"),
        ("\t</s>\t", "\tend\t", "the model has no </s>, so that it knows no sentences"),
        ("2=3", "2=3\n" + "".join(f"ngram {order}=0\n" for order in range(3, 22)), "the model's order is above 20"),
    ],
)
def test_damage_is_told_by_file_and_line(old: str, new: str, message: str, write: Write) -> None:
    damaged = PLAIN.replace(old, new, 1)
    assert damaged != PLAIN
    with pytest.raises(ModelError, match=rf"model\.arpa.*{message}"):
        read_arpa(write(damaged))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"line 0: the file ends without \\data\\; it is no ARPA file, or cut off"),
        (b"mmap lm http://kheafield.com/code format version 5\n\0\0", "line 1: a binary file; give the ARPA file"),
        (b"\0\0\0\x01\n", "line 1: a binary file"),
        (b"\\data\\\n\\1-grams:\n", r"line 2: .* where the number of n-grams or \\1-grams: belongs"),
        (PLAIN.replace("\ta\t", "\té\t").encode("latin-1"), r"line 8: '\ufffd' is not UTF-8; convert the file"),
    ],
)
def test_files_of_another_kind(content: bytes, message: str, write: Write) -> None:
    with pytest.raises(ModelError, match=rf"model\.arpa, {message}"):
        read_arpa(write(content))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.arpa: cannot be read \(No such file or directory\)"):
        read_arpa(tmp_path / "nowhere.arpa")


def test_a_model_of_single_words(write: Write) -> None:
    unigrams = "\\data\\\nngram 1=3\n\\1-grams:\n-99 <s>\n-0.5 </s>\n-0.1650 a\n\\end\\\n"
    model: NgramModel = read_arpa(write(unigrams))
    assert model.log_prob(["<s>"], "a") == model.log_prob([], "a") == pytest.approx(-0.165 * math.log(10))
    assert model.automaton().start == 0
