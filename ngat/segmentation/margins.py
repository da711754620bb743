"""Blank margins of a picture: the white page or the bar with a scale beside fluorescence, a black
frame round stained tissue. Beside them all of a picture looks like one nucleus.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ngat.io.stack import Array
from ngat.io.values import grey_levels
from ngat.segmentation.tiles import Window

Floats = npt.NDArray[np.float64]

# A margin is so many lines wide, and leaves so many of the picture.
LEAST, INNER = 3, 16
JPEG = 4
# Of a bar with letters half of each line at least has its value, and hardly any of the next line:
# it has an edge, as glass beside tissue rarely has. What is wider than such a share of the picture
# is none: a dim picture beside a bright one looks alike.
BAR, BEYOND, WIDEST = 0.5, 0.1, 0.25


def near_of(pixels: Array) -> float:
    """Grey levels by which values differ that were one: what JPEG does to 8-bit pictures."""
    return JPEG if pixels.dtype == np.uint8 else 0


def without_margins(pixels: Array, least: int = LEAST) -> Window | None:
    """Rows and columns of a picture inside its blank margins; None where it has none.

    A margin is of one value, which is brighter than all of a dark picture, or darker than all of a
    bright one. A dark margin of a dark picture is like its background, and may stay; a bar with
    letters, which would be nuclei, may not.

    Args:
        pixels: ``[H, W]`` or ``[H, W, 3]``.
        least: lines of the thinnest margin.
    """
    grey = grey_levels(pixels)
    near = near_of(pixels)
    cut = [0, 0, 0, 0]  # lines above, below, left and right
    values = [0.0] * 4
    for side in range(4):  # a frame: its sides are known for what they are without all four
        values[side], cut[side] = _margin(_inside(grey, cut), side, near, 1.0)
    inner = _inside(grey, cut)
    for side, value in enumerate(values):
        # One nucleus on black has black round it, but no edge that is straight.
        straight = inner.size and _alike(_from(inner, side)[0], value, near) <= BEYOND
        if not (straight and _stands_out(value, inner, far=True)):
            cut[side] = 0
    for side in range(4):
        value, count = _margin(_inside(grey, cut), side, near, BAR)
        longer = [n + count * (i == side) for i, n in enumerate(cut)]
        narrow = 0 < count <= WIDEST * grey.shape[side // 2]
        if narrow and _stands_out(value, _inside(grey, longer)):
            cut = longer
    above, below, left, right = (n if n >= least else 0 for n in cut)
    if not above + below + left + right:
        return None
    return slice(above, grey.shape[0] - below), slice(left, grey.shape[1] - right)


def _inside(grey: Floats, cut: list[int]) -> Floats:
    return grey[cut[0] : grey.shape[0] - cut[1], cut[2] : grey.shape[1] - cut[3]]


def _from(grey: Floats, side: int) -> Floats:
    """Its lines in order from above, from below, from the left or from the right."""
    lines = grey if side < 2 else grey.T
    return lines[::-1] if side % 2 else lines


def _alike(line: Floats, value: float, near: float) -> float:
    """The share of a line's pixels that have a value."""
    return float(np.mean(np.abs(line - value) <= near))


def _margin(grey: Floats, side: int, near: float, share: float) -> tuple[float, int]:
    """The value at one side of a picture, and the number of lines that have it in such a share."""
    lines = _from(grey, side)
    value = float(np.median(lines[0])) if lines.size else 0.0
    for count, line in enumerate(lines):
        alike = _alike(line, value, near)
        if alike < share:
            return value, count if share == 1 or alike <= BEYOND else 0
    return value, 0


def _stands_out(value: float, inner: Floats, *, far: bool = False) -> bool:
    """Whether a value lies beyond all of a picture, which varies, or also ``far`` from most."""
    if min(inner.shape) < INNER:
        return False
    low, middle, high = np.percentile(inner, (0.2, 50, 99.8))
    if low == high:
        return False
    bright = value >= high and (not far or middle < (low + value) / 2)
    return bool(bright or (value <= low and (not far or middle > (high + value) / 2)))
