"""Config dataclasses to tables and back, and what a writer of TOML is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest

from asr.config import from_table, merge, override, to_table
from asr.errors import UsageError


@dataclass(frozen=True)
class Part:
    rate: float = 1.0
    name: str | None = None

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise UsageError(f"rate: {self.rate} is not above 0")


@dataclass(frozen=True)
class Whole:
    size: int
    part: Part = field(default_factory=Part)
    parts: tuple[Part, ...] = ()
    kind: Literal["near", "far"] = "near"
    exact: bool = False


WHOLE = Whole(3, Part(2.5, "x"), (Part(), Part(4.0)), "far", True)


def test_a_table_holds_everything_but_none() -> None:
    assert to_table(WHOLE) == {
        "size": 3,
        "part": {"rate": 2.5, "name": "x"},
        "parts": [{"rate": 1.0}, {"rate": 4.0}],
        "kind": "far",
        "exact": True,
    }


def test_there_and_back() -> None:
    assert from_table(Whole, to_table(WHOLE), "here") == WHOLE


def test_a_whole_number_may_stand_for_a_number() -> None:
    config = from_table(Part, {"rate": 2}, "here")
    assert (config.rate, type(config.rate)) == (2.0, float)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "here: size: missing key"),
        ({"size": 1, "sise": 2}, "here: sise: unknown key; did you mean size?"),
        ({"size": 1, "part": {"rat": 2}}, "here: part: rat: unknown key; did you mean rate?"),
        ({"size": 1.5}, "here: size: 1.5 (a number) where a whole number belongs"),
        ({"size": 1, "part": {"rate": 10**400}}, "here: part: rate: a whole number that is too large"),
        ({"size": True}, "here: size: True (true or false) where a whole number belongs"),
        ({"size": 1, "exact": 1}, "here: exact: 1 (a whole number) where true or false belongs"),
        ({"size": 1, "part": {"name": 3}}, "here: part: name: 3 (a whole number) where a text belongs"),
        ({"size": 1, "part": 3}, "here: part: 3 (a whole number) where a table belongs"),
        ({"size": 1, "parts": 3}, "here: parts: 3 (a whole number) where a list belongs"),
        ({"size": 1, "parts": [{}, {"rate": -1}]}, "here: parts[1]: rate: -1.0 is not above 0"),
        ({"size": 1, "kind": "nar"}, "here: kind: 'nar' is none of near, far; did you mean near?"),
        ({"size": 1, "part": {"rate": 0}}, "here: part: rate: 0.0 is not above 0"),
    ],
)
def test_what_is_wrong_is_named(table: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_table(Whole, table, "here")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("size", "12", {"size": 12}),
        ("size", 12, {"size": 12}),
        ("part.name", "12", {"size": 1, "part": {"name": "12"}}),
        ("part.rate", "0.5", {"size": 1, "part": {"rate": 0.5}}),
        ("kind", "far", {"size": 1, "kind": "far"}),
        ("exact", "true", {"size": 1, "exact": True}),
        ("parts", "[{rate = 3.0}]", {"size": 1, "parts": [{"rate": 3.0}]}),
    ],
)
def test_overrides(key: str, value: object, expected: dict[str, object]) -> None:
    table: dict[str, object] = {"size": 1}
    assert override(Whole, table, {key: value}, "here") == expected
    assert table == {"size": 1}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rate", "1", "here: rate: unknown key; did you mean part.rate?"),
        ("part.rat", "1", "here: part.rat: unknown key; did you mean part.rate?"),
        ("part", "1", "here: part: unknown key"),
        ("size", "many", "here: size: 'many' is no TOML value"),
        ("size", "1\nexact = true", "here: size: '1\\nexact = true' is no TOML value"),
    ],
)
def test_wrong_overrides(key: str, value: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        override(Whole, {"size": 1}, {key: value}, "here")
    assert str(caught.value).startswith(message)


def test_merge_goes_table_by_table() -> None:
    base = {"a": 1, "b": {"c": 2, "d": [3]}}
    assert merge(base, {"b": {"c": 4}, "e": {"f": 5}}) == {"a": 1, "b": {"c": 4, "d": [3]}, "e": {"f": 5}}
    assert base == {"a": 1, "b": {"c": 2, "d": [3]}}
