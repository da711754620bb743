"""Pictures side by side in one: a figure's panels, a montage, a comparison.

Each has a contrast, a background and a magnification of its own, and is searched as a picture of
its own. Where two meet, lines of pixels have nothing to do with one another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ngat.io.stack import Array
from ngat.io.values import grey_levels
from ngat.segmentation.margins import INNER, near_of, without_margins
from ngat.segmentation.scale_bar import Mask, drawn_on, without
from ngat.segmentation.tiles import Window

Floats = npt.NDArray[np.float64]

# Two lines differ by the mean of abs(b - a), of which the share that their correlation explains
# does not count. Where pictures meet this is so many times the difference that USUAL of all lines
# of the picture keep within; next neighbours tell it, or in an enlarged picture those beyond.
SEAM, USUAL = {1: 1.1, 2: 1.8}, 0.98
# In nothing but noise no difference is explained: this one is so many times as large as usual, too.
RARE = 1.4
# The edge of a lone nucleus is a few pixels long: here lines differ as if this share of their
# pixels differed alike.
SPREAD = 0.2
# Beyond a single odd line (a camera's defect, a line drawn across) the picture goes on: so far
# apart lines correlate, or hardly differ.
FAR, RELATED, DIFFERENT = 4, 0.6, 0.3
# With these limits none of 735 pictures of training and validation is cut, and of the 132 of
# validation, each with another beside it, 116 are cut where the two meet.
# A share of the range that is no difference.
_LEAST = 0.002
# A picture of more pixels a side is one: a mosaic's tiles may differ as pictures side by side do.
FIGURE = 2048
# One of more pixels a side is no camera's: it is read by region, and searched as it is.
CAMERA = 4096


class Searched(NamedTuple):
    """A picture without what was drawn into it, the windows to search, and where it was drawn."""

    pixels: Array
    windows: list[Window]
    drawn: Mask | None


def searched(pixels: Array) -> Searched:
    """What of a picture is searched: its panels, without a scale bar.

    Args:
        pixels: ``[H, W]`` or ``[H, W, 3]``.
    """
    drawn = drawn_on(pixels)
    if drawn is not None:
        pixels = without(pixels, drawn)
    return Searched(pixels, panels_of(pixels), drawn)


def panels_of(pixels: Array) -> list[Window]:
    """Rows and columns of the pictures that one is made of, without blank margins.

    Pictures that meet along lines through the whole are found, and in each of them again. What has
    one value is none. They come in reading order. One of more than :data:`FIGURE` pixels a side is
    not cut.

    Args:
        pixels: ``[H, W]`` or ``[H, W, 3]``.
    """
    whole = (slice(0, pixels.shape[0]), slice(0, pixels.shape[1]))
    inner = without_margins(pixels) or whole
    if max(pixels.shape[:2]) > FIGURE:
        return [inner]
    found = sorted(_within(pixels, inner), key=lambda w: (w[0].start, w[1].start))
    return found or [whole]


def _within(pixels: Array, window: Window) -> Iterator[Window]:
    part = pixels[window]
    grey = grey_levels(part)
    if np.ptp(grey) <= near_of(pixels):
        return
    strengths = [strength(grey), strength(grey.T)]
    axis = int(strengths[1].max(initial=0) > strengths[0].max(initial=0))
    if strengths[axis].max(initial=0) <= 1:
        yield window
        return
    line = int(strengths[axis].argmax())
    for half in (slice(0, line), slice(line, grey.shape[axis])):
        inside = (half, slice(0, grey.shape[1])) if axis == 0 else (slice(0, grey.shape[0]), half)
        blank = without_margins(part[inside], least=1)  # also a thin line between pictures
        place = _moved(inside, window)
        yield from _within(pixels, place if blank is None else _moved(blank, place))


def _moved(inner: Window, outer: Window) -> Window:
    """A window inside another one, in the whole picture."""
    rows, columns = (
        slice(one.start + other.start, one.stop + other.start)
        for one, other in zip(inner, outer, strict=True)
    )
    return rows, columns


def strength(grey: Floats) -> Floats:
    """How much speaks for another picture from each row on, ``[H]``; above 1 it is one.

    Args:
        grey: ``[H, W]``.
    """
    found = np.zeros(len(grey))
    if len(grey) <= 2 * INNER:
        return found
    small = _LEAST * float(np.ptp(grey)) + np.finfo(np.float64).tiny
    for lag, least in SEAM.items():
        lines = _unlike(grey, lag, small)
        usual = np.quantile(lines.unlike, USUAL)
        clear = (lines.unlike >= RARE * usual) & (lines.spread >= SPREAD)
        between = slice(1, 1 + len(clear))
        found[between] = np.maximum(found[between], clear * lines.unlike / least)
    lines = _unlike(grey, FAR, small)
    apart = (lines.unlike > DIFFERENT) & (lines.related < RELATED)
    middle = np.zeros(len(grey), dtype=bool)
    middle[FAR // 2 : FAR // 2 + len(apart)] = apart
    middle[:INNER] = middle[len(grey) - INNER + 1 :] = False
    return np.where(middle, found, 0)


class _Lines(NamedTuple):
    """Rows some lines apart: what of their difference is not explained, in units of the usual one;
    their correlation, from 0; the share of pixels by which they differ.
    """

    unlike: Floats
    related: Floats
    spread: Floats


def _unlike(grey: Floats, lag: int, small: float) -> _Lines:
    differ = np.abs(grey[lag:] - grey[:-lag])
    mean, square = differ.mean(axis=1), (differ**2).mean(axis=1)
    centred = grey - grey.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=1))
    together = (centred[:-lag] * centred[lag:]).mean(axis=1)
    related = _ratio(together, deviation[:-lag] * deviation[lag:]).clip(0, 1)
    unlike = mean * (1 - related) / (np.quantile(mean, USUAL) + small)
    return _Lines(unlike, related, _ratio(mean**2, square))


def _ratio(one: Floats, other: Floats) -> Floats:
    """Their ratio; 0 where the other one is none."""
    return np.divide(one, other, out=np.zeros_like(one), where=other > 0)
