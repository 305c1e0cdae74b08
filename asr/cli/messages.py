"""What a person reads on stderr: one plain line per message, and the kernels' news of compiling.

And stdout made ready for results: UTF-8 whatever the system's own encoding, as docs/output.md promises.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any, TextIO


def say(message: str) -> None:
    """A line on stderr. Results go to stdout, everything else comes here."""
    print(f"asr: {message}", file=sys.stderr, flush=True)


def set_up() -> None:
    """Show the packages' log and warnings as plain lines on stderr; write UTF-8 on stdout."""
    if sys.stderr is None:  # closed by whoever called: what is said must not go to stdout in its place
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  for as long as the program runs
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    handler = _Handler()
    handler.setFormatter(logging.Formatter("asr: %(message)s"))
    for name in ("asr", "kernels"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
    warnings.showwarning = _show_warning


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to whatever stderr is at the time."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Our own warnings are for the user; those of libraries about themselves are not."""
    if issubclass(category, (UserWarning, RuntimeWarning)):
        say(str(message))
