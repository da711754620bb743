"""From one mask per nucleus to one label image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


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
    # Of equal areas the later in reading order wins; all that decides lies in the masks.
    order = sorted(range(len(masks)), key=lambda i: (-len(masks[i]), masks[i].tobytes()))
    for mark, index in enumerate(order, start=1):
        canvas[masks[index]] = mark
    marks, first = np.unique(canvas, return_index=True)
    inside = marks > 0
    names = np.zeros(len(masks) + 1, dtype=np.int32)
    names[marks[inside][np.argsort(first[inside])]] = np.arange(1, inside.sum() + 1)
    hidden = len(masks) - int(inside.sum())
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
