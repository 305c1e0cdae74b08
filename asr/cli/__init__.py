"""The command line `asr`: one module per command, which parses, calls and prints.

Results go to stdout, messages to stderr. Exit codes: 0 all went well; 1 something failed; 2 wrong usage;
130 interrupted; 141 whoever read stdout has gone. Anything heavy is imported inside the commands.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import asr
from asr.cli import compare, doctor, evaluate, info, lm, messages, model, train, transcribe, tune, warmup
from asr.errors import AsrError
from kernels import DeviceFailedError, DeviceMemoryError

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
GARBAGE_THRESHOLD = 200_000  # objects; Python's 700 has it look for garbage all through the imports, a fifth of a start
NO_READER = 141  # 128 + SIGPIPE


class _Commands(TyperGroup):
    """Turns what a user or a machine can cause into a line on stderr and an exit code; a bug keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        messages.set_up()
        try:
            result = super().invoke(ctx)
            if sys.stdout:  # None where a caller has closed it
                sys.stdout.flush()
        except AsrError as error:
            messages.say(str(error))
            raise typer.Exit(error.exit_code) from None
        except DeviceFailedError as error:
            messages.say(str(error))
            raise typer.Exit(AsrError.exit_code) from None
        except DeviceMemoryError as error:  # of a command that has no batch to name
            messages.say(f"{error}; end what else uses it, or use --device cpu")
            raise typer.Exit(AsrError.exit_code) from None
        except KeyboardInterrupt:
            messages.say("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            _drop_output()
            raise typer.Exit(NO_READER) from None
        except OSError as error:
            if error.filename is None:
                _drop_output()
            messages.say(f"{error.filename or 'stdout'}: {error.strerror or error}")
            raise typer.Exit(AsrError.exit_code) from None
        return result


def _drop_output() -> None:
    """What stdout could not take goes nowhere, or the interpreter would try again at its end and complain."""
    if sys.stdout:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


app = typer.Typer(name="asr", cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("transcribe")(transcribe.transcribe)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("info")(info.info)
app.command("warmup")(warmup.warmup)
app.command("doctor")(doctor.doctor)
lm.app.command("tune")(tune.tune)
app.add_typer(lm.app, name="lm")
app.add_typer(model.app, name="model")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"asr {asr.__version__}")
        raise typer.Exit


@app.callback()
def _about(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Speech recognition you can own: transcribe recordings, train on your own, score the result."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line (by default with the process's arguments) and exit; the console script calls it."""
    gc.set_threshold(GARBAGE_THRESHOLD)
    app(arguments, prog_name="asr")
