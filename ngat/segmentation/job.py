"""The work on one tile of one picture: its maps, then the nuclei that lie inside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from ngat.inference import Method, Prediction, Thresholds, instances, smoothing_at
from ngat.instances import Labels, margin
from ngat.io.axes import Array
from ngat.io.picture import Picture
from ngat.segmentation.measure import measure
from ngat.segmentation.network import Network, Survey
from ngat.segmentation.tiles import Canvas, Grid, Window
from ngat.system.files import replacing

Arrays = dict[str, npt.NDArray[Any]]


@dataclass
class PictureJob:
    """One picture on its way to nuclei; what every tile's work is given.

    Attributes:
        picture, network: as opened; other processes open them for themselves.
        grid, survey, method, thresholds: how.
        folder: of the planes and the tiles' files; None keeps all in memory.
    """

    picture: Picture
    network: Network
    grid: Grid
    survey: Survey
    method: Method
    thresholds: Thresholds
    folder: Path | None = None

    def __post_init__(self) -> None:
        shape = (self.grid.height, self.grid.width)

        def canvas(name: str, dtype: Any) -> Canvas:
            return Canvas(shape, dtype, self.folder / name if self.folder else None)

        self.probability = canvas("probability", np.float32)
        self.core = canvas("core", np.float32)
        self.parts = canvas("parts", np.int32)
        self.labels = canvas("labels", np.int32)
        self._known: dict[str, Arrays] = {}

    def known(self, name: str) -> Arrays | None:
        """A result that is there already; None if it is not."""
        if self.folder is None:
            return self._known.get(name)
        path = self.folder / f"{name}.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)

    def keep(self, name: str, values: Arrays) -> None:
        """Keep a result, whole or not at all."""
        if self.folder is None:
            self._known[name] = values
            return
        with replacing(self.folder / f"{name}.npz") as beside, beside.open("wb") as file:
            np.savez(file, **values)  # type: ignore[arg-type]


def predict_tile(job: PictureJob, number: int) -> None:
    """The network's maps of one tile, into the job's planes."""
    if job.known(f"predicted-{number}") is not None:
        return
    around, window = job.grid.with_halo(number), job.grid.window(number)
    maps = _predicted(job, around)
    inner = _inside(window, around)
    job.probability.write(window, maps.probability[inner])
    job.core.write(window, maps.core[inner])
    job.keep(f"predicted-{number}", {})


def _predicted(job: PictureJob, window: Window) -> Prediction:
    """Of a window whose corner lies on the grid of units.

    The far ends of the picture are filled up to whole units, so that every window is resized by
    exactly the same factor, and ends with a cell of the coarsest level.
    """
    pixels = job.picture.read(*window)
    height, width = pixels.shape[:2]
    missing = [(0, -n % job.grid.unit) for n in (height, width)]
    if any(after for _, after in missing):
        pixels = np.pad(pixels, [*missing, (0, 0)][: pixels.ndim], mode="edge")
    maps = job.network.predict(pixels, job.grid.magnification, job.survey, *window)
    return Prediction(
        maps.probability[:height, :width], maps.core[:height, :width], job.grid.magnification
    )


def divide_tile(job: PictureJob, number: int) -> None:
    """Nuclei of the components inside one tile; those that a seam cuts are left for later."""
    if job.known(f"divided-{number}") is not None:
        return
    window = job.grid.window(number)
    pieces, _ = ndimage.label(job.probability.read(window) > job.thresholds.probability)
    edges: Arrays = {}
    for axis, (side, end) in enumerate(zip(window, (job.grid.height, job.grid.width), strict=True)):
        if side.start > 0:
            edges[f"edge-{axis}-0"] = pieces.take(0, axis)
        if side.stop < end:
            edges[f"edge-{axis}-1"] = pieces.take(-1, axis)
    cut = np.unique(np.concatenate([*edges.values(), np.zeros(1, np.int32)]))
    cut = cut[cut > 0]
    kept = pieces > 0
    kept[np.isin(pieces, cut)] = False
    labels, table = nuclei_of(job, window, kept)
    job.parts.write(window, labels)
    top, left = (side.start for side in window)
    found = ndimage.find_objects(pieces)
    where = np.zeros((len(cut), 6), dtype=np.int64)
    for row, piece in zip(where, cut.tolist(), strict=True):
        rows, columns = found[piece - 1]
        y, x = np.argwhere(pieces[rows, columns] == piece)[0]
        row[:4] = rows.start, columns.start, rows.stop, columns.stop
        row[4:] = y + rows.start, x + columns.start
    where += np.array([top, left] * 3)
    columns_of = {f"table-{name}": table[name].to_numpy() for name in table}
    job.keep(f"divided-{number}", {"cut": cut, "where": where, **edges, **columns_of})


def nuclei_of(
    job: PictureJob, window: Window, kept: npt.NDArray[np.bool_]
) -> tuple[Labels, pd.DataFrame]:
    """Labels 1 … n of the components ``kept`` inside a window, and their measurements."""
    smoothing = smoothing_at(job.thresholds, job.grid.magnification)
    around = job.grid.wider(window, margin(smoothing))
    inner = _inside(window, around)
    core = job.core.read(around)
    probability = np.zeros(core.shape, np.float32)
    probability[inner] = np.where(kept, job.probability.read(window), 0)
    maps = Prediction(probability, core, job.grid.magnification)
    labels = instances(maps, job.method, job.thresholds)[inner]
    names = job.picture.channel_names
    pixels: Array = np.zeros((*labels.shape, len(names)), np.uint8)
    if labels.any():
        pixels = job.picture.read_all(*window)
    corner = (window[0].start, window[1].start)
    return labels, measure(labels, pixels, names, corner=corner, width=job.grid.width)


def _inside(window: Window, around: Window) -> Window:
    """A window's place in a wider one."""
    rows, columns = (
        slice(w.start - a.start, w.stop - a.start) for w, a in zip(window, around, strict=True)
    )
    return rows, columns
