"""Picture files of any common kind, read as ``uint8`` RGB; mask files, read as sets of pixels."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ngat.errors import InputError

FORMATS = ("PNG", "TIFF", "JPEG")
# The largest picture of the challenge has 1.5 million pixels. A header that promises more than
# this is refused before memory is spent on it.
MAX_PIXELS = 2**26

_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def decode_picture(data: bytes, name: str) -> npt.NDArray[np.uint8]:
    """Read a picture as ``uint8 [H, W, 3]``.

    One channel becomes three equal ones; a palette is looked up; alpha is dropped (the
    challenge's is 255 everywhere). 16-bit values 0 … 65535 and float values 0 … 1 are scaled to
    0 … 255 over their full range, so that pictures keep their brightness relative to each other.

    Raises:
        InputError: not a readable PNG, TIFF or JPEG, too large, or values that are NaN or
            outside the range. The sentence starts with ``name``.
    """
    picture = _open(data, name)
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise InputError(f"{name}: values go beyond 16 bit; save the picture as 8 or 16 bit.")
        gray = ((values + 128) // 257).astype(np.uint8)
    elif picture.mode == "F":
        numbers = np.asarray(picture)
        if not np.isfinite(numbers).all():
            raise InputError(
                f"{name}: the picture holds NaN or infinite values; replace them first."
            )
        if numbers.min() < 0 or numbers.max() > 1:
            raise InputError(f"{name}: float values must lie in 0 to 1; scale the picture first.")
        gray = np.rint(numbers * 255).astype(np.uint8)
    else:
        return np.asarray(picture.convert("RGB"))
    return np.repeat(gray[:, :, None], 3, axis=2)


def read_picture(path: Path | str) -> npt.NDArray[np.uint8]:
    """:func:`decode_picture` of a file."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); check the file name."
        ) from error
    return decode_picture(data, str(path))


def decode_mask(data: bytes, name: str) -> tuple[tuple[int, int], npt.NDArray[np.int64]]:
    """Read a mask file as ((height, width), pixels inside).

    Pixels are ascending row-major numbers from 0, row · W + column; inside is whatever is not 0.

    Raises:
        InputError: not a readable picture, or no pixel inside.
    """
    mask = _open(data, name)
    if mask.mode[0] in "IF":
        # Converting 16 bits to 8 would lose small values.
        mask = Image.fromarray(np.asarray(mask) != 0)
    mask = mask.convert("L")
    box = mask.getbbox()
    if box is None:
        raise InputError(f"{name}: the mask is empty; delete the file or get it again.")
    # Most masks fill a small corner of their picture: search only there.
    left, top, _, _ = box
    rows, columns = np.nonzero(np.asarray(mask.crop(box)))
    return (mask.height, mask.width), (rows + top) * mask.width + (columns + left)


def _open(data: bytes, name: str) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        if picture.width * picture.height > MAX_PIXELS:
            raise InputError(
                f"{name}: {picture.width} x {picture.height} pixels are more than "
                f"{MAX_PIXELS}; cut the picture into smaller ones."
            )
        picture.load()
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(
            f"{name}: not a readable {', '.join(FORMATS)} picture; get the file again."
        ) from error
    return picture
