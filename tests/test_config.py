"""Configuration: presets, overrides from text, and the way through JSON."""

import dataclasses
import json
from typing import get_args, get_type_hints

import pytest
from tiny import tiny

from ngat import config
from ngat.attention import ENGINES
from ngat.config import (
    PRESETS,
    LossConfig,
    ModelConfig,
    Preset,
    RivalConfig,
    TrainConfig,
    from_dict,
    to_dict,
)
from ngat.config.presets import BOUNDS
from ngat.errors import InputError
from ngat.model import NGAT


@pytest.mark.parametrize("name", ["paper", "companion", "smoke", "unet", "fpn"])
def test_a_preset_survives_json(name: str) -> None:
    chosen = config.preset(name, steps=7, dropout=0.25)
    assert from_dict(json.loads(json.dumps(to_dict(chosen)))) == chosen


def test_an_override_changes_one_value_and_leaves_the_preset_alone() -> None:
    before = PRESETS["smoke"]
    changed = config.preset("smoke", steps=7, channels=8, gamma=0.5)
    assert changed.train == dataclasses.replace(before.train, steps=7)
    assert changed.model == dataclasses.replace(before.model, channels=8)
    assert changed.loss == dataclasses.replace(before.loss, gamma=0.5)
    assert PRESETS["smoke"] is before


def test_the_suite_trains_on_the_engine_that_users_get() -> None:
    assert tiny().model.engine == ModelConfig().engine == "auto"


def test_the_engines_are_those_that_attention_finds() -> None:
    assert get_args(get_type_hints(ModelConfig)["engine"]) == ("auto", *ENGINES)


def test_norm_groups_count_for_group_norm_alone() -> None:
    NGAT(config.preset("companion", channels=18, heads=2, norm="batch").model)
    with pytest.raises(InputError, match=r"channels \(18\) must be a multiple of .*norm_groups"):
        NGAT(config.preset("companion", channels=18, heads=2, norm="group").model)


def test_text_from_a_command_line_becomes_the_parameters_type() -> None:
    train = config.preset("smoke", steps="12", learning_rate="1e-3", augment="false").train
    assert (train.steps, train.learning_rate, train.augment) == (12, 1e-3, False)
    assert type(config.preset("smoke", steps=1e3).train.steps) is int


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ({"colour": 1}, "The preset smoke has no parameter 'colour'; it has: levels,"),
        ({"steps": "many"}, "steps must be of type int; got 'many'"),
        ({"steps": 2.5}, "steps must be of type int; got 2.5"),
        ({"steps": 0}, "steps must be a number at least 1; got 0"),
        ({"steps": float("inf")}, "steps must be of type int"),
        ({"learning_rate": "nan"}, "learning_rate must be a number at least 0; got 'nan'"),
        ({"learning_rate": float("inf")}, "learning_rate must be a number at least 0"),
        ({"dropout": 1.5}, "dropout must be a number from 0 to 1; got 1.5"),
        ({"channels": [8]}, "channels must be of type int"),
        ({"augment": "perhaps"}, "augment must be of type bool"),
        ({"schedule": "spiral"}, "schedule must be one of synchronous, vcycle; got 'spiral'"),
        ({"seed": -1}, "seed must be a number at least 0"),
        ({"augment": None}, "augment must be of type bool; got None"),
        ({"augment": []}, "augment must be of type bool"),
        ({"residual": 2}, "residual must be of type bool; got 2"),
        ({"residual": 0.5}, "residual must be of type bool; got 0.5"),
        ({"steps": True}, "steps must be of type int; got True"),
        ({"dropout": True}, "dropout must be of type float; got True"),
        ({"engine": "gpu"}, "engine must be one of auto, reference, dgl, cpu, cuda; got 'gpu'"),
        ({"clip": 0}, "clip must be a number above 0; got 0"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(override: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence.replace(".", r"\.")):
        config.preset("smoke", **override)


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(InputError, match="Unknown preset 'huge'; known: paper, companion, smoke"):
        config.preset("huge")


def test_every_number_has_bounds_and_every_name_belongs_to_one_part() -> None:
    """`preset` finds a parameter's part by its name alone."""
    names = [
        f.name for part in (ModelConfig, LossConfig, TrainConfig) for f in dataclasses.fields(part)
    ]
    assert len(set(names)) == len(names)
    rival = {f.name for f in dataclasses.fields(RivalConfig)}
    others = {f.name for part in (LossConfig, TrainConfig) for f in dataclasses.fields(part)}
    assert not rival & others
    for part in (ModelConfig(), RivalConfig(), LossConfig(), TrainConfig()):
        for name, value in dataclasses.asdict(part).items():
            if type(value) in (int, float):
                low, high = BOUNDS[name]
                assert low <= value <= high


@pytest.mark.parametrize("damage", ["missing", "unknown", "no dictionary"])
def test_a_foreign_configuration_is_refused(damage: str) -> None:
    value = to_dict(Preset("smoke"))
    if damage == "missing":
        del value["loss"]
    elif damage == "unknown":
        value["model"]["colour"] = 1
    else:
        value["train"] = 5
    with pytest.raises(InputError, match="not a configuration of this version"):
        from_dict(value)


def test_earlier_names_of_parameters_are_read() -> None:
    changed = {"strength": 1.25, "low_resolution": 0.5, "held_out": "purple_tissue"}
    chosen = config.preset("companion", **changed, contrast="percentile")
    value = to_dict(chosen)
    earlier = {"strength": "vigour", "low_resolution": "coarse", "held_out": "without"}
    for now, then in earlier.items():
        value["train"][then] = value["train"].pop(now)
    value["model"]["contrast"] = "stretched"
    for dropped in ("shrink", "downsample"):  # no network is left that reduces its pictures
        value["model"][dropped] = 1
    assert from_dict(value) == chosen
    value["model"]["downsample"] = 2
    with pytest.raises(InputError, match="not a configuration of this version"):
        from_dict(value)
    # So do commands that result files name.
    assert config.preset("companion", coarse=0.5) == config.preset("companion", low_resolution=0.5)
