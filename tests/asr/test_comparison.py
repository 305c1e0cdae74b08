"""Two systems compared, and the details files that hold what they said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from asr.comparison import comparable_to_all, compare
from asr.details import read_details, write_details
from asr.errors import CorpusError
from asr.evaluation import Result
from asr.scoring import Counts, score

TEXT = "one two three four"
WRONG = "one too three four"


def result(name: str, hypothesis: str, speaker: str = "", reference: str = TEXT) -> Result:
    return Result(name, reference, hypothesis, score([reference], [hypothesis]), 1.25, 0.5, speaker)


def system(hypotheses: str, speakers: str = "") -> list[Result]:
    """An utterance for each letter: r is right, w has one wrong word."""
    names = speakers or " " * len(hypotheses)
    return [
        result(str(number), TEXT if letter == "r" else WRONG, speaker.strip())
        for number, (letter, speaker) in enumerate(zip(hypotheses, names, strict=True))
    ]


def test_the_better_system_is_named() -> None:
    found = compare(system("wwwwwwwwww"), system("rrrrrrrrww"))
    assert [one.words.errors for one in found.scores] == [10, 2]
    assert found.difference == pytest.approx(-0.2)
    assert found.by_utterance is not None
    assert found.by_utterance.improvement > 0.999
    assert 0 not in found.by_utterance.difference
    assert found.by_speaker is None
    assert found.verdict("A", "B").startswith("B is better than A:")
    assert compare(system("rrrrrrrrww"), system("wwwwwwwwww")).verdict("A", "B").startswith("A is better than B:")


def test_a_difference_that_may_be_chance() -> None:
    found = compare(system("wwrrrrrr"), system("rrrrrrrw"))
    assert found.difference < 0
    assert found.verdict("A", "B") == (
        "It cannot be said which is better: B makes fewer errors here, but that may be chance."
    )


def test_a_difference_between_speakers_alone() -> None:
    """Two of three speakers are heard better by B, the third worse: 30 utterances say that B is better, three
    speakers do not."""
    found = compare(system("w" * 20 + "r" * 10, "x" * 10 + "y" * 10 + "z" * 10), system("r" * 22 + "w" * 8))
    assert found.by_utterance is not None
    assert found.by_utterance.difference.high < 0
    assert found.by_speaker is not None
    assert found.by_speaker.units == 3
    assert 0 in found.by_speaker.difference
    assert found.verdict("A", "B") == "B is better than A for these speakers; other speakers may turn it round."


def test_equal_and_too_few() -> None:
    found = compare(system("wr"), system("rw"))
    assert found.verdict("A", "B") == "Both make as many word errors (1): neither is better here."
    alone = compare(system("w"), system("r"))
    assert alone.by_utterance is None
    assert "at least two utterances" in alone.verdict("A", "B")
    summary = json.loads(json.dumps(alone.summary(), allow_nan=False))
    assert (summary["by_utterance"], summary["matched_pairs_p"]) == (None, None)
    assert summary["a"]["wer"] == 0.25
    silent = [result(name, "", reference="") for name in "ab"]
    assert compare(silent, silent).summary()["difference"] is None


def test_the_order_does_not_matter() -> None:
    a, b = system("wwrrwrrr", "xxyyzzzz"), system("rrrwrrrr", "xxyyzzzz")
    assert compare(a, b[::-1]) == compare(a, b)


def test_other_utterances_are_refused() -> None:
    with pytest.raises(CorpusError, match=r"not about the same utterances: 1 only in A \(3\); evaluate both"):
        compare(system("wwww"), system("www"))
    with pytest.raises(CorpusError, match=r"5 only in B \(2, 3, 4, \.\.\.\)"):
        compare(system("ww"), system("wwwwwww"))
    with pytest.raises(CorpusError, match=r"1 only in A \(0\) and 1 only in B \(new\)"):
        compare(system("ww"), [result("new", TEXT), system("ww")[1]])


def test_names_that_are_not_utf8_stay_apart_in_a_file(tmp_path: Path) -> None:
    results = [result(name, "né") for name in ("\udcff", "\udcfe", "é")]
    write_details(tmp_path / "x.jsonl", results)
    assert "né" in (tmp_path / "x.jsonl").read_text(encoding="utf-8")
    assert [each.id for each in read_details(tmp_path / "x.jsonl")] == ["\udcff", "\udcfe", "é"]


@pytest.mark.parametrize(("a", "b", "side"), [("ww", "w", "A"), ("w", "wr", "B")])
def test_an_utterance_that_is_there_twice_is_refused(a: str, b: str, side: str) -> None:
    twice = [[result("0", TEXT) for _ in which] for which in (a, b)]
    with pytest.raises(CorpusError, match=f"utterance 0 is twice in {side}"):
        compare(*twice)


def test_other_references_are_refused() -> None:
    with pytest.raises(CorpusError, match="utterance 1: A's reference is 'one two three four' and B's 'one two'"):
        compare(system("rr"), [system("r")[0], result("1", "one", reference="one two")])


def test_punctuation_goes_for_both_where_one_model_never_saw_any() -> None:
    from babble import make_model

    kept = make_model()
    stripped = replace(kept, provenance={"config": {"text": {"punctuation": "strip"}}})
    assert comparable_to_all([kept, kept])("Well-known.") == "well-known."
    assert comparable_to_all([kept, stripped])("Well-known.") == "well known"
    assert comparable_to_all([stripped, kept])("Well-known.") == "well known"


def test_details_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "details.jsonl"
    results = (result("a", WRONG, "x"), result("b", "", "y"), result("ü", "日本", reference="日 本"))
    write_details(path, results)
    assert [replace(each, seconds=1.25, confidence=0.5) for each in read_details(path)] == list(results)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines[0] == {
        "id": "a",
        "speaker": "x",
        "reference": TEXT,
        "hypothesis": WRONG,
        "words": 4,
        "substitutions": 1,
        "deletions": 0,
        "insertions": 0,
        "characters": 18,
        "character_errors": 1,
        "seconds": 1.25,
        "confidence": 0.5,
    }
    assert "日本" in path.read_text(encoding="utf-8")


def test_three_keys_are_enough_and_counts_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "others.jsonl"
    path.write_text('\ufeff{"id": "a", "reference": "x y", "hypothesis": "x", "words": 99, "speaker": null}\n\n')
    (only,) = read_details(path)
    assert (only.id, only.speaker, only.score.words) == ("a", "", Counts(2, deletions=1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no utterances in it"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"id": "a"', r"line 1: not JSON \("),
        (b"[1]", "line 1: not a JSON object"),
        (b"[" * 100_000, "line 1: not JSON"),
        (b'{"id": "a", "reference": "x"}', 'line 1: needs the key "hypothesis" with a string'),
        (b'{"id": 1, "reference": "x", "hypothesis": ""}', 'line 1: needs the key "id" with a string'),
        (b'{"id": "a", "reference": "x", "hypothesis": ""}\n' * 2, "line 2: the id a stands twice"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_damaged_details_file_is_one_sentence(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "details.jsonl"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=rf"details\.jsonl.*{message}"):
        read_details(path)
