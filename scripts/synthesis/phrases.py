"""What is said: sentences out of texts, and made-up phrases of the kinds that nobody writes in sentences.

Phrase    how it is written for a voice, and its transcript
Sentences a text's sentences that are read as they are written
Inventor  spelled words, strings of digits, numbers, dates, commands

A transcript has the letters a to z, apostrophes within words, and single spaces. A spelled letter is a word of its own,
numbers are words: "enter k w seven forty one".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from asr.errors import UsageError
from synthesis import shares

T = TypeVar("T")

WORDS = range(3, 15)  # in a sentence
CANDIDATES = 4  # sentences, of which the one with the most words seldom said before is said
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Read otherwise than they are written: "mister", "saint".
ABBREVIATIONS = frozenset(
    _words("capt col dr eg esq etc ft gen hon ie jr lb lt messrs mr mrs ms mt oz prof rev sr st viz vs")
)
DIGITS = _words("zero one two three four five six seven eight nine")
TEENS = _words("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen")
TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth", "twenty": "twentieth", "thirty": "thirtieth",
}  # fmt: skip
MONTHS = _words("january february march april may june july august september october november december")
COMMANDS = _words(
    "yes no stop start go help enter erase rubout repeat cancel back next open close okay play pause up down left right"
    " on off begin end more less louder softer save send print delete call hello goodbye thanks please continue quit"
)

USUAL = {"spelling": 0.3, "code": 0.2, "digits": 0.2, "number": 0.1, "date": 0.1, "command": 0.1}  # kinds of phrases
KINDS = (*USUAL, "digit")

_WORD = re.compile(r"[A-Z]?[a-z]+(?:'[a-z]+)*|A|I(?:'[a-z]+)?")
_NAME = re.compile(r"[A-Z][a-z]{2,9}")
_VOWEL = re.compile(r"[aeiouy]")


@dataclass(frozen=True)
class Phrase:
    """One thing to say.

    spoken : for a voice, with case and punctuation; a letter that is to be named is a capital before a comma or an end
    text : the transcript
    """

    spoken: str
    text: str


def transcribe(sentence: str) -> str | None:
    """The transcript of a sentence; None where a voice might say something else than what is written.

    That is so with abbreviations, words in capitals, lone letters, figures and words without a vowel.
    """
    words = [piece.strip('",.;:!?()') for piece in sentence.replace("-", " ").split()]
    words = [word for word in words if word]
    return " ".join(words).lower() if words and all(_is_plain(word) for word in words) else None


def _is_plain(word: str) -> bool:
    if not _WORD.fullmatch(word):
        return False
    lower = word.lower()
    return lower not in ABBREVIATIONS and (lower in ("a", "i") or (len(lower) > 1 and bool(_VOWEL.search(lower))))


class Sentences:
    """The sentences of 3 to 14 words of a text, all of whose words occur in it `min_count` times at least.

    names : words with a capital within sentences, sorted: to be spelled. Where there are none, all words are.
    Raises UsageError where the text has no such sentence.
    """

    def __init__(self, lines: Iterable[str], min_count: int = 5):
        found = {line: text for line in map(str.strip, lines) if (text := transcribe(line)) is not None}
        counts = Counter(word for text in found.values() for word in text.split())
        common = {word for word, count in counts.items() if count >= min_count}
        self.phrases = [
            Phrase(line, text)
            for line, text in found.items()
            if len(words := text.split()) in WORDS and common.issuperset(words)
        ]
        if not self.phrases:
            raise UsageError(
                f"no sentence of the texts has {WORDS.start} to {WORDS.stop - 1} words, each {min_count} times in them;"
                " name more text, one sentence a line, or lower --min-count"
            )
        names = {word.lower() for line in found for word in line.split()[1:] if _NAME.fullmatch(word)}
        self.names = sorted(names & common) or sorted(filter(str.isalpha, common))

    def draw(self, rng: np.random.Generator) -> Iterator[Phrase]:
        """Sentences for ever, rather those with words that were seldom drawn; none twice before the text is used up."""
        heard: Counter[str] = Counter()
        shuffled = self._shuffled(rng)
        while True:
            phrase = max((next(shuffled) for _ in range(CANDIDATES)), key=lambda phrase: _novelty(phrase.text, heard))
            heard.update(phrase.text.split())
            yield phrase

    def _shuffled(self, rng: np.random.Generator) -> Iterator[Phrase]:
        while True:
            for index in rng.permutation(len(self.phrases)):
                yield self.phrases[index]


def _novelty(text: str, heard: Counter[str]) -> float:
    return sum(1 / (1 + heard[word]) for word in text.split())


class Inventor:
    """Makes phrases up, of `kinds` (methods of this class) in these shares; `names` are the words that it spells."""

    def __init__(self, names: Sequence[str], rng: np.random.Generator, kinds: Mapping[str, float] = USUAL):
        self.names, self.rng, self.kinds = names, rng, tuple(kinds)
        self.shares = np.array(list(kinds.values())) / sum(kinds.values())

    def __call__(self) -> Phrase:
        kind = self.kinds[self.rng.choice(len(self.kinds), p=self.shares)]
        return said(getattr(self, kind)(), self.rng)

    def spelling(self) -> list[str]:
        """A name or word letter by letter."""
        return list(self._one(self.names).upper())

    def code(self) -> list[str]:
        """Letters with a number behind them, often after a command, as in AN4."""
        command = [self._one(("enter", "erase", "rubout"))] if self.rng.random() < 0.6 else []
        letters = [self._one(LETTERS).upper() for _ in range(self._between(1, 5))]
        return command + letters + (self.number() if self.rng.random() < 0.5 else self.digits(1, 3))

    def digits(self, fewest: int = 3, most: int = 11) -> list[str]:
        """Digit by digit; nought is "zero", or "oh" throughout."""
        nought = self._one(("zero", "oh"))
        return [self._one([nought, *DIGITS[1:]]) for _ in range(self._between(fewest, most))]

    def digit(self) -> list[str]:
        """A single digit."""
        return self.digits(1, 1)

    def number(self) -> list[str]:
        """A number below 10,000, small ones as often as large ones."""
        return cardinal(self._between(0, self._one((20, 100, 1000, 10_000)) - 1))

    def date(self) -> list[str]:
        """A month, its day, mostly a year."""
        day, spoken_year = ordinal(self._between(1, 31)), year(self._between(1900, 2029))
        return [self._one(MONTHS), *day, *(spoken_year if self.rng.random() < 0.7 else [])]

    def command(self) -> list[str]:
        """A command, a month, a single digit or letter."""
        return [self._one((*COMMANDS, *MONTHS, *DIGITS, "oh", *LETTERS.upper()))]

    def _one(self, choices: Sequence[T]) -> T:
        return choices[int(self.rng.integers(len(choices)))]

    def _between(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))


def choose_kinds(names: str | None) -> dict[str, float]:
    """Kinds of made-up phrases with their shares, from `KIND[=SHARE],...`; None is the usual ones.

    Raises UsageError for a kind that there is not.
    """
    return USUAL if names is None else shares.parse("--kinds", names, USUAL, _check_kind)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise UsageError(f"--kinds {kind!r}: the kinds of phrases are {', '.join(KINDS)}")


def said(words: Sequence[str], rng: np.random.Generator) -> Phrase:
    """Words, letters among them as capitals, with commas as a speaker would pause: at each letter, or seldom.

    A lone "A" is an article to most engines unless a comma follows.
    """
    pause = {True: rng.choice((0.1, 0.5, 1.0)), False: 0.12}  # after a letter, after a word
    pieces = [word + "," if word == "A" or rng.random() < pause[word.isupper()] else word for word in words]
    spoken = " ".join(pieces).rstrip(",") + "."
    return Phrase(spoken[0].upper() + spoken[1:], " ".join(words).lower())


def cardinal(number: int) -> list[str]:
    """The words of a number from 0 to 9999; hundreds up to 99 where there is no thousand: "forty nine hundred"."""
    if number < 10:
        return [DIGITS[number]]
    if number < 20:
        return [TEENS[number - 10]]
    if number < 100:
        return [TENS[number // 10 - 2], *(cardinal(number % 10) if number % 10 else [])]
    size, name = (1000, "thousand") if number >= 1000 and (number % 1000 < 100) else (100, "hundred")
    return [*cardinal(number // size), name, *(cardinal(number % size) if number % size else [])]


def ordinal(number: int) -> list[str]:
    """The words of a day of the month: "twenty third"."""
    *tens, last = cardinal(number)
    return [*tens, ORDINALS.get(last, last + "th")]


def year(number: int) -> list[str]:
    """The words of a year from 1900 to 2099: "nineteen oh five", "two thousand nine", "twenty twelve"."""
    century, rest = divmod(number, 100)
    if number < 2000 and rest < 10:
        return ["nineteen", *(["oh", DIGITS[rest]] if rest else ["hundred"])]
    return [*cardinal(century), *cardinal(rest)] if rest > 9 else cardinal(number)
