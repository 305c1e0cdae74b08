"""`asr lm tune`: how much a language model should count."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli import messages
from asr.cli.decoding import LexiconOption, choice
from asr.cli.options import BatchOption, CommandsOption, DeviceOption, ThreadsOption, open_recognizer
from asr.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from asr.corpora.utterance import Utterance
    from asr.decoding.tune import Point, Tuning
    from asr.recognizer import Recognizer


def tune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A bundled model's name, or a model file.")],
    corpora: Annotated[
        list[str], typer.Argument(metavar="CORPUS", help="Development data: LAYOUT:PATH[:SPLIT], or a folder.")
    ],
    lm: Annotated[
        Path | None,
        typer.Option("--lm", metavar="FILE", help="The language model, in ARPA form; else that which MODEL carries."),
    ] = None,
    beam: Annotated[
        int | None,
        typer.Option("--beam", metavar="N", min=1, help="Readings kept at each step; else 32, or as MODEL has it."),
    ] = None,
    lexicon: LexiconOption = None,
    run_commands: CommandsOption = False,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    batch: BatchOption = None,
) -> None:
    """Find the weight of a language model, the bonus of a word and the penalty of the blank that make the fewest errors
    on development data.

    Prints the word error rate of all settings tried, in percent. The best for an --lm file are stored beside MODEL,
    where transcribe, evaluate and model bundle find them; those for the language model that MODEL carries are put into
    it by asr model bundle. Of several corpora each has its say, whatever its size and however few its errors. Never
    tune on the data that a figure is reported of. A recording that cannot be read is reported and left out, and the
    exit code is 1.
    """
    from asr.corpora import open_corpus
    from asr.decoding.tune import tune as search
    from asr.evaluation import comparable

    utterances = {corpus: open_corpus(corpus, run_commands) for corpus in corpora}
    recognizer = open_recognizer(model, device, threads, batch, choice(beam=beam, lm=lm, lexicon=lexicon))
    if recognizer.decoder is None or recognizer.decoder.language is None:
        raise UsageError(f"{model} carries no language model that could be tuned; give one with --lm")
    log_probs, texts, groups = _hear(recognizer, utterances)
    step, same = recognizer.model.step_seconds, comparable(recognizer.model)
    found = search(recognizer.decoder, log_probs, texts, step, same, groups=groups)
    for penalty in sorted({point.blank_penalty for point in found.points}):
        print(f"blank penalty {penalty:g}")
        print(table(found, penalty))
    best = found.best
    wrong = f"{100 * best.score.wer:.2f} % words wrong"
    settings = f"--lm-weight {best.lm_weight:g} --word-bonus {best.word_bonus:g} --blank-penalty {best.blank_penalty:g}"
    print(f"best: {settings}, {wrong}")
    settings += f" --beam {recognizer.decoder.options.beam}"
    for group, score in best.groups.items() if len(best.groups) > 1 else ():
        print(f"  {group}: {100 * score.wer:.2f} % words wrong")
    if best.lm_weight == 0:
        messages.say("a weight of 0: on these data the language model is no help")
    _keep(model, lm, best, settings)
    failed = sum(map(len, utterances.values())) - len(texts)
    if failed:
        messages.say(f"{failed} of the utterances failed")
        raise typer.Exit(1)


def _keep(model: str, lm: Path | None, best: Point, settings: str) -> None:
    """Store what was found beside the model's file, where that can be, or say what to do with it."""
    from asr.decoding.choice import Tuned, digest
    from asr.model import own_file

    file = own_file(model)
    if file is None or lm is None:
        named = ["--lm", str(lm)] if lm else []
        command = shlex.join(["asr", "model", "bundle", model, *named])
        messages.say(f"not stored; to keep it: {command} {settings} --out FILE")
        return
    tuned = Tuned(digest(lm), best.lm_weight, best.word_bonus, best.blank_penalty)
    messages.say(f"stored in {tuned.save(file)}")


def table(found: Tuning, penalty: float) -> str:
    """Word error rates in percent at one penalty, a row for each weight and a column for each bonus; the best has a
    star."""
    points = {(p.lm_weight, p.word_bonus): p for p in found.points if p.blank_penalty == penalty}
    bonuses = sorted({bonus for _, bonus in points})
    rows = [["weight \\ bonus", *(f"{bonus:g} " for bonus in bonuses)]]
    for weight in sorted({weight for weight, _ in points}):
        row = [f"{weight:g}"]
        for bonus in bonuses:
            point = points.get((weight, bonus))
            row.append(f"{100 * point.score.wer:.2f}{'*' if point is found.best else ' '}" if point else "")
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(" ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _hear(
    recognizer: Recognizer, utterances: Mapping[str, Sequence[Utterance]]
) -> tuple[list[np.ndarray], list[str], list[str]]:
    """Log-probabilities, text and corpus of each utterance that can be heard; the others are named."""
    from asr.errors import AsrError

    log_probs, texts, groups = [], [], []
    for corpus, of_corpus in utterances.items():
        for utterance in of_corpus:
            try:
                log_probs.append(recognizer.log_probs(utterance.read(recognizer.model.features.rate)))
                texts.append(utterance.text)
                groups.append(corpus)
            except AsrError as error:
                messages.say(f"{utterance.id}: {error}; left out")
    return log_probs, texts, groups
