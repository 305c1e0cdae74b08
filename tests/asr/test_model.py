"""Model files: what is saved is what is loaded, and what is none is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from asr import model as module
from asr import tensorfile
from asr.alphabet import Alphabet
from asr.errors import ModelError
from asr.features import FeatureConfig
from asr.model import Model
from asr.network import Network, NetworkConfig
from asr.parameters import Parameters

FEATURES = FeatureConfig(coefficients=4)
NETWORK = NetworkConfig(inputs=12, outputs=4, cell="gru", layers=2, hidden=5, stack=2)


def small_model(seed: int = 0) -> Model:
    parameters = Network.initial(NETWORK, np.random.default_rng(seed))
    return Model(FEATURES, Alphabet(" ab"), NETWORK, parameters, {"trained_on": ["pairs:x"], "scores": {"wer": 0.5}})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    small_model().save(path)
    return path


def test_there_and_back(saved: Path) -> None:
    loaded, model = Model.load(saved), small_model()
    assert (loaded.features, loaded.alphabet, loaded.network) == (model.features, model.alphabet, model.network)
    assert loaded.provenance == model.provenance
    np.testing.assert_array_equal(loaded.parameters.vector, model.parameters.vector)
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_half_precision_halves_the_file(saved: Path, tmp_path: Path) -> None:
    small_model().save(tmp_path / "half.safetensors", half=True)
    loaded = Model.load(tmp_path / "half.safetensors")
    expected = small_model().parameters.vector.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(loaded.parameters.vector, expected)
    saving = saved.stat().st_size - (tmp_path / "half.safetensors").stat().st_size
    assert saving == pytest.approx(2 * len(expected), abs=64)  # headers differ a little


def test_what_half_precision_makes_of_a_model() -> None:
    model = small_model()
    assert not model.is_half
    assert model.halved().is_half
    np.testing.assert_allclose(model.halved().parameters.vector, model.parameters.vector, rtol=2**-11, atol=1e-7)
    model.parameters.vector[3] = 1e5
    assert not model.is_half
    with pytest.raises(ModelError, match="a weight is not a finite number"):
        model.halved()


def test_weights_too_large_for_half_precision_leave_the_old_file(saved: Path) -> None:
    before, model = saved.read_bytes(), small_model()
    model.parameters.vector[3] = 1e5
    with pytest.raises(ModelError, match="a weight is not a finite number"):
        model.save(saved, half=True)
    assert saved.read_bytes() == before


def test_the_same_model_is_the_same_file(saved: Path) -> None:
    before = saved.read_bytes()
    for _ in range(4):
        small_model().save(saved)
        assert saved.read_bytes() == before


def test_step_seconds() -> None:
    assert small_model().step_seconds == pytest.approx(0.02)


def test_bundled_models_load_by_name(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "bundled", lambda: {"small": saved})
    assert Model.load("small").network == NETWORK
    with pytest.raises(ModelError, match=r"large: neither a file nor one of the bundled models \(small\)"):
        Model.load("large")


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a folder, not a model"):
        Model.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"RIFF" * 100, b"\xff" * 8, b"\x02" + b"\0" * 7 + b"{}"])
def test_foreign_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.safetensors: not a"):
        Model.load(path)


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.999])
def test_truncated_files(saved: Path, keep: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        Model.load(saved)


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_changed_bit_is_noticed(tmp_path_factory: pytest.TempPathFactory, position: float, bit: int) -> None:
    path = tmp_path_factory.mktemp("damaged") / "m.safetensors"
    small_model().save(path)
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.safetensors: "):
        Model.load(path)


def metadata(**changes: str | None) -> dict[str, str]:
    """A good model's metadata, with changes; None takes a key out."""
    good: dict[str, str | None] = {
        "version": "1",
        "features": json.dumps({"coefficients": 4}),
        "alphabet": json.dumps(" ab"),
        "network": json.dumps({"inputs": 12, "outputs": 4, "cell": "gru", "layers": 2, "hidden": 5, "stack": 2}),
        "provenance": "{}",
    }
    return {key: value for key, value in {**good, **changes}.items() if value is not None}


def weights() -> dict[str, np.ndarray]:
    return {name: view.copy() for name, view in small_model().parameters.items()}


def test_the_untouched_parts_make_a_model(tmp_path: Path) -> None:
    tensorfile.write(tmp_path / "m.safetensors", "asr-model", weights(), metadata())
    assert Model.load(tmp_path / "m.safetensors").network == NETWORK


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "2"}, "format version 2"),
        ({"features": None}, "features"),
        ({"features": "{"}, "damaged"),
        ({"features": "[]"}, "features is of a wrong type"),
        ({"alphabet": "3"}, "alphabet is of a wrong type"),
        ({"provenance": "null"}, "provenance is of a wrong type"),
        ({"network": '{"inputs": 12, "outputs": 4, "layers": 999999999}'}, "weights do not fit"),
        ({"network": '{"inputs": 12, "outputs": 4, "cell": "gru", "layers": 2, "hidden": 999999999}'}, "do not fit"),
        ({"features": '{"colour": 1}'}, "colour: unknown key"),
        ({"features": '{"coefficients": 5}'}, "differ in dimension"),
        ({"alphabet": '" abc"'}, "differ in size"),
        ({"alphabet": '"aab"'}, "damaged"),
        ({"network": '{"inputs": 12, "outputs": 4, "cell": "lstm"}'}, "weights do not fit"),
        ({"network": '{"inputs": 12, "outputs": 4, "cell": "tube"}'}, "tube"),
    ],
)
def test_metadata_that_do_not_fit(changes: dict[str, str | None], message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    tensorfile.write(path, "asr-model", weights(), metadata(**changes))
    with pytest.raises(ModelError, match=message) as caught:
        Model.load(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("texts", [None, {"format": "pt"}, {"format": "asr-checkpoint"}])
def test_another_programs_file(texts: dict[str, str] | None, tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "m.safetensors", texts)
    with pytest.raises(ModelError, match=r"m\.safetensors: not a file of format asr-model"):
        Model.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value: float, tmp_path: Path) -> None:
    tensors = weights()
    tensors["output.bias"][1] = value
    tensorfile.write(tmp_path / "m.safetensors", "asr-model", tensors, metadata())
    with pytest.raises(ModelError, match="not a finite number"):
        Model.load(tmp_path / "m.safetensors")


def test_weights_of_another_shape_or_kind(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for bias in (np.zeros(5, np.float32), np.zeros(4, np.int32), None):
        tensors = weights() | {"output.bias": bias}
        present = {name: value for name, value in tensors.items() if value is not None}
        tensorfile.write(path, "asr-model", present, metadata())
        with pytest.raises(ModelError, match=r"wrong type|do not fit"):
            Model.load(path)


def test_parts_that_do_not_fit_make_no_model() -> None:
    with pytest.raises(ModelError, match="weights do not fit"):
        Model(FEATURES, Alphabet(" ab"), NETWORK, Parameters({"output.bias": (4,)}))


def test_an_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="cannot be written"):
        small_model().save(tmp_path / "file" / "m.safetensors")


def test_a_failed_write_leaves_the_old_model(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = saved.read_bytes()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ModelError, match="No space left on device"):
        small_model(seed=1).save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
