"""How likely a word is spelled so, for words that a language model lacks: an n-gram model of letters.

Every word of a vocabulary counts once, as rare words do, and it is rare words that a vocabulary lacks (Bisani and
Ney, Interspeech 2005, make unknown words of smaller units likewise, theirs being of letters with their sounds).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from asr.language.counts import count
from asr.language.kneser_ney import kneser_ney
from asr.language.ngram import END, SPECIAL, START, NgramModel

ORDER = 5  # letters seen together


def spelling_model(words: Iterable[str], characters: str) -> NgramModel:
    """A model whose words are the characters, and whose sentences are words; characters that no word has are unlikely.

    words : at least one, of these characters
    """
    letters = [*SPECIAL, *sorted(characters)]
    numbers = {letter: number for number, letter in enumerate(letters)}
    start, end = numbers[START], numbers[END]
    text = [number for word in words for number in (start, *(numbers[letter] for letter in word), end)]
    return kneser_ney(count(letters, np.array(text, np.int32), ORDER), name=None)
