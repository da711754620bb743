"""Pixel values as a network is to see them: 32-bit numbers, upright in brightness, opaque."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ngat.errors import InputError
from ngat.io.stack import Array

# Values that differ by a smaller share of the largest differ by rounding alone.
_ROUNDING = 1e-14


def as_array(value: npt.ArrayLike, name: str) -> Array:
    """``value`` as an array of numpy, or InputError saying why ``name`` is none."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InputError(f"{name}: its rows differ in length; give an array.") from error
    except (RuntimeError, TypeError) as error:  # of torch: a tensor with gradients, or on a GPU
        raise InputError(
            f"{name}: cannot be read as one; give a tensor as tensor.detach().cpu().numpy()."
        ) from error


def as_floats(pixels: Array, name: str) -> npt.NDArray[np.float32]:
    """Floating point numbers of any width as float32.

    Raises:
        InputError: NaN or infinite values, or such as float32 has not.
    """
    if not np.isfinite(pixels).all():
        raise InputError(f"{name}: the picture holds NaN or infinite values; replace them first.")
    with np.errstate(over="ignore"):
        narrow = pixels.astype(np.float32, copy=False)
    if narrow.dtype != pixels.dtype and not np.isfinite(narrow).all():
        raise InputError(
            f"{name}: holds values beyond ±3.4e38, the range of 32-bit numbers; divide them first."
        )
    return narrow


def check_varied(name: str, low: npt.NDArray[Any], high: npt.NDArray[Any]) -> None:
    """Refuse a picture that is flat for a network alone; by channel its least and largest value."""
    low, high = low.astype(np.float64), high.astype(np.float64)
    varied = high - low > _ROUNDING * np.maximum(abs(low), abs(high))
    if varied.any() and (low.astype(np.float32) == high.astype(np.float32)).all():
        raise InputError(
            f"{name}: its values differ too little for their size ({low.min():g} and more), and "
            "become one in 32-bit numbers; subtract their minimum."
        )


def full(dtype: np.dtype[Any]) -> float:
    """The value of what is opaque."""
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0


def grey_levels(pixels: Array) -> npt.NDArray[np.float64]:
    """The mean of the colours, ``[h, w]``, of pixels ``[h, w]`` or ``[h, w, 3]``."""
    grey = np.asarray(pixels, dtype=np.float64)
    return grey.mean(axis=2) if grey.ndim == 3 else grey


def inverted(pixels: Array) -> Array:
    """White for black, in the same depth."""
    if pixels.dtype.kind == "u":
        return np.iinfo(pixels.dtype).max - pixels
    return -1 - pixels if pixels.dtype.kind == "i" else -pixels


def opaque(pixels: Array, alpha: str, backdrop: npt.NDArray[np.float64]) -> Array:
    """Colours in front of a backdrop, in the same depth."""
    share = (pixels[:, :, -1:] / full(pixels.dtype)).astype(np.float32)
    colours = pixels[:, :, :-1]
    if (share == 1).all():
        return colours
    seen = colours if alpha == "premultiplied" else colours * share
    seen = seen + (1 - share) * backdrop
    return np.rint(seen).astype(pixels.dtype) if pixels.dtype.kind in "iu" else seen
