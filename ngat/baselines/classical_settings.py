"""What a user of the classical pipeline sets (:mod:`ngat.baselines.classical`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

import numpy as np

from ngat.errors import InputError
from ngat.instances import MIN_AREA

Channel = Literal["luminance", "red", "green", "blue", "haematoxylin"]
Polarity = Literal["auto", "bright", "dark"]
Threshold = Literal[
    "otsu", "cross_entropy", "log_otsu", "otsu3_low", "otsu3_high", "mct", "robust_background"
]
Seeds = Literal["none", "shape", "intensity", "log"]
Lines = Literal["shape", "intensity", "propagate"]


@dataclass(frozen=True)
class Settings:
    """The settings of every step; lengths in pixels, brightness between 0 and 1.

    Attributes:
        channel: what becomes grey; ``haematoxylin`` is the light that this stain alone would let
            through (colour deconvolution, Ruifrok and Johnston 2001), dark where it is.
        polarity: nuclei are ``bright`` or ``dark``; ``auto`` decides for each picture
            (:func:`ngat.baselines.classical.dark_nuclei`).
        rescale: stretch the grey values of each picture to 0 … 1.
        flatten: standard deviation of the blurred picture that is subtracted as uneven
            illumination; 0 subtracts none.
        smoothing: standard deviation of the Gaussian before the threshold.
        threshold: ``otsu``, minimum ``cross_entropy``, Otsu on logarithms (``log_otsu``), with
            three classes of which the middle one is foreground (``otsu3_low``) or background
            (``otsu3_high``), maximum correlation (``mct``), or mean plus two deviations of the
            trimmed values (``robust_background``).
        window: side of the tiles for an adaptive threshold, at most half a picture; 0 is global.
        correction: factor on the threshold.
        lower: smallest threshold.
        opening: radius of the disc that opens the mask; 0 leaves it as it is.
        max_hole: holes of fewer pixels are filled.
        seeds: a nucleus for each maximum of the ``shape``'s depth, of the ``intensity``, or of the
            Laplacian of a Gaussian (``log``); ``none`` takes connected components.
        seed_smoothing: standard deviation of the Gaussian before maxima are sought.
        suppression: a maximum is the largest value within this radius.
        lines: where touching nuclei part: by a watershed on depth (``shape``) or ``intensity``, or
            by ``propagate``, which weighs distance against brightness.
        regularisation: how much distance weighs in ``propagate``.
        min_area: smaller nuclei (pixels) are dropped.
        max_area: larger ones are dropped; 0 drops none.
        grow: nuclei are widened by so many pixels at last, or narrowed if negative.
    """

    channel: Channel = "luminance"
    polarity: Polarity = "auto"
    rescale: bool = True
    flatten: float = 0.0
    smoothing: float = 1.0
    threshold: Threshold = "otsu"
    window: int = 0
    correction: float = 1.0
    lower: float = 0.0
    opening: int = 0
    max_hole: int = 200
    seeds: Seeds = "shape"
    seed_smoothing: float = 1.0
    suppression: float = 6.0
    lines: Lines = "shape"
    regularisation: float = 0.05
    min_area: int = MIN_AREA
    max_area: int = 0
    grow: int = 0

    def __post_init__(self) -> None:
        kinds = get_type_hints(type(self))
        for name, value in asdict(self).items():
            known = get_args(kinds[name])
            if known and value not in known:
                raise InputError(f"{name} {value!r} is unknown; choose {', '.join(known)}.")
            if not known and (not isinstance(value, int | float) or not np.isfinite(value)):
                raise InputError(f"{name} must be a number; got {value!r}.")
            if not known and name != "grow" and value < 0:
                raise InputError(f"{name} must not be negative; got {value}.")


def settings_from(values: Any) -> Settings:
    """Settings as they stand in a file. Raises InputError for anything missing or unknown."""
    names = {field.name for field in fields(Settings)}
    if not isinstance(values, dict) or set(values) != names:
        raise InputError("these are no settings of the classical pipeline; tune it again.")
    return Settings(**values)
