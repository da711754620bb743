"""TIFF of any kind through tifffile: OME, ImageJ, slides, pages; read by region.

Each tile or strip that a region touches is decoded by itself, so that the memory needed is that of
the region, whatever the size of the picture.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from tifffile import PHOTOMETRIC

from ngat.errors import InputError
from ngat.io.stack import Array, Read, Stack, check_size, region

# Kinds whose further series are a label, a thumbnail and the like.
_SLIDES = ("svs", "ndpi", "scn", "bif", "philips", "qpi", "ventana", "leica")
# Micrometres in a unit of length.
_UNITS = {"µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}
# Pixel sizes that a microscope can have; the 72 dots an inch of other programs say nothing.
_PLAUSIBLE = (0.01, 20.0)
_UNASSOCIATED, _ASSOCIATED = 2, 1  # values of the tag ExtraSamples


def open_tiff(path: Path, level: int, *, raw: bool = False) -> list[Stack]:
    """Every series of a file at a level of its pyramid.

    Args:
        raw: leave palettes, inks and inverted values as they are stored, as labels need it.

    Raises:
        InputError: damaged, or a kind of colour that is not known.
    """
    file = tifffile.TiffFile(path)
    file.filehandle.set_lock(True)  # without it, threads move each other's place in the file
    every = [(i, s) for i, s in enumerate(file.series) if {"Y", "X"} <= set(s.axes)]
    if not every:
        raise InputError(f"{path}: holds no picture; get the file again.")
    slide = every[0][1].kind in _SLIDES
    series = every[:1] if slide else [(i, s) for i, s in every if not _reduced(s)]
    return [_stack(str(path), file, s, i, level, raw) for i, s in series or every[:1]]


def _reduced(series: tifffile.TiffPageSeries) -> bool:
    """A smaller copy or a mask of another picture in the file."""
    return bool(series.keyframe.subfiletype & 0b101)


def _stack(
    name: str, file: tifffile.TiffFile, series: Any, index: int, level: int, raw: bool
) -> Stack:
    levels = len(series.levels)
    if not 0 <= level < levels:
        raise InputError(f"{name}: has no level {level}; choose --level 0 to {levels - 1}.")
    full, series = series, series.levels[level]
    page = series.keyframe
    axes, shape = _axes(series), tuple(series.shape)
    if page.imagedepth > 1:
        raise InputError(f"{name}: stores volumes in one page; save it as pages.")
    if min(shape) < 1:
        raise InputError(f"{name}: has no pixels; get the file again.")
    dtype = np.dtype(series.dtype)
    pixel_size = _pixel_size(file, full, index)
    if pixel_size is not None:
        pixel_size = (
            pixel_size[0] * full.sizes["height"] / series.sizes["height"],
            pixel_size[1] * full.sizes["width"] / series.sizes["width"],
        )
    read: Read = _Reader(name, series)
    samples = shape[axes.index("S")] if "S" in axes else 1
    alpha, colour = "", False
    photometric = page.photometric
    if raw:
        photometric = PHOTOMETRIC.MINISBLACK
    elif photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR) and samples >= 3:
        if photometric == PHOTOMETRIC.YCBCR and page.compression not in (6, 7, 33003, 33005, 34712):
            raise InputError(f"{name}: its colours are stored as YCbCr; save it as RGB.")
        colour = samples - 3 == len(_alphas(page)) <= 1
    elif photometric == PHOTOMETRIC.PALETTE and page.colormap is not None and samples == 1:
        read, axes, shape = _looked_up(read, page.colormap), axes + "S", (*shape, 3)
        dtype, colour = np.dtype(np.uint16), True
    elif photometric == PHOTOMETRIC.SEPARATED and samples == 4 and dtype.kind == "u":
        read, colour = _from_cmyk(read), True
        shape = tuple(3 if a == "S" else n for a, n in zip(axes, shape, strict=True))
    elif photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB):
        kind = getattr(photometric, "name", photometric)
        raise InputError(f"{name}: its colours are stored as {kind}; save it as RGB.")
    if samples > 1 and _alphas(page):
        alpha = "straight" if _alphas(page)[-1] == _UNASSOCIATED else "premultiplied"

    def whole() -> Array:
        check_size(name, shape, dtype.itemsize)
        return np.asarray(series.asarray())

    return Stack(
        name,
        axes,
        shape,
        dtype,
        read,
        whole,
        channel_names=_channel_names(file, series, index),
        pixel_size=pixel_size,
        colour=colour,
        alpha=alpha,
        orientation=_orientation(page),
        inverted=photometric == PHOTOMETRIC.MINISWHITE,
        levels=levels,
    )


def _axes(series: Any) -> str:
    """The axes of a series; what a page calls samples are samples, whatever the series says."""
    axes, page = str(series.axes), series.keyframe
    plane = page.axes
    if len(plane) <= len(axes) and series.shape[-len(plane) :] == page.shape:
        axes = axes[: -len(plane)] + plane
    return axes


class _Reader:
    """Reads a region of a plane; samples come last."""

    def __init__(self, name: str, series: Any) -> None:
        self.name, self.series = name, series
        self.path, self.dtype = series.parent.filehandle.path, np.dtype(series.dtype)
        self.offset = series.dataoffset
        self.axes = _axes(series)
        self.others = [a for a in self.axes if a not in "YXS"]
        self.sides = [series.shape[self.axes.index(a)] for a in self.others]
        if self.offset is not None and series.nbytes + self.offset > series.parent.filehandle.size:
            raise InputError(f"{name}: is shorter than it says; get the file again.")

    def __call__(self, place: dict[str, int], rows: slice, columns: slice) -> Array:
        if self.offset is not None:
            return self._mapped(place, rows, columns)
        places = [place.get(a, 0) for a in self.others]
        number = int(np.ravel_multi_index(places, self.sides)) if places else 0
        with self.series.parent.filehandle.lock:
            page = self.series.pages[number]
        if page is None:
            raise InputError(f"{self.name}: lacks page {number}; get the file again.")
        return self._decoded(page, rows, columns)

    def _mapped(self, place: dict[str, int], rows: slice, columns: slice) -> Array:
        """Of a file that stores its pixels plainly, in one piece."""
        order = self.series.parent.byteorder
        stored = np.memmap(
            self.path, self.dtype.newbyteorder(order), "r", self.offset, self.series.shape
        )
        return np.array(region(stored, self.axes, place, rows, columns), dtype=self.dtype)

    def _decoded(self, page: Any, rows: slice, columns: slice) -> Array:
        """From the tiles or strips that the region touches."""
        key = page.keyframe
        height, width, samples = key.imagelength, key.imagewidth, key.samplesperpixel
        th, tw = (
            (key.tilelength, key.tilewidth)
            if key.is_tiled
            else (min(key.rowsperstrip, height), width)
        )
        separate = key.planarconfig == 2 and samples > 1
        across, down = -(-width // tw), -(-height // th)
        count = across * down * (samples if separate else 1)
        offsets, sizes = page.dataoffsets, page.databytecounts
        if len(offsets) < count or len(sizes) < count or not any(sizes):
            raise InputError(f"{self.name}: lacks pixels; get the file again.")
        check_size(self.name, (th, tw, 1 if separate else samples), self.dtype.itemsize)
        top, bottom, _ = rows.indices(height)
        left, right, _ = columns.indices(width)
        check_size(self.name, (bottom - top, right - left, samples), self.dtype.itemsize)
        found = np.zeros((bottom - top, right - left, samples), self.dtype)
        options: dict[str, Any] = {"_fullsize": False}
        if key.compression in (6, 7, 34892, 33007):  # JPEG, whose tables stand apart
            options |= {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader}
        file = self.series.parent.filehandle
        for plane in range(samples if separate else 1):
            for j in range(top // th, -(-bottom // th)):
                for i in range(left // tw, -(-right // tw)):
                    number = (plane * down + j) * across + i
                    if not sizes[number]:
                        continue  # a tile that was left out is empty
                    with file.lock:
                        file.seek(offsets[number])
                        data = file.read(sizes[number])
                    pixels, _, _ = key.decode(data, number, **options)
                    if pixels is None:
                        continue
                    y0, y1 = max(top, j * th), min(bottom, j * th + th)
                    x0, x1 = max(left, i * tw), min(right, i * tw + tw)
                    part = pixels[0, y0 - j * th : y1 - j * th, x0 - i * tw : x1 - i * tw]
                    band = slice(plane, plane + 1) if separate else slice(None)
                    found[y0 - top : y1 - top, x0 - left : x1 - left, band] = part
        return found if "S" in self.axes else found[:, :, 0]


def _looked_up(read: Read, colormap: npt.NDArray[np.uint16]) -> Read:
    def coloured(place: dict[str, int], rows: slice, columns: slice) -> Array:
        return np.moveaxis(colormap[:, read(place, rows, columns)], 0, -1)

    return coloured


def _from_cmyk(read: Read) -> Read:
    def coloured(place: dict[str, int], rows: slice, columns: slice) -> Array:
        inks = read(place, rows, columns)
        full = float(np.iinfo(inks.dtype).max)
        light = (full - inks[:, :, :3]) * ((full - inks[:, :, 3:]) / full)
        return np.rint(light).astype(inks.dtype)

    return coloured


def _alphas(page: Any) -> list[int]:
    """Kinds of transparency among the extra samples."""
    return [int(e) for e in page.extrasamples if int(e) in (_ASSOCIATED, _UNASSOCIATED)]


def _orientation(page: Any) -> int:
    tag = page.tags.get("Orientation") if hasattr(page, "tags") else None
    return int(tag.value) if tag is not None else 1


def _channel_names(file: tifffile.TiffFile, series: Any, index: int) -> tuple[str, ...]:
    if series.kind == "ome" and file.ome_metadata:
        images = re.split(r"<Image\b", file.ome_metadata)[1:]
        if index < len(images):
            found = re.findall(r"<Channel\b[^>]*?\bName=\"([^\"]*)\"", images[index])
            return tuple(found)
    if series.kind == "imagej":
        labels: Sequence[str] = (file.imagej_metadata or {}).get("Labels") or ()
        return tuple(str(label) for label in labels)
    return ()


def _pixel_size(file: tifffile.TiffFile, series: Any, index: int) -> tuple[float, float] | None:
    """Micrometres (y, x), from what microscopes and ImageJ write; else from centimetres."""
    page, size = series.keyframe, None
    if series.kind == "ome" and file.ome_metadata:
        size = _ome_size(file.ome_metadata, index)
    elif file.is_svs and (found := re.search(r"MPP *= *([0-9.]+)", page.description)):
        size = (float(found[1]), float(found[1]))
    else:
        x, y = page.get_resolution()  # pixels in a unit, which tag 296 names
        unit = {2: 25400.0, 3: 1e4}.get(int(page.resolutionunit), 0.0)
        if series.kind == "imagej":
            word = str((file.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "µ")
            unit = _UNITS.get(word, 0.0)
        if unit and x > 0 and y > 0:
            size = (unit / y, unit / x)
    low, high = _PLAUSIBLE
    return size if size and all(low <= side <= high for side in size) else None


def _ome_size(xml: str, index: int) -> tuple[float, float] | None:
    images = re.findall(r"<Pixels\b[^>]*>", xml)
    if index >= len(images):
        return None
    size = []
    for axis in "YX":
        found = re.search(rf'\bPhysicalSize{axis}="([0-9.eE+-]+)"', images[index])
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]+)"', images[index])
        if not found:
            return None
        size.append(float(found[1]) * _UNITS.get(unit[1] if unit else "µm", 0.0))
    return size[0], size[1]
