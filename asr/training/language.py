"""The language model that the final model carries: of the transcripts and other texts, tuned on development data.

gather      before training: the texts, read and found fit
carrying    after it: the model with a language model, its weight and its bonus

Interpolation, weight and bonus are found with a language model of the transcripts that the network has learnt from, so
that they suit texts that it has not. The final one is made of all transcripts, held-out speakers' among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from asr.alphabet import Alphabet
from asr.corpora.utterance import Utterance
from asr.decoding import greedy
from asr.decoding.beam import BeamDecoder, BeamOptions
from asr.decoding.choice import TUNABLE, bundle
from asr.decoding.tune import MOST, Point, Tuning, tune
from asr.errors import UsageError
from asr.language.build import BuildConfig, Built, build, check
from asr.language.texts import Text, Tokenizer, read_sentences
from asr.model import Model
from asr.network import Network
from asr.scoring import score
from asr.training.batches import Batch, ahead, sorted_batches
from asr.training.config import LanguageConfig, TextConfig, TrainingConfig
from asr.training.dataset import Dataset, clean
from asr.training.progress import Progress
from asr.training.strings import Joined
from kernels.interface import Backend


@dataclass(frozen=True)
class Sources:
    """What a language model is made of.

    learnt : the transcripts that the network learns from, those of joined strings among them
    every : all transcripts of the same corpora
    others : other texts
    alphabet : of the network; words with other characters are unknown
    """

    learnt: Text
    every: Text
    others: tuple[Text, ...]
    alphabet: str

    def config(self, language: LanguageConfig) -> BuildConfig:
        """How the model is made."""
        return BuildConfig(
            language.order,
            alphabet=self.alphabet,
            weights=language.weights or None,
            prune=language.prune,
            max_ngrams=language.max_ngrams,
        )


def gather(
    config: TrainingConfig,
    train: Sequence[Utterance],
    transcripts: Iterable[str] | None,
    texts: Sequence[str | Path],
    alphabet: Alphabet,
) -> Sources | None:
    """Read all that the language model is made of; None where there is to be none.

    train : what the network learns from, joined strings too
    transcripts : of the utterances that were not joined, held-out ones too; None: those of `train`
    texts : files with one sentence a line

    UsageError for texts without a language model, and where it cannot be made of them or used; CorpusError for a file
    that cannot be read.
    """
    if not config.language.order:
        if texts:
            raise UsageError(
                f"{texts[0]}: a text for the language model, and there is none to be (language.order is 0); "
                "say how many words it sees together, as with --set language.order=3, or leave the text away"
            )
        return None
    if " " not in alphabet.characters:
        raise UsageError(
            "text.alphabet has no space, so that a language model could tell no words apart; add one, or leave "
            "language.order 0"
        )
    tokenize = Tokenizer("word", config.text.punctuation)
    name = "the training transcripts"
    learnt = every = Text.read(name, (utterance.text for utterance in train), tokenize)
    if transcripts is not None:
        joined = [utterance.text for utterance in train if isinstance(utterance, Joined)]
        every = Text.read(name, [*transcripts, *joined], tokenize)
    others = tuple(Text.read(str(path), read_sentences(Path(path)), tokenize) for path in texts)
    sources = Sources(learnt, every, others, alphabet.characters)
    for text in (learnt, every):
        check([text, *others], sources.config(config.language))
    return sources


def require_tunable(sources: Sources, config: LanguageConfig, references: Iterable[str]) -> None:
    """UsageError where something would have to be tuned and the development data have no words to tune it on."""
    if any(text.strip() for text in references):
        return
    missing = [name for name in ("lm_weight", "word_bonus") if getattr(config, name) is None]
    if sources.others and not config.weights:
        missing.append("weights")
    if missing:
        keys = " and ".join(f"language.{name}" for name in missing)
        raise UsageError(
            f"{keys}: found by means of development data, of which there are none; hold speakers out (dev_every) "
            "or name data with --dev, or set what is missing"
        )


def carrying(
    model: Model,
    sources: Sources,
    config: TrainingConfig,
    dev: Dataset,
    backend: Backend,
    progress: Progress,
    fitting: Callable[[Batch], AbstractContextManager[None]],
) -> Model:
    """The model with the language model, and the settings of decoding that suit the development data best.

    fitting : entered with each batch while it is computed, as in `score_development`
    """
    language, scores = config.language, {}
    if any(example.text for example in dev.examples):
        posteriors, references, corpora = _hear(Network(model.network, model.parameters, backend), dev, config, fitting)
        held_out = Text.read("the development data", references, Tokenizer("word", config.text.punctuation))
        built = build([sources.learnt, *sources.others], sources.config(language), held_out)
        decoder = BeamDecoder(model.alphabet, BeamOptions(language.beam), built.model, threads=backend.threads)
        best = _tune(decoder, posteriors, references, corpora, model.step_seconds, config, progress).best
        for line in _told(posteriors, references, corpora, model, best, config.text):
            progress.message(line)
        language = replace(language, weights=built.weights, **{name: getattr(best, name) for name in TUNABLE})
        scores = {"dev_cer_lm": best.score.cer, "dev_wer_lm": best.score.wer}
    built = build([sources.every, *sources.others], sources.config(language))
    progress.message(_described(built, sources))
    found = {name: getattr(language, name) for name in TUNABLE}
    options = BeamOptions(language.beam, **{name: value for name, value in found.items() if value is not None})
    carried = bundle(model, BeamDecoder(model.alphabet, options, built.model, threads=backend.threads))
    return replace(carried, provenance=_provenance(model, scores, sources))


def _hear(
    network: Network, data: Dataset, config: TrainingConfig, fitting: Callable[[Batch], AbstractContextManager[None]]
) -> tuple[list[np.ndarray], list[str], list[str]]:
    """Log-probabilities `[T', C]`, text and corpus of each utterance, longest first."""
    posteriors, references, corpora = [], [], []
    batches = sorted_batches(data.lengths(), config.batches.size)
    for indices, batch in zip(batches, ahead(data.batch, batches), strict=True):
        with fitting(batch):
            log_probs = network.log_probs(batch.frames, batch.lengths)
        steps = network.steps(batch.lengths)
        posteriors += [log_probs[: steps[b], b].copy() for b in range(len(steps))]
        references += [data.examples[i].text for i in indices]
        corpora += [data.examples[i].utterance.corpus for i in indices]
    return posteriors, references, corpora


def _tune(
    decoder: BeamDecoder,
    posteriors: Sequence[np.ndarray],
    references: Sequence[str],
    corpora: Sequence[str],
    step_seconds: float,
    config: TrainingConfig,
    progress: Progress,
) -> Tuning:
    """All settings that may be taken."""
    given = {name: getattr(config.language, name) for name in TUNABLE}
    same = partial(clean, config=config.text)
    progress.begin(f"decoding {len(references)} development utterances with a language model", MOST)
    try:
        return tune(
            decoder, posteriors, references, step_seconds, same, lambda point: progress.advance(1),
            groups=corpora, **given,
        )  # fmt: skip
    finally:
        progress.end()


def _told(
    posteriors: Sequence[np.ndarray],
    references: Sequence[str],
    corpora: Sequence[str],
    model: Model,
    best: Point,
    config: TextConfig,
) -> Iterator[str]:
    """What the language model comes to on the development data, and on those of each corpus where there are several."""
    texts = [clean(greedy.decode(one, model.alphabet, model.step_seconds).text, config) for one in posteriors]
    yield (
        f"development words wrong: {score(references, texts).wer:.2%} greedily, {best.score.wer:.2%} with the language "
        f"model (weight {best.lm_weight:g}, word bonus {best.word_bonus:g}, blank penalty {best.blank_penalty:g})"
    )
    for corpus, of_corpus in best.groups.items() if len(best.groups) > 1 else ():
        pairs = [(r, t) for r, t, c in zip(references, texts, corpora, strict=True) if c == corpus]
        alone = score([r for r, _ in pairs], [t for _, t in pairs])
        yield f"  {corpus}: {alone.wer:.2%} greedily, {of_corpus.wer:.2%} with the language model"


def _described(built: Built, sources: Sources) -> str:
    model, texts = built.model, (sources.every, *sources.others)
    sentences = sum(text.sentences for text in texts)
    line = f"language model: order {model.order}, {sum(model.sizes):,} n-grams of {sentences:,} sentences"
    if not built.weights:
        return line
    shares = [f"{text.name} {weight:.3f}" for text, weight in zip(texts, built.weights, strict=True)]
    return f"{line}; {', '.join(shares)}"


def _provenance(model: Model, scores: Mapping[str, float], sources: Sources) -> dict[str, Any]:
    known = dict(model.provenance)
    if scores:
        known["scores"] = {**known.get("scores", {}), **scores}
    if sources.others:
        known["texts"] = [Path(text.name).name for text in sources.others]
    return known
