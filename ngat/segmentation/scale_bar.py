"""A scale bar drawn into a picture, with its letters: each would be a nucleus, and beside its white
all else is dim.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ngat.instances import Labels
from ngat.io.stack import Array
from ngat.segmentation.tiles import Window

Mask = npt.NDArray[np.bool_]

# A bar is a filled rectangle of one extreme colour: so many times as long as it is thick, with so
# many pixels a side at least. So much of its box has the colour, and at most so much of the lines
# round it. Half of what is round it differs from it by so many times as much as values of one
# colour may; half of what is round a letter by such a share of that of its bar.
ASPECT, THICK, LONG = 4, 2, 12
FILLED, AROUND, CONTRAST, SHARP = 0.9, 0.1, 2, 0.5
# By such shares of the range values of one colour may differ: as drawn, and after JPEG.
NEAR = (1 / 32, 1 / 8)
# Letters lie within so many lengths of the bar, and their strokes are at most so many times as
# thick as it is, and some pixels more.
REACH, STROKE, MORE = 1.0, 1.0, 2
# With these limits none of 735 pictures of training and validation has a bar.
# Round what is drawn colours are mixed for so many pixels.
MIXED = 2


def drawn_on(pixels: Array) -> Mask | None:
    """The pixels of a scale bar and of its letters, ``bool [H, W]``; None where there is none.

    A bar is black, white, or of a colour whose red, green and blue are each none or full.

    Args:
        pixels: ``[H, W]`` or ``[H, W, 3]``.
    """
    planes = np.ascontiguousarray(np.moveaxis(np.atleast_3d(pixels), 2, 0), np.float32)
    low, high = planes.min(), planes.max()
    found = np.zeros(planes.shape[1:], bool)
    if low == high:
        return None
    planes = (planes - low) / (high - low)
    if (planes == planes[:1]).all():  # grey, stored as colours: white and black are enough
        planes = planes[:1]
    for colour in product((0, 1), repeat=len(planes)):
        unlike = np.zeros(found.shape, np.float32)
        for plane, full in zip(planes, colour, strict=True):
            np.maximum(unlike, 1 - plane if full else plane, out=unlike)
        for near in NEAR:
            alike = unlike <= near
            for bar in _bars(alike, unlike >= CONTRAST * near):
                found[bar] |= alike[bar]
                _add_letters(found, alike, unlike, bar)
    if not found.any():
        return None
    return ndimage.binary_dilation(found, np.ones((3, 3), bool), iterations=MIXED)


def _bars(alike: Mask, unlike: Mask) -> list[Window]:
    """The boxes of filled rectangles that lie inside a picture, with sharp edges all round.

    Args:
        alike: the pixels of a colour.
        unlike: those of clearly another one.
    """
    pieces, _ = ndimage.label(alike)
    boxes, sizes = ndimage.find_objects(pieces), np.bincount(pieces.ravel())
    found = []
    for number in 1 + np.flatnonzero(sizes[1:] >= FILLED * THICK * LONG):
        rows, columns = boxes[number - 1]
        thick, long = sorted((rows.stop - rows.start, columns.stop - columns.start))
        if thick < THICK or long < max(LONG, ASPECT * thick):
            continue
        own = pieces[rows, columns] == number
        around = _wider((rows, columns))
        (top, bottom), (left, right) = ((side.start, side.stop) for side in around)
        if min(top, left) < 0 or bottom > alike.shape[0] or right > alike.shape[1]:
            continue
        edge = _ring(alike[around]).mean() <= AROUND and _ring(unlike[around]).mean() >= 0.5
        if edge and own.mean() >= FILLED:
            found.append((rows, columns))
    return found


def _wider(box: Window) -> Window:
    rows, columns = (slice(side.start - MIXED, side.stop + MIXED) for side in box)
    return rows, columns


def _ring(box: Array) -> Array:
    return np.concatenate([box[0], box[-1], box[:, 0], box[:, -1]])


def _add_letters(found: Mask, alike: Mask, unlike: Array, bar: Window) -> None:
    """Add to ``found`` what is of a bar's colour near it, as sharp as it is, and not thicker than
    letters are.

    Args:
        alike: the pixels of the colour.
        unlike: how much each differs from it.
    """
    thick, long = sorted(side.stop - side.start for side in bar)
    reach = round(REACH * long)
    near = tuple(slice(max(0, side.start - reach), side.stop + reach) for side in bar)
    pieces, count = ndimage.label(alike[near], np.ones((3, 3), int))
    numbers = np.arange(1, count + 1)
    depth = ndimage.maximum(ndimage.distance_transform_edt(alike[near]), pieces, numbers)
    distance, nearest = ndimage.distance_transform_edt(~alike[near], return_indices=True)
    around = (distance > MIXED - 1) & (distance <= MIXED + 1)
    of_piece = pieces[tuple(nearest)][around]
    differs = unlike[near][around] >= SHARP * np.median(_ring(unlike[_wider(bar)]))
    edge = np.bincount(of_piece, minlength=count + 1)[1:]
    sharp = 2 * np.bincount(of_piece[differs], minlength=count + 1)[1:] >= edge
    found[near] |= np.isin(pieces, numbers[sharp & (2 * depth <= STROKE * thick + MORE)])


def without(pixels: Array, drawn: Mask) -> Array:
    """A copy in which each pixel of a mask has the value of the nearest one outside it."""
    nearest = ndimage.distance_transform_edt(drawn, return_distances=False, return_indices=True)
    return np.asarray(pixels[tuple(nearest)])


def without_drawn(labels: Labels, drawn: Mask) -> Labels:
    """Labels less those of which more than half lies in a mask."""
    covered = np.bincount(labels[drawn], minlength=int(labels.max()) + 1)
    mostly = 2 * covered > np.bincount(labels.ravel())
    return np.where(mostly[labels], 0, labels)
