"""Real speech joined to ten minutes, in windows and in one piece: the same words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import asr
from asr.alphabet import normalise
from asr.audio import Audio
from asr.decoding.windows import Windowing
from asr.recognizer import Recognizer
from asr.scoring import score

RATE = 16000
SECONDS = 600
ORDERS = 3


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return asr.load("en")


@pytest.fixture(scope="module")
def spoken(corpora: Path) -> list[tuple[np.ndarray, str]]:
    """Samples and text of AN4's test utterances."""
    utterances = asr.open_corpus(f"an4:{corpora / 'an4'}:test")
    return [(utterance.read(RATE).samples, normalise(utterance.text)) for utterance in utterances]


def joined(spoken: list[tuple[np.ndarray, str]], order: int) -> tuple[Audio, str]:
    """Ten minutes of utterances one after the other, and what is said in them."""
    rng = np.random.default_rng(order)
    picked: list[int] = []
    while sum(len(spoken[index][0]) for index in picked) < SECONDS * RATE:
        picked.append(int(rng.integers(len(spoken))))
    samples = np.concatenate([spoken[index][0] for index in picked])
    return Audio(samples, RATE), " ".join(spoken[index][1] for index in picked)


def test_windows_cost_no_words(recognizer: Recognizer, spoken: list[tuple[np.ndarray, str]]) -> None:
    """In half an hour; in ten minutes chance alone moves a word of two hundred."""
    uncut = Recognizer(recognizer.model, recognizer.backend, decoder=recognizer.decoder)
    uncut._windowing = Windowing.of_seconds(recognizer.model.step_seconds, whole=2.0 * SECONDS)
    errors, words = np.zeros(2), 0
    for order in range(ORDERS):
        audio, text = joined(spoken, order)
        in_windows, whole = (score([text], [one.transcribe(audio).text]).words for one in (recognizer, uncut))
        print(f"\norder {order}: word error rate {in_windows.rate:.1%} in windows, {whole.rate:.1%} in one piece")
        errors += in_windows.errors, whole.errors
        words += whole.reference
    assert words > 3000
    assert errors.max() < 0.1 * words
    assert abs(errors[0] - errors[1]) <= 0.003 * words
