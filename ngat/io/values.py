"""What the values of a label image may be."""

from __future__ import annotations

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
