"""Utterances in pieces: a word or a few that were said among others, cut out, to be learnt alone and in other company.

The model that the run begins with tells where the words are (`asr.decoding.forced`); a cut is where the sound changes
most between two of them.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from asr.audio import Audio
from asr.backends import fitting
from asr.corpora.utterance import Utterance
from asr.decoding import greedy
from asr.decoding.forced import forced_path
from asr.errors import AsrError
from asr.features import FeatureConfig, extract
from asr.files import write_atomically
from asr.model import Model
from asr.network import Network
from asr.training.batches import assemble
from asr.training.config import TrainingConfig
from asr.training.dataset import clean
from asr.training.progress import Progress
from asr.training.streams import stream
from asr.training.strings import settings_of
from asr.transcript import Word
from kernels.interface import Backend

LONGEST = 4  # words in a piece
SHORTEST = 0.09  # seconds of a piece: what is shorter was not well cut
BATCH = 16  # utterances that are heard together
LATE = 0.03  # seconds by which the network may name a sound too late
AROUND = 4  # frames, on either side, whose means are compared


def cut_pieces(
    utterances: Sequence[Utterance], config: TrainingConfig, model: Model | None, backend: Backend, progress: Progress
) -> list[Utterance]:
    """The pieces that `config.corpora` asks for, of one speaker and corpus with what they were cut out of.

    An utterance that cannot be read, or spelled with the model's alphabet, has none: of it the run tells later.
    """
    chosen = _chosen(utterances, config)
    if not chosen or model is None:
        return []
    progress.begin(f"words of {len(chosen)} utterances, to be cut into pieces", len(chosen))
    try:
        network = Network(model.network, model.parameters, backend)
        pieces: list[Utterance] = []
        for start in range(0, len(chosen), BATCH):
            group = chosen[start : start + BATCH]
            pieces += _pieces_of(group, config, model, network)
            progress.advance(len(group))
    finally:
        progress.end()
    return pieces


def write_pieces(pieces: Sequence[Utterance], path: Path) -> None:
    """Leave them for `read_pieces`: another machine may cut a little elsewhere. OSError."""
    rows = ([piece.corpus, piece.id, piece.start, piece.end, piece.text] for piece in pieces)
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def read_pieces(path: Path, utterances: Sequence[Utterance]) -> list[Utterance]:
    """What `write_pieces` left, of these utterances."""
    whole = {(utterance.corpus, utterance.id): utterance for utterance in utterances}
    pieces = []
    for corpus, name, start, end, text in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        found = whole.get((corpus, name.rpartition("@")[0]))
        if found:
            pieces.append(replace(found, id=name, start=start, end=end, text=text))
    return pieces


def _chosen(utterances: Sequence[Utterance], config: TrainingConfig) -> list[Utterance]:
    """So many of each corpus as are to be cut, those of a batch alike in the length of their texts."""
    members: dict[int, list[Utterance]] = {number: [] for number in range(len(config.corpora))}
    for utterance in utterances:
        corpus = settings_of(utterance, config)
        if corpus and corpus.pieces:
            members[config.corpora.index(corpus)].append(utterance)
    chosen: list[Utterance] = []
    for number, found in members.items():
        drawn = stream(config.seed, "pieces", number).permutation(len(found))
        chosen += [found[i] for i in sorted(drawn[: round(config.corpora[number].pieces * len(found))])]
    return sorted(chosen, key=lambda utterance: len(utterance.text))


def _pieces_of(
    utterances: Sequence[Utterance], config: TrainingConfig, model: Model, network: Network
) -> Iterator[Utterance]:
    heard: list[tuple[Utterance, Audio, np.ndarray]] = []
    for utterance in utterances:
        text = clean(utterance.text, config.text)
        if " " in text and not model.alphabet.outside(text):
            try:
                sound = utterance.read(model.features.rate)
            except AsrError:
                continue
            if len(sound.samples) >= model.features.window_samples:
                heard.append((utterance, sound, np.asarray(model.alphabet.encode(text), np.int32)))
    if not heard:
        return
    frames, labels = [extract(sound, model.features) for _, sound, _ in heard], [label for _, _, label in heard]
    batch = assemble(frames, labels, [str(i) for i in range(len(heard))])
    with fitting("words to be cut into pieces", lambda: "use --device cpu"):
        log_probs, steps = network.log_probs(batch.frames, batch.lengths), network.steps(batch.lengths)
    for column, name in enumerate(batch.ids):
        utterance, sound, label = heard[int(name)]
        path = forced_path(log_probs[: steps[column], column], label)
        if path is not None:
            words = greedy.read(path, model.alphabet, model.step_seconds).words
            rng = stream(config.seed, "pieces", zlib.crc32(utterance.id.encode(errors="surrogatepass")))
            cuts = [_boundary(frames[int(name)], model.features, a.end, b.start) for a, b in pairwise(words)]
            yield from _cut(utterance, words, [0.0, *cuts, sound.duration], rng)


def _cut(
    utterance: Utterance, words: Sequence[Word], ends: Sequence[float], rng: np.random.Generator
) -> Iterator[Utterance]:
    """All of the utterance in pieces of 1 to LONGEST words, but those that would be all of it or too short.

    ends : seconds at which the first word begins, and at which each ends
    """
    begin = 0
    while begin < len(words):
        stop = min(begin + int(rng.integers(1, LONGEST + 1)), len(words))
        start, end = (round(utterance.start + ends[place], 4) for place in (begin, stop))
        if stop - begin < len(words) and end - start >= SHORTEST:
            text = " ".join(word.text for word in words[begin:stop])
            yield replace(utterance, id=f"{utterance.id}@{start:g}", start=start, end=end, text=text)
        begin = stop


def _boundary(frames: np.ndarray, config: FeatureConfig, begin: float, end: float) -> float:
    """Seconds at which one word is the likeliest to give way to the next, whose last label was found to end at `begin`
    and whose first to begin at `end`: where the cepstra change most (Furui, JASA 80, 1986).

    A network may name a sound as late as when it ends, so that the change is sought from before `begin` on.
    """
    cepstra = frames[:, : config.coefficients]
    middle = config.window / 2  # of a frame, from its start
    first = max(1, round((begin - LATE - middle) / config.hop))
    places = np.arange(first, max(first, round((end - middle) / config.hop)) + 1)
    places = places[places < len(cepstra)]
    if not len(places):
        return begin
    changes = [cepstra[max(0, t - AROUND) : t].mean(axis=0) - cepstra[t : t + AROUND].mean(axis=0) for t in places]
    return float(places[np.square(changes).sum(axis=1).argmax()] * config.hop + middle - config.hop / 2)
