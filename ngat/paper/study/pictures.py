"""Which nuclei a notebook looks at closely, at the size that the network is shown them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import find_boundaries
from skimage.transform import resize

from ngat.data import Sample
from ngat.errors import InputError
from ngat.magnification import SIZE, size_of


def of_type(samples: Sequence[Sample], kind: str) -> Sample:
    """The first picture of a type.

    Raises:
        InputError: there is none.
    """
    for sample in samples:
        if sample.type == kind:
            return sample
    raise InputError(f"No picture of the type {kind} is among these; load more of them.")


def resized(sample: Sample, magnification: float) -> Sample:
    """A picture and its labels at another magnification.

    Raises:
        InputError: the magnification is not positive.
    """
    if not magnification > 0:
        raise InputError(f"magnification must be a positive number; got {magnification}.")
    shape = [max(1, round(side * magnification)) for side in sample.labels.shape]
    image = resize(sample.image.astype(float), shape, order=1, anti_aliasing=magnification < 1)
    labels = resize(
        sample.labels, shape, order=0, anti_aliasing=False, preserve_range=True
    )  # labels have no means
    return replace(sample, image=np.rint(image).astype(np.uint8), labels=labels.astype(np.int32))


def as_trained(sample: Sample) -> Sample:
    """A picture whose median annotated nucleus is as large as in training: its √area is 20 px."""
    return resized(sample, SIZE / size_of(sample.labels))


def fullest(labels: npt.NDArray[np.integer], side: int) -> tuple[slice, slice]:
    """The ``side × side`` pixels that hold most of nuclei; all of a shorter side."""
    covered = np.pad(np.cumsum(np.cumsum(labels > 0, axis=0), axis=1), ((1, 0), (1, 0)))
    height, width = (min(side, length) for length in labels.shape)
    inside = (
        covered[height:, width:]
        - covered[:-height, width:]
        - covered[height:, :-width]
        + covered[:-height, :-width]
    )
    top, left = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)


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


def middle_nucleus(labels: npt.NDArray[np.integer], margin: int = 0) -> int:
    """The number of the nucleus whose area is the median of those away from the picture's edge.

    Args:
        labels: ``[H, W]``.
        margin: a nucleus counts if its centre is at least so many pixels from the edge; where none
            is, all count.

    Raises:
        InputError: there are no nuclei.
    """
    numbers = np.unique(labels[labels > 0])
    if not len(numbers):
        raise InputError("The picture has no annotated nucleus to look at.")
    centres = np.array([centre_of(labels, int(number)) for number in numbers])
    inside = (centres >= margin) & (centres < np.array(labels.shape) - margin)
    kept = numbers[inside.all(1)] if inside.all(1).any() else numbers
    areas = np.bincount(labels.ravel())[kept]
    return int(kept[np.argsort(areas, kind="stable")[len(kept) // 2]])


def centre_of(labels: npt.NDArray[np.integer], number: int) -> tuple[int, int]:
    """Row and column of a nucleus' centre of mass, rounded."""
    rows, columns = np.nonzero(labels == number)
    return round(float(rows.mean())), round(float(columns.mean()))


def three_places(labels: npt.NDArray[np.integer], margin: int = 12) -> dict[str, tuple[int, int]]:
    """(row, column) of a pixel inside a nucleus, of one on its edge and of one on the ground.

    The nucleus is :func:`middle_nucleus`; inside is its pixel farthest from the edge, ground the
    pixel farthest from all nuclei. All are at least ``margin`` pixels from the picture's edge,
    where it is large enough.
    """
    mine = labels == middle_nucleus(labels, margin)
    away = np.zeros(labels.shape, bool)
    away[margin : labels.shape[0] - margin, margin : labels.shape[1] - margin] = True
    depth = ndimage.distance_transform_edt(np.pad(mine, 1))[1:-1, 1:-1]
    edge = np.where(mine & (depth <= 1), depth + away, 0.0)
    ground = ndimage.distance_transform_edt(labels == 0) * away
    found = {}
    for name, score in (("inside", depth), ("edge", edge), ("ground", ground)):
        row, column = np.unravel_index(int(score.argmax()), labels.shape)
        found[name] = (int(row), int(column))
    return found


def near_edges(labels: npt.NDArray[np.integer], pixels: int) -> npt.NDArray[np.bool_]:
    """Which pixels are at most so many from the border of a nucleus, ``[H, W]``."""
    borders = find_boundaries(labels, mode="inner")
    near: npt.NDArray[np.bool_] = ndimage.distance_transform_edt(~borders) <= pixels
    return near
