"""`asr transcribe`: recordings in, text out."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    NbestOption,
    WordBonusOption,
    choice,
)
from asr.cli.options import BatchOption, DeviceOption, ModelOption, ThreadsOption, VtlnOption, open_recognizer
from asr.errors import AsrError, AudioError, OutputError, UsageError
from asr.output import WRITERS
from asr.output.text import shown

if TYPE_CHECKING:
    from asr.transcript import Transcript

    Result = tuple[Path, Transcript | AsrError]


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # of a disk that takes no file, whatever its name
LINES = ("txt", "json", "ctm")  # formats that several recordings can share one stream in


@dataclass(frozen=True)
class Source:
    """A sound file, and where its result goes below `--out` (no suffix yet)."""

    path: Path
    target: Path


def transcribe(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE|FOLDER", help="Recordings, or folders of them.")],
    model: ModelOption = "en",
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="|".join(WRITERS), help="Of the result; with --out it may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write one file per recording and format there.")
    ] = None,
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
    nbest: NbestOption = None,
) -> None:
    """Transcribe recordings: text on stdout, or files with --out.

    One FILE prints its text alone; several files or a folder print a line `path: text` for each.

    --format json prints one JSON object a line, with --nbest other readings too. A recording that cannot be read is
    reported and the rest go on.
    """
    decoding = choice(beam, lm, lm_weight, word_bonus, blank_penalty, lexicon, hotwords, hot_boost, nbest)
    chosen = list(dict.fromkeys(formats or ["txt"]))
    single = len(paths) == 1 and not os.path.isdir(paths[0])
    _check_formats(chosen, single, printed=out is None)
    if (nbest or 1) > 1 and "json" not in chosen:
        raise UsageError(f"--nbest {nbest}: json alone shows other readings than the best; add --format json")
    sources, missing = find_sources(paths, apart=out is not None or "ctm" in chosen)
    if out is not None:
        if "txt" in chosen:
            _check_texts(out, sources)
        _make_folder(out)
        emit = _file_writer(out, chosen, {source.path: source.target for source in sources})
    else:
        emit = _printer(chosen[0], single)
    recognizer = open_recognizer(model, device, threads, batch, decoding, vtln) if sources else None
    for error in missing:
        messages.say(str(error))
    failed = len(missing)
    if recognizer:
        results = recognizer.transcribe_many([source.path for source in sources])
        failed += _emit_all(_with_progress(results, len(sources), wanted=out is not None), emit)
    if failed:
        if len(sources) > 1:
            messages.say(f"{failed} of the inputs failed")
        raise typer.Exit(1)


def find_sources(paths: Iterable[Path], apart: bool = True) -> tuple[list[Source], list[AudioError]]:
    """The sound files to read, each once, and what is wrong with each of `paths` that cannot be used.

    apart : no two may have the same target; else UsageError
    """
    from asr import audio

    found: dict[Path, Path] = {}
    errors: list[AudioError] = []
    for path in paths:
        try:
            files = audio.find([path])
        except AudioError as error:
            errors.append(error)
            continue
        root = path if os.path.isdir(path) else path.parent
        for file in files:
            found.setdefault(file, file.relative_to(root))
    targets = _targets(list(found.values()), apart)
    return [Source(path, target) for path, target in zip(found, targets, strict=True)], errors


def _targets(names: list[Path], apart: bool) -> list[Path]:
    """`a/x.wav` -> `a/x`; where two would meet (`x.wav`, `x.flac`) both keep their suffix."""
    targets, before = [name.with_suffix("") for name in names], None
    while targets != before:  # one that keeps its suffix may meet another
        before, uses = targets, Counter(targets)
        targets = [name if uses[target] > 1 else target for name, target in zip(names, targets, strict=True)]
    twice = [str(target) for target, count in Counter(targets).items() if count > 1]
    if twice and apart:
        raise UsageError(f"several inputs are named {twice[0]}: transcribe them apart, or the folder that holds them")
    return targets


def _check_formats(formats: list[str], single: bool, printed: bool) -> None:
    unknown = [name for name in formats if name not in WRITERS]
    if unknown:
        raise UsageError(f"--format {unknown[0]}: unknown; choose {', '.join(WRITERS)}")
    if printed and len(formats) > 1:
        raise UsageError("several formats cannot share stdout: add --out DIR, or ask for one format")
    if printed and not single and formats[0] not in LINES:
        raise UsageError(f"several recordings in {formats[0]} cannot share stdout: add --out DIR")


def _check_texts(out: Path, sources: Iterable[Source]) -> None:
    """UsageError where a text would replace one beside its recording, or be read in its place: that may be what was
    said there."""
    from asr.corpora.pairs import TEXTS

    for source in sources:
        target = _target(out, source.target, "txt")
        beside = [target.with_name(source.path.stem + suffix) for suffix in TEXTS]
        there = next((path for path in beside if os.path.exists(path)), None)
        if there and target.parent.samefile(source.path.parent):
            raise UsageError(
                f"{there} stands beside its recording and may be what was said there; move it, or name another --out"
            )


def _target(out: Path, name: Path, chosen: str) -> Path:
    return out / name.with_name(f"{name.name}.{chosen}")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror}; name a folder that can be written") from error


def _printer(chosen: str, single: bool) -> Callable[[Path, Transcript], None]:
    """Prints a result on stdout as it comes."""
    label = chosen == "txt" and not single

    def emit(path: Path, transcript: Transcript) -> None:
        text = WRITERS[chosen](path, transcript)
        print(f"{shown(path)}: {text}" if label else text, end="", flush=True)

    return emit


def _file_writer(out: Path, formats: list[str], targets: dict[Path, Path]) -> Callable[[Path, Transcript], None]:
    """Writes one file per result and format; a file appears whole or not at all."""
    from asr.files import write_atomically

    def emit(path: Path, transcript: Transcript) -> None:
        for chosen in formats:
            target = _target(out, targets[path], chosen)
            try:
                write_atomically(target, WRITERS[chosen](path, transcript).encode())
            except OSError as error:
                raise OutputError(f"{target}: cannot be written ({error.strerror}); choose another --out") from error

    return emit


def _emit_all(results: Iterable[Result], emit: Callable[[Path, Transcript], None]) -> int:
    """Hand on each transcript, report each error; returns the number of errors. OutputError where no other transcript
    could be written either."""
    failed = 0
    for path, result in results:
        try:
            if isinstance(result, AsrError):
                raise result
            emit(path, result)
        except AsrError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL:
                raise
            messages.say(str(error))
            failed += 1
    return failed


def _with_progress(results: Iterator[Result], count: int, wanted: bool) -> Iterator[Result]:
    """A progress bar on stderr while results go to files, if a person is watching."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = not (wanted and console.is_terminal)
    return iter(track(results, "transcribing", count, console=console, transient=True, disable=hidden))
