"""How fast the kernels and the program are, beside what else a user would take.

    python scripts/benchmark.py recurrence --cases 'lstm*train' --seconds 60
    python scripts/benchmark.py recurrence --device cuda
    python scripts/benchmark.py decode --files 40

Each contender runs in a process of its own, in turn with the others. A rival that is not installed is named and left
out: pip install 'asr-from-sound[bench]' brings all but other decoders. docs/performance.md says what the figures mean.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Annotated

import typer
from benchmarks import cases, cuda_cases, report, startup
from benchmarks.cases import Case, chosen
from benchmarks.compare import Arena, Limits, say, warn_of_load
from benchmarks.processes import Contender, ContenderError, Process
from benchmarks.report import Row

from asr.decoding.beam import BeamOptions
from asr.errors import AsrError, UsageError

CORPORA = Path(os.environ.get("ASR_CORPORA", Path(__file__).resolve().parents[2] / "shared" / "corpora"))
TRAINING = f"an4:{CORPORA / 'an4'}:train"
DECODED_FILES = 40  # of each corpus
DECODED_FLOOR = BeamOptions().floor
MODELLED = ("H100 SXM", "A100 SXM", "RTX 5090")  # in the document; an H200 has an H100's multiprocessors
TEXT = CORPORA / "text" / "english.txt.xz"
LISTENING = (f"an4:{CORPORA / 'an4'}:test", f"kaldi:{CORPORA / 'speechocean762' / 'dev'}")


class Machine(StrEnum):
    """Where all contenders compute."""

    CPU = "cpu"
    CUDA = "cuda"


app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

Names = Annotated[
    list[str] | None, typer.Option("--cases", metavar="NAME|PATTERN", help="Only these; may be given several times.")
]
Seconds = Annotated[
    float | None, typer.Option("--seconds", min=0.1, help="For the whole run, shared out over its cases.")
]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="At most so many rounds a case.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Of every contender, where a case names none.")]
Device = Annotated[Machine, typer.Option("--device", help="Where all contenders compute.")]
Tf32 = Annotated[bool, typer.Option("--tf32", help="Large products on a GPU may round to TF32, ours and theirs.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE|-", help="Write the rows there; - is stdout.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")]
Corpora = Annotated[
    list[str] | None, typer.Option("--corpus", metavar="LAYOUT:PATH[:SPLIT]", help="Speech in place of the usual.")
]
Files = Annotated[int | None, typer.Option("--files", min=1, help="So many recordings, spread over all.")]
Updates = Annotated[int | None, typer.Option("--updates", min=1, help="So many batches of the epoch.")]
ModelFile = Annotated[str | None, typer.Option("--model", help="To transcribe with; else one with random weights.")]


@app.command()
def recurrence(
    names: Names = None,
    seconds: Seconds = None,
    rounds: Rounds = 7,
    threads: Threads = 1,
    device: Device = Machine.CPU,
    tf32: Tf32 = False,
    json: Json = None,
    markdown: Markdown = False,
) -> None:
    """One bidirectional layer: a training step and inference, against PyTorch and onnxruntime; the bare tile."""
    every = cuda_cases.recurrence(tf32) if on_gpu(device, tf32) else cases.recurrence(threads)
    show(measure(chosen(every, names or []), seconds, rounds), json, markdown)


@app.command()
def ctc(
    names: Names = None,
    seconds: Seconds = None,
    rounds: Rounds = 7,
    threads: Threads = 1,
    device: Device = Machine.CPU,
    tf32: Tf32 = False,
    json: Json = None,
    markdown: Markdown = False,
) -> None:
    """The CTC loss with log-softmax, forward and backward, against PyTorch."""
    every = cuda_cases.ctc(tf32) if on_gpu(device, tf32) else cases.ctc(threads)
    show(measure(chosen(every, names or []), seconds, rounds), json, markdown)


@app.command()
def train_step(
    names: Names = None,
    seconds: Seconds = None,
    rounds: Rounds = 3,
    threads: Threads = 1,
    updates: Updates = None,
    corpora: Corpora = None,
    device: Device = Machine.CPU,
    tf32: Tf32 = False,
    json: Json = None,
    markdown: Markdown = False,
) -> None:
    """Updates of a 3 x 256 LSTM network over an epoch of AN4: forward, CTC, backward, clipping, SGD; against PyTorch.

    All start from the same weights and must come to the same loss after 20 updates. On a GPU the batch is one of noise
    in AN4's sizes, unless a corpus is named.
    """
    if on_gpu(device, tf32):
        show(cuda_train_step_rows(names, seconds, rounds, tf32, updates, corpora), json, markdown)
        return
    show(train_step_rows(names, seconds, rounds, threads, updates, corpora), json, markdown)


@app.command()
def transcribe(
    names: Names = None,
    seconds: Seconds = None,
    rounds: Rounds = 3,
    threads: Threads = 1,
    files: Files = None,
    corpora: Corpora = None,
    model: ModelFile = None,
    json: Json = None,
    markdown: Markdown = False,
) -> None:
    """Files to texts against the sound's own duration; the network alone against onnxruntime and PyTorch."""
    show(transcribe_rows(names, seconds, rounds, threads, files, corpora, model), json, markdown)


@app.command()
def features(
    seconds: Seconds = None,
    rounds: Rounds = 3,
    files: Files = 130,
    corpora: Corpora = None,
    json: Json = None,
    markdown: Markdown = False,
) -> None:
    """MFCC and deltas for an hour of sound, against librosa called plainly. Reading files is not counted."""
    show(features_rows(seconds, rounds, files, corpora), json, markdown)


@app.command()
def decode(
    names: Names = None,
    seconds: Seconds = None,
    rounds: Rounds = 3,
    threads: Threads = 1,
    files: Annotated[int, typer.Option("--files", min=1, help="So many recordings of each corpus.")] = DECODED_FILES,
    corpora: Corpora = None,
    model: Annotated[str, typer.Option("--model", help="Whose posteriors are decoded.")] = "en",
    language: Annotated[
        Path | None, typer.Option("--lm", metavar="FILE", help="ARPA file; else one is made of AN4's texts and others.")
    ] = None,
    floor: Annotated[
        float, typer.Option("--floor", max=0.0, help="We try no label whose log-probability is below.")
    ] = DECODED_FLOOR,
    json: Json = None,
    markdown: Markdown = False,
) -> None:
    """Beam search over posteriors in memory, against the sound's own duration, pyctcdecode and flashlight-text.

    Beams of 1 to 100; by the sound alone, with a word 3-gram, a lexicon, both, and hot words.
    """
    show(decode_rows(names, seconds, rounds, threads, files, corpora, model, language, floor), json, markdown)


@app.command("startup")
def starts(
    names: Names = None,
    seconds: Seconds = None,
    rounds: Rounds = 5,
    model: ModelFile = None,
    json: Json = None,
    markdown: Markdown = False,
) -> None:
    """Commands from the start of their process to its end, with a cold and with a warm cache of kernels."""
    show(startup_rows(names, seconds, rounds, model), json, markdown)


@app.command()
def model(
    machine: Annotated[str, typer.Option("--machine", help="A GPU that the model knows.")] = "H100 SXM",
) -> None:
    """How long the CUDA kernels should take on a GPU, part by part, from their code. Nothing is measured or run."""
    from benchmarks import cuda_model

    if machine not in cuda_model.MACHINES:
        raise UsageError(f"--machine {machine}: the model knows {', '.join(cuda_model.MACHINES)}")
    print(model_tables(machine))


@app.command()
def tables(
    document: Annotated[Path, typer.Argument(metavar="FILE", help="A Markdown file with marks for the tables.")],
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="For each table.")] = 600.0,
    only: Annotated[list[str] | None, typer.Option("--only", help="This table alone; may be repeated.")] = None,
    corpora: Corpora = None,
    model: ModelFile = None,
) -> None:
    """Run everything and put the tables into a document, each between <!-- NAME --> and <!-- end of NAME -->."""
    makers: dict[str, Callable[[], str]] = {
        "machine": report.machine,
        "recurrence": lambda: report.as_markdown(measure(cases.recurrence(1), seconds, 7)),
        "ctc": lambda: report.as_markdown(measure(cases.ctc(1), seconds, 7)),
        "train-step": lambda: report.as_markdown(train_step_rows(None, seconds, 3, 1, None, corpora)),
        "transcribe": lambda: report.as_markdown(transcribe_rows(None, seconds, 3, 1, None, corpora, model)),
        "features": lambda: report.as_markdown(features_rows(seconds, 3, 130, corpora)),
        "decode": lambda: report.as_markdown(
            decode_rows(None, seconds, 3, 1, DECODED_FILES, corpora, model or "en", None, DECODED_FLOOR)
        ),
        "startup": lambda: report.as_markdown(startup_rows(None, seconds, 5, model)),
        "cuda-model": lambda: "\n\n".join(map(model_tables, MODELLED)),
    }
    text = document.read_text()
    unmarked = [name for name in only or makers if name not in makers or not report.marked(text, name)]
    if unmarked:
        raise UsageError(f"{document}: no marks for a table {unmarked[0]}; tables are {', '.join(makers)}")
    for name in only or makers:
        text = report.fill(text, name, makers[name]())
        document.write_text(text)


def model_tables(machine: str) -> str:
    from benchmarks import cuda_model

    return cuda_model.tables(cuda_model.MACHINES[machine], list(cuda_cases.LAYERS), list(cuda_cases.LOSSES))


def train_step_rows(
    names: Sequence[str] | None,
    seconds: float | None,
    rounds: int,
    threads: int,
    updates: int | None,
    corpora: Sequence[str] | None,
) -> list[Row]:
    from benchmarks import speech

    with TemporaryDirectory() as folder:
        wanted = chosen(cases.train_step(threads, folder), names or [])
        speech.write_training(Path(folder), speech.utterances(corpora or [TRAINING], None), updates)
        return measure(wanted, seconds, rounds)


def cuda_train_step_rows(
    names: Sequence[str] | None,
    seconds: float | None,
    rounds: int,
    tf32: bool,
    updates: int | None,
    corpora: Sequence[str] | None,
) -> list[Row]:
    from benchmarks import speech

    with TemporaryDirectory() as folder:
        wanted = chosen(cuda_cases.train_step(tf32, folder), names or [])
        if corpora:
            speech.write_training(Path(folder), speech.utterances(corpora, None), updates)
        else:
            speech.write_synthetic(Path(folder))
        return measure(wanted, seconds, rounds)


def on_gpu(device: Machine, tf32: bool) -> bool:
    """Whether to measure there. UsageError, with what to do, where that cannot be."""
    if device is Machine.CPU:
        if tf32:
            raise UsageError("--tf32 needs --device cuda: a CPU multiplies in float32 alone")
        return False
    process = Process(Contender("ours"))
    try:
        say(f"on {process.ask(do='open', device=device.value)['device']}")
    finally:
        process.close()
    return True


def transcribe_rows(
    names: Sequence[str] | None,
    seconds: float | None,
    rounds: int,
    threads: int,
    files: int | None,
    corpora: Sequence[str] | None,
    model: str | None,
) -> list[Row]:
    from benchmarks import speech

    with TemporaryDirectory() as name:
        folder = Path(name)
        listing, usual = folder / "listing.json", folder / "random.safetensors"
        wanted = chosen(cases.transcribe(threads, name, model or str(usual), str(listing)), names or [])
        spoken = speech.utterances(corpora or LISTENING, files)
        speech.write_listing(listing, spoken)
        speech.write_model(usual)
        if any(case.task == "infer network" for case in wanted):
            speech.write_inference(folder, spoken)
        return measure(wanted, seconds, rounds)


def features_rows(seconds: float | None, rounds: int, files: int | None, corpora: Sequence[str] | None) -> list[Row]:
    from benchmarks import speech

    with TemporaryDirectory() as folder:
        listing = Path(folder) / "listing.json"
        speech.write_listing(listing, speech.utterances(corpora or LISTENING, files))
        return measure(cases.features(str(listing)), seconds, rounds)


def decode_rows(
    names: Sequence[str] | None,
    seconds: float | None,
    rounds: int,
    threads: int,
    files: int,
    corpora: Sequence[str] | None,
    model: str,
    language: Path | None,
    floor: float,
) -> list[Row]:
    from benchmarks import decoding, speech

    with TemporaryDirectory() as name:
        folder = Path(name)
        wanted = chosen(cases.decode(threads, name, floor), names or [])
        spoken = [each for corpus in corpora or LISTENING for each in speech.utterances([corpus], files)]
        if language is None:
            language = folder / "words.arpa"
            decoding.write_language(language, TRAINING, TEXT)
        decoding.write_decoding(folder, spoken, model, language)
        return measure(wanted, seconds, rounds)


def startup_rows(names: Sequence[str] | None, seconds: float | None, rounds: int, model: str | None) -> list[Row]:
    from benchmarks import speech

    end = monotonic() + (seconds or float("inf"))
    rows: list[Row] = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        startup.write_speech(folder)
        speech.write_model(folder / "random.safetensors")
        wanted = chosen(startup.starts(folder, model or str(folder / "random.safetensors")), names or [])
        for index, start in enumerate(wanted):
            if monotonic() > end:
                say(f"no time left for {'; '.join(start.name for start in wanted[index:])}")
                break
            rows.append(startup.measure(start, folder, rounds))
    return rows


def measure(wanted: Sequence[Case], seconds: float | None, rounds: int) -> list[Row]:
    """All cases. With `seconds`, each has an equal share of what is left, and those left out are named on stderr."""
    warn_of_load()
    end = monotonic() + (seconds or float("inf"))
    arena = Arena()
    rows: list[Row] = []
    try:
        for index, case in enumerate(wanted):
            now = monotonic()
            if now > end:
                say(f"no time left for {'; '.join(case.name for case in wanted[index:])}")
                break
            rows += arena.compare(case, Limits(rounds, now + (end - now) / (len(wanted) - index)))
            say(f"{case.name}: done")
    finally:
        arena.close()
    return rows


def show(rows: Sequence[Row], json: Path | None, markdown: bool) -> None:
    """The table on stdout; JSON in a file, or on stdout in place of the table."""
    if json == Path("-"):
        print(report.as_json(rows))
        return
    if json is not None:
        json.write_text(report.as_json(rows) + "\n")
    if markdown:
        print(report.as_markdown(rows))
    else:
        report.print_table(rows)


def main() -> None:
    try:
        app()
    except (AsrError, ContenderError) as error:
        say(str(error))
        sys.exit(getattr(error, "exit_code", 1))


if __name__ == "__main__":
    main()
