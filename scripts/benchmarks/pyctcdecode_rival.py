"""pyctcdecode's side: the same posteriors and language model, its own settings but for the beam."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence

import numpy as np

from benchmarks.decoding import LM_WEIGHT, WORD_BONUS, load_decoding
from benchmarks.jobs import Job, library


def decode(threads: int, folder: str, beam: int, floor: float, language: bool, lexicon: bool, hot: bool) -> Job:
    """`floor` is ours alone."""
    peer = library("pyctcdecode")
    data = load_decoding(folder)
    labels = ["", *data.characters]
    if language:
        library("kenlm")
        model = peer.build_ctcdecoder(labels, str(data.arpa), data.lexicon, alpha=LM_WEIGHT, beta=WORD_BONUS)
    else:
        model = peer.build_ctcdecoder(labels)
    hotwords = data.hotwords if hot else None

    def read(utterances: Sequence[np.ndarray]) -> list[str]:
        return [model.decode(log_probs, beam, hotwords=hotwords) for log_probs in utterances]

    return data.job(read)


def nothing(threads: int) -> Job:
    """Only the import, for its memory."""
    library("pyctcdecode")
    return Job(lambda part: None)


logging.getLogger("pyctcdecode").setLevel(logging.ERROR)
warnings.simplefilter("ignore")  # of logarithms of 0
TASKS = {"nothing": nothing, "decode": decode}
