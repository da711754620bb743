"""Parts of an image whose nuclei are much larger or smaller than those of the rest.

Such a part is seen at a magnification of its own, as an image of its own. Nuclei that are found at
more than one magnification are merged object by object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from ngat.instances import Labels, in_reading_order
from ngat.magnification import Seen, fit, strongest

Window = tuple[slice, slice]  # rows and columns, with bounds

# Parts are looked for on a grid of so many cells along the longer side; a cell's evidence is that
# of the nuclei around its middle, σ as a share of the side.
CELLS, SPREAD = 6, 1 / 12
# A cell differs if its nuclei ask for a magnification that is so many octaves away, at which there
# is so many times the evidence, and if it has this share at least of what the strongest cell has,
# of evidence or of cover: debris and texture have less of both. Evidence falls with the size of
# nuclei that cover as much, so cover is evidence over the magnification that they ask for.
# Neighbours that differ alike are a part if they are so large a share of all.
# Chosen on validation images, alike and unlike beside one another, and with texture and debris.
APART, CLEARLY, FAINTEST, LEAST = 1.0, 1.5, 0.08, 1 / 6


class Part(NamedTuple):
    """A part of an image.

    Attributes:
        magnification: at which it is seen.
        window: rows and columns of the image, with a margin.
        inner: without it.
    """

    magnification: float
    window: Window
    inner: Window


def whole_of(shape: tuple[int, ...], magnification: float) -> Part:
    """All of an image of some height and width, as a part."""
    window = (slice(0, shape[0]), slice(0, shape[1]))
    return Part(magnification, window, window)


def parts_of(looks: Sequence[Seen], height: int, width: int) -> tuple[Part, ...]:
    """The parts whose nuclei ask for another magnification than those of the whole image.

    Args:
        looks: at the image, of which the strongest decides for the whole.
        height, width: of the image in pixels.
    """
    best = strongest(looks) if looks else None
    if best is None or best.evidence == 0:
        return ()
    side = max(height, width)
    rows, columns = (max(1, round(CELLS * length / side)) for length in (height, width))
    wanted = np.full((rows, columns), best.wanted)
    evidence, times = np.zeros((2, rows, columns))
    for i, j in np.ndindex(rows, columns):
        at = ((i + 0.5) * height / rows, (j + 0.5) * width / columns, SPREAD * side)
        here = strongest([look.near(*at) for look in looks])
        if here.evidence > 0:
            wanted[i, j] = here.wanted
            evidence[i, j] = here.evidence
            times[i, j] = here.evidence / max(best.near(*at).evidence, 1e-300)
    octaves = np.log2(wanted / best.wanted)
    cover = evidence / wanted
    enough = (evidence > FAINTEST * evidence.max()) | (cover > FAINTEST * cover.max())
    differs = (times > CLEARLY) & enough
    found = []
    for chosen in (differs & (octaves > APART), differs & (octaves < -APART)):
        groups, count = ndimage.label(chosen, np.ones((3, 3)))
        for number, inner in zip(range(1, count + 1), ndimage.find_objects(groups), strict=True):
            if (groups == number).mean() < LEAST:
                continue
            # A part's nuclei may reach into the cells around it.
            wider = (
                slice(max(0, inner[0].start - 1), inner[0].stop + 1),
                slice(max(0, inner[1].start - 1), inner[1].stop + 1),
            )
            windows = (_pixels(w, wanted.shape, (height, width)) for w in (wider, inner))
            found.append(Part(float(np.median(wanted[groups == number])), *windows))
    return tuple(found)


def _pixels(cells: Window, count: tuple[int, int], shape: tuple[int, int]) -> Window:
    """A window of cells, in pixels."""
    rows, columns = (
        slice(round(side.start * length / n), round(min(side.stop, n) * length / n))
        for side, n, length in zip(cells, count, shape, strict=True)
    )
    return rows, columns


class PartLabels(NamedTuple):
    """Nuclei of a part, found at its magnification: labels ``int32 [h, w]`` of its window."""

    part: Part
    labels: Labels


def merged(whole: PartLabels, parts: Sequence[PartLabels]) -> Labels:
    """Nuclei that were found at several magnifications, object by object.

    Inside a part those of the part count, unless one of the whole image does not fit into its
    window. In its margin, of two that share more than half of the smaller one the one stays whose
    size suits the magnification better at which it was found. What a window cuts off is no nucleus.

    Returns:
        ``int32 [H, W]``, numbered in reading order.
    """
    objects = []
    for one in (whole, *parts):
        others = [other.part for other in parts if other is not one]
        for label, box in enumerate(ndimage.find_objects(one.labels), start=1):
            if box is None or _cut_off(box, one.part.window, whole.labels.shape):
                continue
            place = _moved(box, one.part.window)
            if not any(_middle_in(place, o.inner) and _fits(place, o.window) for o in others):
                mask = one.labels[box] == label
                size = np.sqrt(np.count_nonzero(mask)) * one.part.magnification
                objects.append((float(fit(size)), place, mask))
    objects.sort(key=lambda one: -one[0])
    result = np.zeros_like(whole.labels)
    areas = np.zeros(len(objects) + 1)
    for number, (_, place, mask) in enumerate(objects, start=1):
        area = np.count_nonzero(mask)
        shared = np.bincount(result[place][mask], minlength=number)
        shared[0] = 0
        if (2 * shared > np.minimum(areas[:number], area)).any():
            continue
        result[place][mask & (result[place] == 0)] = number
        areas[number] = area
    return in_reading_order(result)


def _moved(box: Window, window: Window) -> Window:
    """A box inside a window, in the whole image."""
    rows, columns = (
        slice(inside.start + outside.start, inside.stop + outside.start)
        for inside, outside in zip(box, window, strict=True)
    )
    return rows, columns


def _middle_in(box: Window, window: Window) -> bool:
    """Whether the middle of a box lies inside a window."""
    return all(
        outside.start <= (inside.start + inside.stop) / 2 < outside.stop
        for inside, outside in zip(box, window, strict=True)
    )


def _fits(box: Window, window: Window) -> bool:
    """Whether a box lies inside a window."""
    return all(w.start <= b.start and b.stop <= w.stop for b, w in zip(box, window, strict=True))


def _cut_off(box: Window, window: Window, shape: tuple[int, int]) -> bool:
    """Whether a window ends where a nucleus inside it goes on."""
    return any(
        (inside.start == 0 and outside.start > 0)
        or (inside.stop == outside.stop - outside.start and outside.stop < length)
        for inside, outside, length in zip(box, window, shape, strict=True)
    )
