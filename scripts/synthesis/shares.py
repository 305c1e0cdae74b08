"""What is drawn how often, as options name it: `NAME[=SHARE],...`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from asr.errors import UsageError


def parse(option: str, text: str, usual: Mapping[str, float], check: Callable[[str], None]) -> dict[str, float]:
    """Names and shares; a share that is not given is the `usual` one, else 1.

    check : raises UsageError for a name that is none
    """
    shares: dict[str, float] = {}
    for piece in map(str.strip, text.split(",")):
        name, _, share = piece.partition("=")
        check(name)
        try:
            shares[name] = float(share or usual.get(name, 1.0))
        except ValueError:
            shares[name] = 0.0
        if not 0 < shares[name] < 1e6:
            raise UsageError(f"{option} {piece!r}: the share must be a number above 0")
    return shares
