"""Training-time augmentation: random views of a picture, with labels that follow.

Geometry (crop, scale, rotation, mirror) moves picture and labels alike; appearance
(:mod:`ngat.training.appearance`) changes the picture only. All chance comes from the generator
that is passed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ngat.data.contrast import Contrast
from ngat.errors import InputError
from ngat.training.appearance import LARGE, Generator, Picture, appearance, happens, textured

_CHANCES = (
    *("flip", "turn", "affine", "intensity", "stain", "grey", "merge", "invert", "coarse", "blur"),
    *("noise", "photons", "jpeg", "margin", "texture"),
)


@dataclass(frozen=True)
class AugmentConfig:
    """How often each operation is applied (a probability) and how strongly.

    Attributes:
        size: side S of the square crop in pixels.
        flip: probability of a mirror image, drawn for each axis.
        turn: probability of a turn by 90, 180 or 270 degrees.
        affine: probability of a free rotation and scaling, with
            angle: largest rotation in degrees, either way, and
            scale: range of the magnification, drawn evenly in its logarithm.
        intensity: probability of a change of gain, offset and gamma, with
            gain, gamma: largest factor (its inverse is the smallest), and
            offset: largest shift, as a share of the full range.
        stain: probability of a change of stain in coloured pictures, with
            dye: largest relative change of a dye's amount, and
            hue: largest share of one colour channel that goes over into another.
        grey: probability that a coloured picture loses its colour.
        merge: probability that a grey picture becomes one channel of a colour picture, whose other
            channels show what lies around the nuclei.
        invert: probability that light and dark change places.
        positive: grey pictures are shown on dark background, always (``positive`` contrast): only
            coloured ones are inverted, and one that loses its colour is.
        coarse: probability that the crop is made of fewer pixels and enlarged again, as a picture
            of a lower magnification is, with
            reduction: how many times fewer at most, by axis.
        blur: probability of a Gaussian blur, with
            sigma: its largest standard deviation in pixels.
        noise: probability of normal noise, with
            grain: its largest standard deviation, as a share of the picture's own range.
        photons: probability of the noise of a short exposure, in which the brightest pixels count
            between ``counts`` and 16 times as many photons.
        jpeg: probability of compression as JPEG, at a quality of 40 to 95.
        margin: probability that up to half of the crop, from one side, is black or white and holds
            nothing, as where pictures are filled up or laid beside one another.
        texture: probability that large nuclei and the background show grains
            (:func:`ngat.training.appearance.textured`).
    """

    size: int = 128
    flip: float = 0.5
    turn: float = 0.75
    affine: float = 0.5
    angle: float = 45.0
    scale: tuple[float, float] = (0.7, 1.4)
    intensity: float = 0.8
    gain: float = 1.8
    offset: float = 0.1
    gamma: float = 1.4
    stain: float = 0.5
    dye: float = 0.25
    hue: float = 0.1
    grey: float = 0.1
    merge: float = 0.0
    invert: float = 0.1
    positive: bool = False
    coarse: float = 0.0
    reduction: float = 3.0
    blur: float = 0.1
    sigma: float = 1.0
    noise: float = 0.2
    grain: float = 0.1
    photons: float = 0.0
    counts: float = 4.0
    jpeg: float = 0.0
    margin: float = 0.0
    texture: float = 0.0

    def __post_init__(self) -> None:
        """Raise :class:`InputError` on a probability or a strength that makes no sense."""
        for name in _CHANCES:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(
                    f"augmentation {name}={getattr(self, name)} is no probability; "
                    "choose a number from 0 to 1."
                )
        if self.size < 1:
            raise InputError(f"augmentation size={self.size} is no crop; choose 1 pixel or more.")
        if not 0.0 < self.scale[0] <= self.scale[1]:
            raise InputError(
                f"augmentation scale={self.scale} is no range; choose 0 < smallest <= largest."
            )
        for name in ("gain", "gamma", "reduction"):
            if getattr(self, name) < 1.0:
                raise InputError(
                    f"augmentation {name}={getattr(self, name)} is a largest factor; "
                    "choose 1 or more."
                )
        for name in ("angle", "offset", "dye", "hue", "sigma", "grain", "counts"):
            if getattr(self, name) < 0.0:
                raise InputError(
                    f"augmentation {name}={getattr(self, name)} is negative; choose 0 or more."
                )

    @classmethod
    def of(cls, size: int, strength: float) -> AugmentConfig:
        """Crops of ``size`` pixels whose stains and magnification change ``strength`` times as far.

        Shares and probabilities end at what they can be.
        """
        return cls(
            size=size,
            scale=(cls.scale[0] ** strength, cls.scale[1] ** strength),
            dye=min(1.0, cls.dye * strength),
            hue=min(0.5, cls.hue * strength),
            grey=min(1.0, cls.grey * strength),
        )

    @classmethod
    def varied(cls, size: int, strength: float) -> AugmentConfig:
        """As :meth:`of`, for a network that meets any microscope, dye, camera and file."""
        return replace(
            cls.of(size, strength),
            grey=0.25,
            merge=0.15,
            invert=0.3,
            coarse=0.3,
            blur=0.2,
            noise=0.3,
            photons=0.15,
            jpeg=0.15,
            margin=0.1,
            texture=0.6,
        )

    @classmethod
    def none(cls, size: int) -> AugmentConfig:
        """Plain random crops of ``size`` pixels."""
        never: dict[str, Any] = dict.fromkeys(_CHANCES, 0.0)
        return replace(cls(size=size), **never)


def augment(
    image: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int32],
    rng: Generator,
    config: AugmentConfig,
    *,
    zoom: float | None = None,
    contrast: Contrast | None = None,
    around: tuple[float, float] | None = None,
    nucleus: float = 0.0,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Draw one augmented crop.

    Where the crop reaches beyond the picture, the picture is mirrored at its edge pixels, and the
    mirrored nuclei carry the labels of their originals.

    Args:
        image: ``uint8 [H, W, 3]``, of any size.
        labels: ``int32 [H, W]``, 0 is background.
        rng: source of all chance.
        config: operations and strengths.
        zoom: magnification of the crop; None draws it from the range of ``config``.
        contrast: the range of the picture's values; None takes 0 to 255.
        around: row and column of a place that the crop holds; None crops anywhere.
        nucleus: √area of a nucleus in pixels of the crop; large ones may be given texture.

    Returns:
        Picture ``float32 [3, S, S]`` in [0, 1] and labels ``int32 [S, S]``; labels keep their
        numbers, and those that fall outside the crop are missing.

    Raises:
        InputError: the picture has no pixels, or picture and labels do not match.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.shape[:2] != labels.shape:
        raise InputError(
            f"image {image.shape} and labels {labels.shape} do not match; "
            "pass [H, W, 3] and [H, W]."
        )
    if labels.size == 0:
        raise InputError(f"image {image.shape} has no pixels; leave it out of the data set.")
    free = happens(rng, config.affine)
    angle = math.radians(rng.uniform(-config.angle, config.angle)) if free else 0.0
    if zoom is None and free:
        zoom = math.exp(rng.uniform(math.log(config.scale[0]), math.log(config.scale[1])))
    if zoom is None:
        view, truth = _crop(image, labels, rng, config.size, contrast, around)
    else:
        view, truth = _free_view(image, labels, rng, config.size, angle, zoom, contrast, around)
    if happens(rng, config.flip):
        view, truth = view[::-1], truth[::-1]
    if happens(rng, config.flip):
        view, truth = view[:, ::-1], truth[:, ::-1]
    if happens(rng, config.turn):
        quarters = int(rng.integers(1, 4))
        view, truth = np.rot90(view, quarters), np.rot90(truth, quarters)
    if config.texture and nucleus > LARGE and happens(rng, config.texture):
        view = np.clip(textured(view, truth > 0, nucleus, rng), 0.0, 1.0)
    view = np.clip(appearance(view, rng, config), 0.0, 1.0)
    if config.margin and happens(rng, config.margin):  # else no chance is spent
        bare = _margin(rng, config.size)
        view[bare], truth = float(rng.integers(2)), np.where(bare, 0, truth)
    return (
        np.ascontiguousarray(view.transpose(2, 0, 1), dtype=np.float32),
        np.ascontiguousarray(truth, dtype=np.int32),
    )


def _margin(rng: Generator, size: int) -> npt.NDArray[np.bool_]:
    """A band along one side of a crop, of up to half of it, ``bool [S, S]``."""
    bare = np.zeros((size, size), dtype=bool)
    bare[: int(rng.integers(1, size // 2 + 2))] = True
    return np.rot90(bare, int(rng.integers(4)))


def _mirrored(start: int, count: int, length: int) -> npt.NDArray[np.intp]:
    """Indices start … start + count - 1 of an axis that is mirrored about its end pixels."""
    period = max(1, 2 * (length - 1))
    index = np.arange(start, start + count) % period
    return np.minimum(index, period - index) if length > 1 else np.zeros(count, dtype=np.intp)


def corner(rng: Generator, length: int, side: int, place: float | None = None) -> int:
    """First pixel of a window of ``side`` that lies inside the axis, or covers all of it.

    The window holds ``place``, if there is one.
    """
    low, high = min(0, length - side), max(0, length - side)
    if place is not None and length > side:
        low, high = max(low, math.ceil(place - side + 1)), min(high, math.floor(place))
    return int(rng.integers(low, high + 1))


def _window(
    image: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int32],
    top: int,
    left: int,
    height: int,
    width: int,
    contrast: Contrast | None,
) -> tuple[Picture, npt.NDArray[np.int32]]:
    """The window at (top, left), mirrored where it reaches beyond the picture, in [0, 1]."""
    rows = _mirrored(top, height, labels.shape[0])
    columns = _mirrored(left, width, labels.shape[1])
    picture, truth = image[rows[:, None], columns], labels[rows[:, None], columns]
    if contrast is None:
        return picture.astype(np.float32) / np.float32(255.0), truth
    return contrast.apply(picture, rows, columns), truth


def _crop(
    image: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int32],
    rng: Generator,
    size: int,
    contrast: Contrast | None,
    around: tuple[float, float] | None,
) -> tuple[Picture, npt.NDArray[np.int32]]:
    height, width = labels.shape
    row, column = around or (None, None)
    top, left = corner(rng, height, size, row), corner(rng, width, size, column)
    return _window(image, labels, top, left, size, size, contrast)


def _free_view(
    image: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int32],
    rng: Generator,
    size: int,
    angle: float,
    zoom: float,
    contrast: Contrast | None,
    around: tuple[float, float] | None = None,
) -> tuple[Picture, npt.NDArray[np.int32]]:
    """A rotated and scaled crop: bilinear for the picture, nearest for the labels."""
    c, s = math.cos(angle) / zoom, math.sin(angle) / zoom
    # Source pixel of an output pixel, both seen from the middle of their window.
    matrix = np.array([[c, -s], [s, c]])
    side = math.ceil(size / zoom)
    bound = math.ceil(size * (abs(c) + abs(s))) + 2
    spare = (bound - side) // 2  # what a rotated square needs beyond the upright one
    row, column = around or (None, None)
    top = corner(rng, labels.shape[0], side, row) - spare
    left = corner(rng, labels.shape[1], side, column) - spare
    source, truth = _window(image, labels, top, left, bound, bound, contrast)
    if zoom < 0.8:  # what a pixel of the crop covers is averaged, or fine texture would alias
        blur = 0.5 * math.sqrt(1 / zoom**2 - 1)
        source = ndimage.gaussian_filter(source, (blur, blur, 0.0), truncate=2.5)
    middle = np.full(2, (bound - 1) / 2)
    shift = middle - matrix @ np.full(2, (size - 1) / 2)
    shape = (size, size)
    view = np.empty((*shape, 3), dtype=np.float32)
    for channel in range(3):
        plane = ndimage.affine_transform(
            source[:, :, channel], matrix, shift, shape, order=1, mode="nearest"
        )
        view[:, :, channel] = plane
    return view, ndimage.affine_transform(truth, matrix, shift, shape, order=0, mode="nearest")
