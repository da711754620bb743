"""Nuclei one by one: a table of measurements, with scikit-image's definitions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from skimage.measure import regionprops_table

from ngat.instances import Labels
from ngat.io.stack import Array, silent

# Columns by scikit-image's names. The first ones say where a nucleus lies, for what follows.
_PLACE = {
    "label": "nucleus",
    "bbox-0": "top",
    "bbox-1": "left",
    "bbox-2": "bottom",
    "bbox-3": "right",
}
_SHAPE = {
    "centroid-0": "y",
    "centroid-1": "x",
    "area": "area",
    "axis_major_length": "major_axis",
    "axis_minor_length": "minor_axis",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
}
PLACE = tuple(_PLACE.values())


def measure(
    labels: Labels,
    pixels: Array,
    channels: Sequence[str],
    *,
    corner: tuple[int, int] = (0, 0),
    width: int | None = None,
) -> pd.DataFrame:
    """One line per nucleus of a label image, or of a part of one.

    Args:
        labels: ``int [h, w]``.
        pixels: ``[h, w, C]``, in the picture's own values.
        channels: their names.
        corner: row and column of the part's first pixel in the picture.
        width: of the picture in pixels.

    Returns:
        ``nucleus`` (its label), ``top``, ``left``, ``bottom``, ``right`` (its box), ``first`` (the
        number of its first pixel in reading order), then the measurements: centre ``y``, ``x``,
        ``area``, axes of the ellipse of equal moments, eccentricity and solidity, and for each
        channel the mean and the sum of its values. Lengths are in pixels, pixel centres are whole
        numbers.
    """
    with silent():  # a nucleus of one pixel has no convex hull
        names = ("label", "bbox", "centroid", *list(_SHAPE)[2:])
        found = pd.DataFrame(regionprops_table(labels, properties=names))
    table = found.rename(columns=_PLACE | _SHAPE)
    flat = labels.ravel()
    numbers, first = np.unique(flat, return_index=True)
    first = first[numbers > 0]
    rows, columns = np.divmod(first, labels.shape[1])
    width = labels.shape[1] if width is None else width
    table.insert(len(PLACE), "first", (rows + corner[0]) * width + columns + corner[1])
    for column, shift in zip(("top", "left", "bottom", "right", "y", "x"), corner * 3, strict=True):
        table[column] += shift
    table["area"] = table["area"].astype(np.int64)
    index = table["nucleus"].to_numpy(dtype=np.int64)
    for i, name in enumerate(channels):
        values = np.asarray(pixels[:, :, i], dtype=np.float64).ravel()
        total = np.bincount(flat, weights=values, minlength=1)[index] if len(index) else index
        table[f"mean_{name}"] = total / table["area"]
        table[f"integrated_{name}"] = total
    return table


def in_micrometres(table: pd.DataFrame, size: tuple[float, float] | None) -> pd.DataFrame:
    """The measurements with a second column for lengths and areas where a pixel's size is known.

    Args:
        table: of :func:`measure`.
        size: micrometres (y, x) of a pixel. Axes are left out where they differ.
    """
    lengths = ["y", "x", "area", "major_axis", "minor_axis"]
    shown = table.rename(columns={name: f"{name}_px" for name in lengths})
    if size is None:
        return shown
    factors = {"y": size[0], "x": size[1], "area": size[0] * size[1]}
    if abs(size[0] - size[1]) <= 0.01 * size[0]:
        factors |= dict.fromkeys(lengths[3:], (size[0] * size[1]) ** 0.5)
    for name, factor in factors.items():
        at = int(np.flatnonzero(shown.columns == f"{name}_px")[0]) + 1
        shown.insert(at, f"{name}_um2" if name == "area" else f"{name}_um", table[name] * factor)
    return shown


def typical_diameter(areas: npt.ArrayLike) -> float:
    """Diameter of the disc of the median area, in pixels; NaN for no nuclei."""
    areas = np.asarray(areas, dtype=np.float64)
    return round(float(np.sqrt(4 / np.pi * np.median(areas))), 2) if areas.size else float("nan")
