"""Outlines of nuclei as polygons, for GeoJSON (QuPath) and ImageJ's regions: read and written.

A pixel (row y, column x) is the square from (x, y) to (x + 1, y + 1), as both programs draw it, and
is inside a polygon if its centre is. Outlines run along the edges of pixels, so that a polygon
covers its nucleus exactly. Pixels that meet at a corner only are not joined.
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
from ngat.io.stack import reading

Ring = list[tuple[int, int]]  # corners (x, y), the last one is not the first again
Polygon = list[Ring]  # the outer ring, then holes

# Directions right, down, left, up as steps (x, y).
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def rings(mask: npt.NDArray[np.bool_]) -> list[Ring]:
    """Closed outlines of a mask: outer ones run clockwise as seen, those of holes the other way."""
    inside = np.pad(mask, 1)
    middle = inside[1:-1, 1:-1]
    # An edge runs so that its pixel lies to the right of it: along the top of a pixel it runs
    # right, from the pixel's upper left corner, and so on round the pixel.
    beyond = (inside[:-2, 1:-1], inside[1:-1, 2:], inside[2:, 1:-1], inside[1:-1, :-2])
    edges: dict[tuple[int, int, int], None] = {}
    for direction, (dx, dy) in enumerate(((0, 0), (1, 0), (1, 1), (0, 1))):
        rows, columns = np.nonzero(middle & ~beyond[direction])
        for x, y in zip((columns + dx).tolist(), (rows + dy).tolist(), strict=True):
            edges[x, y, direction] = None
    found = []
    while edges:
        start = edge = next(iter(edges))
        ring: Ring = []
        while edge in edges:
            del edges[edge]
            x, y, direction = edge
            x, y = x + _STEPS[direction][0], y + _STEPS[direction][1]
            # Where two pixels meet at a corner, a turn to the right stays with the pixel.
            for turn in (1, 0, 3):
                edge = (x, y, (direction + turn) % 4)
                if edge in edges or edge == start:
                    break
            if turn:
                ring.append((x, y))
        found += _simple(ring)
    return found


def _simple(ring: Ring) -> list[Ring]:
    """A ring cut where it meets itself: what touches the outside at a corner is a hole."""
    found: list[Ring] = []
    path: Ring = []
    place: dict[tuple[int, int], int] = {}
    for corner in ring:
        if corner in place:
            loop = path[place[corner] :]
            del path[place[corner] :]
            for other in loop:
                del place[other]
            found.append(loop)
        place[corner] = len(path)
        path.append(corner)
    return [*found, path]


def polygons(mask: npt.NDArray[np.bool_], corner: tuple[int, int] = (0, 0)) -> list[Polygon]:
    """The pieces of a mask, each as its outer ring and the holes in it.

    Args:
        corner: row and column of the mask's first pixel in the picture.
    """
    every = rings(mask)
    # Largest first, for a hole belongs to the smallest piece round it.
    pieces = [[ring] for ring in sorted(every, key=_area, reverse=True) if _area(ring) > 0]
    for hole in every:
        if _area(hole) > 0:
            continue
        # To the right of the hole's first edge lies a pixel of the piece that it is in.
        (x0, y0), (x1, y1) = hole[0], hole[1]
        dx, dy = np.sign(x1 - x0), np.sign(y1 - y0)
        x, y = np.array([x0 + 0.5 * (dx - dy)]), np.array([y0 + 0.5 * (dx + dy)])
        home = pieces[0]
        for piece in pieces[1:]:
            if edges_left_of(np.array(piece[0], dtype=np.float64), x, y)[0, 0] % 2:
                home = piece
        home.append(hole)
    top, left = corner
    return [[[(x + left, y + top) for x, y in ring] for ring in piece] for piece in pieces]


def _area(ring: Ring) -> float:
    """Twice the area; positive where it runs clockwise as seen (y down)."""
    x, y = np.array(ring).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def feature(number: int, pieces: list[Polygon], measurements: dict[str, Any]) -> dict[str, Any]:
    """A GeoJSON feature that QuPath opens as a detection."""
    closed = [[[list(p) for p in (*ring, ring[0])] for ring in polygon] for polygon in pieces]
    geometry: dict[str, Any] = {"type": "Polygon", "coordinates": closed[0]}
    if len(closed) > 1:
        geometry = {"type": "MultiPolygon", "coordinates": closed}
    return {
        "type": "Feature",
        "id": f"00000000-0000-4000-8000-{number:012d}",
        "geometry": geometry,
        "properties": {
            "objectType": "detection",
            "name": str(number),
            "classification": {"name": "Nucleus", "color": [230, 159, 0]},
            "measurements": measurements,
        },
    }


def roi(number: int, pieces: list[Polygon]) -> bytes:
    """An ImageJ ROI: a polygon, or a composite where there are holes or several pieces."""
    import roifile

    every = [ring for polygon in pieces for ring in polygon]
    if len(every) == 1:
        shape = roifile.ImagejRoi.frompoints(np.array(every[0], dtype=np.int32), name=str(number))
        shape.roitype = roifile.ROI_TYPE.POLYGON
        return bytes(shape.tobytes())
    path: list[float] = []
    for ring in every:
        for i, (x, y) in enumerate(ring):
            path += [0.0 if i == 0 else 1.0, x, y]
        path.append(4.0)
    corners = np.array([point for ring in every for point in ring])
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    composite = roifile.ImagejRoi(
        roitype=roifile.ROI_TYPE.RECT,
        name=str(number),
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        shape_roi_size=len(path),
        multi_coordinates=np.array(path, dtype=np.float32),
    )
    return bytes(composite.tobytes())


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
