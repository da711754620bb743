"""h-maxima: the maxima of a map that rise by more than h above the saddle to any higher one.

They are the regional maxima of the reconstruction by dilation of the map lowered by h, which
scikit-image has, but which sorts all pixels of a picture. Here the same maxima are found without it
(tests/test_h_maxima.py compares them): from every pixel a path of steepest ascent leads to a
maximum, which divides the map into basins. The saddle between two maxima is the best way from basin
to basin, so that all that remains is a spanning tree of the basins. Only the pixels of the
components are visited.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]


def h_maxima(heights: Floats, h: float, mask: Bools | None = None) -> Bools:
    """The h-maxima of a map, in each 4-connected component of a mask on its own.

    Args:
        heights: ``[H, W]``, finite.
        h: positive.
        mask: ``bool [H, W]``; no way leads outside. None is all of the map.

    Returns:
        ``bool [H, W]``: round each such maximum the pixels that are less than ``h`` lower, or just
        as much, and connected by such pixels.
    """
    inside = np.ones(heights.shape, dtype=bool) if mask is None else mask
    found = np.zeros(heights.shape, dtype=bool)
    if not inside.any():
        return found
    # A frame of outside, so that every pixel has four neighbours.
    place = np.flatnonzero(np.pad(inside, 1))
    number = np.full((heights.shape[0] + 2) * (heights.shape[1] + 2), -1, dtype=np.int32)
    number[place] = np.arange(len(place), dtype=np.int32)
    values = np.append(np.asarray(heights, dtype=np.float64)[inside], -np.inf)
    width = heights.shape[1] + 2
    # Number of each pixel's neighbours; -1, the last value, stands for all outside.
    neighbours = [number[place + step] for step in (-width, -1, 1, width)]
    ascent = _ascent(values, neighbours, inside)
    while True:
        farther = ascent[ascent]
        if np.array_equal(farther, ascent):
            break
        ascent = farther
    peaks = np.flatnonzero(ascent == np.arange(len(ascent)))
    number = np.empty(len(ascent), dtype=np.intp)
    number[peaks] = np.arange(len(peaks))
    basins = number[ascent]
    least = _least(values, neighbours, basins, values[peaks] - h)
    found[inside] = values[:-1] >= least[basins]
    return found


def _ascent(values: Floats, neighbours: Sequence[Ints], inside: Bools) -> Ints:
    """For each pixel the number of its highest neighbour, its own where it is a maximum.

    A plateau that is a maximum is given to one of its pixels; one that is none is left by steps
    between equal pixels.
    """
    count = len(values) - 1
    own = values[:-1]
    ascent, best = np.arange(count), own.copy()
    level = np.zeros(count, dtype=bool)
    for neighbour in neighbours:
        theirs = values[neighbour]
        higher = theirs > best
        ascent[higher], best[higher] = neighbour[higher], theirs[higher]
        level |= theirs == own
    waiting = np.flatnonzero(level & (best == own))
    undecided = np.zeros(count + 1, dtype=bool)
    undecided[waiting] = True
    while len(waiting):
        for neighbour in neighbours:
            towards = neighbour[waiting]
            leave = (values[towards] == own[waiting]) & ~undecided[towards]
            # Only from here on may others leave by way of these pixels.
            ascent[waiting[leave]] = towards[leave]
            undecided[waiting[leave]] = False
            waiting = waiting[~leave]
            if leave.any():
                break
        else:
            break
    if len(waiting):
        plateaus = np.zeros(inside.shape, dtype=bool)
        plateaus[inside] = undecided[:-1]
        labels = ndimage.label(plateaus)[0][inside][waiting]
        first = np.zeros(labels.max() + 1, dtype=np.intp)
        first[labels[::-1]] = waiting[::-1]
        ascent[waiting] = first[labels]
    return ascent


def _least(values: Floats, neighbours: Sequence[Ints], basins: Ints, levels: Floats) -> Floats:
    """For each basin the value from which its pixels belong to an h-maximum; infinite for none.

    Args:
        levels: for each basin the value of its maximum less h.
    """
    saddles, ways = [], []
    for neighbour in neighbours[2:]:  # right and down: every pair once
        beside = neighbour >= 0
        first, second = basins[beside], basins[neighbour[beside]]
        height = np.minimum(values[:-1][beside], values[neighbour[beside]])
        # A lower saddle joins nothing.
        counts = (first != second) & (height >= np.minimum(levels[first], levels[second]))
        first, second = first[counts], second[counts]
        saddles.append(height[counts])
        ways.append(np.minimum(first, second) * len(levels) + np.maximum(first, second))
    saddle, way = np.concatenate(saddles), np.concatenate(ways)
    order = np.argsort(-saddle, kind="stable")
    _, highest = np.unique(way[order], return_index=True)
    order = order[np.sort(highest)]

    cluster = list(range(len(levels)))  # its own number where a basin's maximum is the highest
    members: dict[int, list[int]] = {}  # basins of that maximum, where there are more than its own
    level: list[float] = levels.tolist()
    least = levels.copy()
    pairs = np.stack(np.divmod(way[order], len(levels)), axis=1).tolist()
    for height, (one, other) in zip(saddle[order].tolist(), pairs, strict=True):
        for basin in (one, other):
            while cluster[basin] != cluster[cluster[basin]]:
                cluster[basin] = cluster[cluster[basin]]
        low, high = sorted((cluster[one], cluster[other]), key=level.__getitem__)
        if low == high or height < level[low]:
            continue
        # From all basins of the lower maximum the way to the higher one is as high as this saddle.
        cluster[low] = high
        joined = members.pop(low, [low])
        if height >= level[high]:
            members.setdefault(high, [high]).extend(joined)
        else:
            least[joined] = np.inf
    for high, joined in members.items():
        least[joined] = level[high]
    return least
