"""`asr model`: model files made of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli import messages
from asr.cli.decoding import BlankPenaltyOption, LmWeightOption, WordBonusOption
from asr.errors import UsageError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def model() -> None:
    """Model files: what belongs together in one."""


@app.command()
def bundle(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A bundled model's name, or a model file.")],
    out: Annotated[Path, typer.Option("--out", metavar="OUT", help="The model file to write.")],
    lm: Annotated[
        Path | None,
        typer.Option("--lm", metavar="FILE", help="The language model, in ARPA form; else that which MODEL carries."),
    ] = None,
    lm_weight: LmWeightOption = None,
    word_bonus: WordBonusOption = None,
    blank_penalty: BlankPenaltyOption = None,
    beam: Annotated[
        int | None,
        typer.Option("--beam", metavar="N", min=1, help="Readings kept at each step; else 32, or as MODEL has it."),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Keep the weights in float16, at half the size.")] = False,
) -> None:
    """Write a model file that carries its language model, and decodes with it unless told otherwise.

    Weight, bonus and penalty are those that `asr lm tune` has stored beside MODEL for the --lm file, where they are not
    given; without --lm, what MODEL has.
    """
    from asr.decoding.choice import DecodingChoice, open_decoder
    from asr.decoding.choice import bundle as put_together
    from asr.model import SUFFIX, Model, own_file

    if out.suffix != SUFFIX:
        raise UsageError(f"--out {out}: a model file's name ends in {SUFFIX}")
    loaded = Model.load(model)
    if lm is None and loaded.language is None:
        raise UsageError(f"{model} carries no language model; give one with --lm")
    wanted = DecodingChoice(
        beam=beam, language=lm, lm_weight=lm_weight, word_bonus=word_bonus, blank_penalty=blank_penalty
    )
    decoder = open_decoder(loaded, wanted, beside=own_file(model))
    assert decoder is not None  # since there is a language model
    put_together(loaded, decoder).save(out, half or loaded.is_half)
    messages.say(f"{out}: {out.stat().st_size / 1e6:.1f} MB; decoding: {decoder.describe()}")
