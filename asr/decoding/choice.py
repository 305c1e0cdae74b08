"""What a user asks of decoding, and the decoder that this comes to for a model."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from asr.alphabet import normalise
from asr.config import from_table, to_table
from asr.decoding.beam import BeamDecoder, BeamOptions
from asr.decoding.hotwords import BOOST, HotWord, read_hotwords
from asr.decoding.lexicon import read_lexicon
from asr.errors import OutputError, UsageError
from asr.files import write_atomically
from asr.language import NgramModel, read_arpa
from asr.model import Model

GREEDY = 0  # the beam of greedy decoding
TUNABLE = "lm_weight", "word_bonus", "blank_penalty"  # what is tuned
TUNED = ".decoding.toml"  # in place of a model file's suffix: what was tuned for it


@dataclass(frozen=True)
class DecodingChoice:
    """What is None is left to the model: what it carries, else `BeamOptions`.

    Parameters
    ----------
    beam : readings kept at each step; 0: greedy decoding, which nothing else goes with
    language : a language model, or its ARPA file
    lm_weight, word_bonus, blank_penalty : as `BeamOptions` has them
    lexicon : the only words that may be recognised, or a file of them
    hotwords : words or phrases to be preferred, or a file of them
    hot_boost : of the hot words that have none of their own
    nbest : readings wanted
    """

    beam: int | None = None
    language: NgramModel | str | Path | None = None
    lm_weight: float | None = None
    word_bonus: float | None = None
    blank_penalty: float | None = None
    lexicon: str | Path | Sequence[str] | None = None
    hotwords: str | Path | Sequence[str | HotWord] | None = None
    hot_boost: float | None = None
    nbest: int | None = None

    @property
    def asked(self) -> list[str]:
        """What is not left to the model."""
        return [field.name for field in fields(self) if getattr(self, field.name) is not None]


@dataclass(frozen=True)
class Tuned:
    """What `asr lm tune` has found for a model and a language model.

    language : SHA-256 of the language model's file, in hexadecimal
    """

    language: str
    lm_weight: float
    word_bonus: float
    blank_penalty: float = 0.0

    def save(self, model: Path) -> Path:
        """Write it beside the model file; returns where. OutputError where it cannot be written."""
        import tomli_w

        path = model.with_suffix(TUNED)
        try:
            write_atomically(path, tomli_w.dumps(to_table(self)).encode())
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror}); note the settings down") from error
        return path

    @classmethod
    def find(cls, model: Path | None, language: object) -> Tuned | None:
        """What stands beside a model file for this language model file, if anything."""
        path = model.with_suffix(TUNED) if model else None
        if path is None or not isinstance(language, str | Path) or not path.is_file():
            return None
        try:
            tuned = from_table(cls, tomllib.loads(path.read_text(encoding="utf-8")), str(path))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: cannot be read ({error}); remove it, or tune again") from error
        return tuned if tuned.language == digest(language) else None


def digest(language: str | Path) -> str:
    """What tells a language model's file from others, whatever its name; empty where it cannot be read."""
    try:
        with Path(language).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def open_decoder(
    model: Model, choice: DecodingChoice, threads: int | None = None, beside: Path | None = None
) -> BeamDecoder | None:
    """The decoder; None: greedy decoding, where it is asked for, or nothing is and the model has no language model.

    beside : the model's file, next to which tuned settings may stand

    UsageError, or ModelError for a file that is no language model, where the choice cannot work.
    """
    if choice.beam == GREEDY:
        others = [name for name in choice.asked if name != "beam"]
        if others:
            raise UsageError(f"{', '.join(others)}: not with a beam of 0, which is greedy decoding; leave one out")
        return None
    if not choice.asked and model.language is None:
        return None
    language, lexicon = choice.language, choice.lexicon
    if isinstance(language, str | Path):
        language = read_arpa(language)
    if isinstance(lexicon, str | Path):
        lexicon = read_lexicon(lexicon)
    if language is None and model.language is None and choice.lm_weight is not None:
        raise UsageError("a weight is given, but no language model, and the model carries none; name its file too")
    if choice.hot_boost is not None and choice.hotwords is None:
        raise UsageError("a boost is given, but no hot words that could take it; name them too")
    return BeamDecoder(
        model.alphabet,
        _options(model, choice, Tuned.find(beside, choice.language)),
        language or model.language,
        lexicon,
        _hotwords(choice),
        threads,
    )


def bundle(model: Model, decoder: BeamDecoder) -> Model:
    """The model that decodes as this decoder does unless told otherwise, carrying its language model."""
    return replace(model, language=decoder.language, decoding=to_table(decoder.options))


def _options(model: Model, choice: DecodingChoice, tuned: Tuned | None) -> BeamOptions:
    """The settings found for the model and the language model, and over them what is asked for."""
    options = from_table(BeamOptions, model.decoding, "the model's decoding settings")
    if choice.language is not None:
        options = BeamOptions()
    if tuned:
        options = replace(options, **{name: getattr(tuned, name) for name in TUNABLE})
    asked = {name: getattr(choice, name) for name in ("beam", *TUNABLE, "nbest")}
    return replace(options, **{name: value for name, value in asked.items() if value is not None})


def _hotwords(choice: DecodingChoice) -> Sequence[HotWord]:
    boost = BOOST if choice.hot_boost is None else choice.hot_boost
    if isinstance(choice.hotwords, str | Path):
        return read_hotwords(choice.hotwords, boost)
    return [one if isinstance(one, HotWord) else HotWord(normalise(one), boost) for one in choice.hotwords or ()]
