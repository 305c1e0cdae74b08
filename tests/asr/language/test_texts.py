"""Texts as words: the same as training's, from files of any kind."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.alphabet import normalise, strip_punctuation
from asr.errors import CorpusError, UsageError
from asr.language.build import BuildConfig, build
from asr.language.texts import Text, Tokenizer, read_sentences, vocabulary

SPOKEN = st.text(st.one_of(st.sampled_from(" \t\u00a0\u200b'’-.,İΣςéE\u0301aB7"), st.characters()), max_size=30)


@given(st.lists(SPOKEN, max_size=4))
def test_words_are_those_of_training(sentences: list[str]) -> None:
    strip, keep, letters = Tokenizer(), Tokenizer(punctuation="keep"), Tokenizer("character")
    for sentence in [*sentences, *sentences]:  # known pieces the second time
        if any(special in normalise(sentence) for special in ("<s>", "</s>", "<unk>")):
            continue
        assert " ".join(strip(sentence)) == strip_punctuation(normalise(sentence))
        assert "".join(letters(sentence)) == strip_punctuation(normalise(sentence))
        assert " ".join(keep(sentence)) == normalise(sentence)


def test_special_words_in_a_text_are_refused() -> None:
    for punctuation in ("strip", "keep"):
        with pytest.raises(UsageError, match="the word <unk> has a meaning of its own in a language model"):
            Tokenizer(punctuation=punctuation)("hello <UNK>")
        with pytest.raises(UsageError, match="the word <s>"):
            Tokenizer(punctuation=punctuation)("hello <s>")
    with pytest.raises(UsageError, match=r"^text, sentence 2: the word </s> has"):
        text_of("hello", "</s> you")


def test_the_marks_around_a_sentence_are_not_its_words() -> None:
    assert Tokenizer()("<s> a b </s>\n") == Tokenizer()("<S> A B </S>") == ["a", "b"]
    assert Tokenizer()("<s> </s>") == []
    assert "".join(Tokenizer("character")("<s> a b </s>")) == "a b"


def test_a_text_may_be_open_already() -> None:
    opened = io.BytesIO("één twee\ndrie\n".encode())
    assert [Tokenizer()(line) for line in read_sentences(Path("-"), opened)] == [["één", "twee"], ["drie"]]
    with pytest.raises(CorpusError, match="-, line 2: not UTF-8"):
        list(read_sentences(Path("-"), io.BytesIO(b"fine\nna\xefve\n")))


@pytest.mark.parametrize("wrong", [("sentence", "strip"), ("word", "drop")])
def test_a_tokenizers_options(wrong: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="is neither"):
        Tokenizer(*wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_files_are_read_compressed_or_not(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(compress("\ufeffOne line.\r\n\nÉt un autre\n".encode()))
    assert [Tokenizer()(line) for line in read_sentences(path)] == [["one", "line"], [], ["ét", "un", "autre"]]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "text"
    with pytest.raises(CorpusError, match=r"text: cannot be read \(No such file or directory\)"):
        list(read_sentences(path))
    path.write_bytes(b"fine\nna\xefve\n")
    with pytest.raises(CorpusError, match=r"text, line 2: not UTF-8 \(byte 0xef\); convert the file to UTF-8"):
        list(read_sentences(path))
    path.write_bytes(gzip.compress(b"fine\n" * 1000)[:-20])
    with pytest.raises(CorpusError, match="text: the compressed file is damaged or cut off"):
        list(read_sentences(path))


def text_of(*sentences: str) -> Text:
    return Text.read("text", sentences, Tokenizer())


def test_a_text_knows_its_figures() -> None:
    text = text_of("a b c", "", "  ", "b")
    assert (text.sentences, text.words, text.longest) == (2, 4, 3)
    assert text.types == ["<s>", "</s>", "a", "b", "c"]
    assert text.tokens.tolist() == [0, 2, 3, 4, 1, 0, 3, 1]
    assert text.encode(["<unk>", "</s>", "<s>", "b"]).tolist() == [2, 0, 3, 0, 1, 2, 3, 1]


@pytest.mark.parametrize("sentences", [[], ["", " "], ["...", "?!"]])
def test_a_text_without_words_is_refused(sentences: list[str]) -> None:
    with pytest.raises(UsageError, match="text: no word in it"):
        text_of(*sentences)


def test_vocabularies() -> None:
    texts = [text_of("b a", "b é"), text_of("b a c")]
    special = ["<unk>", "<s>", "</s>"]
    assert vocabulary(texts) == [*special, "a", "b", "c", "é"]
    assert vocabulary(texts, min_count=2) == [*special, "a", "b"]
    assert vocabulary(texts, alphabet="abc ") == [*special, "a", "b", "c"]
    assert vocabulary(texts, given=("z", "b")) == [*special, "b", "z"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_count": 0}, "min-count: 0 is below 1"),
        ({"min_count": 9}, "the vocabulary is empty: no word occurs often enough \\(min-count 9\\)"),
        ({"alphabet": "xyz"}, "no word occurs .* and is within the alphabet"),
        ({"given": ("ab", "ac"), "alphabet": "ab"}, "words outside the alphabet \\('ac', 1 in all\\); take them out"),
    ],
)
def test_vocabularies_that_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        vocabulary([text_of("a b")], **options)  # type: ignore[arg-type]


def test_texts_are_counted_together_or_interpolated() -> None:
    texts = [text_of("a b", "a b c"), text_of("c c", "a")]
    together = build(texts, BuildConfig(order=2))
    assert (together.weights, together.tuned) == ((), False)
    one = build([text_of("a b", "a b c", "c c", "a")], BuildConfig(order=2))
    assert [p.tolist() for p in together.model.log_probs] == [p.tolist() for p in one.model.log_probs]
    fixed = build(texts, BuildConfig(order=2, weights=(1, 3)), text_of("c"))
    assert (fixed.weights, fixed.tuned) == ((0.25, 0.75), False)
    held_out = text_of("c c", "c c", "a")
    tuned = build(texts, BuildConfig(order=2), held_out)
    assert tuned.tuned
    assert tuned.weights[1] > 0.9

    def perplexity(built: object) -> float:
        return built.model.score_text(held_out.encode(built.model.words)).perplexity  # type: ignore[attr-defined]

    assert perplexity(tuned) < min(perplexity(fixed), perplexity(together))


def test_a_short_text_may_be_a_part_but_not_the_whole() -> None:
    short, long = text_of("a", "b"), text_of("a b c d")
    assert build([short, long], BuildConfig(order=5, weights=(0.5, 0.5))).model.order == 5
    with pytest.raises(UsageError, match=r"order: no 5-gram can be had, .* 1 words .*; choose 3 or less"):
        build([short], BuildConfig(order=5))


@pytest.mark.parametrize("order", [0, 11])
def test_orders_have_limits(order: int) -> None:
    with pytest.raises(UsageError, match=rf"order: {order} is not within 1..10"):
        BuildConfig(order=order)
