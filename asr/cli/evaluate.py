"""`asr evaluate`: a model's error rates on labelled speech."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from asr.cli import messages
from asr.cli.decoding import (
    BeamOption,
    BlankPenaltyOption,
    HotBoostOption,
    HotwordsOption,
    LexiconOption,
    LmOption,
    LmWeightOption,
    WordBonusOption,
    choice,
)
from asr.cli.options import (
    BatchOption,
    CommandsOption,
    DeviceOption,
    ModelOption,
    ThreadsOption,
    VtlnOption,
    open_recognizer,
)
from asr.cli.scores import report
from asr.errors import OutputError

FIGURES = ("wer", "cer", "utterances", "words", "rtf")  # come first


def evaluate(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="LAYOUT:PATH[:SPLIT], or a folder.")],
    model: ModelOption = "en",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, rates as fractions.")] = False,
    tables: Annotated[
        bool, typer.Option("--tables", help="All speakers and word errors, not ten of each; with --json too.")
    ] = False,
    details: Annotated[
        Path | None,
        typer.Option("--details", metavar="FILE", help="Write a JSON line for each utterance there.", dir_okay=False),
    ] = None,
    run_commands: CommandsOption = False,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    batch: BatchOption = None,
    vtln: VtlnOption = False,
    beam: BeamOption = None,
    lm: LmOption = None,
    lm_weight: LmWeightOption = None,
    word_bonus: WordBonusOption = None,
    blank_penalty: BlankPenaltyOption = None,
    lexicon: LexiconOption = None,
    hotwords: HotwordsOption = None,
    hot_boost: HotBoostOption = None,
) -> None:
    """Score a model on labelled speech.

    Prints word and character error rates with their 95 % intervals (bootstrap), speed, the speakers, the most frequent
    errors, and the best, median and worst utterances with their alignments.
    An utterance whose audio cannot be read is reported and left out of the rates, and the exit code is 1.
    """
    from asr import evaluation
    from asr.corpora import open_corpus
    from asr.details import write_details

    utterances = open_corpus(corpus, run_commands)
    if details:
        try:  # before the work, not after it
            details.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritten(details, error) from error
    decoding = choice(beam, lm, lm_weight, word_bonus, blank_penalty, lexicon, hotwords, hot_boost)
    result = evaluation.evaluate(open_recognizer(model, device, threads, batch, decoding, vtln), utterances)
    for name, reason in result.failures:
        messages.say(f"{name}: {reason}")
    unwritten: OSError | None = None
    if details:
        try:  # before the figures, whose reader may go away; they are printed whatever becomes of this
            write_details(details, result.results)
        except OSError as error:
            unwritten = error
    if as_json:
        summary = result.summary() | (result.tables() if tables else {})
        print(json.dumps({figure: summary[figure] for figure in FIGURES} | summary))
    else:
        print(report(result, tables))
    if details and unwritten:
        raise _unwritten(details, unwritten) from unwritten
    if result.failures:
        messages.say(f"{len(result.failures)} of {len(utterances)} utterances failed")
        raise typer.Exit(1)


def _unwritten(details: Path, error: OSError) -> OutputError:
    return OutputError(f"--details {details}: cannot be written ({error.strerror}); name another file")
