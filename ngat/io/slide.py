"""Slides that only OpenSlide reads (MIRAX, Hamamatsu VMS, …), where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ngat.errors import InputError, MissingDependency
from ngat.io.axes import Array, Stack
from ngat.io.damage import check_size


def open_slide(path: Path, level: int) -> Stack:
    """A slide at a level of its pyramid.

    Raises:
        MissingDependency: OpenSlide is not installed.
        InputError: absent, or no such level.
    """
    name = str(path)
    try:
        import openslide
    except ImportError as error:
        raise MissingDependency(
            f"{name}: is a slide that OpenSlide reads, which is not installed; install it with "
            "pip install 'ngat[slides]'."
        ) from error
    path.stat()
    slide: Any = openslide.OpenSlide(name)
    if not 0 <= level < slide.level_count:
        raise InputError(
            f"{name}: has no level {level}; choose --level 0 to {slide.level_count - 1}."
        )
    width, height = slide.level_dimensions[level]
    factor = slide.level_downsamples[level]

    def read(place: dict[str, int], rows: slice, columns: slice) -> Array:
        top, bottom, _ = rows.indices(height)
        left, right, _ = columns.indices(width)
        check_size(name, (bottom - top, right - left, 4), 1)
        at = (round(left * factor), round(top * factor))
        return np.asarray(slide.read_region(at, level, (right - left, bottom - top)))

    size = [slide.properties.get(f"openslide.mpp-{axis}") for axis in "yx"]
    pixel_size = (float(size[0]) * factor, float(size[1]) * factor) if all(size) else None
    return Stack(
        name,
        "YXS",
        (height, width, 4),
        np.dtype(np.uint8),
        read,
        pixel_size=pixel_size,
        colour=True,
        alpha="straight",
        levels=slide.level_count,
    )
