"""The trained network behind ``ngat segment``: shipped or the user's, with its own thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np
import torch
from torch.nn import functional as F

import ngat
from ngat.data import contrast as ranges
from ngat.data.normalize import mirrored
from ngat.errors import InputError
from ngat.inference import (
    METHODS,
    SMALLEST,
    Method,
    Prediction,
    Thresholds,
    evaluating,
    find_magnification,
    probabilities,
    receptive_field,
    thresholds_from,
)
from ngat.instances import Landscape
from ngat.io.axes import Array
from ngat.io.picture import Picture
from ngat.magnification import SIZE
from ngat.system.files import sha256
from ngat.training.weights import load_weights

SHIPPED = "companion.safetensors"  # the weights that are used where none are given
DIAMETER = SIZE * 2 / math.sqrt(math.pi)  # of a nucleus as the network sees it best, in pixels
MAGNIFICATIONS = (1 / 64, 16.0)  # the range that may be asked for
_RANGE = (0.1, 99.9)  # percentiles that become black and white for networks of global contrast
# The magnification of a large picture is that of its parts: how many, and their side in pixels.
_PARTS, _PART = 4, 1024

# Arrays by name, plain enough to be stored.
Survey = dict[str, Array]


class Network(Protocol):
    """What segmentation needs of a network."""

    halo: int  # pixels, as the network sees them, on which a prediction depends

    def thresholds(self, method: Method) -> Thresholds:
        """Those chosen for this network."""

    def magnification(self, picture: Picture) -> float:
        """The factor that makes nuclei as large as the network sees them best."""

    def survey(self, picture: Picture, magnification: float) -> Survey:
        """What of the whole picture counts in each of its parts: how its values are normalised."""

    def predict(
        self, image: Array, magnification: float, survey: Survey, rows: slice, columns: slice
    ) -> Prediction:
        """Both maps ``float32 [h, w]`` of a part of a picture, ``[h, w]`` or ``[h, w, 3]``.

        ``rows`` and ``columns`` say where in the picture it lies. Sides are whole numbers after
        magnification, or else end where the picture does.
        """


class Trained:
    """A network of a weights file.

    Args:
        path: the file; None takes the one that is shipped.
        device: where it runs.
        tta: average over flips and two magnifications.

    Raises:
        InputError: absent, damaged, or thresholds that make no sense.
    """

    def __init__(
        self, path: Path | str | None = None, device: str | torch.device = "cpu", tta: bool = False
    ) -> None:
        self.path = Path(path) if path is not None else shipped_weights()
        loaded = load_weights(self.path, device)
        self.model, self.provenance, self.tta = loaded.model, loaded.provenance, tta
        self.name = loaded.preset.name
        self.sha256 = sha256(self.path)
        # No tile may be so small that it is mirrored, where the whole is not.
        self.halo = max(receptive_field(self.model.config), SMALLEST)
        self._thresholds = checked(thresholds_from(self.provenance, tta), self.path)

    def thresholds(self, method: Method) -> Thresholds:
        """Those that the weights carry."""
        return self._thresholds[method]

    def magnification(self, picture: Picture) -> float:
        """See :class:`Network`; of a large picture the parts with most in them are looked at."""
        found = []
        for window in _busiest(picture):
            factor, looks = find_magnification(self.model, _shown(picture.read(*window)))
            found.append((factor, max((look.evidence for look in looks), default=0.0)))
        factors, evidence = np.array(sorted(found)).T
        share = np.cumsum(evidence)
        return float(factors[np.searchsorted(share, share[-1] / 2)])

    def survey(self, picture: Picture, magnification: float) -> Survey:
        """The range of values round every part of the picture, or of all of it."""
        contrast = self.model.config.contrast
        if contrast == "local":
            grid = ranges.contrast(_Lazy(picture), ranges.TILE / magnification)  # type: ignore[arg-type]
            return {"low": grid.low, "high": grid.high, "shape": np.array(grid.shape)}
        seen = np.atleast_3d(picture.overview())
        low, high = np.percentile(seen, _RANGE, axis=(0, 1))
        depth = picture.stack.dtype
        if contrast == "plain":
            if depth == np.uint8:
                return {"low": np.zeros(1), "high": np.full(1, 255.0)}
            low, high = low.min(keepdims=True), high.max(keepdims=True)
        # What hardly varies stays flat: see ngat.data.contrast.stretch, whose rule this is.
        least = 8.0 if depth == np.uint8 else 1e-6 * max(1e-30, float(np.abs(seen).max()))
        spread = np.maximum(high - low, max(0.5 * float((high - low).max()), least))
        return {"low": (low + high - spread) / 2, "high": (low + high + spread) / 2}

    def predict(
        self, image: Array, magnification: float, survey: Survey, rows: slice, columns: slice
    ) -> Prediction:
        """See :class:`Network`."""
        height, width = image.shape[:2]
        pixels, low, high = _shown(image), survey["low"], survey["high"]
        if "shape" in survey:
            grid = ranges.Contrast(low, high, (int(survey["shape"][0]), int(survey["shape"][1])))
            places = np.arange(height) + rows.start, np.arange(width) + columns.start
            pixels = grid.apply(pixels, *places)
        else:
            pixels = np.clip((pixels - low) / (high - low), 0, 1).astype(np.float32)
        planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, 2, 0)))[None]
        size = (max(1, round(height * magnification)), max(1, round(width * magnification)))
        planes = mirrored(_resized(planes, size), SMALLEST)
        planes = planes.to(next(self.model.parameters()).device)
        with evaluating(self.model):
            found = probabilities(self.model, planes, self.tta)[..., : size[0], : size[1]]
        maps = _resized(found.float().cpu(), (height, width))[0].numpy()
        return Prediction(maps[0], maps[min(1, len(maps) - 1)], magnification)


class _Lazy:
    """A picture as an array ``[H, W, 3]`` of which a band of rows is read at a time."""

    def __init__(self, picture: Picture) -> None:
        self.picture, self.shape = picture, (*picture.shape, 3)
        self._rows, self._band = slice(0, 0), np.zeros((0, 0, 3), np.float32)

    def __getitem__(self, index: tuple[Any, Any]) -> Array:
        rows, columns = index
        if not isinstance(rows, slice):
            return self[rows : rows + 1, columns : columns + 1][0, 0]
        if rows != self._rows:
            self._rows, self._band = rows, _shown(self.picture.read(rows))
        return self._band[:, columns]


def _shown(image: Array) -> Array:
    """``float32 [h, w, 3]``, in the picture's own values."""
    pixels = np.atleast_3d(image).astype(np.float32)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _busiest(picture: Picture) -> list[tuple[slice, slice]]:
    """The picture itself, or the windows of a large one in which values vary most."""
    height, width = picture.shape
    if height * width <= _PARTS * _PART**2:
        return [(slice(0, height), slice(0, width))]
    overview = np.atleast_3d(picture.overview()).mean(axis=2)
    step = -(-max(height, width) // max(overview.shape))
    side = max(1, _PART // step)
    rows, columns = (max(1, n // side) for n in overview.shape)
    blocks = overview[: rows * side, : columns * side]
    blocks = blocks.reshape(rows, min(side, blocks.shape[0]), columns, min(side, blocks.shape[1]))
    order = np.argsort(-blocks.std(axis=(1, 3)).ravel(), kind="stable")[:_PARTS]
    tops, lefts = np.divmod(order, columns)
    return [
        (slice(t, min(t + _PART, height)), slice(x, min(x + _PART, width)))
        for t, x in zip((tops * side * step).tolist(), (lefts * side * step).tolist(), strict=True)
    ]


@lru_cache(maxsize=2)
def trained(path: Path | None, device: str, tta: bool) -> Trained:
    """:class:`Trained`, kept for the next picture or tile of this process."""
    return Trained(path, device, tta)


def shipped_weights() -> Path:
    """The weights that come with the package; of a checkout, those beside it."""
    package = Path(ngat.__file__).parent
    places = (package / "shipped" / SHIPPED, package.parent / "data" / "weights" / SHIPPED)
    for place in places:
        if place.exists():
            return place
    raise InputError(f"{places[0]}: is missing; install ngat again, or give --weights.")


def chosen_magnification(diameter: float | None, scale: float | None) -> float | None:
    """The factor that a user asks for; None where the network is to find it.

    Args:
        diameter: of a typical nucleus in the picture, in pixels.
        scale: the factor itself.

    Raises:
        InputError: both are given, or a number that cannot be.
    """
    if diameter is None and scale is None:
        return None
    if diameter is not None and scale is not None:
        raise InputError("Give --diameter or --scale, not both.")
    name, value = ("--diameter", diameter) if diameter is not None else ("--scale", scale)
    assert value is not None
    low, high = MAGNIFICATIONS
    factor = DIAMETER / value if name == "--diameter" and value else value
    if not (math.isfinite(value) and value > 0 and low <= factor <= high):
        limits = (DIAMETER / high, DIAMETER / low) if name == "--diameter" else (low, high)
        raise InputError(f"{name} must be from {limits[0]:g} to {limits[1]:g}; got {value}.")
    return factor


def checked(thresholds: Mapping[Method, Thresholds], path: Path | str) -> dict[Method, Thresholds]:
    """The thresholds of a weights file, if they can be.

    Raises:
        InputError: one is NaN, of another type, or out of range. NaN would find no nucleus.
    """
    for method in METHODS:
        for field in fields(Thresholds):
            value = getattr(thresholds[method], field.name)
            if field.name == "landscape":
                good = value in get_args(Landscape)
            else:
                high = 1e6 if field.name == "min_area" else 1.0
                number = isinstance(value, int | float) and not isinstance(value, bool)
                good = not isinstance(field.default, int | float) or (
                    number and math.isfinite(value) and 0 <= value <= high
                )
            if not good:
                raise InputError(
                    f"{path}: its threshold {field.name} for {method} is {value!r}, which cannot "
                    "be; choose thresholds with `ngat choose`."
                )
    return dict(thresholds)


def _resized(planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if tuple(planes.shape[-2:]) == size:
        return planes
    return F.interpolate(planes, size, mode="bilinear", antialias=True)
