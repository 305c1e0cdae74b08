"""Foreign accents: the phonemes of a phrase as they come from somebody whose first language has others.

A rule is a change that speakers of a language are known to make, and how often somebody with a strong accent makes it.
A speaker is strong in some and free of others, so that every utterance draws how far it follows each rule; then every
place where the rule fits is changed or not. What is said remains English: the transcript stays as it is, and a network
learns that "sink" may be "think".

Phonemes are written in IPA as espeak-ng and misaki (Kokoro) have it; where their signs differ a rule names both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

MARKS = "ˈˌ"  # of stress
END = r"(?=[\s,.!?]|$)"  # of a word
START = r"(?:(?<=\s)|^)"
VOWEL = "[aɑɐɒæeɛəɚɜiɪoɔuʊʌAIOWYᵊᵻɨ]"


@dataclass(frozen=True)
class Rule:
    """One change.

    found, said : a regular expression of phonemes, and what it becomes
    share : 0..1, of the places where it fits, that a strong accent changes
    """

    found: str
    said: str
    share: float

    def apply(self, phonemes: str, share: float, rng: np.random.Generator) -> str:
        """With so many of the places changed where the rule fits."""
        return re.sub(self.found, lambda place: place.expand(self.said) if rng.random() < share else place[0], phonemes)


# English of learners whose first language is Mandarin: no dental fricatives, no [v], one vowel for two that differ in
# length, consonants at the ends of words that are dropped, lose their voice or get a vowel behind them, no stress, one
# word after the other. The changes are those of F. Zhang and P. Yin, A study of pronunciation problems of English
# learners in China (Asian Social Science 5(6), 2009) and D. Deterding, The pronunciation of English by speakers from
# China (English World-Wide 27(2), 2006); how often each is made is a guess.
MANDARIN = (
    Rule("θ", "s", 0.6),
    Rule("θ", "f", 0.1),
    Rule("ð", "d", 0.4),
    Rule("ð", "z", 0.4),
    Rule("v", "w", 0.4),
    Rule("v" + END, "f", 0.4),
    Rule("z", "s", 0.35),
    Rule("(?<!d)ʒ", "ɹ", 0.2),
    Rule("(?<![aeɔ])[ɪᵻ]", "i", 0.45),
    Rule("iː?", "ɪ", 0.15),
    Rule("æ", "ɛ", 0.45),
    Rule("ɛ", "æ", 0.15),
    Rule("(?<![ao])ʊ", "u", 0.45),
    Rule("ʌ", "ɑ", 0.4),
    Rule("(?:eɪ|A)(?=[mnŋ])", "ɛ", 0.35),
    Rule("ɔ(?![ɪː])", "oʊ", 0.15),
    Rule("ŋ" + END, "n", 0.25),
    Rule("(?<=[ɪiæɛə])n" + END, "ŋ", 0.2),
    Rule(f"(?<={VOWEL})l(?!{VOWEL}|[{MARKS}])", "ʊ", 0.35),
    Rule(f"(?<={VOWEL})l(?!{VOWEL}|[{MARKS}])", "", 0.2),
    Rule(f"(?<={VOWEL})ɹ(?!{VOWEL}|[{MARKS}])", "", 0.3),
    Rule("ɚ", "ə", 0.3),
    Rule("ɹ", "l", 0.06),
    Rule("l", "ɹ", 0.04),
    Rule("n", "l", 0.03),
    Rule("b" + END, "p", 0.4),
    Rule("d" + END, "t", 0.4),
    Rule("[ɡg]" + END, "k", 0.4),
    Rule("([ptkbdɡg])" + END, r"\1ə", 0.15),
    Rule("[ptkbdɡg]" + END, "", 0.25),
    Rule("(?<=[ptkfθ])s" + END, "", 0.15),
    Rule(START + f"([{MARKS}]?)([ptkbdɡgs])(?=[lɹwptk])", r"\1\2ə", 0.08),
    Rule(f"[{MARKS}]", "", 0.5),
    Rule(r"(?<=\w)\s", ", ", 0.1),  # who reads word by word
)

ACCENTS: Mapping[str, Sequence[Rule]] = {"mandarin": MANDARIN}


@dataclass(frozen=True)
class Accent:
    """The accent of one utterance.

    language : the speaker's first, one of `ACCENTS`
    strength : 0..1; half of the rules are followed less than so, and half more
    seed : what is drawn follows from it
    """

    language: str
    strength: float
    seed: int

    def __call__(self, phonemes: str) -> str:
        """The phonemes as this speaker says them."""
        rng = np.random.default_rng(self.seed)
        for rule in ACCENTS[self.language]:
            share = min(1.0, rule.share * self.strength * rng.exponential(1 / np.log(2)))
            phonemes = rule.apply(phonemes, share, rng)
        return phonemes
