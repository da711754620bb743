"""The trained network behind ``ngat segment``: shipped or the user's, with its own thresholds."""

from __future__ import annotations

import math
from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch

import ngat
from ngat.data.contrast import LOCAL, TILE, Contrast, contrast_by_rows
from ngat.data.normalize import mirrored, value_range, with_negative
from ngat.data.resize import resized, resized_picture
from ngat.errors import InputError
from ngat.inference import SMALLEST, Prediction, evaluating, find_magnification, probabilities
from ngat.io.picture import Picture
from ngat.io.stack import Array
from ngat.magnification import SIZE, strongest
from ngat.parts import Part, parts_of
from ngat.system.files import sha256
from ngat.thresholds import Method, Thresholds, thresholds_from
from ngat.training.weights import load_weights

SHIPPED = "companion.safetensors"  # the weights that are used where none are given
DIAMETER = 2 * SIZE / math.sqrt(math.pi)  # of a nucleus of the size that a network knows best
# A picture of at most so many pixels a side is looked at as a whole to find its magnification; of
# larger ones some windows are.
LOOKED_AT, WINDOW, WINDOWS = 2048, 1024, 5
MAGNIFICATIONS = (1 / 64, 16.0)  # the range that may be asked for

# Arrays by name, plain enough to be stored.
Survey = dict[str, Array]


@runtime_checkable
class Segmenter(Protocol):
    """What segmentation needs of a network."""

    halo: int  # pixels, as the network sees them, on which a prediction depends

    def thresholds(self, method: Method) -> Thresholds:
        """Those chosen for this network."""

    def magnification(self, picture: Picture) -> tuple[float, tuple[Part, ...]]:
        """The factor that makes nuclei as large as the network sees them best.

        Beside it the parts of the picture that ask for another.
        """

    def survey(self, picture: Picture, magnification: float) -> Survey:
        """What of the whole picture counts in each of its parts: how its values are normalised."""

    def predict(
        self, image: Array, magnification: float, survey: Survey, rows: slice, columns: slice
    ) -> Prediction:
        """Both maps ``float32 [h, w]`` of a part of a picture, ``[h, w]`` or ``[h, w, 3]``.

        ``rows`` and ``columns`` say where in the picture it lies. Sides are whole numbers after
        magnification, or else end where the picture does.
        """


class TrainedNetwork:
    """A network of a weights file.

    Args:
        path: the file; None takes the one that is shipped.
        device: where it runs.
        tta: average over the picture and its three flips.

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
        # No tile may be so small that it is mirrored, where the whole is not.
        self.halo = max(self.model.config.receptive_field, SMALLEST)
        self.sha256 = sha256(self.path)
        try:
            self._thresholds = thresholds_from(self.provenance, tta)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from error

    def thresholds(self, method: Method) -> Thresholds:
        """Those that the weights carry."""
        return self._thresholds[method]

    @property
    def identity(self) -> dict[str, str]:
        """Name and hash of the weights, as records and results say them."""
        return {"name": self.name, "sha256": self.sha256}

    def magnification(self, picture: Picture) -> tuple[float, tuple[Part, ...]]:
        """See :class:`Segmenter`. Of a large picture, the median over windows that show nuclei."""
        windows = _windows(picture)
        if picture.stack.dtype != np.uint8 and self.model.config.contrast not in LOCAL:
            survey = self.survey(picture, 1.0)
            windows = [_in_range(window, survey) for window in windows]
        found = [find_magnification(self.model, window) for window in windows]
        parts = parts_of(found[0][1], *picture.shape) if len(found) == 1 else ()
        votes = [vote for vote, looks in found if looks and strongest(looks).evidence > 0]
        return float(np.median(votes or [1.0])), parts

    def survey(self, picture: Picture, magnification: float) -> Survey:
        """Black and white of the picture, or of the surroundings of each of its parts."""
        contrast = self.model.config.contrast
        if contrast in LOCAL:
            found = contrast_by_rows(
                lambda rows: np.atleast_3d(picture.read(rows)),
                picture.shape,
                TILE / magnification,
                positive=contrast == "positive",
            )
            survey = {"low": found.low, "high": found.high, "shape": np.array(found.shape)}
            survey["bright"] = np.array(found.bright)
            return survey if found.blank is None else {**survey, "blank": found.blank}
        seen = np.atleast_3d(picture.overview())
        eight_bits, plain = picture.stack.dtype == np.uint8, contrast == "plain"
        if eight_bits and plain:
            return {"low": np.zeros(1), "high": np.full(1, 255.0)}
        # A file of more bits rarely fills their range: it is shown over that of its own values.
        least = 8.0 if eight_bits else 1e-6 * max(1e-30, float(np.abs(seen).max()))
        black, spread = value_range(seen, least, shared=plain)
        return {"low": black, "high": black + spread}

    def predict(
        self, image: Array, magnification: float, survey: Survey, rows: slice, columns: slice
    ) -> Prediction:
        """See :class:`Segmenter`."""
        height, width = image.shape[:2]
        seen = self._normalised(np.atleast_3d(image), survey, rows, columns)
        seen = np.repeat(seen, 3, axis=2) if seen.shape[2] == 1 else seen
        size = (max(1, round(height * magnification)), max(1, round(width * magnification)))
        planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(seen, 2, 0)))[None]
        planes = with_negative(resized_picture(planes, *size), bool(survey.get("bright")))
        seen_by = mirrored(planes, SMALLEST, SMALLEST).to(next(self.model.parameters()).device)
        with evaluating(self.model):
            found = probabilities(self.model, seen_by, self.tta)[..., : size[0], : size[1]]
            maps = resized(found, height, width)[0].float().cpu().numpy()
        return Prediction(maps[0], maps[min(1, len(maps) - 1)], magnification, self._thresholds)

    def _normalised(self, image: Array, survey: Survey, rows: slice, columns: slice) -> Array:
        """Pixels of a part of a picture in [0, 1], ``float32 [h, w, C]``."""
        if self.model.config.contrast not in LOCAL:
            return _in_range(image, survey)
        height, width = survey["shape"].tolist()
        # A part may be filled up beyond the picture's end.
        places = (
            np.minimum(np.arange(side.start, side.start + length), end - 1)
            for side, length, end in zip(
                (rows, columns), image.shape[:2], (height, width), strict=True
            )
        )
        low, high, blank = survey["low"], survey["high"], survey.get("blank")
        contrast = Contrast(low, high, (height, width), blank)
        return contrast.apply(image, *places)


def trained(path: Path | None, device: str, tta: bool) -> TrainedNetwork:
    """:class:`TrainedNetwork`, kept for the next picture or tile of this process.

    A file that was written anew is read again.
    """
    path = path if path is not None else shipped_weights()
    state = path.stat() if path.exists() else None
    version = (state.st_mtime_ns, state.st_size, state.st_ino) if state else ()
    return _kept(path, device, tta, version)


@lru_cache(maxsize=2)
def _kept(path: Path, device: str, tta: bool, version: tuple[int, ...]) -> TrainedNetwork:
    return TrainedNetwork(path, device, tta)


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
    if not isinstance(value, Real) or isinstance(value, bool):
        raise InputError(f"{name} is a number; got {value!r}.")
    low, high = MAGNIFICATIONS
    factor = DIAMETER / value if name == "--diameter" and value else value
    if not (math.isfinite(value) and value > 0 and low <= factor <= high):
        limits = (DIAMETER / high, DIAMETER / low) if name == "--diameter" else (low, high)
        raise InputError(f"{name} must be from {limits[0]:g} to {limits[1]:g}; got {value}.")
    return factor


def _in_range(image: Array, survey: Survey) -> Array:
    """Pixels between black and white of a survey, in [0, 1], ``float32`` of the same shape."""
    low, high = survey["low"], survey["high"]
    if image.ndim == 2:
        return _in_range(image[:, :, None], survey)[:, :, 0]
    return np.clip((image - low) / (high - low), 0, 1).astype(np.float32)


def _windows(picture: Picture) -> list[Array]:
    """The whole of a picture of ordinary size; of a larger one, windows spread over it.

    Those are taken that vary most, seen from afar: glass and a dark field say nothing.
    """
    height, width = picture.shape
    if max(height, width) <= LOOKED_AT:
        return [picture.read()]
    overview = np.atleast_3d(picture.overview())
    step = -(-max(height, width) // max(overview.shape[:2]))
    side = -(-WINDOW // step)
    corners = [
        (row, column)
        for row in range(0, max(1, overview.shape[0] - side + 1), side)
        for column in range(0, max(1, overview.shape[1] - side + 1), side)
    ]
    corners.sort(key=lambda c: -float(overview[c[0] : c[0] + side, c[1] : c[1] + side].std()))
    return [
        picture.read(
            slice(row * step, min(height, row * step + WINDOW)),
            slice(column * step, min(width, column * step + WINDOW)),
        )
        for row, column in corners[:WINDOWS]
    ]
