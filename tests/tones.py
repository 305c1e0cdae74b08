"""A language of tones: each letter is a pure tone, each space a pause; heard without doubt, so learnt without error.

`make` writes a corpus of it in the `pairs` layout, `x.wav` beside `x.txt`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 16000  # Hz
TONES = {"a": 300.0, "b": 500.0, "c": 800.0, "d": 1300.0, "e": 2100.0, "f": 3400.0}  # Hz, alike far apart in mel
TONE = 0.10  # seconds
GAP = 0.04  # seconds of silence after each tone
PAUSE = 0.12  # seconds more between words


def text(rng: np.random.Generator, words: int = 3) -> str:
    """One to `words` words of one to four letters."""
    letters = list(TONES)
    lengths = rng.integers(1, 5, rng.integers(1, words + 1))
    return " ".join("".join(rng.choice(letters, length)) for length in lengths)


def sound(letters: str, rng: np.random.Generator) -> np.ndarray:
    """The sound of a text, float32 `[N]` at `RATE`: tones with soft edges, in faint noise."""
    time = np.arange(round(TONE * RATE)) / RATE
    edges = np.hanning(len(time)) ** 0.25
    gap, pause = np.zeros(round(GAP * RATE)), np.zeros(round(PAUSE * RATE))
    pieces = [pause]
    for letter in letters:
        pieces += [pause] if letter == " " else [0.3 * edges * np.sin(2 * np.pi * TONES[letter] * time), gap]
    samples = np.concatenate([*pieces, pause])
    return (samples + 1e-3 * rng.standard_normal(len(samples))).astype(np.float32)


def make(folder: Path, utterances: int = 48, seed: int = 1) -> list[str]:
    """Write so many utterances to `folder`; their texts, in the order of the file names."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    texts = [text(rng) for _ in range(utterances)]
    for number, line in enumerate(texts):
        path = folder / f"tone{number:03d}.wav"
        soundfile.write(path, sound(line, rng), RATE, subtype="PCM_16")
        path.with_suffix(".txt").write_text(line + "\n", encoding="utf-8")
    return texts
