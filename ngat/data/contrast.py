"""Contrast: every part of an image is shown over the range of its own surroundings.

Fluorescent images of the challenge reach from 27 to all of 255 grey levels, and the background of
stained tissue from white to lilac. What a network reads should depend neither on a lamp, a camera
or the amount of a dye, nor on what lies far away in the same image: a white margin, empty glass, a
neighbouring section. So the darkest and the brightest value that count at a pixel are those of a
window around it, and a statistic never looks at background without any structure.

A grey image on bright background is a negative of one on dark background, and may be shown as such:
what is seen then does not depend on which of the two it is.

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
from scipy import ndimage

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
# Blank background is looked for on cells, so many along a tile's side: at least a tile of it.
CELLS = 6
# An image is grey if its channels differ by less than this share of its range, on average.
GREY = 0.05
# Values of ``ModelConfig.contrast`` that this module serves; the second shows negatives as such.
LOCAL = ("local", "positive")
# A channel whose range is less than this share of the widest one's is empty. It takes the mean of
# the others: a fluorescent image is the same image in grey, in blue or in any tint.
EMPTY = 0.06


@dataclass(frozen=True)
class Contrast:
    """What an image's values mean, on a grid of tiles.

    Attributes:
        low, high: the range that becomes 0 to 1, ``[rows, columns, C]``, in the image's own units;
            of a negative, low is the brighter end.
        shape: height and width of the image in pixels.
        blank: blank background beside a dark image, on a finer grid, ``bool [rows, columns]``: a
            white page beside fluorescence, say, which is shown as black. None where there is none.
        bright: most of the image, as it is shown, is brighter than the middle of its range.
    """

    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    shape: tuple[int, int]
    blank: npt.NDArray[np.bool_] | None = None
    bright: bool = False

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
        full = _full(spread)
        spread[spread == 0] = 1
        seen = region.astype(np.float32)
        seen -= low
        seen /= spread
        np.clip(seen, 0.0, 1.0, out=seen)
        if self.blank is not None:
            cells = [
                np.searchsorted(_edges(length, n), x, side="right") - 1
                for x, n, length in zip(at, self.blank.shape, self.shape, strict=True)
            ]
            seen[self.blank[np.ix_(*cells)]] = 0.0
        # A channel that is nowhere empty on the grid is so nowhere between its tiles.
        if _full(ranges).all():
            return seen
        mean = (seen * full).sum(axis=2, keepdims=True) / full.sum(axis=2, keepdims=True)
        return np.where(full, seen, mean).astype(np.float32)


def local_contrast(
    image: npt.NDArray[Any], tile: float = TILE, *, positive: bool = False
) -> Contrast:
    """The range of an image's values around each of its parts.

    Args:
        image: ``[H, W, C]`` of any type and range, finite.
        tile: side of a tile in pixels of this image.
        positive: a grey image on bright background is shown on dark background.
    """
    shape = image.shape[0], image.shape[1]
    return contrast_by_rows(lambda rows: image[rows], shape, tile, positive=positive)


def contrast_by_rows(
    read: Callable[[slice], npt.NDArray[Any]],
    shape: tuple[int, int],
    tile: float = TILE,
    *,
    positive: bool = False,
) -> Contrast:
    """:func:`local_contrast` of an image that is read a row of tiles at a time.

    Args:
        read: rows of the image, ``[h, W, C]``.
        shape: height and width of the image.
        tile, positive: as there.
    """
    tiles = [max(1, round(length / tile)) for length in shape]
    rows, columns = (_edges(length, n) for length, n in zip(shape, tiles, strict=True))
    cells = [_edges(length, CELLS * n) for length, n in zip(shape, tiles, strict=True)]
    celled = all((np.diff(edges) > 0).all() for edges in cells)
    found = []
    even: list[npt.NDArray[np.float64]] = []
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
        if celled:
            of_strip = cells[0][CELLS * len(even) : CELLS * (len(even) + 1)] - top
            even.append(_even(strip[within], of_strip, cells[1][:-1]))
    low, high, noise, middle, colour = np.moveaxis(np.array(found), 2, 0)
    if np.isnan(low).all():  # nothing but flat background: a mask, or one value
        strips = [read(slice(top, bottom)) for top, bottom in pairwise(rows.tolist())]
        low[:] = np.min([strip.min(axis=(0, 1)) for strip in strips], axis=0)
        high[:] = np.max([strip.max(axis=(0, 1)) for strip in strips], axis=0)
        noise[:] = 0
    bright = _bright(low, high, middle)
    negative = positive and bright and _grey(low, high, colour)
    if negative:
        low, high, middle, even = -high, -low, -middle, [-values for values in even]
    low, high, noise, middle = (_nearest(x) for x in (low, high, noise, middle))
    low = ndimage.minimum_filter(low, (3, 3, 1), mode="nearest")
    high = ndimage.maximum_filter(high, (3, 3, 1), mode="nearest")
    low, high, noise = (
        ndimage.uniform_filter(x, (3, 3, 1), mode="nearest") for x in (low, high, noise)
    )
    lack = np.maximum(NOISE * noise - (high - low), 0)
    blank = _blank(np.concatenate(even), low, high, middle) if even else None
    low, high = low - lack / 2, high + lack / 2
    if negative:
        return Contrast(-low, -high, shape, blank)
    return Contrast(low, high, shape, blank, bright)


def _full(spread: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Channels that are not empty, from the lengths of their ranges."""
    spread = np.abs(spread)
    return np.asarray(spread >= EMPTY * spread.max(axis=2, keepdims=True))


def _grey(
    low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], colour: npt.NDArray[np.float64]
) -> bool:
    """Whether an image's channels hardly differ."""
    return bool(np.nansum(colour) <= GREY * np.nansum(high - low))


def _bright(
    low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], middle: npt.NDArray[np.float64]
) -> bool:
    """Whether most of an image is brighter than the middle of its range."""
    spread = high - low
    return bool(np.nansum((middle - low) * spread) > 0.5 * np.nansum(spread**2))


def _edges(length: int, parts: int) -> npt.NDArray[np.int_]:
    """Where so many parts of one length begin, and where the last one ends."""
    return np.linspace(0, length, parts + 1).round().astype(int)


def _even(
    strip: npt.NDArray[Any], rows: npt.NDArray[np.int_], columns: npt.NDArray[np.int_]
) -> npt.NDArray[np.float64]:
    """The value of each cell that has one only, ``[rows, columns, C]``; NaN of the others."""
    least, largest = (
        function.reduceat(function.reduceat(strip, rows, axis=0), columns, axis=1)
        for function in (np.minimum, np.maximum)
    )
    one = (least == largest).all(axis=2, keepdims=True)
    return np.where(one, least, np.nan).astype(np.float64)


def _blank(
    even: npt.NDArray[np.float64],
    low: npt.NDArray[np.float64],
    high: npt.NDArray[np.float64],
    middle: npt.NDArray[np.float64],
) -> npt.NDArray[np.bool_] | None:
    """Cells of blank background: of one value, which no pixel around exceeds where most are dark.

    A whole tile must be so; whatever is connected with it belongs to it. Nuclei are smaller at the
    scale that suits them. On bright background, blank glass is what it seems to be.
    """
    spread = np.maximum(high - low, 0)
    dark = ((middle - low) * spread).sum(axis=2) < 0.5 * (spread**2).sum(axis=2)
    cells = np.ones((CELLS, CELLS))
    bright = (even >= np.kron(high, cells[:, :, None])).all(axis=2)
    bright &= np.kron(dark, cells).astype(bool)
    whole = ndimage.binary_opening(bright, cells)
    return ndimage.binary_propagation(whole, mask=bright) if whole.any() else None


def _statistics(part: npt.NDArray[Any], flat: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Of a tile, ``[5, C]``; NaN if it is flat.

    Least and largest value that count, noise, median, and by how much channels differ on average.
    """
    part = np.asarray(part, dtype=np.float64)
    pixels = part[~flat]
    if not len(pixels):
        return np.full((5, part.shape[2]), np.nan)
    low, high, middle = np.percentile(pixels, (TAIL, 100 - TAIL, 50), axis=0)
    # A step's median is .674 σ√2 where neighbours differ by noise alone. Flat background beside
    # other pixels counts here: of a few photons on black, most neighbours do not differ.
    near = ndimage.maximum_filter(~flat, 2 * FLAT + 1)
    steps = np.abs(np.diff(part, axis=1))[near[:, 1:]]
    noise = np.median(steps, axis=0) / 0.954 if len(steps) else np.zeros(part.shape[2])
    colour = np.full(part.shape[2], np.mean(pixels.max(axis=1) - pixels.min(axis=1)))
    return np.stack([low, high, noise, middle, colour])


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
