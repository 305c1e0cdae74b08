"""Utterances made ready for training: texts as labels, frames in the cache, and what cannot be used left out."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from asr.alphabet import Alphabet, normalise, strip_punctuation
from asr.audio import Audio
from asr.corpora.utterance import Utterance
from asr.errors import AsrError, TrainingError, UsageError
from asr.features import FeatureConfig, measure
from asr.training.augment import PLAIN, draw_copies, draw_present, vary
from asr.training.batches import Batch, assemble
from asr.training.cache import FeatureCache, Lengths
from asr.training.config import AugmentConfig, Copy, TextConfig, TrainingConfig
from asr.training.progress import Progress
from asr.training.pronunciations import Pronunciations
from asr.training.streams import stream
from asr.training.strings import Joined, settings_of

MEASURED = 1000  # utterances whose mean and variance are taken for average speech
SHOWN = 10  # utterances left out that are named one by one for each reason


@dataclass(frozen=True)
class Example:
    """An utterance to learn from.

    text : as it is to be recognised
    labels : int32 `[S]`
    middle : int32 `[S']`, for the middle layer: phones, or the same
    lengths : frames of each copy that may be drawn, the plain one among them
    """

    utterance: Utterance
    text: str
    labels: np.ndarray
    middle: np.ndarray
    lengths: Lengths


@dataclass(frozen=True)
class Dataset:
    """Examples and, for each epoch, which of them it has and which copy of each.

    Where no corpus has a weight, an epoch has each example once, in their order.

    present : int64 `[epochs, N]`, places in `examples`; a single row where nothing is drawn
    copies : `[epochs][N]`
    """

    examples: tuple[Example, ...]
    present: np.ndarray
    copies: tuple[tuple[Copy, ...], ...]
    cache: FeatureCache

    @property
    def size(self) -> int:
        """Examples in an epoch, those counted twice that it has twice."""
        return int(self.present.shape[1])

    def lengths(self, epoch: int = 0) -> np.ndarray:
        """Frames of what an epoch has, int64 `[N]`."""
        pairs = zip(self.present[epoch], self.copies[epoch], strict=True)
        return np.array([self.examples[i].lengths[copy] for i, copy in pairs])

    def fingerprint(self) -> str:
        """A hash of names, texts and lengths, the same for the same data."""
        digest = hashlib.sha256()
        for example in self.examples:
            digest.update(repr((example.utterance.id, example.text, list(example.lengths.values()))).encode())
        return digest.hexdigest()[:16]

    def batch(self, indices: np.ndarray, epoch: int = 0) -> Batch:
        """The examples at `indices` into what the epoch has, as they are in the cache."""
        return self._batch(indices, epoch, lambda frames: frames)

    def varied_batch(
        self, indices: np.ndarray, config: AugmentConfig, seed: int, epoch: int, number: int, hearings: int = 1
    ) -> Batch:
        """The same with changes drawn for batch `number` of the epoch.

        hearings : how often each example is in it, side by side, each time with changes of its own
        """
        rng = stream(seed, "frames", epoch, number)
        return self._batch(np.repeat(indices, hearings), epoch, lambda frames: vary(frames, config, rng))

    def _batch(self, indices: np.ndarray, epoch: int, change: Callable[[np.ndarray], np.ndarray]) -> Batch:
        examples = [self.examples[self.present[epoch, i]] for i in indices]
        copies = [self.copies[epoch][i] for i in indices]
        frames = [change(self.cache.frames(e.utterance, copy)) for e, copy in zip(examples, copies, strict=True)]
        labels, middle = [e.labels for e in examples], [e.middle for e in examples]
        return assemble(frames, labels, [e.utterance.id for e in examples], middle)


def with_prior(config: FeatureConfig, utterances: Sequence[Utterance]) -> FeatureConfig:
    """Average speech measured, where features need it and have it not: that of up to MEASURED of the utterances."""
    if not config.prior_frames or config.prior_mean or not utterances:
        return config
    chosen = utterances[:: max(1, -(-len(utterances) // MEASURED))]
    try:
        return measure(_sounds(chosen, config), config)
    except ValueError:
        raise TrainingError(
            f"none of the {len(chosen)} training utterances tried can be read, {chosen[0].audio} for one; "
            "check that they are sound files"
        ) from None


def _sounds(utterances: Sequence[Utterance], config: FeatureConfig) -> Iterator[Audio]:
    """Those that can be read and are long enough; of the others the run tells later."""
    for utterance in utterances:
        try:
            sound = utterance.read(config.rate)
        except AsrError:
            continue
        if len(sound.samples) >= config.window_samples:
            yield sound


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
    utterances: Sequence[Utterance],
    alphabet: Alphabet,
    config: TrainingConfig,
    cache: FeatureCache,
    threads: int,
    said: Pronunciations | None = None,
) -> Dataset:
    """Training data with the copies drawn for all epochs; TrainingError when no utterance can be used.

    Draws are made among what can be used, so that a corpus of which some is left out has its share all the same.

    said : tells the phones for the middle layer
    """
    examples = _examples(utterances, alphabet, config, cache, threads, said)
    if not examples:
        raise TrainingError(
            f"none of the {len(utterances)} training utterances can be used; the messages above say why"
        )
    if said:
        _tell_missing(said, [example.text for example in examples], cache.progress)
    copies = config.augment.copies or (PLAIN,)
    _find_voices(copies, [example.utterance for example in examples], cache)
    present = draw_present([settings_of(example.utterance, config) for example in examples], config)
    drawn = draw_copies(config.augment, present.shape[1], config.schedule.epochs, config.seed)
    wanted: list[list[Copy]] = [[] for _ in examples]
    for i, c in np.unique(np.stack([present.ravel(), drawn.ravel()]), axis=1).T:
        wanted[i].append(copies[c])
    examples = _with_copies(examples, wanted, config, cache, threads)
    chosen = [
        tuple(_usable(copies[c], examples[i]) for i, c in zip(*pair, strict=True))
        for pair in zip(present.tolist(), drawn.tolist(), strict=True)
    ]
    return Dataset(tuple(examples), present, tuple(chosen), cache)


def _tell_missing(said: Pronunciations, texts: Sequence[str], progress: Progress) -> None:
    total, missing = said.missing(texts)
    if missing:
        often = ", ".join(sorted(missing, key=lambda word: (-missing[word], word))[:SHOWN])
        share = f"{sum(missing.values())} of {total} words to learn from"
        progress.message(f"{share} are not in the pronouncing dictionary, such as {often}; each counts as one phone")


def _find_voices(copies: Sequence[Copy], utterances: Sequence[Utterance], cache: FeatureCache) -> None:
    """Whom noise that is speech may come from; UsageError where there is nobody."""
    if any(copy.noise == "speech" for copy in copies):
        if len(utterances) < 2:
            raise UsageError("augment: copies: noise = 'speech' is that of other training utterances; there are none")
        cache.voices = [utterance for utterance in utterances if not isinstance(utterance, Joined)]


def prepare_dev(
    utterances: Sequence[Utterance], alphabet: Alphabet, config: TrainingConfig, cache: FeatureCache, threads: int
) -> Dataset:
    """Development data, as recorded."""
    examples = _examples(utterances, alphabet, config, cache, threads)
    present = np.arange(len(examples))[np.newaxis]
    return Dataset(tuple(examples), present, ((PLAIN,) * len(examples),), cache)


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
    _report(left_out, "left out {} utterances with characters outside the alphabet", progress)
    return [pair for i, pair in enumerate(texts) if not strange[i]]


def _examples(
    utterances: Sequence[Utterance],
    alphabet: Alphabet,
    config: TrainingConfig,
    cache: FeatureCache,
    threads: int,
    said: Pronunciations | None = None,
) -> list[Example]:
    """Those that can be used as they are recorded; the others are reported."""
    kept = _spelled(utterances, alphabet, config.text, cache.progress)
    filled = cache.fill([(utterance, [PLAIN]) for utterance, _ in kept], threads)
    examples, unreadable, too_short = [], [], []
    for (utterance, text), lengths in zip(kept, filled, strict=True):
        labels = np.asarray(alphabet.encode(text), np.int32)
        if isinstance(lengths, AsrError):
            unreadable.append(f"{utterance.id}: {lengths}")
        elif not _fits(lengths[PLAIN], labels, config):
            too_short.append(f"{utterance.id}: {lengths[PLAIN]} frames for {len(labels)} characters")
        else:
            examples.append(Example(utterance, text, labels, said.labels(text) if said else labels, lengths))
    _report(unreadable, "left out {} utterances whose audio cannot be read", cache.progress)
    _report(too_short, "left out {} utterances too short for their text", cache.progress)
    return examples


def _with_copies(
    examples: Sequence[Example],
    wanted: Sequence[Sequence[Copy]],
    config: TrainingConfig,
    cache: FeatureCache,
    threads: int,
) -> list[Example]:
    """The examples with the lengths of those wanted copies, too, that are long enough for their text."""
    altered = [(i, [copy for copy in copies if copy != PLAIN]) for i, copies in enumerate(wanted)]
    altered = [(i, copies) for i, copies in altered if copies]
    wanted_of = [(examples[i].utterance, copies) for i, copies in altered]
    filled = cache.fill(wanted_of, threads, "altered copies")
    extended, plain = list(examples), []
    for (i, _), lengths in zip(altered, filled, strict=True):
        example = examples[i]
        if isinstance(lengths, AsrError):
            plain.append(f"{example.utterance.id}: {lengths}")
            continue
        usable = {copy: frames for copy, frames in lengths.items() if _fits(frames, example.labels, config)}
        extended[i] = dataclasses.replace(example, lengths=example.lengths | usable)
    _report(plain, "of {} utterances altered copies cannot be made, so they are learnt as recorded", cache.progress)
    return extended


def _fits(frames: int, labels: np.ndarray, config: TrainingConfig) -> bool:
    return feasible(labels, -(-frames // config.network.stack))


def _usable(copy: Copy, example: Example) -> Copy:
    """The copy, or the plain one where it cannot be had or is too short for its text."""
    return copy if copy in example.lengths else PLAIN


def _report(found: Sequence[str], what: str, progress: Progress) -> None:
    """A sentence, in which {} is how many were found, and the first of them."""
    if not found:
        return
    progress.message(f"{what.format(len(found))}:")
    for line in found[:SHOWN]:
        progress.message(f"  {line}")
    if len(found) > SHOWN:
        progress.message(f"  and {len(found) - SHOWN} more")
