"""Polygons as sets of pixels: a pixel is inside if its centre is.

A pixel (row y, column x) is the square from (x, y) to (x + 1, y + 1), as QuPath and ImageJ draw it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ngat.errors import InputError
from ngat.io.damage import reading


def read_outlines(path: Path | str, height: int, width: int) -> list[npt.NDArray[np.int64]]:
    """Nuclei of a GeoJSON file (QuPath) or a zip of ImageJ's regions, as row-major pixel numbers.

    Raises:
        InputError: absent, damaged, or without polygons.
    """
    path = Path(path)
    with reading(str(path), "file of outlines"):
        found = _geojson(path) if path.suffix.lower() != ".zip" else _regions(path)
        masks = [filled(pieces, height, width) for pieces in found]
    masks = [mask for mask in masks if mask.size]
    if not masks:
        raise InputError(f"{path}: holds no outline inside the picture; draw or export some.")
    return masks


def _geojson(path: Path) -> list[list[list[Any]]]:
    made = json.loads(path.read_text(encoding="utf-8"))
    features = made["features"] if isinstance(made, dict) else made
    kinds = {"Polygon": lambda c: [c], "MultiPolygon": lambda c: c}
    shapes = [feature["geometry"] for feature in features]
    return [kinds[s["type"]](s["coordinates"]) for s in shapes if s["type"] in kinds]


def _regions(path: Path) -> list[list[list[Any]]]:
    import roifile

    found = []
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            if name.lower().endswith(".roi"):
                parts: Any = roifile.ImagejRoi.frombytes(file.read(name)).coordinates(multi=True)
                found.append([parts if isinstance(parts, list) else [parts]])
    return found


def filled(
    pieces: Sequence[Sequence[npt.ArrayLike]], height: int, width: int
) -> npt.NDArray[np.int64]:
    """Row-major numbers of the pixels whose centres lie inside polygons ``[[outer, hole, …], …]``.

    What lies outside the picture is cut off.
    """
    inside: list[npt.NDArray[np.int64]] = []
    for polygon in pieces:
        rings_ = [np.asarray(ring, dtype=np.float64).reshape(-1, 2) for ring in polygon]
        low = np.maximum(np.floor(rings_[0].min(axis=0)).astype(int), 0)
        high = np.minimum(np.ceil(rings_[0].max(axis=0)).astype(int), (width, height))
        if (high <= low).any():
            continue
        xs, ys = np.arange(low[0], high[0]), np.arange(low[1], high[1])
        crossings = np.zeros((len(ys), len(xs)), dtype=np.int64)
        for ring in rings_:
            crossings += edges_left_of(ring, xs + 0.5, ys + 0.5)
        rows, columns = np.nonzero(crossings % 2)
        inside.append((rows + low[1]) * width + columns + low[0])
    return np.unique(np.concatenate(inside)) if inside else np.zeros(0, dtype=np.int64)


def edges_left_of(
    ring: npt.NDArray[np.float64], xs: npt.NDArray[np.float64], ys: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """How many edges of a ring lie to the left of each point, ``[len(ys), len(xs)]``."""
    counts = np.zeros((len(ys), len(xs) + 1), dtype=np.int64)
    following = np.roll(ring, -1, axis=0)
    for (x0, y0), (x1, y1) in zip(ring.tolist(), following.tolist(), strict=True):
        if y0 == y1:
            continue
        rows = np.flatnonzero((ys >= min(y0, y1)) & (ys < max(y0, y1)))
        at = x0 + (ys[rows] - y0) * ((x1 - x0) / (y1 - y0))
        counts[rows, np.searchsorted(xs, at, side="left")] += 1
    return np.cumsum(counts, axis=1)[:, :-1]
