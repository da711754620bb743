"""Contrast: every part of an image over the range of its own surroundings.

Fluorescent images of the challenge reach from 27 to all of 255 grey levels, and the background of
stained tissue from white to lilac. What a network reads should depend neither on a lamp, a camera
or the amount of a dye, nor on what lies far away in the same image: a white margin, empty glass, a
neighbouring section. So the darkest and the brightest value that count at a pixel are those of a
window around it, and a statistic never looks at ground without any structure.

A grid of tiles carries the statistics. It is a few numbers per tile, so that an image of any size
can be normalised region by region, with the same result as the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.float32]

# Side of a tile in pixels, at the scale that the network sees; a window is three tiles wide.
TILE = 96
# Share of a tile's pixels that may lie beyond either end, in percent: single hot pixels do not
# count, a nucleus of ten pixels does.
TAIL = 0.2
# Ground without structure (padding, saturated glass, a background cut off at zero): blocks of so
# many pixels that hold one value only. They do not count.
BLOCK = 4
# A range is at least so many standard deviations of the pixel noise, or an empty window would show
# its noise at full contrast.
NOISE = 10.0
# A channel is stretched at most to 1/SHARE of what the widest channel is.
SHARE = 0.25
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
        region: npt.NDArray[np.generic],
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
        low = _bilinear(self.low, *places)
        high = _bilinear(self.high, *places)
        spread = high - low
        widest = spread.max(axis=2, keepdims=True)
        taken = np.maximum(spread, SHARE * widest)
        # Where a channel is narrower than it is taken to be, its middle stays in the middle.
        start = (low + high - taken) / 2
        safe = np.where(taken > 0, taken, 1)
        seen = np.clip((region.astype(np.float32) - start) / safe, 0.0, 1.0)
        full = spread > EMPTY * widest
        if not full.all():
            count = np.maximum(full.sum(axis=2, keepdims=True), 1)
            mean = (seen * full).sum(axis=2, keepdims=True) / count
            seen = np.where(full, seen, mean)
        return seen.astype(np.float32)


def contrast(image: npt.NDArray[np.generic], tile: float = TILE) -> Contrast:
    """The range of an image's values around each of its parts.

    Args:
        image: ``[H, W, C]`` of any type and range, finite.
        tile: side of a tile in pixels of this image.
    """
    height, width, channels = image.shape
    rows, columns = max(1, round(height / tile)), max(1, round(width / tile))
    edges = [
        np.linspace(0, length, n + 1).round().astype(int)
        for length, n in ((height, rows), (width, columns))
    ]
    low = np.full((rows, columns, channels), np.nan)
    high, noise = low.copy(), low.copy()
    for i in range(rows):
        for j in range(columns):
            part = image[edges[0][i] : edges[0][i + 1], edges[1][j] : edges[1][j + 1]]
            pixels, steps = _structured(part)
            if len(pixels):
                low[i, j], high[i, j] = np.percentile(pixels, (TAIL, 100 - TAIL), axis=0)
                noise[i, j] = np.median(steps, axis=0) / 0.954  # of a difference of two: σ√2 · .674
    if np.isnan(low).all():  # nothing in it at all
        value = np.asarray(image[0, 0], dtype=np.float64)
        low[:], high[:], noise[:] = value, value, 0
    low, high = _nearest(low), _nearest(high)
    noise = _nearest(noise)
    low = ndimage.minimum_filter(low, (3, 3, 1), mode="nearest")
    high = ndimage.maximum_filter(high, (3, 3, 1), mode="nearest")
    low, high, noise = (
        ndimage.uniform_filter(x, (3, 3, 1), mode="nearest") for x in (low, high, noise)
    )
    lack = np.maximum(NOISE * noise - (high - low), 0)
    return Contrast(low - lack / 2, high + lack / 2, (height, width))


def _structured(part: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Pixels ``[n, C]`` of blocks that hold more than one value, and their steps to the right."""
    height, width = (max(BLOCK, n // BLOCK * BLOCK) for n in part.shape[:2])
    part = np.asarray(part[:height, :width], dtype=np.float64)
    if part.shape[0] < BLOCK or part.shape[1] < BLOCK:
        pixels = part.reshape(-1, part.shape[2])
        return pixels, np.abs(np.diff(part, axis=1, append=part[:, -1:])).reshape(pixels.shape)
    blocks = part.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, -1).swapaxes(1, 2)
    flat = (blocks == blocks[:, :, :1, :1]).all(axis=(2, 3, 4))
    blocks = blocks[~flat]
    return blocks.reshape(-1, part.shape[2]), np.abs(np.diff(blocks, axis=2)).reshape(
        -1, part.shape[2]
    )


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



def stretch(image: npt.NDArray[np.generic]) -> Floats:
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
