"""Thresholds: how probabilities become nuclei, chosen on validation and stored with a network.

Methods are those of :mod:`ngat.instances`; what chooses is :mod:`ngat.training.validation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, Literal, get_args

from ngat.errors import InputError
from ngat.instances import MIN_AREA, SMOOTHING, Landscape

Method = Literal["components", "split"]
METHODS: tuple[Method, ...] = get_args(Method)
LARGEST = {"min_area": 1e6, "smoothing": 16.0}  # thresholds; the others are at most 1


@dataclass(frozen=True)
class Thresholds:
    """How probabilities become nuclei; chosen on validation, see :mod:`ngat.training.validation`.

    Attributes:
        probability: a pixel is foreground above it.
        core: a pixel seeds a nucleus above it (``split`` only).
        prominence: if not 0, only on a maximum of the core map that rises so much above the saddle
            to any higher one (``split`` only).
        min_area: smallest nucleus in pixels, as the network sees it.
        landscape: what the watershed floods from the seeds, see :func:`ngat.instances.split`.
        smoothing: of the core map before it is read as a landscape, σ in pixels as the network sees
            it (``split`` only).
        confidence: a nucleus is kept if the mean probability of its pixels is at least so high.
    """

    probability: float = 0.5
    core: float = 0.5
    prominence: float = 0.0
    min_area: int = MIN_AREA
    landscape: Landscape = "distance"
    smoothing: float = SMOOTHING
    confidence: float = 0.0

    def __post_init__(self) -> None:
        """Raise :class:`InputError` for what cannot be: with NaN no nucleus would be found."""
        for name, value in vars(self).items():
            number = isinstance(value, Real) and not isinstance(value, bool)
            good = number and 0 <= value <= LARGEST.get(name, 1.0)  # which NaN is not
            if not (value in get_args(Landscape) if name == "landscape" else good):
                raise InputError(
                    f"The threshold {name} is {value!r}, which cannot be; run `ngat choose`."
                )


def thresholds_to_dict(thresholds: Mapping[Method, Thresholds]) -> dict[str, dict[str, Any]]:
    """Thresholds by method as plain values (for JSON)."""
    return {method: asdict(t) for method, t in thresholds.items()}


def thresholds_from(provenance: Mapping[str, Any], tta: bool = False) -> dict[Method, Thresholds]:
    """Thresholds by method from a weights file's provenance; the defaults where it has none.

    Args:
        tta: those chosen for averages over views, where there are some.

    Raises:
        InputError: the entry is there but makes no sense, or as :class:`Thresholds`.
    """
    stored = provenance.get("thresholds", {})
    stored = provenance.get("thresholds_tta", stored) if tta else stored
    try:
        return {method: Thresholds(**stored.get(method, {})) for method in METHODS}
    except (AttributeError, TypeError) as error:
        raise InputError(
            f"The thresholds inside the weights file are not of this version of ngat ({error})."
        ) from error
