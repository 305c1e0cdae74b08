"""Real recordings, made ready in a folder for the processes that measure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asr.alphabet import Alphabet
from asr.corpora import Utterance, open_corpus
from asr.model import Model
from asr.network import Network, NetworkConfig
from asr.parameters import Parameters
from asr.training import load_config
from asr.training.batches import Batch, epoch_batches, sorted_batches
from asr.training.cache import FeatureCache
from asr.training.config import TrainingConfig
from asr.training.dataset import Dataset, prepare_dev, with_prior
from asr.training.progress import Lines
from asr.training.streams import stream
from kernels.cpu.team import available_threads

CONFIG = "an4"  # its network (3 x 256 LSTM) and its batches of 16
SHUFFLED_EPOCH = 1  # the first goes from short to long
SYNTHETIC_STEPS = (255, 210)  # of the network: the longest and the shortest utterance of a batch
SYNTHETIC_LABELS = 30  # of each
ROWS = 32  # utterances in a batch for inference


def utterances(notations: Sequence[str], count: int | None) -> list[Utterance]:
    """Of all corpora; with `count`, so many spread evenly over them."""
    found = [utterance for notation in notations for utterance in open_corpus(notation)]
    if count is None or count >= len(found):
        return found
    return [found[i] for i in np.linspace(0, len(found) - 1, count).astype(int)]


def write_training(folder: Path, spoken: Sequence[Utterance], updates: int | None) -> None:
    """The batches of an epoch, or the first `updates` of them, and weights to start from."""
    config, data = _dataset(spoken)
    order = epoch_batches(data.lengths(), config.batches, config.seed, SHUFFLED_EPOCH)
    _write_batches(folder, [data.batch(indices) for indices in order[:updates]])
    write_network(folder, *_initial(config))


def write_synthetic(folder: Path) -> None:
    """As `write_training`, but noise and random labels in the sizes of AN4's longer batches, where no corpus is."""
    config = load_config(CONFIG)
    rng = np.random.default_rng(1)
    shape, parameters = _initial(config)
    B = config.batches.size
    lengths = (np.linspace(*SYNTHETIC_STEPS, B).round() * shape.stack).astype(np.int32)
    frames = rng.standard_normal((lengths[0], B, shape.inputs), np.float32)
    label_lengths = np.full(B, SYNTHETIC_LABELS, np.int32)
    labels = rng.integers(1, shape.outputs, (B, SYNTHETIC_LABELS)).astype(np.int32)
    np.savez(folder / "batch00000.npz", frames=frames, lengths=lengths, labels=labels, label_lengths=label_lengths)
    write_network(folder, shape, parameters)


def write_inference(folder: Path, spoken: Sequence[Utterance]) -> None:
    """Batches of similar length."""
    config, data = _dataset(spoken)
    _write_batches(folder, [data.batch(indices) for indices in sorted_batches(data.lengths(), ROWS)])
    write_network(folder, *_initial(config))


def write_network(folder: Path, config: NetworkConfig, parameters: Parameters) -> None:
    (folder / "network.json").write_text(json.dumps(dataclasses.asdict(config)))
    arrays: dict[str, Any] = dict(parameters)
    np.savez(folder / "weights.npz", **arrays)


def write_model(path: Path) -> None:
    """A model file with weights that have learnt nothing, and average speech made up: speed depends on neither."""
    config = load_config(CONFIG)
    network, parameters = _initial(config)
    dimension = config.features.dimension
    features = dataclasses.replace(config.features, prior_mean=(0.0,) * dimension, prior_deviation=(1.0,) * dimension)
    Model(features, Alphabet(config.text.alphabet), network, parameters).save(path)


def write_listing(path: Path, spoken: Sequence[Utterance]) -> None:
    path.write_text(json.dumps([[str(u.audio), u.start, u.end] for u in spoken]))


def _dataset(spoken: Sequence[Utterance]) -> tuple[TrainingConfig, Dataset]:
    config = load_config(CONFIG)
    cache = FeatureCache(with_prior(config.features, spoken), config.augment.snr_spread, Lines())
    return config, prepare_dev(spoken, Alphabet(config.text.alphabet), config, cache, available_threads())


def _initial(config: TrainingConfig) -> tuple[NetworkConfig, Parameters]:
    """Without dropout, so that all contenders compute the same."""
    settings = dataclasses.asdict(config.network) | {"dropout": 0.0}
    outputs = Alphabet(config.text.alphabet).size
    shape = NetworkConfig(inputs=config.features.dimension, outputs=outputs, **settings)
    return shape, Network.initial(shape, stream(config.seed, "weights"))


def _write_batches(folder: Path, batches: Sequence[Batch]) -> None:
    for number, batch in enumerate(batches):
        arrays = {name: getattr(batch, name) for name in ("frames", "lengths", "labels", "label_lengths")}
        np.savez(folder / f"batch{number:05d}.npz", **arrays)
