"""Label images of any form: PNG, TIFF, NPY; whole numbers, 0 is background."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ngat.errors import InputError
from ngat.io.picture import Picture, stored_in
from ngat.io.stack import Stack, check_size, reading
from ngat.io.values import as_array
from ngat.system.files import check_regular

Labels = npt.NDArray[np.integer]
LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".npy")
# Values that programs write for "inside" in a mask.
_INSIDE = (1, 255, 65535)


def read_label_image(
    path: Path | str, *, masks: Literal["refuse", "components"] = "refuse"
) -> Labels:
    """One label image, ``int [H, W]``, turned upright as pictures are.

    Args:
        path: PNG (a palette's numbers are the labels), TIFF in any compression, or NPY.
        masks: what to do with an image of two values whose inside is in several pieces: in a mask
            nuclei have no numbers. ``components`` makes each piece a nucleus.

    Raises:
        InputError: absent, damaged, too large, several pages or channels, NaN, negative or
            fractional values, or a mask.
    """
    path = Path(path)
    with reading(str(path), "label image"):
        if path.suffix.lower() == ".npy":
            check_regular(path)
            stored = np.lib.format.open_memmap(path, mode="r")
            _flat(str(path), stored.shape)
            check_size(str(path), stored.shape, stored.dtype.itemsize)
            labels: npt.NDArray[Any] = np.array(stored)
        else:
            stacks = stored_in(path, raw=True)
            if (pages := sum(stack.pages for stack in stacks)) > 1:
                raise InputError(f"{path}: holds {pages} pages; save one of them as its own file.")
            labels = _upright(stacks[0])
    return numbered(as_labels(labels, str(path)), str(path), masks)


def numbered(
    labels: Labels, name: str, masks: Literal["refuse", "components"] = "refuse"
) -> Labels:
    """The labels, or the pieces of a mask; see :func:`read_label_image`."""
    values = np.unique(labels)
    if not (len(values[values > 0]) == 1 and values[-1] in _INSIDE):
        return labels
    # Pieces that meet at a corner are one nucleus, more likely than two.
    pieces, count = ndimage.label(labels > 0, structure=np.ones((3, 3)))
    if count > 1 and masks == "refuse":
        raise InputError(
            f"{name}: is a mask (0 and {int(values[-1])}) in {count} pieces, which would count as "
            "one nucleus; give every nucleus a number of its own."
        )
    return pieces.astype(np.int32) if count > 1 else labels


def as_labels(image: npt.ArrayLike, name: str = "the label image") -> Labels:
    """``image`` as a 2-D integer array, or InputError saying what is wrong with ``name``."""
    labels = as_array(image, name)
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


def _upright(stack: Stack) -> npt.NDArray[Any]:
    samples = stack.size("S") * stack.size("C")
    if samples > 1:
        shape = (*Picture(stack, {}, (0,)).shape, samples)
        _flat(stack.name, shape)
    check_size(stack.name, stack.shape, stack.dtype.itemsize)
    return Picture(stack, stack.page(0), (0,)).stored()[:, :, 0]


def _flat(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) != 2:
        raise InputError(
            f"{name} has {len(shape)} dimensions ({' x '.join(map(str, shape))}); a label image "
            "has two, height and width."
        )
