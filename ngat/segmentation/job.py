"""Nuclei of one picture in three steps: each tile's maps; the nuclei inside each tile; those that
seams cut, and the numbering of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from ngat.inference import Prediction, instances, smoothing_at
from ngat.instances import Labels, margin
from ngat.io.picture import Picture
from ngat.io.stack import Array
from ngat.segmentation.measure import measure
from ngat.segmentation.network import Segmenter, Survey
from ngat.segmentation.tiles import Canvas, Grid, Window
from ngat.system.files import replacing
from ngat.thresholds import Method, Thresholds

Arrays = dict[str, npt.NDArray[Any]]
Opener = Callable[[], tuple[Picture, Segmenter]]


@dataclass
class PictureJob:
    """The state of one picture's segmentation, which the work on every tile gets.

    Attributes:
        picture, network: as opened; other processes open them for themselves.
        grid, method, thresholds: how.
        folder: of the planes and the tiles' files; None keeps all in memory.
        source: how another process opens the picture and the network; None if only this one can.
    """

    picture: Picture
    network: Segmenter
    grid: Grid
    method: Method
    thresholds: Thresholds
    folder: Path | None = None
    source: Opener | None = None

    def __post_init__(self) -> None:
        shape = (self.grid.height, self.grid.width)

        def canvas(name: str, dtype: Any) -> Canvas:
            return Canvas(shape, dtype, self.folder / name if self.folder else None)

        self.probability = canvas("probability", np.float32)
        self.core = canvas("core", np.float32)
        self.parts = canvas("parts", np.int32)
        self.labels = canvas("labels", np.int32)
        self._kept: dict[str, Arrays] = {}
        magnification = self.grid.magnification
        self.survey: Survey = self.once(
            "survey", lambda: self.network.survey(self.picture, magnification)
        )

    def once(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """A result, which is made if it is not there, and kept whole or not at all."""
        if self.folder is None:
            if name not in self._kept:
                self._kept[name] = make()
            return self._kept[name]
        path = self.folder / f"{name}.npz"
        if not path.exists():
            values = make()
            with replacing(path) as beside, beside.open("wb") as file:
                np.savez(file, **values)  # type: ignore[arg-type]
            return values
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)

    @property
    def elsewhere(self) -> SharedJob | None:
        """The job for other processes; None where they cannot open the picture or the planes."""
        if self.source is None or self.folder is None:
            return None
        folder = self.folder.resolve()
        return SharedJob(self.source, self.grid, self.method, self.thresholds, folder)


class SharedJob(NamedTuple):
    """What another process needs to work on the tiles of a picture."""

    source: Opener
    grid: Grid
    method: Method
    thresholds: Thresholds
    folder: Path


@lru_cache(maxsize=2)
def _opened(job: SharedJob) -> PictureJob:
    picture, network = job.source()
    return PictureJob(picture, network, job.grid, job.method, job.thresholds, job.folder)


def on_tile(
    work: Callable[[PictureJob, int], Any], job: PictureJob | SharedJob, number: int
) -> None:
    """Work on one tile, in whatever process."""
    work(_opened(job) if isinstance(job, SharedJob) else job, number)


def predict_tile(job: PictureJob, number: int) -> None:
    """The network's maps of one tile, into the job's planes."""

    def predict() -> Arrays:
        around, window = job.grid.with_halo(number), job.grid.window(number)
        maps = _predicted(job, around)
        inner = _inside(window, around)
        job.probability.write(window, maps.probability[inner])
        job.core.write(window, maps.core[inner])
        return {}

    job.once(f"predicted-{number}", predict)


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


def divide_tile(job: PictureJob, number: int) -> Arrays:
    """Nuclei of the components inside one tile; those that a seam cuts are left for later."""
    return job.once(f"divided-{number}", lambda: _divided(job, number))


def _divided(job: PictureJob, number: int) -> Arrays:
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
    return {"cut": cut, "where": where, **edges, **columns_of}


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


# A component whose box has more pixels is cut at the seams: it is no nucleus, nor a clump of some.
LARGEST = 1 << 25
_ACROSS = -1  # in place of a tile's number


class _Cut(NamedTuple):
    """A component that a seam cut: what one tile knows of it, and one of its pixels."""

    tile: int
    piece: int
    box: tuple[int, int, int, int]
    point: tuple[int, int]


def join(job: PictureJob, numbers: Sequence[int], notes: list[str]) -> pd.DataFrame:
    """The table of all nuclei, and the plane of labels.

    Args:
        numbers: of the tiles that were divided.
        notes: takes what a user should know.
    """
    tiles = {number: divide_tile(job, number) for number in numbers}
    tables = [(number, _table(tiles[number])) for number in numbers]
    tables.append((_ACROSS, _across(job, tiles, notes)))
    return _numbered(job, numbers, [(n, t) for n, t in tables if len(t)])


def _across(job: PictureJob, tiles: Mapping[int, Arrays], notes: list[str]) -> pd.DataFrame:
    """Nuclei of all components that seams cut, into the plane of parts as negative numbers."""
    tables: list[pd.DataFrame] = []
    count = 0
    for group in _groups(job, tiles):
        boxes = np.array([cut.box for cut in group])
        top, left = boxes[:, :2].min(axis=0).tolist()
        bottom, right = boxes[:, 2:].max(axis=0).tolist()
        parts = [group[0]._replace(box=(top, left, bottom, right))]
        if (bottom - top) * (right - left) > LARGEST:
            size = f"{bottom - top} x {right - left}"
            notes.append(f"a region of {size} pixels without a gap was cut at the tiles' edges")
            parts = group
        for cut in parts:
            window = (slice(cut.box[0], cut.box[2]), slice(cut.box[1], cut.box[3]))
            mask = job.probability.read(window) > job.thresholds.probability
            pieces, _ = ndimage.label(mask)
            own = pieces[cut.point[0] - cut.box[0], cut.point[1] - cut.box[1]]
            labels, table = nuclei_of(job, window, pieces == own)
            here = job.parts.read(window)
            job.parts.write(window, np.where(labels > 0, -labels - count, here))
            tables.append(table.assign(nucleus=-table["nucleus"] - count))
            count += len(table)
    return pd.concat(tables) if tables else pd.DataFrame()


def _groups(job: PictureJob, tiles: Mapping[int, Arrays]) -> list[list[_Cut]]:
    """What is one component in the whole picture, from all tiles that it touches."""
    cuts = [
        _Cut(number, int(piece), tuple(row[:4]), (row[4], row[5]))
        for number, tile in tiles.items()
        for piece, row in zip(tile["cut"], tile["where"].tolist(), strict=True)
    ]
    place = {(cut.tile, cut.piece): index for index, cut in enumerate(cuts)}
    pairs: set[tuple[int, int]] = set()
    for first, second, axis in job.grid.seams():
        if first in tiles and second in tiles:
            one, other = tiles[first][f"edge-{axis}-1"], tiles[second][f"edge-{axis}-0"]
            both = (one > 0) & (other > 0)
            for a, b in set(zip(one[both].tolist(), other[both].tolist(), strict=True)):
                pairs.add((place[first, a], place[second, b]))
    rows, columns = np.array(sorted(pairs), dtype=int).reshape(-1, 2).T
    graph = sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(cuts), len(cuts)))
    _, group = csgraph.connected_components(graph, directed=False)
    groups: dict[int, list[_Cut]] = {}
    for cut, number in zip(cuts, group.tolist(), strict=True):
        groups.setdefault(number, []).append(cut)
    return list(groups.values())


def _table(tile: Arrays) -> pd.DataFrame:
    begin = "table-"
    return pd.DataFrame({k.removeprefix(begin): v for k, v in tile.items() if k.startswith(begin)})


def _numbered(
    job: PictureJob, numbers: Sequence[int], tables: Sequence[tuple[int, pd.DataFrame]]
) -> pd.DataFrame:
    """All nuclei in reading order: the table, and the plane of labels."""
    if not tables:
        names = job.picture.channel_names
        return measure(np.zeros((1, 1), np.int32), np.zeros((1, 1, len(names))), names)
    table = pd.concat([t.assign(tile=number) for number, t in tables])
    table = table.sort_values("first", kind="stable", ignore_index=True)
    order = pd.Series(np.arange(1, len(table) + 1, dtype=np.int32))
    outside = table["tile"] == _ACROSS
    negative = np.zeros(int(outside.sum()) + 1, np.int32)
    negative[-table["nucleus"][outside]] = order[outside]
    inside = dict(table[~outside].groupby("tile").groups)
    for number in numbers:
        window, rows = job.grid.window(number), inside.get(number, table.index[:0])
        positive = np.zeros(len(rows) + 1, np.int32)
        positive[table["nucleus"][rows]] = order[rows]
        parts = job.parts.read(window)
        labels = np.where(
            parts < 0, negative[-np.minimum(parts, 0)], positive[np.maximum(parts, 0)]
        )
        job.labels.write(window, labels)
    table["nucleus"] = order
    return table.drop(columns="tile")
