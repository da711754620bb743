"""Pictures of any kind: every file becomes a :class:`Picture`, which is read by region."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ngat.errors import InputError
from ngat.io.kinds import SLIDE_SUFFIXES
from ngat.io.pyramid import open_slide, open_zarr
from ngat.io.stack import (
    Array,
    Stack,
    array_stack,
    block_means,
    channels_of,
    choose_channels,
    choose_page,
    reading,
    renamed,
)
from ngat.io.values import as_array, as_floats, check_varied, full, inverted, opaque
from ngat.system.files import check_regular

# EXIF's orientations as (transpose first, then flip rows, flip columns); any other is as 1.
_TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
OVERVIEW = 1024  # longest side of an overview, in pixels
_BAND = 1 << 22  # pixels read at once for one


@dataclass(frozen=True)
class Picture:
    """One plane of a file, turned upright, of which nothing has been read yet.

    Attributes:
        stack, place: where its pixels are.
        chosen: the one or three channels that a network is to see.
    """

    stack: Stack
    place: dict[str, int]
    chosen: tuple[int, ...]

    @property
    def name(self) -> str:
        """The file, for sentences."""
        return self.stack.name

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width as it is seen."""
        height, width = self.stack.size("Y"), self.stack.size("X")
        return (width, height) if self._turn[0] else (height, width)

    @property
    def _turn(self) -> tuple[bool, bool, bool]:
        return _TURNS.get(self.stack.orientation, (False, False, False))

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Of all channels, transparency apart."""
        return channels_of(self.stack)[1]

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """Micrometres (y, x) where the file knows them."""
        size = self.stack.pixel_size
        return size[::-1] if size and self._turn[0] else size

    def read(self, rows: slice = slice(None), columns: slice = slice(None)) -> Array:
        """Pixels for a network: ``[h, w]`` of one channel or ``[h, w, 3]``, as stored in depth.

        Integers of more than 16 bits and float64 become float32; two values become 0 and 1.

        Raises:
            InputError: damaged, or values that are NaN, infinite or beyond float32.
        """
        pixels = self.read_all(rows, columns)[:, :, list(self.chosen)]
        if pixels.dtype not in (np.uint8, np.uint16):
            pixels = pixels.astype(np.float32)
        return pixels if len(self.chosen) == 3 else pixels[:, :, 0]

    def read_all(self, rows: slice = slice(None), columns: slice = slice(None)) -> Array:
        """All channels ``[h, w, C]`` as stored in depth; errors as :meth:`read`."""
        pixels = self.stored(rows, columns)
        if pixels.dtype.kind == "b":
            pixels = pixels.astype(np.uint8)
        if pixels.dtype.kind == "f":
            pixels = as_floats(pixels, self.name)
        if self.stack.inverted:
            pixels = inverted(pixels)
        if self.stack.alpha:
            pixels = opaque(pixels, self.stack.alpha, self._backdrop)
        return pixels

    def overview(self, longest: int = OVERVIEW) -> Array:
        """The picture for a network, reduced to at most ``longest`` pixels a side.

        Blocks of pixels are averaged; ``float32 [h, w]`` or ``[h, w, 3]``. The memory it takes
        does not depend on the picture's height.

        Raises:
            InputError: as :meth:`read`; or values that differ, but not as float32.
        """
        return self._overview if longest == OVERVIEW else self._reduced(longest)

    @cached_property
    def _overview(self) -> npt.NDArray[np.float32]:
        """Kept, since several steps ask for it and it reads the whole picture."""
        return self._reduced(OVERVIEW)

    def _reduced(self, longest: int) -> npt.NDArray[np.float32]:
        height, width = self.shape
        step = max(1, -(-max(height, width) // longest))
        band = max(1, _BAND // (step * width))
        sides = [-(-height // step), -(-width // step), *([3] if len(self.chosen) == 3 else [])]
        means = np.empty(sides, np.float32)
        for row in range(0, len(means), band):
            pixels = self.read(slice(row * step, min((row + band) * step, height)))
            means[row : row + band] = block_means(pixels, step)
        if not np.ptp(means, axis=(0, 1)).any():
            starts = range(0, height, band * step)
            parts = (self.stored(slice(row, min(row + band * step, height))) for row in starts)
            ends = [(part.min((0, 1)), part.max((0, 1))) for part in parts]
            low, high = (np.stack(side)[:, list(self.chosen)] for side in zip(*ends, strict=True))
            check_varied(self.name, low.min(0), high.max(0))
        return means

    @cached_property
    def _backdrop(self) -> npt.NDArray[np.float64]:
        """Median colour of what is opaque: what transparent pixels are painted with.

        Black or white would be nuclei in one kind of picture or the other.
        """
        height, width = self.shape
        rows = np.unique(np.linspace(0, height - 1, 64).astype(int))
        seen = np.concatenate([self.stored(slice(int(r), int(r) + 1))[0] for r in rows])
        opaque = seen[seen[:, -1] >= 0.99 * full(seen.dtype)]
        return np.median(opaque[:, :-1], axis=0) if len(opaque) else np.zeros(seen.shape[1] - 1)

    def stored(self, rows: slice = slice(None), columns: slice = slice(None)) -> Array:
        """``[h, w, channels and transparency]`` with values as stored, turned upright."""
        height, width = self.shape
        top, bottom, _ = rows.indices(height)
        left, right, _ = columns.indices(width)
        transpose, flip_y, flip_x = self._turn
        if flip_y:
            top, bottom = height - bottom, height - top
        if flip_x:
            left, right = width - right, width - left
        where = (slice(top, bottom), slice(left, right))
        if transpose:
            where = where[::-1]
        with reading(self.name):
            if "C" in self.stack.axes and self.stack.size("C") > 1:
                planes = [
                    self.stack.read(self.place | {"C": c}, *where)
                    for c in range(self.stack.size("C"))
                ]
                pixels = np.stack([p if p.ndim == 2 else p[:, :, 0] for p in planes], axis=2)
            else:
                pixels = np.asarray(self.stack.read(self.place, *where))
                pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
        if pixels.shape[:2] != (where[0].stop - where[0].start, where[1].stop - where[1].start):
            raise InputError(f"{self.name}: is shorter than it says; get the file again.")
        if transpose:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def open_picture(
    path: Path | str,
    *,
    channel: str | int | None = None,
    page: int | None = None,
    level: int = 0,
    axes: str | None = None,
) -> Picture:
    """Open a picture file of any common kind.

    Args:
        path: PNG, JPEG, BMP, GIF, WebP, TIFF of any kind (OME, ImageJ, slides), or OME-Zarr.
        channel: number or name of the channel to segment, or three (``"0,1,2"``).
        page: which page, counting from 0 over all axes but Y, X and the channels'.
        level: of a stored pyramid; 0 is the largest.
        axes: a letter for each side of the stored array, where the file does not say or errs.

    Raises:
        InputError: absent, damaged, of no known kind, or it holds more than the options choose.
    """
    stack, number = choose_page(_stacks(Path(path), level, axes), page)
    return Picture(stack, stack.page(number), choose_channels(stack, channel))


def open_pictures(
    path: Path | str, *, channel: str | int | None = None, level: int = 0, axes: str | None = None
) -> Iterator[Picture]:
    """Every page of a file; arguments and errors as :func:`open_picture`."""
    for stack in _stacks(Path(path), level, axes):
        chosen = choose_channels(stack, channel)
        for number in range(stack.pages):
            yield Picture(stack, stack.page(number), chosen)


def array_picture(
    array: npt.ArrayLike,
    *,
    axes: str | None = None,
    channel: str | int | None = None,
    page: int | None = None,
) -> Picture:
    """A picture of an array.

    Args:
        array: ``[H, W]``, ``[H, W, 3]`` (colour), ``[H, W, 4]`` (with transparency), or any shape
            whose ``axes`` are given.
        axes: a letter for each side: Y, X, C (channels), S (red, green, blue), others are pages.

    Raises:
        InputError: as :func:`open_picture`, and for what is no array of numbers.
    """
    name = "the array"
    pixels = as_array(array, name)
    if pixels.dtype.kind not in "biuf" or pixels.size == 0:
        raise InputError(f"{name}: {pixels.dtype} of shape {pixels.shape} is no picture.")
    if axes is None:
        axes = "YX" if pixels.ndim == 2 else "YXS"
        if pixels.ndim != 2 and (pixels.ndim != 3 or pixels.shape[2] not in (3, 4)):
            raise InputError(
                f"{name}: has shape {pixels.shape}; name its axes, for example axes='CYX'."
            )
    stack = renamed(array_stack(name, pixels, ("QRUVW" * pixels.ndim)[: pixels.ndim]), axes)
    stack, number = choose_page([stack], page)
    return Picture(stack, stack.page(number), choose_channels(stack, channel))


def _stacks(path: Path, level: int, axes: str | None) -> Sequence[Stack]:
    """All series of a file; the kind is told by its content, not by its name."""
    name = str(path)
    if not isinstance(level, Integral) or level < 0:
        raise InputError(f"{name}: a level is a whole number from 0; got {level!r}.")
    with reading(name):
        if path.is_dir():
            stacks = [open_zarr(path, level)]
        elif path.suffix.lower() in SLIDE_SUFFIXES:
            check_regular(path)
            stacks = [open_slide(path, level)]
        else:
            stacks = stored_in(path, level)
        for stack in stacks:
            if stack.dtype.kind not in "biuf":
                raise InputError(f"{name}: holds {stack.dtype} values; save them as numbers.")
        if axes is not None:
            stacks = [renamed(stack, axes) for stack in stacks]
    return stacks


def stored_in(path: Path, level: int = 0, *, raw: bool = False) -> list[Stack]:
    """All series of a TIFF file, or of one that Pillow reads; its content tells which it is.

    Args:
        raw: with values as they are stored, as labels need it: no colours are looked up.
    """
    check_regular(path)
    with path.open("rb") as file:
        head = file.read(2)
    if head in (b"II", b"MM"):
        from ngat.io.tiff import open_tiff

        return open_tiff(path, level, raw=raw)
    from ngat.io.raster import open_raster

    if level:
        raise InputError(f"{path}: has one level; leave out --level.")
    return [open_raster(path, raw=raw)]
