"""Values: what those of a label image may be, and means over blocks of a picture's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ngat.errors import InputError

Labels = npt.NDArray[np.integer]


def as_labels(image: npt.ArrayLike, name: str = "the label image") -> Labels:
    """``image`` as a 2-D integer array, or InputError saying what is wrong with ``name``."""
    labels = np.asarray(image)
    if labels.ndim != 2:
        raise InputError(
            f"{name} has {labels.ndim} dimensions; a label image has two, height and width."
        )
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise InputError(f"{name} holds NaN; save labels as whole numbers, 0 for background.")
    if labels.dtype.kind not in "biu":
        raise InputError(
            f"{name} holds {labels.dtype} values; save labels as whole numbers, 0 for background."
        )
    if labels.size and labels.min() < 0:
        raise InputError(f"{name} holds negative labels; 0 is background, objects are 1 and up.")
    return labels


def block_means(pixels: npt.NDArray[Any], step: int) -> npt.NDArray[np.float32]:
    """Means over blocks of ``step × step`` pixels, and over what is left at the far edges."""
    sums = pixels.astype(np.float64)
    for axis in (0, 1):
        starts = np.arange(0, pixels.shape[axis], step)
        counts = np.minimum(starts + step, pixels.shape[axis]) - starts
        sums = np.add.reduceat(sums, starts, axis=axis)
        sums /= counts.reshape([-1 if i == axis else 1 for i in range(sums.ndim)])
    return sums.astype(np.float32)
