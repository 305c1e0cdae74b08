"""How the network does on development data, by greedy decoding."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from asr.alphabet import Alphabet
from asr.decoding import greedy
from asr.decoding.greedy import BestPath
from asr.network import Network
from asr.scoring import score
from asr.training.batches import Batch, ahead, sorted_batches
from asr.training.dataset import Dataset


@dataclass(frozen=True)
class DevScore:
    """loss : per character; cer, wer : fractions, None where the references are empty"""

    loss: float
    cer: float | None
    wer: float | None

    def known(self) -> dict[str, float]:
        """By name, as metrics and models have them."""
        values = {"dev_loss": self.loss, "dev_cer": self.cer, "dev_wer": self.wer}
        return {name: value for name, value in values.items() if value is not None}

    def rank(self) -> tuple[float, float, float]:
        """Smaller is better: words first, then characters, then the loss."""
        return (math.inf if self.wer is None else self.wer, math.inf if self.cer is None else self.cer, self.loss)


def score_development(
    network: Network,
    data: Dataset,
    alphabet: Alphabet,
    size: int,
    fitting: Callable[[Batch], AbstractContextManager[None]],
) -> DevScore | None:
    """Loss and error rates, `size` utterances at a time; None without development data.

    fitting : entered with each batch while it is computed: says what is wrong where it does not fit into memory
    """
    if not data.examples:
        return None
    references, hypotheses, loss, characters = [], [], 0.0, 0
    batches = sorted_batches(data.lengths(), size)
    for indices, batch in zip(batches, ahead(data.batch, batches), strict=True):
        with fitting(batch):
            losses, path, values = network.losses_and_best(*batch.arrays)
        steps = network.steps(batch.lengths)
        loss += float(losses.sum())
        characters += int(batch.label_lengths.sum())
        references += [data.examples[i].text for i in indices]  # they come longest first, as in the batch
        paths = [BestPath(path[: steps[b], b], values[: steps[b], b]) for b in range(len(steps))]
        hypotheses += [greedy.read(one, alphabet, 1.0).text for one in paths]
    total = score(references, hypotheses)
    return DevScore(loss / max(1, characters), _rate(total.cer), _rate(total.wer))


def _rate(value: float) -> float | None:
    return None if np.isnan(value) else value
