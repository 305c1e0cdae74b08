"""A model: how to make frames, what the labels mean, the network and its weights; one `.safetensors` file.

The file's tensors are the weights under their names, float32 or float16. Its metadata are texts: `format` is
"asr-model", `version` "1", and `features`, `alphabet`, `network`, `provenance` are JSON. Reading it runs no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from asr.alphabet import Alphabet
from asr.config import from_table, to_table
from asr.errors import AsrError, ModelError
from asr.features import FeatureConfig
from asr.files import write_atomically
from asr.network import Network, NetworkConfig
from asr.parameters import Parameters

FORMAT = "asr-model"
VERSION = "1"
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Model:
    """Everything that recognising needs, and where it came from.

    provenance : JSON-able: `trained_on`, `config`, `seed`, `epochs`, `scores`, `version`, `date`, `licence`

    Raises ModelError when the parts do not fit each other or a weight is not finite.
    """

    features: FeatureConfig
    alphabet: Alphabet
    network: NetworkConfig
    parameters: Parameters
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(self.network.inputs == self.features.dimension, "its network and its features differ in dimension")
        _require(self.network.outputs == self.alphabet.size, "its network and its alphabet differ in size")
        _require(self.parameters.layout == Network.layout(self.network), "its weights do not fit its network")
        _require(bool(np.isfinite(self.parameters.vector).all()), "a weight is not a finite number")

    @property
    def step_seconds(self) -> float:
        """Seconds from one output of the network to the next."""
        return self.features.hop_samples * self.network.stack / self.features.rate

    def save(self, path: str | Path, half: bool = False) -> None:
        """Write the file atomically; `half` keeps the weights in float16, at half the size.

        Raises ModelError when it cannot be written; what was there before is then still there.
        """
        from safetensors.numpy import save

        dtype = np.float16 if half else np.float32
        tensors = {name: np.ascontiguousarray(view, dtype) for name, view in self.parameters.items()}
        metadata = {"format": FORMAT, "version": VERSION, **{key: json.dumps(part) for key, part in self._parts()}}
        try:
            write_atomically(Path(path), save(tensors, metadata))
        except OSError as error:
            raise ModelError(f"{path}: the model cannot be written ({error.strerror}); choose another place") from error

    def _parts(self) -> list[tuple[str, Any]]:
        return [
            ("features", to_table(self.features)),
            ("alphabet", self.alphabet.characters),
            ("network", to_table(self.network)),
            ("provenance", dict(self.provenance)),
        ]

    @classmethod
    def load(cls, name_or_path: str | Path) -> Model:
        """A bundled model by name, or a file.

        Raises ModelError: no such model, a damaged or foreign file, parts that do not fit, weights not finite.
        """
        path = _find(name_or_path)
        tensors, metadata = _read(path)
        _require(metadata.get("format") == FORMAT, "not a model of this program: train one with `asr train`", path)
        version = metadata.get("version")
        _require(version == VERSION, f"format version {version} where this program reads {VERSION}: update it", path)
        try:
            features, alphabet, network, provenance = (
                json.loads(metadata[key]) for key in ("features", "alphabet", "network", "provenance")
            )
            config = from_table(NetworkConfig, network, "network")
            return cls(
                from_table(FeatureConfig, features, "features"),
                Alphabet(alphabet),
                config,
                _parameters(config, tensors),
                provenance,
            )
        except (AsrError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise ModelError(f"{path}: the model is damaged: {error}; get the file again") from error


def bundled() -> dict[str, Path]:
    """The models that come with the package, by name."""
    folder = Path(str(resources.files("asr") / "models"))
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def _find(name_or_path: str | Path) -> Path:
    models = bundled()
    if str(name_or_path) in models:
        return models[str(name_or_path)]
    path = Path(name_or_path)
    if path.is_dir():
        raise ModelError(f"{path}: a folder, not a model; name the {SUFFIX} file in it")
    if not path.is_file():
        raise ModelError(f"{path}: neither a file nor one of the bundled models ({', '.join(models) or 'none'})")
    return path


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All tensors and the metadata of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise ModelError(
            f"{path}: not a readable safetensors file ({error}); it is damaged or of another kind"
        ) from error


def _parameters(config: NetworkConfig, tensors: Mapping[str, np.ndarray]) -> Parameters:
    layout = Network.layout(config)
    _require(tensors.keys() == layout.keys(), "its weights do not fit its network")
    parameters = Parameters(layout)
    for name, view in parameters.items():
        tensor = tensors[name]
        _require(tensor.shape == view.shape and tensor.dtype in (np.float32, np.float16), f"{name} has a wrong shape")
        view[...] = tensor
    return parameters


def _require(holds: bool, message: str, path: Path | None = None) -> None:
    if not holds:
        raise ModelError(f"{path}: {message}" if path else message)
