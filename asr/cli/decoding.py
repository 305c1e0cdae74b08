"""Options of decoding that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from asr.decoding.choice import DecodingChoice

_PANEL = "Decoding"

BeamOption = Annotated[
    int | None,
    typer.Option(
        "--beam", metavar="N", min=0, help="Readings kept at each step; 0: greedy decoding.", rich_help_panel=_PANEL
    ),
]
LmOption = Annotated[
    Path | None,
    typer.Option(
        "--lm", metavar="FILE", help="A language model of words or characters, in ARPA form.", rich_help_panel=_PANEL
    ),
]
LmWeightOption = Annotated[
    float | None,
    typer.Option(
        "--lm-weight", metavar="X", min=0, help="Of the language model against the sound.", rich_help_panel=_PANEL
    ),
]
WordBonusOption = Annotated[
    float | None,
    typer.Option("--word-bonus", metavar="X", help="Added for each word (natural logarithm).", rich_help_panel=_PANEL),
]
BlankPenaltyOption = Annotated[
    float | None,
    typer.Option(
        "--blank-penalty",
        metavar="X",
        min=0,
        help="Taken off the blank at each step (natural logarithm).",
        rich_help_panel=_PANEL,
    ),
]
LexiconOption = Annotated[
    Path | None,
    typer.Option(
        "--lexicon", metavar="FILE", help="Recognise the words of this file alone, one a line.", rich_help_panel=_PANEL
    ),
]
HotwordsOption = Annotated[
    Path | None,
    typer.Option(
        "--hotwords",
        metavar="FILE",
        help="Prefer these words or phrases, one a line, each perhaps with a tab and its boost.",
        rich_help_panel=_PANEL,
    ),
]
HotBoostOption = Annotated[
    float | None,
    typer.Option("--hot-boost", metavar="X", help="Of hot words without a boost of their own.", rich_help_panel=_PANEL),
]
NbestOption = Annotated[
    int | None,
    typer.Option("--nbest", metavar="N", min=1, help="Readings of each, for --format json.", rich_help_panel=_PANEL),
]


def choice(
    beam: int | None = None,
    lm: Path | None = None,
    lm_weight: float | None = None,
    word_bonus: float | None = None,
    blank_penalty: float | None = None,
    lexicon: Path | None = None,
    hotwords: Path | None = None,
    hot_boost: float | None = None,
    nbest: int | None = None,
) -> DecodingChoice:
    """What the options ask for."""
    from asr.decoding.choice import DecodingChoice

    return DecodingChoice(beam, lm, lm_weight, word_bonus, blank_penalty, lexicon, hotwords, hot_boost, nbest)
