"""A language model from texts, by all the steps: vocabulary, counts, smoothing, interpolation, pruning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import UsageError
from asr.language.counts import count
from asr.language.interpolate import check_weights, interpolate, tune_weights
from asr.language.kneser_ney import kneser_ney
from asr.language.ngram import START, UNKNOWN, NgramModel
from asr.language.prune import check as check_pruning
from asr.language.prune import prune
from asr.language.texts import Text, vocabulary

MAX_ORDER = 10


@dataclass(frozen=True)
class BuildConfig:
    """How a model is made.

    order : words that an n-gram has at most, 1 to 10
    min_count : how often a word must occur to be in the vocabulary; the others are `<unk>`
    vocabulary : the words, in place of those of the texts
    alphabet : of the recogniser, whose characters alone can be recognised; empty for any
    weights : of the texts' models, one for each; None: see `build`
    prune : n-grams that change the perplexity by less than this share are left out; None: none are
    max_ngrams : so many n-grams are kept, of all orders together; None: all
    """

    order: int = 3
    min_count: int = 1
    vocabulary: tuple[str, ...] | None = None
    alphabet: str = ""
    weights: tuple[float, ...] | None = None
    prune: float | None = None
    max_ngrams: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.order <= MAX_ORDER:
            raise UsageError(f"order: {self.order} is not within 1..{MAX_ORDER}")


@dataclass(frozen=True)
class Built:
    """A model and how it came about.

    weights : of the texts' models; empty where the texts were counted together
    tuned : the weights are those under which the held-out text is most likely
    before : n-grams by order, before pruning
    """

    model: NgramModel
    weights: tuple[float, ...]
    tuned: bool
    before: list[int]


def build(texts: Sequence[Text], config: BuildConfig, held_out: Text | None = None) -> Built:
    """A model of texts.

    One text: its own. Several: one model each, all with the same vocabulary, interpolated with `config.weights` or the
    weights that suit the held-out text best; without either, all texts are counted as if they were one.
    Raises UsageError for settings that do not suit the texts, as `check` does.
    """
    words = check(texts, config)
    weights = None if config.weights is None else check_weights(config.weights, len(texts))
    tuned = weights is None and held_out is not None and len(texts) > 1
    if weights is None and not tuned:
        text = np.concatenate([text.encode(words) for text in texts])
        model = kneser_ney(count(words, text, config.order), " and ".join(text.name for text in texts))
    else:
        models = [kneser_ney(count(words, text.encode(words), config.order), text.name) for text in texts]
        if weights is None:
            assert held_out is not None
            numbers = held_out.encode(words)
            scored = [model.word_log_probs(numbers) for model in models]
            predicted = (numbers != words.index(START)) & (numbers != words.index(UNKNOWN))
            weights = tune_weights(np.stack(scored)[:, predicted])
        model = interpolate(models, weights.tolist())
    before = model.sizes
    if config.prune is not None or config.max_ngrams is not None:
        model = prune(model, config.prune, config.max_ngrams)
    return Built(model, () if weights is None else tuple(weights.tolist()), tuned, before)


def check(texts: Sequence[Text], config: BuildConfig) -> list[str]:
    """The words that a model of the texts knows; UsageError for what makes `build` fail, such as an order that the
    texts cannot fill."""
    _check_order(texts, config.order)
    if config.weights is not None:
        check_weights(config.weights, len(texts))
    words = vocabulary(texts, config.min_count, config.vocabulary, config.alphabet)
    check_pruning(len(words), config.prune, config.max_ngrams)
    return words


def _check_order(texts: Sequence[Text], order: int) -> None:
    longest = max(text.longest for text in texts)
    if longest + 2 < order:
        raise UsageError(
            f"order: no {order}-gram can be had, the longest sentence having {longest} words and its two ends; "
            f"choose {longest + 2} or less"
        )
