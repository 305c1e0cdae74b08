"""What a run begins with, a network with random weights or with those of another model, and what of it may stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from asr.backends import fitting
from asr.model import Model
from asr.network import Network, NetworkConfig, NetworkSettings
from asr.training.config import TrainingConfig
from asr.training.streams import stream
from kernels.interface import Backend


def like(model: Model, config: TrainingConfig) -> TrainingConfig:
    """The settings for going on with a model: features, alphabet and network are its own, but not how it is trained."""
    shape = {field.name: getattr(model.network, field.name) for field in dataclasses.fields(NetworkSettings)}
    how = ("dropout", "recurrent_dropout", "intermediate", "intermediate_after", "consistency")
    ways = {name: getattr(config.network, name) for name in how}
    return dataclasses.replace(
        config,
        features=model.features,
        text=dataclasses.replace(config.text, alphabet=model.alphabet.characters),
        network=NetworkSettings(**shape | ways),
    )


def first_network(
    config: TrainingConfig, outputs: int, middle: int, init: Model | None, backend: Backend, folder: Path
) -> Network:
    """The network before its first update.

    outputs, middle : labels and the blank, of the last layer and of the middle one, if that has a loss
    init : whose weights are taken where the network has the same; others, as of an output that reads another layer,
        begin anew
    folder : the run's, to be named where the device's memory is too small
    """
    shape = NetworkConfig(
        inputs=config.features.dimension,
        outputs=outputs,
        middle=middle if config.network.intermediate else 0,
        **dataclasses.asdict(config.network),
    )
    parameters = Network.initial(shape, stream(config.seed, "weights"))
    for name, weight in _common(shape, init) if init else ():
        parameters[name][...] = weight
    with fitting(str(folder), lambda: "take a smaller network (network.hidden, network.layers) or --device cpu"):
        return Network(shape, parameters, backend)


def blended(model: Model, first: Model, share: float) -> Model:
    """The model with a share of the weights that training began with, where it has the same."""
    parameters = model.parameters.like()
    parameters.vector[...] = model.parameters.vector
    for name, weight in _common(model.network, first):
        parameters[name][...] = (1 - share) * parameters[name] + share * weight
    return dataclasses.replace(model, parameters=parameters)


def _common(network: NetworkConfig, model: Model) -> Iterator[tuple[str, np.ndarray]]:
    """Those of the model's weights that the network has as well: of the same name and shape, and the middle layer's
    output only where it reads the same layer."""
    layout, other = Network.layout(network), network.middle_reads != model.network.middle_reads
    for name, weight in model.parameters.items():
        if layout.get(name) == weight.shape and not (other and name.startswith("middle.")):
            yield name, weight
