"""Images stored at several magnifications, read and written where their libraries are installed.

OME-Zarr (0.4 and 0.5) and plain Zarr arrays go through zarr; slides that tifffile does not read
(MIRAX, Hamamatsu VMS) through OpenSlide.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import Any

import numpy as np

from ngat.errors import InputError, MissingDependency
from ngat.io.stack import Array, Stack, array_stack, check_size

_UNITS = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3}
# Sides of the chunks that are written, and of the smallest copy that viewers begin with.
CHUNK, SMALLEST = 512, 1024


def open_zarr(path: Path, level: int) -> Stack:
    """One image of a Zarr folder.

    Raises:
        MissingDependency: zarr is not installed.
        InputError: no Zarr folder, or not of one image.
    """
    name = str(path)
    if not any((path / mark).exists() for mark in (".zgroup", ".zarray", ".zattrs", "zarr.json")):
        raise InputError(f"{name}: is a folder but no OME-Zarr picture; give a picture.")
    zarr = _zarr(name)
    opened: Any = zarr.open(str(path), mode="r")
    if isinstance(opened, zarr.Array):
        return _stack(name, opened, _guess(opened.shape), 1, level)
    attributes: dict[str, Any] = dict(opened.attrs)
    ome: dict[str, Any] = attributes.get("ome", attributes)
    if "multiscales" not in ome:
        raise InputError(
            f"{name}: holds no single image; give a folder inside it that does, for example "
            f"{path / '0'}."
        )
    image = ome["multiscales"][0]
    datasets = image["datasets"]
    if not 0 <= level < len(datasets):
        raise InputError(f"{name}: has no level {level}; choose --level 0 to {len(datasets) - 1}.")
    array = opened[datasets[level]["path"]]
    described = image.get("axes") or [{"name": letter} for letter in "tczyx"[-array.ndim :]]
    axes = [a if isinstance(a, dict) else {"name": a} for a in described]
    letters = "".join(str(a["name"])[0].upper() for a in axes)
    names = tuple(str(c.get("label", "")) for c in ome.get("omero", {}).get("channels", []))
    size = _pixel_size(axes, datasets[level].get("coordinateTransformations", []))
    known = {"channel_names": names, "pixel_size": size}
    return _stack(name, array, letters, len(datasets), level, **known)


def write_labels(
    path: Path,
    read: Callable[[slice], Array],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    pixel_size: tuple[float, float] | None,
) -> None:
    """Write a label image as OME-Zarr 0.4, with copies of half the size, of a quarter and so on.

    Args:
        path: a folder that is made.
        read: gives rows of the image, ``[h, W]``.
        shape: height and width.
        pixel_size: micrometres (y, x), where they are known.

    Raises:
        MissingDependency: zarr is not installed.
    """
    zarr = _zarr(str(path))
    with _folder(zarr, path) as folder:
        root = zarr.open_group(folder, mode="w", zarr_format=2)
        datasets: list[dict[str, Any]] = []
        step = 1
        while True:
            name = str(len(datasets))
            # Compressed in a way that every reader knows.
            array = root.create_array(
                name,
                shape=shape,
                chunks=tuple(min(CHUNK, side) for side in shape),
                dtype=dtype,
                fill_value=0,
                compressors={"id": "zlib", "level": 3},
                chunk_key_encoding={"name": "v2", "separator": "/"},
            )
            for top in range(0, shape[0], CHUNK):
                rows = slice(top, min(top + CHUNK, shape[0]))
                array[rows] = read(rows)
            scale = [step * size for size in pixel_size or (1.0, 1.0)]
            transforms = [{"type": "scale", "scale": scale}]
            datasets.append({"path": name, "coordinateTransformations": transforms})
            if max(shape) <= SMALLEST:
                break
            read = partial(_every_second, array)
            shape, step = (-(-shape[0] // 2), -(-shape[1] // 2)), 2 * step
        unit = {} if pixel_size is None else {"unit": "micrometer"}
        axes = [{"name": name, "type": "space", **unit} for name in "yx"]
        described = {"version": "0.4", "name": "nuclei", "axes": axes, "datasets": datasets}
        root.attrs.update({"multiscales": [described], "image-label": {"version": "0.4"}})


@contextlib.contextmanager
def _folder(zarr: Any, path: Path) -> Iterator[Any]:
    """A folder for zarr, to which nothing is written after the block.

    zarr writes several files at once, in threads of its own; an error or a signal ends the call
    while others are still under way. They would appear after the caller has cleaned up.
    """
    turn, stopped = Lock(), Event()

    class Folder(zarr.storage.LocalStore):
        async def set(self, key: str, value: Any) -> None:
            with turn:
                if stopped.is_set():
                    return
                file = self.root / key
                try:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(value.to_bytes())
                except BaseException:
                    stopped.set()
                    raise

        async def set_if_not_exists(self, key: str, value: Any) -> None:
            if not (self.root / key).exists():
                await self.set(key, value)

    try:
        yield Folder(path)
    finally:
        with turn:
            stopped.set()


def _every_second(larger: Any, rows: slice) -> Array:
    return np.asarray(larger[2 * rows.start : 2 * rows.stop])[::2, ::2]


def _zarr(name: str) -> Any:
    try:
        import zarr
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"{name}: zarr is not installed; install it with pip install 'ngat[zarr]'."
        ) from error
    return zarr


def _stack(name: str, array: Any, axes: str, levels: int, level: int, **known: Any) -> Stack:
    if level >= levels:
        raise InputError(f"{name}: has one level; leave out --level.")
    if len(axes) != array.ndim or not set("YX") <= set(axes):
        raise InputError(f"{name}: its axes {axes} do not fit {array.shape}; give --axes.")
    colour = "S" in axes and array.shape[axes.index("S")] == 3
    return array_stack(name, array, axes, colour=colour, levels=levels, **known)


def _guess(shape: tuple[int, ...]) -> str:
    if len(shape) == 3 and shape[2] == 3:
        return "YXS"
    return ("QRUVW"[: len(shape) - 2] if len(shape) > 2 else "") + "YX"


def _pixel_size(
    axes: list[dict[str, Any]], transforms: list[dict[str, Any]]
) -> tuple[float, float] | None:
    scale = next((t["scale"] for t in transforms if t.get("type") == "scale"), None)
    if scale is None:
        return None
    by_name = {
        str(a["name"]).lower(): float(s) * _UNITS.get(str(a.get("unit", "")), 0.0)
        for a, s in zip(axes, scale, strict=True)
    }
    size = by_name.get("y", 0.0), by_name.get("x", 0.0)
    return size if min(size) > 0 else None


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
