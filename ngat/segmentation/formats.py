"""What is written of a picture's nuclei: one function per form, each nucleus by nucleus.

None of them holds more than a band of the picture in memory.
"""

from __future__ import annotations

import csv
import json
import uuid
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image
from skimage.segmentation import find_boundaries

from ngat.data import rle
from ngat.errors import InputError, MissingDependency
from ngat.io import pyramid
from ngat.io.outlines import feature, polygons, roi
from ngat.io.picture import Picture
from ngat.segmentation.find import FoundNuclei
from ngat.segmentation.measure import PLACE, in_micrometres
from ngat.segmentation.tiles import Canvas

OUTLINE = (230, 159, 0)  # orange of the Okabe-Ito palette: seen on dark, violet and grey
# Larger pictures are drawn reduced; their labels are stored in tiles.
DRAWN, DRAWN_BAND = 4096, 128
_TILE = 512


def write_labels(path: Path, found: FoundNuclei, picture: Picture, name: str) -> None:
    """A label TIFF: 16 bits, or 32 where there are more nuclei; of large pictures an OME-TIFF."""
    height, width = picture.shape
    dtype = _depth(found)
    options: dict[str, Any] = {"compression": "zlib", "photometric": "minisblack"}
    size = picture.pixel_size
    if size is not None:
        options |= {"resolution": (1e4 / size[1], 1e4 / size[0]), "resolutionunit": "CENTIMETER"}
    if max(height, width) <= DRAWN:
        tifffile.imwrite(path, found.labels.whole().astype(dtype), metadata=None, **options)
        return
    # A name of the file that the nuclei give: the same ones, the same bytes.
    named = uuid.uuid5(uuid.NAMESPACE_OID, found.table[list(PLACE)].to_csv())
    metadata: dict[str, Any] = {"axes": "YX", "UUID": str(named)}
    if size is not None:
        metadata |= {"PhysicalSizeY": size[0], "PhysicalSizeX": size[1]}
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        file.write(
            _tiles(found.labels, dtype),
            shape=(height, width),
            dtype=dtype,
            tile=(_TILE, _TILE),
            metadata=metadata,
            **options,
        )


def write_zarr(path: Path, found: FoundNuclei, picture: Picture, name: str) -> None:
    """Labels as OME-Zarr: a folder of small files, with reduced copies for viewers."""
    height, width = picture.shape
    dtype = _depth(found)

    def read(rows: slice) -> npt.NDArray[Any]:
        return found.labels.read((rows, slice(0, width))).astype(dtype)

    pyramid.write_labels(path, read, (height, width), dtype, picture.pixel_size)


def _depth(found: FoundNuclei) -> np.dtype[Any]:
    """16 bits for labels, or 32 where there are more nuclei."""
    few = len(found.table) <= np.iinfo(np.uint16).max
    return np.dtype(np.uint16 if few else np.uint32)


def write_runs(path: Path, found: FoundNuclei, picture: Picture, name: str) -> None:
    """Run lengths as the 2018 challenge asks for them, one line per nucleus; ``name`` is the id."""
    height, width = picture.shape
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["ImageId", "EncodedPixels", "Height", "Width"])
        for _, mask, (top, left) in nuclei(found):
            lines.writerow([name, rle.encode(mask, top, left, height), height, width])
        if not len(found.table):
            lines.writerow([name, "", height, width])


def write_geojson(path: Path, found: FoundNuclei, picture: Picture, name: str) -> None:
    """Polygons with measurements that QuPath opens as detections (GeoJSON, in pixels)."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for index, one in enumerate(features(found, picture)):
            file.write((",\n" if index else "\n") + json.dumps(one, separators=(",", ":")))
        file.write("\n]}\n")


def write_rois(path: Path, found: FoundNuclei, picture: Picture, name: str) -> None:
    """A zip of ImageJ's regions of interest, for the ROI Manager."""
    digits = len(str(len(found.table)))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for number, data in rois(found):
            info = zipfile.ZipInfo(f"{number:0{digits}d}.roi")  # the same nuclei, the same bytes
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, data)


def write_table(path: Path, found: FoundNuclei, picture: Picture, name: str) -> None:
    """One line per nucleus with its measurements, as CSV."""
    table = shown_table(found, picture.pixel_size)
    table.to_csv(path, index=False, lineterminator="\n", float_format="%.6g")


def write_overlay(path: Path, found: FoundNuclei, picture: Picture, name: str) -> None:
    """The picture with stretched contrast and every nucleus outlined, as PNG."""
    Image.fromarray(outlined(found, picture)).save(path, "PNG")


class Format(NamedTuple):
    """A form of output: its folder, the ending of its files, and who writes it.

    Besides the path a writer is told the nuclei, the picture, and the name of the results.
    """

    folder: str
    suffix: str
    write: Callable[[Path, FoundNuclei, Picture, str], None]


FORMATS = {
    "labels": Format("labels", ".tif", write_labels),
    "overlay": Format("overlay", ".png", write_overlay),
    "table": Format("tables", ".csv", write_table),
    "geojson": Format("geojson", ".geojson", write_geojson),
    "rois": Format("rois", ".zip", write_rois),
    "rle": Format("rle", ".csv", write_runs),
    "zarr": Format("zarr", ".ome.zarr", write_zarr),
}
DEFAULT = ("labels", "overlay", "table")


def chosen_formats(names: Sequence[str]) -> tuple[str, ...]:
    """Forms by name, also several in one text by commas; ``all`` are those that can be written.

    Raises:
        InputError: an unknown name.
        MissingDependency: zarr is not installed.
    """
    with_zarr = find_spec("zarr") is not None
    names = [name.strip() for text in names for name in text.split(",")]
    for name in names:
        if name not in (*FORMATS, "all"):
            raise InputError(f"Unknown format {name!r}; known: {', '.join(FORMATS)}, all.")
    if "all" in names:
        return tuple(name for name in FORMATS if name != "zarr" or with_zarr)
    if "zarr" in names and not with_zarr:
        raise MissingDependency(
            "--format zarr: zarr is not installed; install it with pip install 'ngat[zarr]'."
        )
    return tuple(dict.fromkeys(names))


def nuclei(found: FoundNuclei) -> Iterator[tuple[int, npt.NDArray[np.bool_], tuple[int, int]]]:
    """Every nucleus: its number, its mask inside its box, and the box's first row and column."""
    boxes = found.table[["nucleus", *PLACE[1:]]].to_numpy(dtype=np.int64)
    # Nuclei are in reading order: a band of rows is read once for all that begin in it.
    band, first, last = np.zeros((0, 0), np.int32), 0, 0
    for number, top, left, bottom, right in boxes.tolist():
        if top < first or bottom > last:
            first, last = top, min(found.labels.shape[0], max(bottom, top + _TILE))
            band = found.labels.read((slice(first, last), slice(0, found.labels.shape[1])))
        yield number, band[top - first : bottom - first, left:right] == number, (top, left)


def rois(found: FoundNuclei) -> Iterator[tuple[int, bytes]]:
    """Every nucleus: its number, and its region for ImageJ."""
    for number, mask, corner in nuclei(found):
        yield number, roi(number, polygons(mask, corner))


def features(found: FoundNuclei, picture: Picture) -> Iterator[dict[str, Any]]:
    """Every nucleus as a GeoJSON feature."""
    table = shown_table(found, picture.pixel_size).drop(columns="nucleus")
    measured = (
        {
            name: float(f"{value:.6g}")
            for name, value in zip(table.columns, row, strict=True)
            if np.isfinite(value)  # JSON has no word for others
        }
        for row in table.itertuples(index=False, name=None)
    )
    for (number, mask, corner), values in zip(nuclei(found), measured, strict=True):
        yield feature(number, polygons(mask, corner), values)


def shown_table(found: FoundNuclei, pixel_size: tuple[float, float] | None) -> Any:
    """The measurements as users get them: without boxes, with micrometres where they are known."""
    return in_micrometres(found.table.drop(columns=[*PLACE[1:], "first"]), pixel_size)


def outlined(found: FoundNuclei, picture: Picture) -> npt.NDArray[np.uint8]:
    """The picture as ``uint8 [h, w, 3]``, contrast stretched, nuclei outlined on their inside."""
    seen = picture.overview(DRAWN)
    seen = seen[:, :, None] if seen.ndim == 2 else seen
    every = 1 + max(picture.shape) // DRAWN  # pixels of an overview are many enough
    some = seen[::every, ::every]
    low, high = np.percentile(some, (0.1, 99.9)).astype(np.float32)
    scale = np.float32(255 / max(float(high - low), 1e-12))
    drawn = np.empty((*seen.shape[:2], 3), np.uint8)
    height, width = picture.shape
    step = max(1, -(-max(height, width) // DRAWN))
    # Band by band: of a slide these are the largest arrays there are.
    for top in range(0, len(seen), DRAWN_BAND):
        band = slice(top, min(top + DRAWN_BAND, len(seen)))
        drawn[band] = np.rint(np.clip((seen[band] - low) * scale, 0, 255))
        before = int(top > 0)  # a row of context on either side
        rows = slice((top - before) * step, min((band.stop + 1) * step, height))
        labels = found.labels.read((rows, slice(0, width)))[::step, ::step]
        edges = find_boundaries(labels, mode="inner")[before:][: band.stop - top]
        drawn[band][edges] = OUTLINE
    return drawn


def _tiles(labels: Canvas, dtype: np.dtype[Any]) -> Iterator[npt.NDArray[Any]]:
    height, width = labels.shape
    for top in range(0, height, _TILE):
        band = labels.read((slice(top, min(top + _TILE, height)), slice(0, width))).astype(dtype)
        for left in range(0, width, _TILE):
            part = band[:, left : left + _TILE]
            yield np.pad(part, [(0, _TILE - side) for side in part.shape])
