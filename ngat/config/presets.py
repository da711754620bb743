"""Presets: named configurations, one per row of a table; how they are read, checked and written."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ngat.config.parameters import LossConfig, ModelConfig, Preset, RivalConfig, TrainConfig
from ngat.errors import InputError

# Smallest and largest value of every number.
_AT_LEAST_ONE = (
    *("levels", "channels", "heads", "depth", "norm_groups", "plasticity_steps", "width"),
    *("plasticity_width", "steps", "batch", "patch", "validate_every"),
)
_NOT_NEGATIVE = (
    *("seed", "validate_images", "gamma", "core_weight", "size_weight", "octaves", "strength"),
    *("contact", "learning_rate", "weight_decay", "clip"),
)
_POSITIVE = ("clip",)  # of these zero is none
_SHARES = (
    *("dropout", "reconstruction", "alpha", "level_decay", "warmup"),
    *("balance", "low_resolution", "tail", "nuclei"),
)
BOUNDS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(_AT_LEAST_ONE, (1, math.inf)),
    **dict.fromkeys(_NOT_NEGATIVE, (0, math.inf)),
    **dict.fromkeys(_SHARES, (0, 1)),
    "outputs": (1, 3),
}


def checked(part: type, key: str, value: Any) -> Any:
    """``value`` as the type that ``key`` has in ``part``; text from a command line is read.

    Raises:
        InputError: it is of another type, or out of bounds.
    """
    kind = get_type_hints(part)[key]
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        raise InputError(f"{key} must be one of {', '.join(get_args(kind))}; got {value!r}.")
    try:
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
        if isinstance(value, bool):
            raise TypeError
        if kind is int and isinstance(value, float) and value != int(value):
            raise ValueError
        checked = kind(value)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{key} must be of type {kind.__name__}; got {value!r}.") from error
    if kind in (int, float):
        low, high = BOUNDS[key]
        positive = key in _POSITIVE
        if not (math.isfinite(checked) and low <= checked <= high) or (positive and not checked):
            bounds = f"at least {low}" if high == math.inf else f"from {low} to {high}"
            bounds = f"above {low}" if positive else bounds
            raise InputError(f"{key} must be a number {bounds}; got {value!r}.")
    return checked


# How all networks are trained on real images, so that their rows compare.
_REAL = TrainConfig(
    steps=60_000,
    patch=112,
    sized=True,
    nuclei=0.5,
    strength=1.5,
    validate_every=1000,
    validate_images=40,
)
_CONTACT = 5.0


def _rival(
    network: Literal["unet", "fpn", "maskrcnn"],
    learning_rate: float,
    *,
    width: int = 32,
    contact: float = 0.0,
) -> Preset:
    """A network that predicts pixels alone, for which the loss is cross-entropy (section 3.6)."""
    return Preset(
        network,
        RivalConfig(network, width, norm="batch", outputs=3, contrast="local"),
        LossConfig(kind="bce", contact=contact),
        replace(_REAL, learning_rate=learning_rate),
    )


PRESETS = {
    preset.name: preset
    for preset in (
        # The literal reading of the publication.
        Preset(
            "paper",
            model=ModelConfig(
                levels=4,
                schedule="synchronous",
                depth=6,
                relations="joint",
                position="linear",
                dropout=0.1,
                norm="group",  # L11
                outputs=3,
                contrast="local",
            ),
            loss=LossConfig(contact=_CONTACT),
            train=_REAL,
        ),
        # The same graph and attention with typed relations and a V-cycle (ledger).
        Preset(
            "companion",
            model=ModelConfig(depth=3, norm="batch", outputs=3, contrast="local"),
            loss=LossConfig(contact=_CONTACT),
            train=_REAL,
        ),
        # Minutes on two cores: the default of the notebooks.
        Preset(
            "smoke",
            model=ModelConfig(levels=4, channels=16, heads=4, depth=2),
            train=TrainConfig(steps=600, batch=4, patch=96, learning_rate=4e-3, validate_every=100),
        ),
        _rival("unet", learning_rate=1e-3, contact=_CONTACT),
        _rival("fpn", learning_rate=1e-3, contact=_CONTACT),
        # It needs a GPU: four hundred times the parameters of the companion.
        _rival("maskrcnn", learning_rate=4e-4, width=256),
    )
}


def preset(name: str, **overrides: Any) -> Preset:
    """A preset with some parameters replaced.

    Args:
        name: a key of :data:`PRESETS`.
        overrides: values by parameter name; the name alone says which part it belongs to, and
            ``seed`` is a training parameter.

    Raises:
        InputError: unknown preset or parameter, or a value that the parameter cannot take.
    """
    if name not in PRESETS:
        raise InputError(f"Unknown preset {name!r}; known: {', '.join(PRESETS)}.")
    chosen = PRESETS[name]
    for name_given, value in overrides.items():
        key = RENAMED.get(name_given, name_given)
        for part in ("model", "loss", "train"):
            if key in {f.name for f in dataclasses.fields(getattr(chosen, part))}:
                value = checked(type(getattr(chosen, part)), key, value)
                changed = dataclasses.replace(getattr(chosen, part), **{key: value})
                chosen = dataclasses.replace(chosen, **{part: changed})
                break
        else:
            parts = (chosen.model, chosen.loss, chosen.train)
            known = [f.name for part in parts for f in dataclasses.fields(part)]
            raise InputError(
                f"The preset {name} has no parameter {key!r}; it has: {', '.join(known)}."
            )
    return chosen


# Parameters by the names that earlier weights files and commands have for them.
RENAMED = {
    "vigour": "strength",
    "coarse": "low_resolution",
    "without": "held_out",
}
RENAMED_VALUES = {"stretched": "percentile"}  # the same of values
# A factor that pictures were once reduced by, under both its names; no network is left that does.
DROPPED = ("shrink", "downsample")


def to_dict(chosen: Preset) -> dict[str, Any]:
    """A preset as nested dictionaries of plain values (for JSON)."""
    return dataclasses.asdict(chosen)


def from_dict(value: dict[str, Any]) -> Preset:
    """The inverse of :func:`to_dict`.

    Raises:
        InputError: a part is missing, a key is unknown, or a value does not fit. A parameter that
            is missing has its default, as before it existed.
    """
    try:
        rival = "network" in value["model"]
        model = RivalConfig if rival else ModelConfig
        parts = {"model": model, "loss": LossConfig, "train": TrainConfig}
        built: dict[str, Any] = {
            key: part(
                **{
                    (now := RENAMED.get(name, name)): checked(part, now, RENAMED_VALUES.get(v, v))
                    for name, v in value[key].items()
                    if not (name in DROPPED and v == 1)
                }
            )
            for key, part in parts.items()
        }
        return Preset(value["name"], **built)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"This is not a configuration of this version of ngat ({error})."
        ) from error
