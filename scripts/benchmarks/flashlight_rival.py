"""flashlight-text's side: the same posteriors, words and language model; beam threshold as torchaudio sets it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from asr.alphabet import BLANK
from benchmarks.decoding import LM_WEIGHT, WORD_BONUS, DecodingData, collapsed, load_decoding
from benchmarks.jobs import Job, library

DECODER = "flashlight.lib.text.decoder"
THRESHOLD = 50.0  # of torchaudio.models.decoder.ctc_decoder: readings that are so much worse than the best are dropped
IMPOSSIBLE = -1e4


def decode(threads: int, folder: str, beam: int, floor: float, language: bool, lexicon: bool, hot: bool) -> Job:
    """`floor` is ours alone."""
    decoders = library(DECODER)
    data = load_decoding(folder)
    if not lexicon:
        return data.job(_by_letters(decoders, data, beam))
    ended = replace(data, log_probs=[_with_space(log_probs, _space(data)) for log_probs in data.log_probs])
    return ended.job(_by_words(decoders, data, beam, language))


def _by_letters(decoders: Any, data: DecodingData, beam: int) -> Any:
    """Any text, by the sound alone."""
    options = decoders.LexiconFreeDecoderOptions(
        beam_size=beam, beam_size_token=len(data.characters) + 1, beam_threshold=THRESHOLD, lm_weight=0.0,
        sil_score=0.0, log_add=True, criterion_type=decoders.CriterionType.CTC,
    )  # fmt: skip
    model = decoders.LexiconFreeDecoder(options, decoders.ZeroLM(), _space(data), BLANK, [])

    def read(utterances: Sequence[np.ndarray]) -> list[str]:
        found = [model.decode(log_probs.ctypes.data, *log_probs.shape)[0] for log_probs in utterances]
        return [collapsed([max(token, BLANK) for token in best.tokens], data.characters) for best in found]

    return read


def _by_words(decoders: Any, data: DecodingData, beam: int, language: bool) -> Any:
    """Words of the lexicon alone."""
    words = library("flashlight.lib.text.dictionary").Dictionary(data.lexicon)
    model = library(f"{DECODER}.kenlm").KenLM(str(data.arpa), words) if language else decoders.ZeroLM()
    options = decoders.LexiconDecoderOptions(
        beam_size=beam, beam_size_token=len(data.characters) + 1, beam_threshold=THRESHOLD,
        lm_weight=LM_WEIGHT * math.log(10) if language else 0.0, word_score=WORD_BONUS if language else 0.0,
        unk_score=-math.inf, sil_score=0.0, log_add=True, criterion_type=decoders.CriterionType.CTC,
    )  # fmt: skip
    trie = _trie(decoders, data, model, words, language)
    decoder = decoders.LexiconDecoder(options, trie, model, _space(data), BLANK, -1, [], False)

    def read(utterances: Sequence[np.ndarray]) -> list[str]:
        found = [decoder.decode(log_probs.ctypes.data, *log_probs.shape) for log_probs in utterances]
        return [
            " ".join(words.get_entry(word) for word in readings[0].words if word >= 0) if readings else ""
            for readings in found
        ]

    return read


def _trie(decoders: Any, data: DecodingData, model: Any, words: Any, language: bool) -> Any:
    """The words, each with the space that ends it, and what each is worth to a search that has only begun it."""
    trie = decoders.Trie(len(data.characters) + 1, _space(data))
    labels = {character: label for label, character in enumerate(data.characters, BLANK + 1)}
    start = model.start(False)
    for word in data.lexicon:
        number = words.get_index(word)
        worth = model.score(start, number)[1] if language else 0.0
        trie.insert([labels[character] for character in f"{word} "], number, worth)
    trie.smear(decoders.SmearingMode.MAX)
    return trie


def _with_space(log_probs: np.ndarray, space: int) -> np.ndarray:
    """One step more, a space for certain: in its lexicon a word ends with one, and recordings do not."""
    last = np.full((1, log_probs.shape[1]), IMPOSSIBLE, np.float32)
    last[0, space] = 0.0
    return np.concatenate([log_probs, last])


def _space(data: DecodingData) -> int:
    return data.characters.index(" ") + 1


def nothing(threads: int) -> Job:
    """Only the import, for its memory."""
    library(DECODER)
    return Job(lambda part: None)


TASKS: dict[str, Any] = {"nothing": nothing, "decode": decode}
