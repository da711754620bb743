"""Values of a configuration's parameters: their types and bounds."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ngat.errors import InputError

# Smallest and largest value of every number.
_AT_LEAST_ONE = (
    *("levels", "channels", "heads", "depth", "norm_groups", "plasticity_steps", "width", "shrink"),
    *("plasticity_width", "steps", "batch", "patch", "validate_every"),
)
_NOT_NEGATIVE = (
    *("seed", "validate_images", "gamma", "core_weight", "size_weight", "octaves", "strength"),
    *("contact", "learning_rate", "weight_decay", "clip"),
)
_SHARES = (
    *("dropout", "reconstruction", "alpha", "level_decay", "warmup"),
    *("balance", "coarse", "tail", "nuclei"),
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
        if kind is bool and isinstance(value, str):
            return {"true": True, "false": False, "1": True, "0": False}[value.lower()]
        if kind is int and isinstance(value, float) and value != int(value):
            raise ValueError
        checked = kind(value)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{key} must be of type {kind.__name__}; got {value!r}.") from error
    if kind in (int, float):
        low, high = BOUNDS[key]
        if not (math.isfinite(checked) and low <= checked <= high):
            bounds = f"at least {low}" if high == math.inf else f"from {low} to {high}"
            raise InputError(f"{key} must be a number {bounds}; got {value!r}.")
    return checked
