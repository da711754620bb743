"""From an image of any type to what a network is shown: its contrast, its size, its borders.

Every part of an image is shown over the range of its own surroundings.

Fluorescent images of the challenge reach from 27 to all of 255 grey levels, and the background of
stained tissue from white to lilac. What a network reads should depend neither on a lamp, a camera
or the amount of a dye, nor on what lies far away in the same image: a white margin, empty glass, a
neighbouring section. So the darkest and the brightest value that count at a pixel are those of a
window around it, and a statistic never looks at ground without any structure.

A grid of tiles carries the statistics. It is a few numbers per tile, so that an image of any size
can be normalised region by region, with the same result as the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from ngat.data.resize import resized
from ngat.errors import InputError

Floats = npt.NDArray[np.float32]

# Side of a tile in pixels, at the scale that the network sees; a window is three tiles wide.
TILE = 96
# Share of a tile's pixels that may lie beyond either end, in percent: single hot pixels do not
# count, a nucleus of ten pixels does.
TAIL = 0.2
# Ground without structure (padding, saturated glass, a background cut off at zero): windows of so
# many pixels' side that hold one value only. They do not count.
FLAT = 4
# A range is at least so many standard deviations of the pixel noise, or an empty window would show
# its noise at full contrast.
NOISE = 10.0
# A channel whose range is less than this share of the widest one's is empty. It takes the mean of
# the others: a fluorescent image is the same image in grey, in blue or in any tint.
EMPTY = 0.06


@dataclass(frozen=True)
class Contrast:
    """What an image's values mean, on a grid of tiles.

    Attributes:
        low, high: the range that becomes 0 to 1, ``[rows, columns, C]``, in the image's own units.
        shape: height and width of the image in pixels.
    """

    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    shape: tuple[int, int]

    def apply(
        self,
        region: npt.NDArray[Any],
        rows: npt.NDArray[np.integer] | None = None,
        columns: npt.NDArray[np.integer] | None = None,
    ) -> Floats:
        """Pixels of the image, every channel over its range.

        Args:
            region: ``[h, w, C]`` in the image's own units.
            rows, columns: which rows ``[h]`` and columns ``[w]`` of the image these are; all.

        Returns:
            ``float32 [h, w, C]`` in [0, 1].
        """
        at = [
            (np.arange(self.shape[axis]) if chosen is None else chosen) + 0.5
            for axis, chosen in enumerate((rows, columns))
        ]
        places = [
            x * n / length - 0.5
            for x, n, length in zip(at, self.low.shape[:2], self.shape, strict=True)
        ]
        ranges = self.high - self.low
        low, spread = _bilinear(self.low, *places), _bilinear(ranges, *places)
        spread[spread <= 0] = 1
        seen = region.astype(np.float32)
        seen -= low
        seen /= spread
        np.clip(seen, 0.0, 1.0, out=seen)
        # A channel that is nowhere empty on the grid is so nowhere between its tiles.
        if (ranges > EMPTY * ranges.max(axis=2, keepdims=True)).all():
            return seen
        full = spread > EMPTY * spread.max(axis=2, keepdims=True)
        count = np.maximum(full.sum(axis=2, keepdims=True), 1)
        mean = (seen * full).sum(axis=2, keepdims=True) / count
        return np.where(full, seen, mean).astype(np.float32)


def local_contrast(image: npt.NDArray[Any], tile: float = TILE) -> Contrast:
    """The range of an image's values around each of its parts.

    Args:
        image: ``[H, W, C]`` of any type and range, finite.
        tile: side of a tile in pixels of this image.
    """
    return contrast_by_rows(lambda rows: image[rows], (image.shape[0], image.shape[1]), tile)


def contrast_by_rows(
    read: Callable[[slice], npt.NDArray[Any]], shape: tuple[int, int], tile: float = TILE
) -> Contrast:
    """:func:`local_contrast` of an image that is read a row of tiles at a time.

    Args:
        read: rows of the image, ``[h, W, C]``.
        shape: height and width of the image.
        tile: side of a tile in pixels.
    """
    rows, columns = (
        np.linspace(0, length, max(1, round(length / tile)) + 1).round().astype(int)
        for length in shape
    )
    found = []
    for top, bottom in pairwise(rows.tolist()):
        # A flat window may begin above these rows, or end below them.
        above, below = max(0, top - FLAT + 1), min(shape[0], bottom + FLAT - 1)
        strip = read(slice(above, below))
        within = slice(top - above, bottom - above)
        flat = _flat(strip)[within]
        parts = zip(
            np.split(strip[within], columns[1:-1], axis=1),
            np.split(flat, columns[1:-1], axis=1),
            strict=True,
        )
        found.append([_statistics(part, alike) for part, alike in parts])
    low, high, noise = np.moveaxis(np.array(found), 2, 0)
    if np.isnan(low).all():  # nothing but flat ground: a mask, or one value
        strips = [read(slice(top, bottom)) for top, bottom in pairwise(rows.tolist())]
        low[:] = np.min([strip.min(axis=(0, 1)) for strip in strips], axis=0)
        high[:] = np.max([strip.max(axis=(0, 1)) for strip in strips], axis=0)
        noise[:] = 0
    low, high = _nearest(low), _nearest(high)
    noise = _nearest(noise)
    low = ndimage.minimum_filter(low, (3, 3, 1), mode="nearest")
    high = ndimage.maximum_filter(high, (3, 3, 1), mode="nearest")
    low, high, noise = (
        ndimage.uniform_filter(x, (3, 3, 1), mode="nearest") for x in (low, high, noise)
    )
    lack = np.maximum(NOISE * noise - (high - low), 0)
    return Contrast(low - lack / 2, high + lack / 2, shape)


def _statistics(part: npt.NDArray[Any], flat: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Least and largest value that count in a tile, and its noise, ``[3, C]``; NaN of flat ones."""
    part = np.asarray(part, dtype=np.float64)
    pixels = part[~flat]
    if not len(pixels):
        return np.full((3, part.shape[2]), np.nan)
    low, high = np.percentile(pixels, (TAIL, 100 - TAIL), axis=0)
    # A step's median is .674 σ√2 where neighbours differ by noise alone. Flat ground beside other
    # pixels counts here: of a few photons on black, most neighbours do not differ.
    near = ndimage.maximum_filter(~flat, 2 * FLAT + 1)
    steps = np.abs(np.diff(part, axis=1))[near[:, 1:]]
    noise = np.median(steps, axis=0) / 0.954 if len(steps) else np.zeros(part.shape[2])
    return np.stack([low, high, noise])


def _flat(strip: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Pixels in a window of ``FLAT`` × ``FLAT`` pixels that are all the same, ``bool [h, w]``."""
    height, width = strip.shape[:2]
    flat = np.zeros((height, width), dtype=bool)
    if min(height, width) < FLAT:
        return flat
    right, down = (strip[:, 1:] == strip[:, :-1]), (strip[1:] == strip[:-1])
    right, down = (np.logical_and.reduce(np.moveaxis(same, 2, 0)) for same in (right, down))
    places = height - FLAT + 1, width - FLAT + 1
    begins = np.ones(places, dtype=bool)  # such a window at this pixel, its upper left one
    for i in range(FLAT):
        for j in range(FLAT - 1):
            begins &= right[i : i + places[0], j : j + places[1]]
    for i in range(FLAT - 1):
        begins &= down[i : i + places[0], : places[1]]
    for i in range(FLAT):
        for j in range(FLAT):
            flat[i : i + places[0], j : j + places[1]] |= begins
    return flat


def _nearest(grid: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The grid with every tile that has no value taking that of the nearest one that has."""
    missing = np.isnan(grid[:, :, 0])
    if not missing.any():
        return grid
    where = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    filled: npt.NDArray[np.float64] = grid[tuple(where)]
    return filled


def _bilinear(
    grid: npt.NDArray[np.float64], rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]
) -> Floats:
    """The grid at real-valued rows and columns, held at its edges."""
    for axis, at in ((0, rows), (1, columns)):
        at = np.clip(at, 0, grid.shape[axis] - 1)
        first = np.minimum(at.astype(int), max(grid.shape[axis] - 2, 0))
        second = np.minimum(first + 1, grid.shape[axis] - 1)
        share = (at - first).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        grid = grid.take(first, axis) * (1 - share) + grid.take(second, axis) * share
    return grid.astype(np.float32)


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
    """An image as a network is shown it, ``float32 [1, 3, H', W']`` in [0, 1].

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
