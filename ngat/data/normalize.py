"""From an image of any type to what a network is shown: its contrast, its size, its borders."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ngat.data.contrast import LOCAL, TILE, local_contrast
from ngat.data.resize import resized_picture
from ngat.errors import InputError

Floats = npt.NDArray[np.float32]


def value_range(
    image: npt.NDArray[Any], least: float, *, shared: bool = False
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The value that becomes black, and how much more is white, by channel: ``[C]`` each.

    Args:
        image: ``[H, W, C]`` of any range.
        least: smallest range; what hardly varies stays flat.
        shared: one range for all channels, ``[1]``.
    """
    low, high = np.percentile(image, (0.1, 99.9), axis=(0, 1))
    if shared:
        low, high = low.min(keepdims=True), high.max(keepdims=True)
    spread = np.maximum(high - low, max(0.5 * float((high - low).max()), least))
    return (low + high - spread) / 2, spread


def stretch(image: npt.NDArray[Any]) -> Floats:
    """Every channel over the range of the whole image, as networks before this one were trained.

    Args:
        image: ``[H, W, C]`` in [0, 1].
    """
    black, spread = value_range(image, 8 / 255)
    return np.clip((image - black) / spread, 0.0, 1.0).astype(np.float32)


def stretch_bytes(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """:func:`stretch` of ``uint8 [H, W, C]``, as bytes again."""
    return np.rint(255 * stretch(image / np.float32(255))).astype(np.uint8)


def as_pixels(image: npt.NDArray[Any], contrast: str = "plain") -> Floats:
    """An image as ``float32 [H, W, 3]``.

    Args:
        image: ``[H, W, 3]`` or ``[H, W]``.
        contrast: see :class:`ngat.config.ModelConfig`. With local contrast the values may be
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
    if kind == "f" and contrast not in LOCAL and (pixels.min() < 0 or pixels.max() > 1):
        raise InputError("Float pictures must lie in 0 to 1; scale the picture first.")
    if kind == "f" or (kind in "ui" and contrast in LOCAL):
        return pixels.astype(np.float32)
    if depth not in (np.uint8, np.uint16):
        raise InputError(f"Pictures are uint8, uint16 or float in 0 to 1; got {depth}.")
    return pixels.astype(np.float32) / np.float32(np.iinfo(depth).max)


def as_tensor(
    image: npt.NDArray[Any], contrast: str = "plain", magnification: float = 1.0
) -> Tensor:
    """An image as it is, the first of its :func:`views`, ``float32 [1, 3, H', W']``."""
    return views(image, contrast, magnification)[:1]


def views(image: npt.NDArray[Any], contrast: str = "plain", magnification: float = 1.0) -> Tensor:
    """The ways in which a network is shown an image, ``float32 [V, 3, H', W']`` in [0, 1].

    With local contrast an image on bright ground is also shown as its negative (V = 2): it may be
    brightfield, or fluorescence that was saved so (L35).

    Args:
        image, contrast: as in :func:`as_pixels`, whose errors it raises.
        magnification: H' and W' are so many times H and W. Contrast is taken from surroundings
            that have one size at this magnification.
    """
    pixels = as_pixels(image, contrast)
    bright = False
    if contrast in LOCAL:
        found = local_contrast(pixels, TILE / magnification, positive=contrast == "positive")
        pixels, bright = found.apply(pixels), found.bright
    elif contrast == "percentile":
        pixels = stretch(pixels)
    planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, 2, 0)))[None]
    height, width = (max(1, round(side * magnification)) for side in planes.shape[-2:])
    return with_negative(resized_picture(planes, height, width), bright)


def with_negative(picture: Tensor, bright: bool) -> Tensor:
    """A picture on bright ground and its negative; another as it is. ``[1, …]`` → ``[V, …]``."""
    return torch.cat([picture, 1 - picture]) if bright else picture


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
