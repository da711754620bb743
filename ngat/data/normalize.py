"""From an image of any type to what a network sees: its contrast, its size, its borders."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ngat.data.contrast import TILE, local_contrast
from ngat.errors import InputError


def resized(planes: Tensor, height: int, width: int) -> Tensor:
    """Planes at another size: bilinear, where they shrink over all that a pixel then covers.

    As torch's own with ``antialias``, but that a part whose sides are whole multiples of the same
    fraction is resized to the very numbers of the whole, away from its edges.

    Args:
        planes: ``[B, C, H, W]`` in float32.

    Returns:
        ``[B, C, height, width]``.
    """
    if planes.shape[2] != height:
        planes = _rows(planes, height)
    if planes.shape[3] != width:
        planes = _rows(planes.mT.contiguous(), width).mT.contiguous()
    return planes


def _rows(planes: Tensor, length: int, band: int = 32) -> Tensor:
    """Planes with so many rows, a band at a time, which stays in a core's cache."""
    places, shares = _taps(planes.shape[2], length)
    index = torch.from_numpy(places).to(planes.device)
    weights = torch.from_numpy(shares).to(planes)[:, :, None]
    found = planes.new_zeros(*planes.shape[:2], length, planes.shape[3])
    for at in range(0, length, band):
        rows = slice(at, at + band)
        for i, weight in zip(index, weights, strict=True):
            found[:, :, rows] += planes.index_select(2, i[rows]).mul_(weight[rows])
    return found


def _taps(before: int, after: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Which pixels of a line, and how much of each, make those of its resized copy: ``[T, after]``.

    Places are fractions of whole numbers, which do not depend on how far along the line they lie.
    """
    common = math.gcd(before, after)
    p, q = before // common, after // common
    # The middle of pixel i of the copy lies at (2i + 1) p / 2q of the line.
    whole, rest = np.divmod((2 * np.arange(after) + 1) * p, 2 * q)
    reach = max(1.0, p / q)
    steps = np.arange(-math.ceil(reach) - 1, math.ceil(reach) + 2)[:, None]
    index = whole + steps
    weights = np.maximum(0.0, 1 - np.abs(steps + 0.5 - rest / (2 * q)) / reach)
    weights[(index < 0) | (index >= before)] = 0
    used = weights.any(axis=1)
    weights = weights[used] / weights[used].sum(axis=0)
    return np.clip(index[used], 0, before - 1), weights


Floats = npt.NDArray[np.float32]


def stretch(image: npt.NDArray[Any]) -> Floats:
    """Every channel over the range of the whole image, as networks before this one were trained.

    Args:
        image: ``[H, W, C]`` in [0, 1].
    """
    low, high = np.percentile(image, (0.1, 99.9), axis=(0, 1))
    spread = np.maximum(high - low, max(0.5 * float((high - low).max()), 8 / 255))
    return np.clip((image - (low + high - spread) / 2) / spread, 0.0, 1.0).astype(np.float32)


def stretch_bytes(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """:func:`stretch` of ``uint8 [H, W, C]``, as bytes again."""
    return np.rint(255 * stretch(image / np.float32(255))).astype(np.uint8)


def as_pixels(image: npt.NDArray[Any], contrast: str = "plain") -> Floats:
    """An image as ``float32 [H, W, 3]``.

    Args:
        image: ``[H, W, 3]`` or ``[H, W]``.
        contrast: see :class:`ngat.config.ModelConfig`. With ``local`` contrast the values may be
            whole numbers or floats of any range, and keep it; else uint8 or uint16 over their full
            range, or float in [0, 1], and are in [0, 1] afterwards.

    Raises:
        InputError: the image has another shape, is empty, or holds NaN or values out of range.
    """
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise InputError(
            f"A picture is [height, width] or [height, width, 3]; got {np.shape(image)}. Save it "
            "as RGB or with one channel."
        )
    kind, depth = pixels.dtype.kind, pixels.dtype
    if kind == "f" and not np.isfinite(pixels).all():
        raise InputError("The picture holds NaN or infinite values; replace them first.")
    if kind == "f" and contrast != "local" and (pixels.min() < 0 or pixels.max() > 1):
        raise InputError("Float pictures must lie in 0 to 1; scale the picture first.")
    if kind == "f" or (kind in "ui" and contrast == "local"):
        return pixels.astype(np.float32)
    if depth not in (np.uint8, np.uint16):
        raise InputError(f"Pictures are uint8, uint16 or float in 0 to 1; got {depth}.")
    return pixels.astype(np.float32) / np.float32(np.iinfo(depth).max)


def as_tensor(
    image: npt.NDArray[Any], contrast: str = "plain", magnification: float = 1.0
) -> Tensor:
    """An image as a network sees it, ``float32 [1, 3, H', W']`` in [0, 1].

    Args:
        image, contrast: as in :func:`as_pixels`, whose errors it raises.
        magnification: H' and W' are so many times H and W. Contrast is taken from surroundings
            that have one size at this magnification.
    """
    pixels = as_pixels(image, contrast)
    if contrast == "local":
        pixels = local_contrast(pixels, TILE / magnification).apply(pixels)
    elif contrast == "percentile":
        pixels = stretch(pixels)
    planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, 2, 0)))[None]
    height, width = (max(1, round(side * magnification)) for side in planes.shape[-2:])
    return resized(planes, height, width)


def mirrored(picture: Tensor, height: int, width: int) -> Tensor:
    """The picture mirrored beyond its right and lower edge, up to these sides at least.

    ``[B, C, H, W]`` → ``[B, C, H', W']``. The edge itself is repeated, so that a picture of one
    pixel will do; a picture that is large enough is handed back.
    """
    for axis, side in ((2, height), (3, width)):
        length = picture.shape[axis]
        if length < side:
            index = torch.arange(side, device=picture.device) % (2 * length)
            picture = picture.index_select(axis, torch.minimum(index, 2 * length - 1 - index))
    return picture
