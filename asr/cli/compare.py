"""`asr compare`: is one of two recognisers better?"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli import messages
from asr.cli.options import BatchOption, CommandsOption, DeviceOption, ThreadsOption, open_recognizer
from asr.cli.scores import percent
from asr.errors import ModelError, UsageError

if TYPE_CHECKING:
    from asr.comparison import Comparison
    from asr.evaluation import Result
    from asr.recognizer import Recognizer
    from asr.statistics import Interval, Paired

    Results = tuple[Result, ...]

HEAD = 8  # bytes: a model file begins with a length in so many, of which some are zero; a text holds no zero


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A model's name or file, or a file of evaluate --details.")],
    b: Annotated[str, typer.Argument(metavar="B", help="What to compare it with, likewise.")],
    corpus: Annotated[
        str | None,
        typer.Argument(
            metavar="CORPUS", help="LAYOUT:PATH[:SPLIT], or a folder: what models hear.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, rates as fractions.")] = False,
    run_commands: CommandsOption = False,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    batch: BatchOption = None,
) -> None:
    """Say whether one of two systems is better, or whether chance may have made the difference.

    Prints both word error rates, the difference, their 95 % intervals and the probability of improvement (paired
    bootstrap). Models are run on CORPUS; files written by evaluate --details need none. An utterance that one of them
    cannot read is reported and compared for neither, and the exit code is 1.
    """
    from asr import comparison

    files = {name for name in (a, b) if is_details(name)}
    _check_corpus(a, b, corpus, files)
    models = {
        name: open_recognizer(name, device, threads, batch) for name in dict.fromkeys((a, b)) if name not in files
    }
    heard, failed = _hear(models, corpus, run_commands)
    results_a, results_b = (_results(name, heard, failed) for name in (a, b))
    found = comparison.compare(results_a, results_b)
    print(json.dumps({"systems": [a, b], **found.summary()}) if as_json else report(found, a, b))
    if failed:
        messages.say(f"{len(failed)} of the utterances failed")
        raise typer.Exit(1)


def is_details(name: str) -> bool:
    """Whether this is a file of text; a model's name is not, and neither is a model file."""
    if not os.path.isfile(name):
        return False
    with Path(name).open("rb") as file:
        return b"\0" not in file.read(HEAD)


def _check_corpus(a: str, b: str, corpus: str | None, files: set[str]) -> None:
    from asr.model import bundled

    models = [name for name in (a, b) if name not in files]
    missing = [name for name in models if name not in bundled() and not os.path.exists(name)]
    if missing:
        raise ModelError(f"{missing[0]}: neither a file nor one of the bundled models ({', '.join(bundled())})")
    if models and corpus is None:
        raise UsageError(
            f"{models[0]}: no file of evaluate --details, so a model, which needs a CORPUS; add LAYOUT:PATH[:SPLIT]"
        )
    if not models and corpus is not None:
        raise UsageError(f"{a} and {b} hold their utterances already; leave {corpus} out")


def _hear(models: dict[str, Recognizer], corpus: str | None, run_commands: bool) -> tuple[dict[str, Results], set[str]]:
    """What each model says to the corpus, and the utterances that one of them could not read, which are reported."""
    from asr.comparison import comparable_to_all
    from asr.corpora import open_corpus
    from asr.evaluation import evaluate

    if corpus is None:
        return {}, set()
    utterances = open_corpus(corpus, run_commands)
    same = comparable_to_all([recognizer.model for recognizer in models.values()])
    results, failed = {}, set()
    for name, recognizer in models.items():
        evaluation = evaluate(recognizer, utterances, same)
        results[name] = evaluation.results
        for utterance, error in evaluation.failures:
            messages.say(f"{utterance}: {error}")
            failed.add(utterance)
    return results, failed


def _results(name: str, heard: dict[str, Results], failed: set[str]) -> Results:
    """Of a model, or in a details file, without the utterances that failed."""
    from asr.details import read_details

    results = heard[name] if name in heard else read_details(Path(name))
    return tuple(result for result in results if result.id not in failed)


def report(found: Comparison, a: str, b: str) -> str:
    """The comparison for a person, the verdict last."""
    drawn = found.by_utterance
    lines = [f"{found.scores[0].utterances} utterances, {found.scores[0].words.reference} words"]
    intervals = (drawn.a, drawn.b) if drawn else (None, None)
    for letter, name, score, interval in zip("AB", (a, b), found.scores, intervals, strict=True):
        lines.append(f"{letter}  word error rate    {percent(score.wer)}{_within(interval)}   {name}")
    if drawn:
        lines += [f"B - A                 {100 * found.difference:+.2f} points"]
        lines += _drawn(drawn, "resampling utterances")
    if found.by_speaker:
        lines += _drawn(found.by_speaker, f"resampling its {found.by_speaker.units} speakers")
    if not math.isnan(found.p_value):
        lines.append(f"matched pairs         p = {found.p_value:.2g}")
    return "\n".join([*lines, "", found.verdict("A", "B")])


def _within(interval: Interval | None) -> str:
    return f" ({100 * interval.low:.2f} to {100 * interval.high:.2f})" if interval else ""


def _drawn(drawn: Paired, how: str) -> list[str]:
    low, high = 100 * drawn.difference.low, 100 * drawn.difference.high
    chances = f"B better in {100 * drawn.improvement:.1f} % of draws, A in {100 * drawn.decline:.1f} %"
    return [f"  95 % interval       {low:+.2f} to {high:+.2f} points, {how}", f"  probability         {chances}"]
