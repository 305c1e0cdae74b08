"""Details files: what was said and what was recognised, utterance by utterance, as JSON lines.

Written by `asr evaluate --details`, read by `asr compare`. Read are `id`, `reference`, `hypothesis` and, where it is
there, `speaker`; counts are made anew from the texts, so that other recognisers' output can be compared as well.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.errors import CorpusError
from asr.evaluation import Result
from asr.files import write_atomically
from asr.scoring import score


def write_details(path: Path, results: Sequence[Result]) -> None:
    """A line for each result, in their order. OSError where the file cannot be written."""
    write_atomically(path, b"".join(_line(result) for result in results))


def _line(result: Result) -> bytes:
    try:
        line = json.dumps(record(result), ensure_ascii=False).encode()
    except UnicodeEncodeError:  # of a file name that is not UTF-8
        line = json.dumps(record(result)).encode()
    return line + b"\n"


def record(result: Result) -> dict[str, Any]:
    """One line's content."""
    words, characters = result.score.words, result.score.characters
    return {
        "id": result.id,
        "speaker": result.speaker,
        "reference": result.reference,
        "hypothesis": result.hypothesis,
        "words": words.reference,
        "substitutions": words.substitutions,
        "deletions": words.deletions,
        "insertions": words.insertions,
        "characters": characters.reference,
        "character_errors": characters.errors,
        "seconds": round(result.seconds, 3),
        "confidence": round(result.confidence, 4),
    }


def read_details(path: Path) -> tuple[Result, ...]:
    """The results in a details file; empty lines are skipped.

    CorpusError, naming the line: no UTF-8, no JSON object, a key that is missing or no string, an id that stands twice,
    no line at all. OSError where the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: not UTF-8, so no details file; write one by asr evaluate --details") from error
    results: dict[str, Result] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            result = _result(line, f"{path}, line {number}")
            if result.id in results:
                raise CorpusError(
                    f"{path}, line {number}: the id {result.id} stands twice; each utterance needs its own"
                )
            results[result.id] = result
    if not results:
        raise CorpusError(f"{path}: no utterances in it; write a details file by asr evaluate --details")
    return tuple(results.values())


def _result(line: str, place: str) -> Result:
    try:
        table = json.loads(line)
    except (ValueError, RecursionError) as error:
        keys = "id, reference and hypothesis"
        raise CorpusError(f"{place}: not JSON ({error}); a line is an object with {keys}") from error
    if not isinstance(table, dict):
        raise CorpusError(f"{place}: not a JSON object; write details files by asr evaluate --details")
    for key in ("id", "reference", "hypothesis"):
        if not isinstance(table.get(key), str):
            raise CorpusError(f'{place}: needs the key "{key}" with a string')
    texts = table["reference"], table["hypothesis"]
    speaker = table.get("speaker")
    one = score([texts[0]], [texts[1]])
    return Result(table["id"], *texts, one, 0.0, 0.0, speaker if isinstance(speaker, str) else "")
