"""What readers of other people's files share: limits, and one sentence for every failure.

So too the check that an array is a label image, wherever it comes from.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator
from math import prod

import numpy as np
import numpy.typing as npt

from ngat.errors import InputError

Labels = npt.NDArray[np.integer]
# The most that is read into memory at once. What is larger must be in a form that is read by
# region: tiled or striped TIFF, OME-Zarr.
MAX_BYTES = 1 << 30

_lock, _inside, _before = threading.Lock(), 0, contextlib.ExitStack()


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """No warnings, nor what tifffile logs of damage. Several threads may be inside at once.

    For all of them the state before is kept once; each for itself would restore another's silence.
    """
    global _inside
    with _lock:
        _inside += 1
        if _inside == 1:
            _before.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            log = logging.getLogger("tifffile")
            _before.callback(setattr, log, "disabled", log.disabled)
            log.disabled = True
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _before.close()


@contextlib.contextmanager
def reading(name: str, what: str = "picture") -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file into one sentence that begins with its name.

    Every exception is meant: a flipped bit can fail anywhere in a decoder, as ZeroDivisionError
    or struct.error as well as by a class of the decoder's own. What readers log about damage is
    left out, for the sentence says it.

    Raises:
        InputError: anything inside failed.
    """
    try:
        with silent():
            yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{name}: needs more memory than there is; save it as tiled TIFF or cut it."
        ) from error
    except OSError as error:
        if error.strerror is None:
            raise InputError(_damaged(name, what, error)) from error
        raise InputError(
            f"{name}: cannot be read ({error.strerror}); check the file name."
        ) from error
    except Exception as error:
        raise InputError(_damaged(name, what, error)) from error


def check_size(name: str, shape: tuple[int, ...], itemsize: int) -> None:
    """Refuse what a header promises beyond :data:`MAX_BYTES`, before memory is spent on it."""
    if min(shape, default=0) < 1:
        raise InputError(f"{name}: has no pixels ({_times(shape)}); get the file again.")
    if prod(shape) * itemsize > MAX_BYTES:
        raise InputError(
            f"{name}: {_times(shape)} values are more than is read at once; "
            "save the picture as tiled TIFF or OME-Zarr, or cut it."
        )


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


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)


def _damaged(name: str, what: str, error: BaseException) -> str:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    reason = "".join(c for c in reason if c.isprintable())[:120].rstrip(". ")
    return f"{name}: not a readable {what} ({reason}); get the file again, or save it anew."
