"""How the scripts beside this file begin: --help, the number of arguments, and errors as one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from asr.errors import AsrError, UsageError


def start(main: Callable[..., None], doc: str | None, least: int, most: float = float("inf")) -> None:
    """Run `main` with the arguments of the command line, of which it takes so many.

    doc : the script's docstring: what --help prints, and what is said where there are too few arguments or too many
    """
    name, arguments = Path(sys.argv[0]).stem, sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print((doc or "").strip())
        return
    if not least <= len(arguments) <= most:
        print((doc or "").strip(), file=sys.stderr)
        sys.exit(UsageError.exit_code)
    try:
        main(*arguments)
    except AsrError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (OSError, UnicodeDecodeError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(1)


def whole(text: str, what: str) -> int:
    """A whole number from 0 on. UsageError."""
    if not text.isdecimal():
        raise UsageError(f"{what}: {text!r} is not a whole number")
    return int(text)


def rate(value: float, reference_words: int, digits: int = 1) -> str:
    """An error rate in percent, where there is something to be wrong."""
    return f"{value:.{digits}%}" if reference_words else "no reference words"
