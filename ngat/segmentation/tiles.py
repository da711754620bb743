"""How a picture is cut into tiles with a halo, and the planes that hold what is known of it.

Tiles lie on a grid that the magnification maps to whole pixels.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ngat.io.stack import Array

Window = tuple[slice, slice]  # rows and columns, with bounds

# Side of a tile as the network sees it, without its halo, in pixels.
TILE = 1024
# However much the network reduces a picture, no tile has a longer side in it.
LONGEST = 4096
# Sides are multiples of this as the network sees them: of the coarsest level's cells, and more.
UNIT = 32


@dataclass(frozen=True)
class Grid:
    """Tiles that cover a picture.

    Attributes:
        height, width: of the picture.
        unit: pixels of the picture that become ``seen`` whole pixels of the network.
        seen: a multiple of :data:`UNIT`.
        side: of a tile, in units.
        halo: round a tile, in units.
        magnification: the exact factor at which the network sees the picture.
    """

    height: int
    width: int
    unit: int
    seen: int
    side: int
    halo: int
    magnification: float

    @property
    def rows(self) -> int:
        """Number of rows of tiles."""
        return -(-self.height // (self.side * self.unit))

    @property
    def columns(self) -> int:
        """Number of columns of tiles."""
        return -(-self.width // (self.side * self.unit))

    def __len__(self) -> int:
        return self.rows * self.columns

    def window(self, number: int) -> Window:
        """Rows and columns of a tile; tiles are numbered in reading order."""
        i, j = divmod(number, self.columns)
        step = self.side * self.unit
        return (
            slice(i * step, min((i + 1) * step, self.height)),
            slice(j * step, min((j + 1) * step, self.width)),
        )

    def with_halo(self, number: int) -> Window:
        """A tile with what it depends on."""
        return self.wider(self.window(number), self.halo * self.unit)

    def wider(self, window: Window, margin: int) -> Window:
        """A window with a margin, as far as the picture goes."""
        rows, columns = window
        return (
            slice(max(0, rows.start - margin), min(self.height, rows.stop + margin)),
            slice(max(0, columns.start - margin), min(self.width, columns.stop + margin)),
        )

    def seams(self) -> Iterator[tuple[int, int, int]]:
        """Pairs of tiles that share an edge: first, second, and the axis across the edge."""
        for number in range(len(self)):
            i, j = divmod(number, self.columns)
            if j + 1 < self.columns:
                yield number, number + 1, 1
            if i + 1 < self.rows:
                yield number, number + self.columns, 0


def grid(shape: tuple[int, int], magnification: float, halo: int, tile: int = TILE) -> Grid:
    """The grid for a picture.

    Args:
        shape: height and width.
        magnification: as asked for; the grid's own differs by at most a few per cent.
        halo: pixels that the network's predictions depend on, as it sees them.
        tile: side of a tile as the network sees it; the same nuclei are found with any.
    """
    seen = UNIT * max(1, round(magnification))
    unit = max(1, round(seen / magnification))
    return Grid(
        shape[0],
        shape[1],
        unit,
        seen,
        max(1, min(tile // seen, LONGEST // unit)),
        math.ceil(halo / seen),
        seen / unit,
    )


def at_once(shape: tuple[int, int], magnification: float) -> Grid:
    """A grid of one tile, whose magnification is the one asked for: nothing has to fit."""
    return Grid(shape[0], shape[1], 1, 1, max(shape), 0, magnification)


class Canvas:
    """A plane ``[H, W]`` that starts as zeros; several processes may write windows of one file.

    Args:
        shape: height and width.
        path: the file; None keeps the plane in memory. Parts that were never written take no room.
    """

    def __init__(self, shape: tuple[int, int], dtype: Any, path: Path | None = None) -> None:
        self.shape, self.dtype, self.path = shape, np.dtype(dtype), path
        self.pixels: Array | None = np.zeros(shape, dtype) if path is None else None
        if path is not None and not path.exists():
            with path.open("ab") as file:
                file.truncate(shape[0] * shape[1] * self.dtype.itemsize)

    def whole(self) -> Array:
        """A copy of all of it."""
        return self.read((slice(0, self.shape[0]), slice(0, self.shape[1])))

    def read(self, window: Window) -> Array:
        """A copy of a window."""
        if self.pixels is not None:
            return self.pixels[window].copy()
        assert self.path is not None
        # Mapped for as long as it is copied, so that the file never counts as memory in use.
        return np.array(np.memmap(self.path, self.dtype, "r", shape=self.shape)[window])

    def write(self, window: Window, values: Array) -> None:
        """Replace a window.

        Raises:
            OSError: the disk is full. (Through a mapped file that would end the process.)
        """
        if self.pixels is not None:
            self.pixels[window] = values
            return
        assert self.path is not None
        rows, columns = window
        stored = np.ascontiguousarray(values, self.dtype)
        size = self.dtype.itemsize
        with self.path.open("r+b", buffering=0) as file:
            for row, line in zip(range(rows.start, rows.stop), stored, strict=True):
                data, at = memoryview(line).cast("B"), (row * self.shape[1] + columns.start) * size
                while data:
                    done = os.pwrite(file.fileno(), data, at)
                    data, at = data[done:], at + done
