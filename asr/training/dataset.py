"""Utterances made ready for training: texts as labels, frames in the cache, and what cannot be used left out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from asr.alphabet import Alphabet, normalise, strip_punctuation
from asr.corpora.utterance import Utterance
from asr.errors import AsrError, TrainingError
from asr.training.augment import PLAIN, draw_copies, vary
from asr.training.batches import Batch, assemble
from asr.training.cache import FeatureCache, Lengths
from asr.training.config import AugmentConfig, Copy, TextConfig, TrainingConfig
from asr.training.progress import Progress
from asr.training.streams import stream

SHOWN = 10  # utterances left out that are named one by one for each reason


@dataclass(frozen=True)
class Example:
    """An utterance to learn from.

    text : as it is to be recognised
    labels : int32 `[S]`
    lengths : frames of each copy that may be drawn
    """

    utterance: Utterance
    text: str
    labels: np.ndarray
    lengths: Lengths


@dataclass(frozen=True)
class Dataset:
    """Examples and, for each epoch, which copy of each is used.

    copies : `[epochs][examples]`; a single row where nothing is drawn
    """

    examples: tuple[Example, ...]
    copies: tuple[tuple[Copy, ...], ...]
    cache: FeatureCache

    def lengths(self, epoch: int = 0) -> np.ndarray:
        """Frames of each example in an epoch, int64."""
        return np.array(
            [example.lengths[copy] for example, copy in zip(self.examples, self.copies[epoch], strict=True)]
        )

    def fingerprint(self) -> str:
        """A hash of names, texts and lengths, the same for the same data."""
        digest = hashlib.sha256()
        for example in self.examples:
            digest.update(repr((example.utterance.id, example.text, list(example.lengths.values()))).encode())
        return digest.hexdigest()[:16]

    def batch(self, indices: np.ndarray, epoch: int = 0) -> Batch:
        """The examples at `indices`, as they are in the cache."""
        return self._batch(indices, epoch, lambda frames: frames)

    def varied_batch(self, indices: np.ndarray, config: AugmentConfig, seed: int, epoch: int, number: int) -> Batch:
        """The same with changes drawn for batch `number` of the epoch."""
        rng = stream(seed, "frames", epoch, number)
        return self._batch(indices, epoch, lambda frames: vary(frames, config, rng))

    def _batch(self, indices: np.ndarray, epoch: int, change: Callable[[np.ndarray], np.ndarray]) -> Batch:
        examples = [self.examples[i] for i in indices]
        frames = [change(self.cache.frames(self.examples[i].utterance, self.copies[epoch][i])) for i in indices]
        return assemble(frames, [e.labels for e in examples], [e.utterance.id for e in examples])


def clean(text: str, config: TextConfig) -> str:
    """The text as it is to be recognised."""
    text = normalise(text)
    return strip_punctuation(text) if config.punctuation == "strip" else text


def choose_alphabet(train: Sequence[Utterance], config: TextConfig) -> Alphabet:
    """The alphabet given, else that of the training texts: no other character could be learnt."""
    if config.alphabet:
        return Alphabet(config.alphabet)
    return Alphabet.from_texts([clean(utterance.text, config) for utterance in train])


def prepare_train(
    utterances: Sequence[Utterance], alphabet: Alphabet, config: TrainingConfig, cache: FeatureCache, threads: int
) -> Dataset:
    """Training data with the copies drawn for all epochs; TrainingError when no utterance can be used."""
    kept = _spelled(utterances, alphabet, config.text, cache.progress)
    copies = config.augment.copies or (PLAIN,)
    drawn = draw_copies(config.augment, len(kept), config.schedule.epochs, config.seed)
    wanted = [dict.fromkeys([PLAIN, *(copies[c] for c in sorted(set(drawn[:, i])))]) for i in range(len(kept))]
    examples = _examples(kept, [list(w) for w in wanted], alphabet, config, cache, threads)
    rows = tuple(
        tuple(_usable(copies[row[i]], example) for i, example in examples.items()) for row in drawn
    )  # an altered copy that is too short for its text gives way to the plain one
    if not examples:
        raise TrainingError(
            f"none of the {len(utterances)} training utterances can be used; the messages above say why"
        )
    return Dataset(tuple(examples.values()), rows, cache)


def prepare_dev(
    utterances: Sequence[Utterance], alphabet: Alphabet, config: TrainingConfig, cache: FeatureCache, threads: int
) -> Dataset:
    """Development data, as recorded."""
    kept = _spelled(utterances, alphabet, config.text, cache.progress)
    examples = _examples(kept, [[PLAIN]] * len(kept), alphabet, config, cache, threads)
    return Dataset(tuple(examples.values()), ((PLAIN,) * len(examples),), cache)


def feasible(labels: np.ndarray, steps: int) -> bool:
    """Whether CTC has a path: a step for each label, and a blank between two that are the same."""
    return steps >= len(labels) + int(np.count_nonzero(labels[1:] == labels[:-1]))


def _spelled(
    utterances: Sequence[Utterance], alphabet: Alphabet, config: TextConfig, progress: Progress
) -> list[tuple[Utterance, str]]:
    """Utterances whose text the alphabet can write, with that text; the others are reported."""
    texts = [(utterance, clean(utterance.text, config)) for utterance in utterances]
    strange = {i: alphabet.outside(text) for i, (_, text) in enumerate(texts)}
    left_out = [f"{texts[i][0].id}: {' '.join(sorted(map(repr, found)))}" for i, found in strange.items() if found]
    _report(left_out, "with characters outside the alphabet", progress)
    return [pair for i, pair in enumerate(texts) if not strange[i]]


def _examples(
    kept: Sequence[tuple[Utterance, str]],
    wanted: Sequence[Sequence[Copy]],
    alphabet: Alphabet,
    config: TrainingConfig,
    cache: FeatureCache,
    threads: int,
) -> dict[int, Example]:
    """The usable ones among `kept`, by index; the others are reported."""
    filled = cache.fill([(utterance, copies) for (utterance, _), copies in zip(kept, wanted, strict=True)], threads)
    examples, unreadable, too_short = {}, [], []
    for i, ((utterance, text), lengths) in enumerate(zip(kept, filled, strict=True)):
        labels = np.asarray(alphabet.encode(text), np.int32)
        if isinstance(lengths, AsrError):
            unreadable.append(f"{utterance.id}: {lengths}")
            continue
        usable = {copy: n for copy, n in lengths.items() if feasible(labels, -(-n // config.network.stack))}
        if PLAIN in usable:
            examples[i] = Example(utterance, text, labels, usable)
        else:
            too_short.append(f"{utterance.id}: {lengths[PLAIN]} frames for {len(labels)} characters")
    _report(unreadable, "whose audio cannot be read", cache.progress)
    _report(too_short, "too short for their text", cache.progress)
    return examples


def _usable(copy: Copy, example: Example) -> Copy:
    return copy if copy in example.lengths else PLAIN


def _report(left_out: Sequence[str], reason: str, progress: Progress) -> None:
    if not left_out:
        return
    progress.message(f"left out {len(left_out)} utterances {reason}:")
    for line in left_out[:SHOWN]:
        progress.message(f"  {line}")
    if len(left_out) > SHOWN:
        progress.message(f"  and {len(left_out) - SHOWN} more")
