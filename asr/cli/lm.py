"""`asr lm`: language models made from texts, and what they say of others."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.options import CommandsOption
from asr.errors import OutputError, UsageError

if TYPE_CHECKING:
    from asr.language.build import Built
    from asr.language.ngram import NgramModel, Score
    from asr.language.texts import Text, Tokenizer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

STDIN = "-"  # in place of a file's name
TABLES = (".csv", ".tsv", ".json", ".jsonl")  # files that are corpora; all others are texts


class Level(StrEnum):
    WORD = "word"
    CHARACTER = "character"


class Punctuation(StrEnum):
    STRIP = "strip"
    KEEP = "keep"


PunctuationOption = Annotated[
    Punctuation, typer.Option("--punctuation", help="What becomes of it, as the setting text.punctuation of training.")
]
_TEXT = "CORPUS|TEXT"
_TEXT_HELP = "a text, one sentence a line (.gz, .bz2 or .xz too; - is stdin), or the transcripts of LAYOUT:PATH[:SPLIT]"


@app.callback()
def lm() -> None:
    """Language models: n-gram models in ARPA files."""


@app.command()
def build(
    texts: Annotated[list[str], typer.Argument(metavar=_TEXT, help=f"What to learn from: {_TEXT_HELP}.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The ARPA file; compressed if it ends in .gz.")],
    order: Annotated[int, typer.Option("--order", min=1, help="Words that are seen together.")] = 3,
    level: Annotated[Level, typer.Option("--level", help="What a model's words are.")] = Level.WORD,
    held_out: Annotated[
        list[str] | None,
        typer.Option("--held-out", metavar=_TEXT, help="To print the perplexity of, and to tune the weights on."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="W,W,...", help="Of the texts' models; else tuned on --held-out.")
    ] = None,
    prune: Annotated[
        float | None,
        typer.Option("--prune", metavar="T", help="Leave out n-grams worth less than this share of the perplexity."),
    ] = None,
    max_ngrams: Annotated[
        int | None, typer.Option("--max-ngrams", metavar="N", help="Keep the N most useful n-grams, words included.")
    ] = None,
    vocab: Annotated[
        Path | None, typer.Option("--vocab", metavar="FILE", help="The words to know; else those of the texts.")
    ] = None,
    min_count: Annotated[int, typer.Option("--min-count", min=1, help="Know the words that occur so often.")] = 1,
    alphabet: Annotated[
        str, typer.Option("--alphabet", metavar="CHARACTERS", help="Know no words with other characters.")
    ] = "",
    punctuation: PunctuationOption = Punctuation.STRIP,
    run_commands: CommandsOption = False,
) -> None:
    """Make an n-gram model by interpolated modified Kneser-Ney smoothing.

    Several texts are interpolated with weights tuned on --held-out, or with --weights; without either they are
    counted together, as one text.
    """
    from asr.language.build import BuildConfig
    from asr.language.build import build as build_model
    from asr.language.texts import Tokenizer

    begun = time.perf_counter()
    tokenize = Tokenizer(level.value, punctuation.value)
    config = BuildConfig(
        order=order,
        min_count=min_count,
        vocabulary=read_vocabulary(vocab, tokenize) if vocab else None,
        alphabet=alphabet,
        weights=parse_weights(weights) if weights else None,
        prune=prune,
        max_ngrams=max_ngrams,
    )
    _check_folder(out)
    read = [read_text([name], tokenize, run_commands) for name in texts]
    test = read_text(held_out, tokenize, run_commands) if held_out else None
    built = build_model(read, config, test)
    score = built.model.score_text(test.encode(built.model.words)) if test else None
    _write(built.model, out)
    print(report(read, built, score, time.perf_counter() - begun))
    print(out)


def _check_folder(out: Path) -> None:
    """Before the work, not after it."""
    if os.path.isdir(out):
        raise OutputError(f"{out}: a folder; name a file")


def read_text(notations: list[str], tokenize: Tokenizer, run_commands: bool = False) -> Text:
    """The sentences of texts and corpora as one text."""
    from asr.language.texts import Text

    sentences = (sentence for notation in notations for sentence in read_sentences(notation, run_commands))
    return Text.read(" and ".join(notations), sentences, tokenize)


def read_sentences(notation: str, run_commands: bool = False) -> Iterator[str]:
    """The lines of a text file, or a corpus's transcripts."""
    from asr.corpora import open_corpus
    from asr.language import texts

    path = Path(notation)
    if notation == STDIN:
        if sys.stdin is None:
            raise UsageError("-: stdin is closed; name a file")
        yield from texts.read_sentences(path, sys.stdin.buffer)
    elif os.path.isfile(path) and path.suffix.lower() not in TABLES:
        yield from texts.read_sentences(path)
    else:
        yield from (utterance.text for utterance in open_corpus(notation, run_commands))


def read_vocabulary(path: Path, tokenize: Tokenizer) -> tuple[str, ...]:
    """The words of a file, between white space, spelled as those of texts."""
    from asr.language.texts import read_sentences

    words = tuple(dict.fromkeys(word for line in read_sentences(path) for word in tokenize(line)))
    if not words:
        raise UsageError(f"{path}: no word in it; give a file with one word a line")
    return words


def parse_weights(weights: str) -> tuple[float, ...]:
    """`"0.3,0.7"` -> (0.3, 0.7)."""
    try:
        return tuple(float(weight) for weight in weights.split(","))
    except ValueError:
        raise UsageError(f"--weights {weights}: write numbers between commas, as in --weights 0.3,0.7") from None


def report(texts: list[Text], built: Built, score: Score | None, seconds: float) -> str:
    """The figures of a model that was made."""
    lines = []
    for place, text in enumerate(texts):
        weight = f", weight {built.weights[place]:.4f}" if built.weights else ""
        lines.append(f"text                  {text.name}: {text.sentences} sentences, {text.words} words{weight}")
    if len(texts) > 1:
        how = "interpolated, weights tuned on the held-out text" if built.tuned else "interpolated, weights as given"
        lines.append(f"texts are             {how if built.weights else 'counted together'}")
    for order, (size, before) in enumerate(zip(_padded(built), built.before, strict=True), start=1):
        pruned = f" (of {before})" if size < before else ""
        lines.append(f"{f'{order}-grams':<22}{size}{pruned}")
    if score:
        lines += figures(score)
    return "\n".join([*lines, f"seconds               {seconds:.1f}"])


def _padded(built: Built) -> list[int]:
    """N-grams by order; pruning may have left none of the highest."""
    return built.model.sizes + [0] * (len(built.before) - len(built.model.sizes))


def figures(score: Score) -> list[str]:
    """What a model says of a text."""
    unknown, words = int(score.unknown.sum()), int(score.words.sum())
    rate = "-" if math.isnan(score.unknown_rate) else f"{100 * score.unknown_rate:.2f} %"
    lines = [
        f"perplexity            {_number(score.perplexity)} of {len(score.words)} sentences, {words} words",
        f"unknown words         {rate}   {unknown} of {words}",
    ]
    if unknown:
        lines[0] += ", unknown ones left out"
        lines.append(f"with unknown words    {_number(score.open_perplexity)}")
    return lines


def _number(perplexity: float) -> str:
    return f"{perplexity:.2f}" if perplexity < 1e6 else "infinite" if perplexity > 1e300 else f"{perplexity:.3g}"


@app.command()
def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A bundled model's name, or a model file.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The ARPA file; compressed if it ends in .gz.")],
) -> None:
    """Write the language model that a model carries to an ARPA file, which other toolkits read too."""
    from asr.model import Model

    language = Model.load(model).language
    if language is None:
        raise UsageError(f"{model} carries no language model")
    _check_folder(out)
    _write(language, out)
    print(out)


def _write(model: NgramModel, out: Path) -> None:
    from asr.language.arpa import write_arpa

    try:
        write_arpa(model, out)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from error


@app.command()
def score(
    model: Annotated[Path, typer.Argument(metavar="LM", help="An ARPA file of any toolkit.")],
    text: Annotated[str, typer.Argument(metavar=_TEXT, help=f"To score: {_TEXT_HELP}.")],
    sentences: Annotated[
        bool,
        typer.Option(
            "--sentences",
            help="A line for each: log10 of its probability, its unknown words, itself; the figures go to stderr.",
        ),
    ] = False,
    punctuation: PunctuationOption = Punctuation.STRIP,
    run_commands: CommandsOption = False,
) -> None:
    """Print a text's perplexity, and the share of its words that the model does not know."""
    from asr.language import read_arpa
    from asr.language.texts import Tokenizer

    loaded = read_arpa(model)
    tokenize = Tokenizer(loaded.level, punctuation.value)
    tokenized = [words for words in map(tokenize, read_sentences(text, run_commands)) if words]
    if not tokenized:
        raise UsageError(f"{text}: no word in it; give a text with one sentence a line, or a corpus")
    result = loaded.score(tokenized)
    if sentences:
        between = "" if loaded.level == "character" else " "
        log10 = (result.log_prob + result.unknown_log_prob) / math.log(10)
        for value, unknown, words in zip(log10, result.unknown, tokenized, strict=True):
            print(f"{value:.4f}\t{unknown}\t{between.join(words)}")
    print("\n".join(figures(result)), file=sys.stderr if sentences else sys.stdout)
