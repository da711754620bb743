"""Masks of one picture: the challenge's run-length encoding, and many masks in one label image.

``"start length start length …"``: pixels are numbered down the columns, from 1, so that pixel
(row, column) of a mask of height H is number column · H + row + 1. A run goes on into the next
column. An empty string is an empty mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ngat.errors import InputError

# A picture of more is not made of a file's word for it (a slide of 20,000 x 20,000 has less).
MAX_PIXELS = 2**29
MAX_SIDE = 2**18


def encode(mask: npt.ArrayLike, top: int = 0, left: int = 0, height: int | None = None) -> str:
    """Runs of a mask ``[h, w]`` (non-zero is inside), ascending and as long as can be.

    Args:
        top, left: row and column of its first pixel, where it fills a box of a picture.
        height: of that picture; by default the mask's own.
    """
    inside = np.asarray(mask)
    if inside.ndim != 2:
        raise InputError(f"a mask has two axes, this one has {inside.ndim}; pass one nucleus.")
    columns, rows = np.nonzero(inside.T)
    numbers = (columns + left) * (height or len(inside)) + rows + top + 1
    starts = np.flatnonzero(np.diff(numbers, prepend=-1) != 1)
    lengths = np.diff(starts, append=len(numbers))
    return " ".join(map(str, np.stack([numbers[starts], lengths], axis=1).ravel()))


def pixels(
    runs: str, height: int, width: int, *, name: str = "run-length encoding"
) -> npt.NDArray[np.int64]:
    """Pixels of the runs as ascending row-major numbers from 0: row · W + column.

    Raises:
        InputError: more than :data:`MAX_PIXELS` or :data:`MAX_SIDE`, an odd number of values, a
            value that is no whole number, a run outside ``height`` × ``width``, or runs that
            overlap. The sentence starts with ``name``.
    """
    if height * width > MAX_PIXELS:
        raise InputError(
            f"{name}: {height} x {width} pixels are more than {MAX_PIXELS}; check Height and Width."
        )
    if max(height, width) > MAX_SIDE:
        raise InputError(
            f"{name}: {height} x {width} pixels have a side of more than {MAX_SIDE}; "
            "check Height and Width."
        )
    words = runs.split()
    if len(words) % 2:
        raise InputError(
            f"{name}: {len(words)} values, an odd number, but runs are pairs of start and "
            "length; get the file again."
        )
    # isdecimal alone takes other scripts' digits; a longer number than 12 digits is no pixel.
    bad = next((w for w in words if not (w.isascii() and w.isdecimal() and len(w) <= 12)), None)
    if bad is not None:
        raise InputError(
            f"{name}: {bad[:20]!r} is not a whole number of pixels; get the file again."
        )
    numbers = np.array([int(w) for w in words], dtype=np.int64)
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    order = np.argsort(starts, kind="stable")
    starts, lengths = starts[order], lengths[order]
    stops = starts + lengths
    wrong = (starts < 0) | (lengths < 1) | (stops > height * width)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InputError(
            f"{name}: run '{starts[first] + 1} {lengths[first]}' leaves the picture of "
            f"{height} x {width} pixels; get the file again."
        )
    overlaps = starts[1:] < stops[:-1]
    if overlaps.any():
        first = int(np.argmax(overlaps))
        raise InputError(
            f"{name}: runs overlap at pixel {starts[first + 1] + 1}; get the file again."
        )
    # One ramp per run: repeat each start, add the place inside the run.
    before = np.cumsum(lengths) - lengths
    column_major = np.repeat(starts - before, lengths) + np.arange(lengths.sum())
    columns, rows = np.divmod(column_major, max(height, 1))
    return np.sort(rows * width + columns)


def encode_labels(labels: npt.ArrayLike) -> list[str]:
    """Runs of every nucleus of a label image ``[H, W]`` (0 = background), by ascending label."""
    image = np.asarray(labels)
    if image.ndim != 2:
        raise InputError(f"a label image has two axes, this one has {image.ndim}; pass one image.")
    boxes = enumerate(ndimage.find_objects(image), start=1)
    return [encode(image[b] == n, b[0].start, b[1].start, len(image)) for n, b in boxes if b]


class Merged(NamedTuple):
    """Labels ``int32 [H, W]`` (1 … n without gaps) and what merging the masks met.

    ``overlaps`` counts pairs of masks that share pixels, ``hidden`` masks that lost every pixel.
    """

    labels: npt.NDArray[np.int32]
    overlaps: int
    hidden: int


def merge(masks: Sequence[npt.NDArray[np.int64]], height: int, width: int) -> Merged:
    """Paint masks, each given as row-major pixel numbers, into one label image.

    A pixel that several masks claim goes to the smallest of them (the corrected annotations hold
    nine such pixels), so that a small nucleus is not lost under a large one. Labels follow the
    first pixel of each nucleus in reading order: they depend on the masks alone, not on file
    names or the order of rows. A nucleus annotated in several pieces keeps one label.
    """
    if not masks:
        return Merged(np.zeros((height, width), dtype=np.int32), 0, 0)
    canvas = np.zeros(height * width, dtype=np.int32)
    # Of equal areas their bytes decide, which is any order that lies in the masks alone.
    order = sorted(range(len(masks)), key=lambda i: (-len(masks[i]), masks[i].tobytes()))
    for mark, index in enumerate(order, start=1):
        canvas[masks[index]] = mark
    first: dict[int, int] = {}  # of what is seen of a nucleus; the canvas may be a slide's
    for mark, index in enumerate(order, start=1):
        seen = masks[index][canvas[masks[index]] == mark]
        if len(seen):
            first[mark] = int(seen.min())
    names = np.zeros(len(masks) + 1, dtype=np.int32)
    names[sorted(first, key=first.__getitem__)] = np.arange(1, len(first) + 1)
    hidden = len(masks) - len(first)
    return Merged(names[canvas].reshape(height, width), _overlaps(masks), hidden)


def _overlaps(masks: Sequence[npt.NDArray[np.int64]]) -> int:
    """Pairs of masks that share a pixel."""
    pixels = np.concatenate(masks)
    shared = np.bincount(pixels)[pixels] > 1
    owners = np.repeat(np.arange(len(masks)), [len(mask) for mask in masks])[shared]
    claims: dict[int, list[int]] = {}
    for pixel, owner in zip(pixels[shared].tolist(), owners.tolist(), strict=True):
        claims.setdefault(pixel, []).append(owner)
    return len({pair for claim in claims.values() for pair in combinations(claim, 2)})
