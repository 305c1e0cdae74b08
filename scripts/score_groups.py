"""Error rates of groups of speakers, such as children and adults, out of what `asr evaluate --details` wrote.

    asr evaluate --model en kaldi:corpora/speechocean762/dev --details details.jsonl
    awk '{print $1, $2 < 16 ? "child" : "adult"}' corpora/speechocean762/dev/spk2age > kinds.txt
    python scripts/score_groups.py details.jsonl kinds.txt

A line of the second file is a speaker and a group.
"""

from collections import defaultdict
from pathlib import Path

from starting import start

from asr.details import read_details
from asr.errors import UsageError
from asr.evaluation import Evaluation, Result


def main(details: str, groups: str) -> None:
    text = Path(groups).read_text(encoding="utf-8")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    if alone := [line[0] for line in lines if len(line) < 2]:
        raise UsageError(f"{groups}: no group behind {alone[0]!r}; a line is a speaker and a group")
    group_of: dict[str, str] = dict(lines)
    results: dict[str, list[Result]] = defaultdict(list)
    for result in read_details(Path(details)):
        results[group_of.get(result.speaker, "no group").strip()].append(result)
    for group, of_group in sorted(results.items()):
        found = Evaluation(tuple(of_group), (), 0.0)
        interval = found.wer_interval_by_speaker or found.wer_interval
        within = f" ({interval.low:.2%} to {interval.high:.2%})" if interval else ""
        score = found.score
        rates = f"WER {score.wer:.2%}{within}, CER {score.cer:.2%}" if score.words.reference else "none in a reference"
        print(f"{group}: {score.words.reference} words, {rates}")


if __name__ == "__main__":
    start(main, __doc__, 2, 2)
