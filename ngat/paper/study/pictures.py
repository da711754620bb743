"""Which nuclei a notebook shows closely, how bright, and one nucleus at several magnifications."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import find_boundaries

from ngat.baselines.networks import Network
from ngat.data import Sample
from ngat.data.resize import resized_sample
from ngat.errors import InputError
from ngat.inference import look
from ngat.magnification import SIZE, areas_of, size_of

Labels = npt.NDArray[np.integer]
# A picture is too dark to be printed as it is if its brightest hundredth is below this, of 255.
DARK = 128


def visible(image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], float]:
    """A picture as it is shown, and the factor by which it was brightened.

    A picture that prints as black, whose brightest hundredth is below half of white, is multiplied
    until that hundredth is white; others are left alone. For the eye only: networks see the file.
    """
    bright = max(float(np.percentile(image, 99)), 1.0)
    if bright >= DARK:
        return image, 1.0
    factor = 255 / bright
    return np.minimum(image * factor, 255).astype(np.uint8), factor


def of_type(samples: Sequence[Sample], kind: str) -> Sample:
    """The first picture of a type.

    Raises:
        InputError: there is none.
    """
    for sample in samples:
        if sample.type == kind:
            return sample
    raise InputError(f"No picture of the type {kind} is among these; load more of them.")


def as_trained(sample: Sample) -> Sample:
    """A picture whose median annotated nucleus is as large as in training: its √area is 20 px."""
    return resized_sample(sample, SIZE / size_of(sample.labels))


def side_by_side(left: Sample, right: Sample) -> Sample:
    """Two pictures and their labels in one, as high as the lower of them."""
    height = min(left.labels.shape[0], right.labels.shape[0])
    other = np.where(right.labels > 0, right.labels + left.labels.max(), 0)
    pairs = (left.image, right.image), (left.labels, other)
    image, labels = (np.concatenate([one[:height], two[:height]], axis=1) for one, two in pairs)
    return replace(left, image=image, labels=labels)


def fullest(labels: Labels, side: int) -> tuple[slice, slice]:
    """The ``side × side`` pixels that hold most of nuclei; all of a shorter side."""
    return _square(labels, side, _covered(labels, side))


def half_covered(labels: Labels, side: int) -> tuple[slice, slice]:
    """The ``side × side`` pixels that are most evenly half nucleus, half background."""
    return _square(labels, side, -np.abs(_covered(labels, side) - side**2 / 2))


def _covered(labels: Labels, side: int) -> npt.NDArray[Any]:
    """Pixels of nucleus in every square, by its top and left; all of a shorter side is taken."""
    sums = np.pad(np.cumsum(np.cumsum(labels > 0, axis=0), axis=1), ((1, 0), (1, 0)))
    height, width = (min(side, length) for length in labels.shape)
    rows: npt.NDArray[Any] = sums[height:] - sums[:-height]
    return rows[:, width:] - rows[:, :-width]


def _square(labels: Labels, side: int, score: npt.NDArray[Any]) -> tuple[slice, slice]:
    """Rows and columns of the square with the highest score."""
    top, left = (int(first) for first in np.unravel_index(score.argmax(), score.shape))
    height, width = (min(side, length) for length in labels.shape)
    return slice(top, top + height), slice(left, left + width)


def part(sample: Sample, centre: tuple[int, int], side: int) -> tuple[slice, slice]:
    """Rows and columns of a square around a pixel, moved into the picture where it overhangs.

    Args:
        centre: (row, column).
        side: in pixels; all of a shorter side is taken.
    """
    found = []
    for at, length in zip(centre, sample.labels.shape, strict=True):
        first = int(np.clip(at - side // 2, 0, max(0, length - side)))
        found.append(slice(first, min(first + side, length)))
    return found[0], found[1]


def middle_nucleus(labels: Labels, margin: int = 0) -> int:
    """The number of the nucleus whose area is the median of those away from the picture's edge.

    Args:
        labels: ``[H, W]``.
        margin: a nucleus counts if its centre is at least so many pixels from the edge; where none
            is, all count.

    Raises:
        InputError: there are no nuclei.
    """
    areas = areas_of(labels)
    numbers = np.flatnonzero(areas)
    if not len(numbers):
        raise InputError("The picture has no annotated nucleus to look at.")
    centres = np.array([centre_of(labels, int(number)) for number in numbers])
    inside = ((centres >= margin) & (centres < np.array(labels.shape) - margin)).all(1)
    kept = numbers[inside] if inside.any() else numbers
    return int(kept[np.argsort(areas[kept], kind="stable")[len(kept) // 2]])


def centre_of(labels: Labels, number: int) -> tuple[int, int]:
    """Row and column of a nucleus' centre of mass, rounded."""
    row, column = ndimage.center_of_mass(labels == number)
    return round(row), round(column)


def three_places(labels: Labels, margin: int = 12) -> dict[str, tuple[int, int]]:
    """(row, column) of a pixel inside a nucleus, of one on its edge and of one on the background.

    The nucleus is :func:`middle_nucleus`; inside is its pixel farthest from the edge, background
    the pixel farthest from all nuclei. All are at least ``margin`` pixels from the picture's edge,
    where it is large enough.
    """
    mine = labels == middle_nucleus(labels, margin)
    away = np.zeros(labels.shape, bool)
    away[margin : labels.shape[0] - margin, margin : labels.shape[1] - margin] = True
    depth = ndimage.distance_transform_edt(np.pad(mine, 1))[1:-1, 1:-1]
    edge = np.where(mine & (depth <= 1), depth + away, 0.0)
    background = ndimage.distance_transform_edt(labels == 0) * away
    found = {}
    for name, score in (("inside", depth), ("edge", edge), ("background", background)):
        row, column = np.unravel_index(int(score.argmax()), labels.shape)
        found[name] = (int(row), int(column))
    return found


def near_edges(labels: Labels, pixels: int) -> npt.NDArray[np.bool_]:
    """Which pixels are at most so many from the border of a nucleus, ``[H, W]``."""
    borders = find_boundaries(labels, mode="inner")
    near: npt.NDArray[np.bool_] = ndimage.distance_transform_edt(~borders) <= pixels
    return near


class Magnified(NamedTuple):
    """A nucleus and its surroundings at one magnification, all of the same ``[h, w]``.

    Attributes:
        magnification: of the picture.
        image: ``uint8 [h, w, 3]``, as many pixels as the network sees.
        probability: of nucleus.
        mask: the annotated nucleus.
        iou: of that mask with the component of probability above one half that covers most of it;
            0 where none does.
    """

    magnification: float
    image: npt.NDArray[np.uint8]
    probability: npt.NDArray[np.floating]
    mask: npt.NDArray[np.bool_]
    iou: float


def magnified(
    model: Network, sample: Sample, number: int, factors: Sequence[float], side: int
) -> list[Magnified]:
    """What a network makes of one nucleus at several magnifications.

    Args:
        sample: the picture; the network sees all of it.
        number: of the nucleus in ``sample.labels``.
        side: of the square around the nucleus that is kept, in pixels of the picture.
    """
    row, column = centre_of(sample.labels, number)
    found = []
    for factor in factors:
        probability = look(model, sample.image, factor)[0, 0].numpy()
        seen = resized_sample(sample, factor)
        mask = seen.labels == number
        centre = round(row * factor), round(column * factor)
        window = part(seen, centre, max(2, round(side * factor)))
        _, iou = best_match(ndimage.label(probability > 0.5)[0], seen.labels, number)
        shown = seen.image[window], probability[window], mask[window]
        found.append(Magnified(factor, *shown, iou))
    return found


def best_match(pred: Labels, true: Labels, number: int) -> tuple[int, float]:
    """The predicted object that overlaps a nucleus most, and their IoU; 0 and 0 for none."""
    mask = true == number
    inside = areas_of(pred[mask])
    if not inside.any():
        return 0, 0.0
    mine = pred == inside.argmax()
    return int(inside.argmax()), float((mine & mask).sum() / (mine | mask).sum())
