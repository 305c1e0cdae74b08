"""Training settings: the named ones, files that build on others, overrides, and what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.errors import UsageError
from asr.training.config import Copy, TrainingConfig, load_config, named_configs, save_config

NO_CONFIG = "neither a file nor one of the configurations an4, default, en, en-fifth, en-first, en-fourth, en-second"


@pytest.mark.parametrize("name", sorted(named_configs()))
def test_named_configs_load_and_are_kept_whole(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    save_config(config, tmp_path / "config.toml")
    assert load_config(tmp_path / "config.toml") == config


def test_the_named_configs() -> None:
    assert {"an4", "default", "tiny"} <= named_configs().keys()


def test_an4_is_the_recipe() -> None:
    config = load_config("an4")
    assert config.features.dimension == 60
    assert (config.network.cell, config.network.layers, config.network.hidden) == ("lstm", 3, 256)
    assert len(config.text.alphabet) == 28
    assert sum(copy.weight for copy in config.augment.copies) == 16
    assert config.features.prior_frames == 100
    assert config.language.order == 3
    assert config.schedule.hold * config.schedule.epochs == 32
    assert config.optimizer.rate * config.schedule.final == pytest.approx(0.004)


def test_overrides_of_all_kinds() -> None:
    config = load_config(
        "an4",
        {
            "network.cell": "gru",
            "schedule.epochs": "12",
            "augment.copies": "[{speed = 1.1}]",
            "seed": 5,
            "keep": "best",
        },
    )
    assert (config.network.cell, config.schedule.epochs, config.seed, config.keep) == ("gru", 12, 5, "best")
    assert config.augment.copies == (Copy(speed=1.1),)
    assert config.network.hidden == load_config("an4").network.hidden


def test_a_file_builds_on_another(tmp_path: Path) -> None:
    (tmp_path / "first.toml").write_text('base = "an4"\n[network]\ncell = "gru"\n')
    (tmp_path / "second.toml").write_text('base = "first.toml"\n[network]\nhidden = 64\n')
    config = load_config(tmp_path / "second.toml")
    assert (config.network.cell, config.network.hidden, config.network.stack) == ("gru", 64, 2)
    assert config.augment == load_config("an4").augment


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[network", "not a readable TOML file"),
        ("base = 3", "base: 3 where the name or path"),
        (
            'base = "nowhere"',
            f"nowhere: {NO_CONFIG}",
        ),
        ('base = "x.toml"', "the file is built on itself"),
        ("[network]\nlayer = 3", "network: layer: unknown key; did you mean layers?"),
        ("layers = 3", "layers: unknown key"),
        ('[network]\ncell = "lsmt"', "network: cell: 'lsmt' is none of rnn_tanh, rnn_relu, gru, lstm"),
    ],
)
def test_files_that_cannot_be_used(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_config(path)
    assert message in str(caught.value)


def test_no_such_config() -> None:
    with pytest.raises(
        UsageError,
        match=f"an5: {NO_CONFIG}",
    ):
        load_config("an5")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("network.layers", 0),
        ("network.hidden", 0),
        ("network.stack", 0),
        ("network.dropout", 1.0),
        ("optimizer.rate", 0.0),
        ("optimizer.momentum", 1.0),
        ("optimizer.clip", 0.0),
        ("optimizer.weight_decay", -1.0),
        ("schedule.epochs", 0),
        ("schedule.warmup", -1.0),
        ("schedule.hold", 1.5),
        ("schedule.final", -0.1),
        ("batches.size", 0),
        ("batches.jitter", -1.0),
        ("augment.copies", [{"speed": 0.1}]),
        ("augment.copies", [{"hop": 3.0}]),
        ("augment.copies", [{"weight": 0.0}]),
        ("augment.copies", [{"noise": "speech"}]),
        ("augment.copies", [{"noise": "pink", "snr": 10.0}]),
        ("augment.copies", [{"reverb": 0.0}]),
        ("augment.copies", [{"stop": 4.0}]),
        ("augment.copies", [{"band": "am"}]),
        ("augment.copies", [{"level": 60.0}]),
        ("augment.copies", [{"spread": 0.5}]),
        ("corpora", [{"match": ""}]),
        ("corpora", [{"match": "a", "weight": 0.0}]),
        ("corpora", [{"match": "a", "strings": -1.0}]),
        ("corpora", [{"match": "a", "longest": 0}]),
        ("corpora", [{"match": "a", "pause": 6.0}]),
        ("corpora", [{"match": "a"}, {"match": "a", "weight": 2.0}]),
        ("augment.noise", -1.0),
        ("augment.mask_share", 2.0),
        ("text.alphabet", "abca"),
        ("language.order", -1),
        ("language.order", 11),
        ("language.prune", 1.0),
        ("language.max_ngrams", 0),
        ("language.weights", [1.0, -1.0]),
        ("language.lm_weight", -0.5),
        ("language.word_bonus", float("inf")),
        ("language.beam", 0),
        ("seed", -1),
        ("dev_every", -1),
        ("dev_every", 1),
        ("dev_fold", -1),
        ("dev_fold", 1),
        ("blend", 1.0),
        ("blend", 0.5),
    ],
)
def test_values_that_cannot_be(key: str, value: object) -> None:
    with pytest.raises(UsageError) as caught:
        load_config("tiny", {key: value})
    assert key.split(".")[0] in str(caught.value)
    assert key.split(".")[-1] in str(caught.value)


def test_every_override_reaches_its_setting() -> None:
    changed = load_config("default", {"network.dropout": "0.25", "features.window_shape": "hann"})
    assert (changed.network.dropout, changed.features.window_shape) == (0.25, "hann")
    assert isinstance(changed, TrainingConfig)
