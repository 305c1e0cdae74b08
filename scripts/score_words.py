"""Share of words that are wrong by how often training had them, out of what `asr evaluate --details` wrote.

    asr evaluate --model en kaldi:corpora/speechocean762/dev --details details.jsonl
    python scripts/score_words.py details.jsonl nemo:runs/en/train.jsonl

A word is wrong where another was recognised in its place or none. Where rare words are wrong and frequent ones are not,
more of the same speech is no remedy: other words are.
"""

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

from starting import start

from asr.alphabet import normalise, strip_punctuation
from asr.corpora import open_corpus
from asr.details import read_details
from asr.scoring import confusions

BOUNDS = (0, 1, 6, 21, 101, math.inf)  # times; each row of the table is from one to below the next


def main(details: str, *corpora: str) -> None:
    results = read_details(Path(details))
    said = Counter(
        word
        for corpus in corpora
        for utterance in open_corpus(corpus)
        for word in strip_punctuation(normalise(utterance.text)).split()
    )
    references = [result.reference for result in results]
    found = confusions(references, [result.hypothesis for result in results])
    asked = Counter(word for reference in references for word in reference.split())
    wrong = found.deleted + Counter(right for right, _ in found.substituted.elements())
    print("| said in training | words | wrong |\n| --- | --- | --- |")
    for low, high in pairwise(BOUNDS):
        words = [word for word in asked if low <= said[word] < high]
        total, errors = sum(asked[word] for word in words), sum(wrong[word] for word in words)
        print(f"| {_times(low, high)} | {total:,} | {f'{errors / total:.1%}' if total else ''} |")


def _times(low: float, high: float) -> str:
    if high == low + 1:
        return "never"
    return f"{low} times or more" if math.isinf(high) else f"{low} to {high - 1} times"


if __name__ == "__main__":
    start(main, __doc__, 2)
