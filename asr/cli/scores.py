"""Error rates for a person: intervals, tables of speakers, lists of errors, alignments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from asr.scoring import display_width

if TYPE_CHECKING:
    from asr.evaluation import Evaluation
    from asr.scoring import Counts
    from asr.statistics import Interval

EXAMPLES = 3  # of each kind at most
ROWS = 10  # of a table, unless all are wanted
WIDTH = 100  # columns
MARGIN = 22  # columns, in which a figure's name stands


def report(result: Evaluation, whole: bool = False) -> str:
    """The figures, tables and examples; `whole`: all rows of the tables."""
    rows = max(len(result.speakers), result.score.words.errors, 1) if whole else ROWS
    parts = ["\n".join(_figures(result)), speakers(result, rows), errors(result, rows)]
    for kind, examples in result.examples(max(1, min(EXAMPLES, len(result.results) // 3))).items():
        for example in examples:
            title = f"{kind}: {example.id}, word error rate {percent(example.score.wer)}"
            parts.append(f"{title}\n{example.alignment.rstrip()}")
    return "\n\n".join(part for part in parts if part)


def _figures(result: Evaluation) -> list[str]:
    words, characters = result.score.words, result.score.characters
    edits = f"{words.substitutions} substituted, {words.deletions} deleted, {words.insertions} inserted"
    factor = "-" if math.isnan(result.rtf) else f"{result.rtf:.3f}"
    speed = f"{factor} ({result.audio_seconds:.0f} s of audio in {result.decode_seconds:.1f} s)"
    by_speaker = f"resampling its {len(result.speakers)} speakers"
    return [
        f"word error rate       {percent(result.score.wer)}   {edits} of {words.reference}",
        *_interval(words, result.wer_interval, "resampling utterances"),
        *(_interval(words, result.wer_interval_by_speaker, by_speaker) if words.errors else []),
        f"character error rate  {percent(result.score.cer)}   {characters.errors} of {characters.reference}",
        *_interval(characters, result.cer_interval, "resampling utterances"),
        f"utterances            {result.score.utterances}",
        f"real-time factor      {speed}",
    ]


def _interval(counts: Counts, interval: Interval | None, how: str) -> list[str]:
    """A line below a rate, or none.

    Resampling cannot show errors that were never seen. Without any, the upper end is 3 / reference, the rule of three
    (Hanley and Lippman-Hand, JAMA 1983): were tokens independent, a higher rate would leave no error in fewer than 5 %
    of such test sets.
    """
    if counts.reference and not counts.errors:
        text = f"0.00 to {100 * min(3 / counts.reference, 1):.2f} %, by the rule of three"
    elif interval:
        text = f"{100 * interval.low:.2f} to {100 * interval.high:.2f} %, {how}"
    else:
        return []
    return [f"{'  95 % interval':{MARGIN}}{text}"]


def speakers(result: Evaluation, rows: int) -> str:
    """A table, worst first; nothing with fewer than two named speakers."""
    if len(result.speakers) < 2:
        return ""
    table = [("speaker, worst first", "utterances", "words", "WER", "CER")]
    for name, one in list(result.speakers.items())[:rows]:
        figures = f"{one.utterances}", f"{one.words.reference}", percent(one.wer), percent(one.cer)
        table.append((name, *figures))
    left = len(result.speakers) - rows
    return "\n".join([*_aligned(table), *([f"and {left} more (--tables shows all)"] if left > 0 else [])])


def errors(result: Evaluation, rows: int) -> str:
    """The most frequent word errors with their counts, a paragraph for each kind."""
    from asr.evaluation import most_frequent

    found = result.confusions
    kinds = {
        "confused": [f"{right} > {wrong} ({count})" for (right, wrong), count in most_frequent(found.substituted)],
        "deleted": [f"{word} ({count})" for word, count in most_frequent(found.deleted)],
        "inserted": [f"{word} ({count})" for word, count in most_frequent(found.inserted)],
    }
    return "\n".join(_paragraph(name, entries, rows) for name, entries in kinds.items() if entries)


def percent(rate: float) -> str:
    return "-" if math.isnan(rate) else f"{100 * rate:.2f} %"


def _paragraph(name: str, entries: list[str], rows: int) -> str:
    """Lines of whole entries below each other, the name to the left of the first."""
    shown = entries[:rows] + ([f"{len(entries) - rows} more"] if len(entries) > rows else [])
    lines = [f"{'most ' + name:{MARGIN}}"]
    for place, entry in enumerate(shown, 1):
        text = entry + ("," if place < len(shown) else "")
        if display_width(lines[-1]) + 1 + display_width(text) > WIDTH and lines[-1][MARGIN:]:
            lines.append(" " * MARGIN)
        lines[-1] += (" " if lines[-1][MARGIN:] else "") + text
    return "\n".join(lines)


def _aligned(table: Sequence[tuple[str, ...]]) -> list[str]:
    """The first column to the left, the others to the right."""
    widths = [max(display_width(row[column]) for row in table) for column in range(len(table[0]))]
    lines = []
    for row in table:
        gaps = [" " * (width - display_width(cell)) for width, cell in zip(widths, row, strict=True)]
        lines.append("  ".join([row[0] + gaps[0], *(gap + cell for gap, cell in zip(gaps[1:], row[1:], strict=True))]))
    return lines
