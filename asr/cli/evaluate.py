"""`asr evaluate`: a model's error rates on labelled speech."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli import messages
from asr.cli.options import (
    BatchOption,
    CommandsOption,
    DeviceOption,
    ModelOption,
    ThreadsOption,
    open_recognizer,
)

if TYPE_CHECKING:
    from asr.evaluation import Evaluation

FIGURES = ("wer", "cer", "utterances", "words", "rtf")
EXAMPLES = 3  # of each kind at most


def evaluate(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="LAYOUT:PATH[:SPLIT], or a folder.")],
    model: ModelOption = "en",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, rates as fractions.")] = False,
    run_commands: CommandsOption = False,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    batch: BatchOption = None,
) -> None:
    """Score a model on labelled speech.

    Prints word and character error rates, speed, and the best, median and worst utterances with their alignments.
    An utterance whose audio cannot be read is reported and left out of the rates, and the exit code is 1.
    """
    from asr import evaluation
    from asr.corpora import open_corpus

    utterances = open_corpus(corpus, run_commands)
    result = evaluation.evaluate(open_recognizer(model, device, threads, batch), utterances)
    for name, error in result.failures:
        messages.say(f"{name}: {error}")
    if as_json:
        summary = result.summary()
        print(json.dumps({figure: summary[figure] for figure in FIGURES}))
    else:
        print(report(result))
    if result.failures:
        messages.say(f"{len(result.failures)} of {len(utterances)} utterances failed")
        raise typer.Exit(1)


def report(result: Evaluation) -> str:
    """The figures and examples for a person."""
    words, characters = result.score.words, result.score.characters
    edits = f"{words.substitutions} substituted, {words.deletions} deleted, {words.insertions} inserted"
    factor = "-" if math.isnan(result.rtf) else f"{result.rtf:.3f}"
    speed = f"{factor} ({result.audio_seconds:.0f} s of audio in {result.decode_seconds:.1f} s)"
    lines = [
        f"word error rate       {_percent(result.score.wer)}   {edits} of {words.reference}",
        f"character error rate  {_percent(result.score.cer)}   {characters.errors} of {characters.reference}",
        f"utterances            {result.score.utterances}",
        f"real-time factor      {speed}",
    ]
    for kind, examples in result.examples(max(1, min(EXAMPLES, len(result.results) // 3))).items():
        for example in examples:
            title = f"{kind}: {example.id}, word error rate {_percent(example.score.wer)}"
            lines += ["", title, example.alignment.rstrip()]
    return "\n".join(lines)


def _percent(rate: float) -> str:
    return "-" if math.isnan(rate) else f"{100 * rate:.2f} %"
