"""PNG, JPEG, BMP, GIF and WebP, through Pillow; PNG of 16-bit colour through imagecodecs."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image, UnidentifiedImageError

from ngat.errors import InputError
from ngat.io.kinds import remedy
from ngat.io.stack import Stack, array_stack, check_size

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
_ORIENTATION = 274  # EXIF's tag
_SAMPLES = {"1": 1, "L": 1, "P": 4, "I": 1, "F": 1}


def open_raster(path: Path, *, raw: bool = False) -> Stack:
    """The picture in memory.

    Args:
        raw: PNG alone, with a palette's numbers as they are stored, as labels need it.

    Raises:
        InputError: several frames, too large, or of no known kind.
    """
    name = str(path)
    data = path.read_bytes()
    if not data:
        raise InputError(f"{name}: is empty; get the file again.")
    try:
        picture = Image.open(io.BytesIO(data), formats=("PNG",) if raw else FORMATS)
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{name}: promises more pixels than are read at once; save the picture as tiled TIFF "
            "or OME-Zarr, or cut it."
        ) from error
    except UnidentifiedImageError as error:
        kinds = "PNG, TIFF or NPY" if raw else "PNG, JPEG, BMP, GIF, WebP, TIFF or OME-Zarr"
        raise InputError(
            f"{name}: not a readable {'label image' if raw else 'picture'} ({kinds}); "
            f"{remedy(path.suffix.lower())}."
        ) from error
    deep_colour = picture.format == "PNG" and data[24] == 16 and data[25] in (2, 4, 6)
    check_size(
        name,
        (picture.height, picture.width, _SAMPLES.get(picture.mode, 4)),
        2 if deep_colour or picture.mode.startswith("I;16") else 4 if picture.mode in "IF" else 1,
    )
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":  # a JPEG with previews of the one picture
        raise InputError(f"{name}: holds {frames} frames; save the one to be read as PNG.")
    orientation = picture.getexif().get(_ORIENTATION, 1)
    if deep_colour:
        pixels = imagecodecs.png_decode(data)
    else:
        pixels = np.asarray(picture if raw else _plain(picture))
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    return array_stack(
        name,
        pixels,
        "YXS" if pixels.ndim == 3 else "YX",
        colour=samples >= 3,
        alpha="straight" if samples in (2, 4) else "",
        orientation=orientation,
    )


def _plain(picture: Image.Image) -> Image.Image:
    """In a mode whose bands are grey or red, green and blue, with or without transparency."""
    mode, clear = picture.mode, "transparency" in picture.info
    plain = {
        "P": "RGBA" if clear else "RGB",
        "L": "LA" if clear else "L",
        "RGB": "RGBA" if clear else "RGB",
        **dict.fromkeys(("PA", "RGBa"), "RGBA"),
        **dict.fromkeys(("CMYK", "YCbCr", "LAB", "HSV", "RGBX"), "RGB"),
    }.get(mode, mode)
    return picture if plain == mode else picture.convert(plain)
