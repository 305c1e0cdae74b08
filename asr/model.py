"""A model: how to make frames, what the labels mean, the network and its weights; one `.safetensors` file.

The file's tensors are the weights under their names, float32 or float16. Its metadata are texts: `format` is
"asr-model", `version` "1", `checksum` that of `asr.tensorfile`, and `features`, `alphabet`, `network`, `provenance` are
JSON. A language model that it carries is in the tensors `language.*` and the texts `vocabulary` (`asr.language.pack`)
and `decoding`, JSON. Reading it runs no code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from asr import tensorfile
from asr.alphabet import Alphabet
from asr.config import from_table, to_table
from asr.errors import AsrError, ModelError
from asr.features import FeatureConfig
from asr.language import NgramModel
from asr.language.pack import from_arrays, to_arrays
from asr.network import Network, NetworkConfig
from asr.parameters import Parameters

FORMAT = "asr-model"
VERSION = "1"
SUFFIX = ".safetensors"
LANGUAGE = "language."  # begins the names of a language model's tensors


@dataclass(frozen=True)
class Model:
    """Everything that recognising needs, and where it came from.

    provenance : JSON-able: `trained_on`, `config`, `seed`, `epochs`, `scores`, `version`, `date`, `licence`,
        `texts` of the language model
    language : what its texts are like, for decoding; it is used unless another way of decoding is asked for
    decoding : JSON-able: the settings that go with it (fields of `asr.decoding.beam.BeamOptions`)

    Raises ModelError when the parts do not fit each other or a weight is not finite.
    """

    features: FeatureConfig
    alphabet: Alphabet
    network: NetworkConfig
    parameters: Parameters
    provenance: Mapping[str, Any] = field(default_factory=dict)
    language: NgramModel | None = None
    decoding: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(self.network.inputs == self.features.dimension, "its network and its features differ in dimension")
        _require(self.network.outputs == self.alphabet.size, "its network and its alphabet differ in size")
        _require(self.parameters.layout == Network.layout(self.network), "its weights do not fit its network")
        _require(bool(np.isfinite(self.parameters.vector).all()), "a weight is not a finite number")

    @property
    def is_half(self) -> bool:
        """Whether float16 keeps every weight as it is."""
        with np.errstate(over="ignore"):
            return bool(np.array_equal(self.parameters.vector, self.parameters.vector.astype(np.float16)))

    def halved(self) -> Model:
        """The same with the weights that float16 makes of them. ModelError where one is too large for that."""
        with np.errstate(over="ignore"):
            weights = self.parameters.vector.astype(np.float16).astype(np.float32)
        return replace(self, parameters=Parameters(self.parameters.layout, weights))

    @property
    def step_seconds(self) -> float:
        """Seconds from one output of the network to the next."""
        return self.features.hop_samples * self.network.stack / self.features.rate

    def save(self, path: str | Path, half: bool = False) -> None:
        """Write the file atomically; `half` keeps the weights in float16, at half the size.

        Raises ModelError when it cannot be written, or a weight is too large for float16; what was there before is
        then still there.
        """
        dtype = np.float16 if half else np.float32
        parameters = self.halved().parameters if half else self.parameters
        tensors = {name: np.ascontiguousarray(view, dtype) for name, view in parameters.items()}
        parts = {
            "features": to_table(self.features),
            "alphabet": self.alphabet.characters,
            "network": to_table(self.network),
            "provenance": dict(self.provenance),
        }
        texts = {"version": VERSION, **{name: json.dumps(part) for name, part in parts.items()}}
        if self.language:
            arrays, texts["vocabulary"] = to_arrays(self.language)
            tensors |= {LANGUAGE + name: array for name, array in arrays.items()}
            texts["decoding"] = json.dumps(dict(self.decoding))
        try:
            tensorfile.write(Path(path), FORMAT, tensors, texts)
        except OSError as error:
            raise ModelError(f"{path}: the model cannot be written ({error.strerror}); choose another place") from error

    @classmethod
    def load(cls, name_or_path: str | Path) -> Model:
        """A bundled model by name, or a file.

        Raises ModelError: no such model, a damaged or foreign file, parts that do not fit, weights not finite.
        """
        path = _find(name_or_path)
        tensors, texts = tensorfile.read(path, FORMAT)
        version = texts.get("version")
        if version != VERSION:
            raise ModelError(f"{path}: format version {version} where this program reads {VERSION}: update it")
        try:
            config = from_table(NetworkConfig, _part(texts, "network", dict), "network")
            weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(LANGUAGE)}
            arrays = {name.removeprefix(LANGUAGE): tensors[name] for name in tensors.keys() - weights.keys()}
            return cls(
                from_table(FeatureConfig, _part(texts, "features", dict), "features"),
                Alphabet(_part(texts, "alphabet", str)),
                config,
                _parameters(config, weights),
                _part(texts, "provenance", dict),
                from_arrays(arrays, texts.get("vocabulary", "")) if arrays else None,
                _part(texts, "decoding", dict) if arrays else {},
            )
        except AsrError as error:
            raise ModelError(f"{path}: the model is damaged: {error}; get the file again") from error


def bundled() -> dict[str, Path]:
    """The models that come with the package, by name."""
    folder = Path(str(resources.files("asr") / "models"))
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def own_file(name_or_path: str | Path) -> Path | None:
    """The model's file, beside which settings for it may stand; None: it is a bundled model, whose place is not the
    user's."""
    return None if str(name_or_path) in bundled() else Path(name_or_path)


def _find(name_or_path: str | Path) -> Path:
    models = bundled()
    if str(name_or_path) in models:
        return models[str(name_or_path)]
    path = Path(name_or_path)
    if os.path.isdir(path):
        raise ModelError(f"{path}: a folder, not a model; name the {SUFFIX} file in it")
    if not os.path.isfile(path):
        raise ModelError(f"{path}: neither a file nor one of the bundled models ({', '.join(models) or 'none'})")
    return path


def _part(texts: Mapping[str, str], name: str, kind: type[Any]) -> Any:
    """A part of the model from its JSON."""
    try:
        part = json.loads(texts[name])
    except KeyError:
        raise ModelError(f"{name} is missing") from None
    except ValueError as error:
        raise ModelError(f"{name} is not JSON ({error})") from error
    _require(isinstance(part, kind), f"{name} is of a wrong type")
    return part


def _parameters(config: NetworkConfig, tensors: Mapping[str, np.ndarray]) -> Parameters:
    _require(config.layers <= len(tensors), "its weights do not fit its network")  # or the layout could have no end
    layout = Network.layout(config)
    _require({name: tensor.shape for name, tensor in tensors.items()} == layout, "its weights do not fit its network")
    _require(all(tensor.dtype in (np.float32, np.float16) for tensor in tensors.values()), "a weight has a wrong type")
    parameters = Parameters(layout)
    for name, view in parameters.items():
        view[...] = tensors[name]
    return parameters


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ModelError(message)
