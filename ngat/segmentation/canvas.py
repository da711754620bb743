"""Large planes of numbers, in memory or in a file, read and written by window."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Window = tuple[slice, slice]  # rows and columns, with bounds


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
