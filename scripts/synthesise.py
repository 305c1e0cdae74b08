"""Synthetic speech to train on: sentences out of texts, spelled names, numbers and commands, in many voices.

    python scripts/synthesise.py corpora/text/english.txt.xz --out corpora/synthetic --sentences 3000 --seed 1
    asr train --config en --corpus nemo:corpora/synthetic ...

Writes 16 kHz FLAC files and `train.jsonl`, a NeMo manifest, which is whole at any time. Run again, it keeps the files
that are there and goes on. What is said and how follows from the texts, the voices and the seed, not from --sentences;
what a neural voice makes of it is drawn anew each time. docs/augmentation.md tells of the voices and their licences.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from synthesis.accents import ACCENTS, Accent
from synthesis.phrases import KINDS, USUAL, Inventor, Phrase, Sentences, choose_kinds
from synthesis.sound import RATE, as_flac, finish
from synthesis.voices import Manner, choose, prepare, speak

from asr.errors import AsrError, CorpusError, OutputError
from asr.files import write_atomically
from asr.language.texts import read_sentences

MANIFEST = "train.jsonl"
EVERY = 100  # utterances after which the manifest is written
TEMPO = (0.85, 1.15)
PITCH = (0.9, 1.1)
LIVELINESS = (0.4, 0.9)
STRENGTH = (0.3, 1.0)  # of an accent
SHIFTS = (
    0.92,
    0.97,
    1.03,
    1.09,
    1.16,
)  # a voice at each of them counts as another speaker; the last makes women children
SHORTEST = (0.2, 0.025)  # seconds, and for each character: less was not said as it is written
LONGEST = (1.0, 0.4)  # nor more: letters with pauses take 0.35 s a character


@dataclass(frozen=True)
class Line:
    """One utterance to be made."""

    phrase: Phrase
    voice: str
    manner: Manner

    @property
    def speaker(self) -> str:
        return f"{self.voice}*{self.manner.shift:g}"

    def entry(self, index: int) -> dict[str, str | float]:
        """Its line of the manifest, but for the duration. The file is named by what is in it: no stale one is kept."""
        made_of = json.dumps([asdict(self, dict_factory=_given), RATE], sort_keys=True)
        name = f"{index:06d}-{hashlib.sha256(made_of.encode()).hexdigest()[:10]}"
        return {"audio_filepath": f"audio/{name}.flac", "text": self.phrase.text, "voice": self.speaker}


def _given(fields: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in fields if value is not None}


def plan(
    sentences: Sentences,
    voices: dict[str, float],
    phrases: float,
    seed: int,
    kinds: Mapping[str, float] = USUAL,
    accent: str | None = None,
) -> Iterator[Line]:
    """Utterances for ever; the first ones are the same however many are taken.

    phrases : share of the made-up ones, 0..1
    kinds : which these are, and their shares
    accent : the first language of all speakers, one of `ACCENTS`; None: English
    """
    rng = np.random.default_rng(seed)
    drawn, invent = sentences.draw(rng), Inventor(sentences.names, rng, kinds)
    shares = np.array(list(voices.values()))
    while True:
        phrase = invent() if rng.random() < phrases else next(drawn)
        voice = list(voices)[rng.choice(len(voices), p=shares / shares.sum())]
        tempo, pitch, liveliness = (round(float(rng.uniform(*bounds)), 3) for bounds in (TEMPO, PITCH, LIVELINESS))
        shift = float(rng.choice(SHIFTS))
        foreign = None
        if accent:
            foreign = Accent(accent, round(float(rng.uniform(*STRENGTH)), 3), int(rng.integers(2**31)))
        yield Line(phrase, voice, Manner(tempo, pitch, shift, liveliness, foreign))


def make(lines: Sequence[Line], out: Path, seed: int, jobs: int) -> int:
    """Speak what is not there yet in `jobs` processes, and write the manifest every 100 files. Returns how many lines
    were left out."""
    entries = [line.entry(index) for index, line in enumerate(lines)]
    durations = [_duration(out / str(entry["audio_filepath"])) for entry in entries]
    missing = [index for index, duration in enumerate(durations) if duration is None]
    left_out = 0
    with _workers(jobs) as recorded:
        sounds = recorded(record, [lines[index] for index in missing], [(seed, index) for index in missing])
        for count, (index, samples) in enumerate(zip(missing, sounds, strict=True), start=1):
            if samples is None:
                left_out += 1
            else:
                _write(out / str(entries[index]["audio_filepath"]), as_flac(samples))
                durations[index] = len(samples) / RATE
            if count % EVERY == 0:
                _write_manifest(out, entries, durations)
                print(f"{len(lines) - len(missing) + count} of {len(lines)}", file=sys.stderr)
    _write_manifest(out, entries, durations)
    return left_out


@contextmanager
def _workers(jobs: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """`map`, over so many processes; what is not begun when it is left, as by an error or Ctrl-C, is not done."""
    if jobs == 1:
        yield map
        return
    pool = ProcessPoolExecutor(jobs, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def record(line: Line, seed: Sequence[int]) -> np.ndarray | None:
    """The utterance, float32 [N] at 16 kHz; None where its duration cannot be that of its text."""
    rng = np.random.default_rng(seed)
    samples = finish(speak(line.phrase.spoken, line.voice, line.manner), line.manner.shift, rng)
    shortest, longest = (base + slope * len(line.phrase.text) for base, slope in (SHORTEST, LONGEST))
    return samples if shortest < len(samples) / RATE < longest else None


def _duration(path: Path) -> float | None:
    """Seconds of a file made before; None where there is none."""
    import soundfile

    if not path.exists():
        return None
    try:
        frames: int = soundfile.info(path).frames
    except soundfile.LibsndfileError as error:
        raise CorpusError(f"{path}: not a sound file that this program wrote; remove it") from error
    return frames / RATE


def _write_manifest(out: Path, entries: Sequence[dict[str, str | float]], durations: Sequence[float | None]) -> None:
    made = [
        entry | {"duration": round(duration, 4)}
        for entry, duration in zip(entries, durations, strict=True)
        if duration is not None
    ]
    _write(out / MANIFEST, "".join(json.dumps(entry) + "\n" for entry in made).encode())


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content, durable=False)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}; name another --out") from error


def main(
    texts: Annotated[list[Path], typer.Argument(help="Texts, one sentence a line (.gz, .bz2 or .xz too).")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the corpus goes.")],
    sentences: Annotated[int, typer.Option("--sentences", min=1, help="Utterances, made-up ones included.")] = 3000,
    phrases: Annotated[float, typer.Option("--phrases", min=0, max=1, help="Share of made-up phrases.")] = 0.2,
    kinds: Annotated[
        str | None,
        typer.Option("--kinds", metavar="KIND[=SHARE],...", help=f"Of those: {', '.join(KINDS)}."),
    ] = None,
    voices: Annotated[
        str | None, typer.Option("--voices", metavar="ENGINE:VOICE[=SHARE],...", help="In place of the usual ones.")
    ] = None,
    accent: Annotated[
        str | None, typer.Option("--accent", help=f"First language of the speakers: {', '.join(ACCENTS)}.")
    ] = None,
    min_count: Annotated[
        int, typer.Option("--min-count", min=1, help="Of a word in the texts, else it is not said.")
    ] = 5,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another one: other sentences and voices.")] = 1,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Processes that speak; usually one for each core.")
    ] = None,
) -> None:
    """Speak sentences and made-up phrases in synthetic voices, as a corpus to train on."""
    chosen, invented = choose(voices, accent), choose_kinds(kinds)
    source = Sentences((line for text in texts for line in read_sentences(text)), min_count)
    lines = list(islice(plan(source, chosen, phrases, seed, invented, accent), sentences))
    prepare(chosen)
    left_out = make(lines, out, seed, jobs or os.cpu_count() or 1)
    speakers = len({line.speaker for line in lines})
    print(f"{out / MANIFEST}: {sentences - left_out} utterances, {speakers} speakers, {left_out} left out")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(help=__doc__)(main)
    try:
        app()
    except AsrError as error:
        print(f"synthesise: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
