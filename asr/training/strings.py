"""Utterances joined to longer ones: isolated words become strings of words, as people say them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.audio import Audio
from asr.corpora.utterance import Utterance
from asr.training.config import CorpusConfig, TrainingConfig
from asr.training.progress import Progress
from asr.training.streams import stream

ROOM_BLOCK = 0.02  # seconds; the softest block of a recording is taken for the sound of the room
FADE = 0.005  # seconds over which a part comes and goes, so that nothing clicks


@dataclass(frozen=True)
class Joined(Utterance):
    """Several utterances one after the other; `audio` is the first one's file.

    parts : of one speaker
    pauses : seconds before the first, between them and after the last
    """

    parts: tuple[Utterance, ...] = ()
    pauses: tuple[float, ...] = ()

    def read(self, rate: int = 16000) -> Audio:
        """The parts with their pauses, in which the room is heard. Raises AudioError, naming the file."""
        sounds = [part.read(rate).samples for part in self.parts]
        level = min(_softest(samples, rate) for samples in sounds)
        rng = stream(0, "strings", len(self.parts), *(round(1e6 * pause) for pause in self.pauses))
        room = [(level * rng.standard_normal(round(pause * rate))).astype(np.float32) for pause in self.pauses]
        faded = [_faded(samples, rate) for samples in sounds]
        between = [piece for pair in zip(faded, room[1:], strict=True) for piece in pair]
        return Audio(np.concatenate([room[0], *between]), rate, self.id)


def settings_of(utterance: Utterance, config: TrainingConfig) -> CorpusConfig | None:
    """The first of `config.corpora` that the utterance's corpus matches."""
    name = utterance.corpus.casefold()
    return next((corpus for corpus in config.corpora if corpus.match.casefold() in name), None)


def with_strings(utterances: Sequence[Utterance], config: TrainingConfig, progress: Progress) -> list[Utterance]:
    """The utterances, and behind them the strings that `config.corpora` asks for."""
    members: dict[CorpusConfig, list[Utterance]] = {corpus: [] for corpus in config.corpora}
    for utterance in utterances:
        corpus = settings_of(utterance, config)
        if corpus:
            members[corpus].append(utterance)
    for corpus, found in members.items():
        if not found:
            progress.message(f"corpora: no utterance is of a corpus that has {corpus.match!r} in its name")
    joined = [
        string
        for number, (corpus, found) in enumerate(members.items())
        if corpus.strings and found
        for string in _strings(found, corpus, number, config.seed)
    ]
    return [*utterances, *joined]


def _strings(utterances: Sequence[Utterance], corpus: CorpusConfig, number: int, seed: int) -> list[Joined]:
    """Each speaker's utterances in random order, and again, cut into strings."""
    rng = stream(seed, "strings", number)
    by_speaker: dict[tuple[str, str], list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        by_speaker[utterance.corpus, utterance.speaker].append(utterance)
    strings: list[Joined] = []
    for found in by_speaker.values():
        waiting: list[Utterance] = []
        for _ in range(max(1, round(corpus.strings * len(found)))):
            count = int(rng.integers(1, corpus.longest + 1))
            while len(waiting) < count:
                waiting += [found[i] for i in rng.permutation(len(found))]
            pauses = corpus.pause * rng.random(count + 1) ** 2  # half of them below a quarter of the longest
            strings.append(_joined(waiting[:count], pauses, f"string-{number}-{len(strings)}"))
            del waiting[:count]
    return strings


def _joined(parts: Sequence[Utterance], pauses: np.ndarray, name: str) -> Joined:
    text = " ".join(part.text.strip() for part in parts)
    rounded = tuple(round(float(pause), 3) for pause in pauses)
    first = parts[0]
    return Joined(
        f"{name}-{first.id}", Path(first.audio), text, first.speaker, corpus=first.corpus,
        parts=tuple(parts), pauses=rounded,
    )  # fmt: skip


def _softest(samples: np.ndarray, rate: int) -> float:
    """The least root mean square of any block, or of all where there is not a block."""
    size = round(ROOM_BLOCK * rate)
    whole = samples[: max(1, len(samples) // size) * size]
    blocks = whole.reshape(-1, size) if len(whole) % size == 0 else whole[np.newaxis]
    return float(np.sqrt(np.mean(np.square(blocks, dtype=np.float64), axis=1).min()))


def _faded(samples: np.ndarray, rate: int) -> np.ndarray:
    size = min(round(FADE * rate), len(samples) // 2)
    faded = samples.copy()
    ramp = np.linspace(0, 1, size, endpoint=False, dtype=np.float32)
    faded[:size] *= ramp
    faded[len(samples) - size :] *= ramp[::-1]
    return faded
