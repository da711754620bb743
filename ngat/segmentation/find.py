"""Nuclei of one picture of any size, tile by tile, in memory that a tile determines.

First every tile is predicted, with a halo. Then nuclei are made of each tile's components; those
that cross a seam are put together from all tiles they touch. What becomes of a component depends on
itself and a few pixels around it (:data:`ngat.instances.MARGIN`), so the nuclei are those of the
whole picture, whatever the tiles. At last they are numbered in reading order.

All that is known so far lies in planes (:class:`ngat.segmentation.canvas.Canvas`) and one small
file per tile. With a folder for them, the work goes on where it was stopped, in any process.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from ngat.files import replacing
from ngat.inference import Method, Prediction, Thresholds, instances
from ngat.instances import MARGIN, Labels
from ngat.io.axes import Array
from ngat.io.picture import Picture
from ngat.segmentation.canvas import Canvas, Window
from ngat.segmentation.measure import PLACE, measure
from ngat.segmentation.network import Network, Survey, prediction
from ngat.segmentation.tiles import TILE, Grid, grid

# A component whose box has more pixels is cut at the seams: it is no nucleus, nor a clump of some.
LARGEST = 1 << 25
# A tile is empty if, seen from afar, it varies by less than this share of the picture's range.
EMPTY = 0.02

Map = Callable[[Callable[[Any, int], Any], Any, Sequence[int]], Iterable[Any]]


@dataclass
class Job:
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
        self._known: dict[str, Any] = {}

    def known(self, name: str) -> Any:
        """A result of a tile that is there already; None if it is not."""
        if self.folder is None:
            return self._known.get(name)
        path = self.folder / name
        return pickle.loads(path.read_bytes()) if path.exists() else None

    def keep(self, name: str, value: Any) -> None:
        """Keep a result of a tile, whole or not at all."""
        if self.folder is None:
            self._known[name] = value
            return
        with replacing(self.folder / name) as beside:
            beside.write_bytes(pickle.dumps(value))


@dataclass(frozen=True)
class Found:
    """The nuclei of a picture.

    Attributes:
        labels: their plane, ``int32 [H, W]``, numbered 1 … n in reading order.
        table: one line per nucleus, see :func:`ngat.segmentation.measure.measure`.
        magnification: at which the network saw the picture.
        notes: what a user should know.
    """

    labels: Canvas
    table: pd.DataFrame
    magnification: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Tile:
    """Nuclei inside one tile, and the components that its seams cut.

    ``edges`` holds, by (axis, end), the numbers of the components along an edge that is a seam;
    ``boxes`` and ``points`` the window and one pixel of each such component.
    """

    table: pd.DataFrame
    edges: dict[tuple[int, int], npt.NDArray[np.int32]]
    boxes: dict[int, tuple[int, int, int, int]]
    points: dict[int, tuple[int, int]]


def in_turn(work: Callable[[Any, int], Any], job: Any, numbers: Sequence[int]) -> Iterable[Any]:
    """Tiles one after the other, in this process."""
    return (work(job, number) for number in numbers)


def find(
    picture: Picture,
    network: Network,
    method: Method = "split",
    thresholds: Thresholds | None = None,
    *,
    magnification: float | None = None,
    tile: int = TILE,
    folder: Path | None = None,
    tiles: Map = in_turn,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Found:
    """Find the nuclei of a picture of any size.

    Args:
        thresholds: None takes those chosen for the network.
        magnification: None lets the network find it.
        tile: side of the tiles as the network sees them; it changes memory, not nuclei.
        folder: where to keep what is known, to go on from it later.
        tiles: how the work of all tiles is done, by this process or by others.
        progress: told how many steps of how many are done.

    Raises:
        InputError: the picture cannot be read.
    """
    notes: list[str] = []
    thresholds = thresholds or network.thresholds(method)
    if magnification is None:
        magnification = network.magnification(picture)
    cut = grid(picture.shape, magnification, network.halo, tile)
    job = Job(picture, network, cut, {}, method, thresholds, folder)
    plan = job.known("plan")
    if plan is None:
        job.survey = network.survey(picture, cut.magnification)
        plan = (job.survey, _not_empty(picture, cut))
        job.keep("plan", plan)
    job.survey, numbers = plan
    total = 2 * len(numbers) + 1
    for work, before in ((predict_tile, 0), (divide_tile, len(numbers))):
        for done, _ in enumerate(tiles(work, job, numbers), start=1):
            progress(before + done, total)
    if len(numbers) < len(cut):
        notes.append(f"{len(cut) - len(numbers)} of {len(cut)} tiles are empty, not searched")
    across = _across_seams(job, numbers, notes)
    table = _numbered(job, numbers, across)
    progress(total, total)
    return Found(job.labels, table, cut.magnification, tuple(notes))


def predict_tile(job: Job, number: int) -> None:
    """The network's maps of one tile, into the job's planes."""
    if job.known(f"predicted-{number}"):
        return
    around, window = job.grid.with_halo(number), job.grid.window(number)
    maps = _predicted(job, around)
    inner = tuple(
        slice(w.start - a.start, w.stop - a.start) for w, a in zip(window, around, strict=True)
    )
    job.probability.write(window, maps.probability[inner])
    job.core.write(window, maps.core[inner])
    job.keep(f"predicted-{number}", True)


def _predicted(job: Job, window: Window) -> Prediction:
    """Of a window whose corner lies on the grid of units.

    At another magnification than one the far ends of the picture are filled up to whole units, so
    that every window is resized by exactly the same factor.
    """
    pixels = job.picture.read(*window)
    height, width = pixels.shape[:2]
    unit = job.grid.unit if job.grid.magnification != 1 else 1
    missing = [(0, -n % unit) for n in (height, width)]
    if any(after for _, after in missing):
        pixels = np.pad(pixels, [*missing, (0, 0)][: pixels.ndim], mode="edge")
    maps = job.network.predict(pixels, job.grid.magnification, job.survey, *window)
    return prediction(
        maps.probability[:height, :width], maps.core[:height, :width], job.grid.magnification
    )


def divide_tile(job: Job, number: int) -> None:
    """Nuclei of the components inside one tile; those that a seam cuts are left for later."""
    if job.known(f"divided-{number}") is not None:
        return
    window = job.grid.window(number)
    pieces, _ = ndimage.label(job.probability.read(window) > job.thresholds.probability)
    edges = {}
    for axis, (side, end) in enumerate(zip(window, (job.grid.height, job.grid.width), strict=True)):
        if side.start > 0:
            edges[axis, 0] = pieces.take(0, axis)
        if side.stop < end:
            edges[axis, 1] = pieces.take(-1, axis)
    cut = np.unique(np.concatenate([*edges.values(), np.zeros(1, np.int32)]))
    cut = cut[cut > 0]
    kept = pieces > 0
    kept[np.isin(pieces, cut)] = False
    labels, table = _nuclei(job, window, kept)
    job.parts.write(window, labels)
    corner = np.array([side.start for side in window] * 2)
    found = ndimage.find_objects(pieces)
    boxes, points = {}, {}
    for piece in cut.tolist():
        box = found[piece - 1]
        y, x = np.argwhere(pieces[box] == piece)[0]
        boxes[piece] = tuple(np.array([s.start for s in box] + [s.stop for s in box]) + corner)
        points[piece] = (int(y + box[0].start + corner[0]), int(x + box[1].start + corner[1]))
    job.keep(f"divided-{number}", _Tile(table, edges, boxes, points))  # type: ignore[arg-type]


def _nuclei(job: Job, window: Window, kept: npt.NDArray[np.bool_]) -> tuple[Labels, pd.DataFrame]:
    """Labels 1 … n of the components ``kept`` inside a window, and their measurements."""
    around = job.grid.wider(window, MARGIN)
    inner = tuple(
        slice(w.start - a.start, w.stop - a.start) for w, a in zip(window, around, strict=True)
    )
    core = job.core.read(around)
    probability = np.zeros(core.shape, np.float32)
    probability[inner] = np.where(kept, job.probability.read(window), 0)
    maps = prediction(probability, core, job.grid.magnification)
    labels = instances(maps, job.method, job.thresholds)[inner]
    names = job.picture.channel_names
    pixels: Array = np.zeros((*labels.shape, len(names)), np.uint8)
    if labels.any():
        pixels = job.picture.read_all(*window)
    corner = (window[0].start, window[1].start)
    return labels, measure(labels, pixels, names, corner=corner, width=job.grid.width)


def _across_seams(job: Job, numbers: Sequence[int], notes: list[str]) -> pd.DataFrame:
    """Nuclei of all components that seams cut, into the plane of parts as negative numbers."""
    tiles = {number: job.known(f"divided-{number}") for number in numbers}
    place = {
        (number, piece): index
        for index, (number, piece) in enumerate(
            (number, piece) for number, tile in tiles.items() for piece in tile.boxes
        )
    }
    pairs: set[tuple[int, int]] = set()
    for first, second, axis in job.grid.seams():
        if first in tiles and second in tiles:
            one, other = tiles[first].edges[axis, 1], tiles[second].edges[axis, 0]
            both = (one > 0) & (other > 0)
            for a, b in set(zip(one[both].tolist(), other[both].tolist(), strict=True)):
                pairs.add((place[first, a], place[second, b]))
    rows, columns = np.array(sorted(pairs), dtype=int).reshape(-1, 2).T
    graph = sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(place),) * 2)
    _, group = csgraph.connected_components(graph, directed=False)
    members: dict[int, list[tuple[int, int]]] = {}
    for key, index in place.items():
        members.setdefault(int(group[index]), []).append(key)
    tables: list[pd.DataFrame] = []
    count = 0
    for parts in members.values():
        boxes = np.array([tiles[number].boxes[piece] for number, piece in parts])
        top, left = boxes[:, :2].min(axis=0).tolist()
        bottom, right = boxes[:, 2:].max(axis=0).tolist()
        if (bottom - top) * (right - left) > LARGEST:
            notes.append(
                f"a region of {bottom - top} x {right - left} pixels without a gap was cut at tiles"
            )
            pieces = [(number, piece) for number, piece in parts]
        else:
            pieces = parts[:1]
        for number, piece in pieces:
            point = tiles[number].points[piece]
            window = (slice(top, bottom), slice(left, right))
            if len(pieces) > 1:
                y0, x0, y1, x1 = tiles[number].boxes[piece]
                window = (slice(y0, y1), slice(x0, x1))
            mask = job.probability.read(window) > job.thresholds.probability
            labelled, _ = ndimage.label(mask)
            own = labelled[point[0] - window[0].start, point[1] - window[1].start]
            labels, table = _nuclei(job, window, labelled == own)
            here = job.parts.read(window)
            job.parts.write(window, np.where(labels > 0, -labels - count, here))
            tables.append(table.assign(nucleus=-table["nucleus"] - count))
            count += len(table)
    return pd.concat(tables) if tables else pd.DataFrame({"nucleus": [], "first": []})


def _numbered(job: Job, numbers: Sequence[int], across: pd.DataFrame) -> pd.DataFrame:
    """All nuclei in reading order: the table, and the plane of labels."""
    tables = [job.known(f"divided-{number}").table for number in numbers]
    everything = [t.assign(tile=n) for t, n in zip(tables, numbers, strict=True)]
    everything.append(across.assign(tile=-1))
    filled = [t for t in everything if len(t)]
    if not filled:
        empty = np.zeros((1, 1), np.int32)
        names = job.picture.channel_names
        return measure(empty, np.zeros((1, 1, len(names))), names)
    table = pd.concat(filled).sort_values("first", kind="stable", ignore_index=True)
    table["order"] = np.arange(1, len(table) + 1)
    outside = table[table["tile"] == -1]
    negative = np.zeros(len(outside) + 1, np.int32)
    negative[-outside["nucleus"].to_numpy(int)] = outside["order"]
    for number in numbers:
        window = job.grid.window(number)
        inside = table[table["tile"] == number]
        positive = np.zeros(len(inside) + 1, np.int32)
        positive[inside["nucleus"].to_numpy(int)] = inside["order"]
        parts = job.parts.read(window)
        job.labels.write(
            window,
            np.where(parts < 0, negative[-np.minimum(parts, 0)], positive[np.maximum(parts, 0)]),
        )
    table["nucleus"] = table["order"]
    for column in PLACE:
        table[column] = table[column].astype(np.int64)
    return table.drop(columns=["tile", "order"])


def _not_empty(picture: Picture, cut: Grid) -> list[int]:
    """Numbers of the tiles in which there is anything to see; of a picture of one tile, that one.

    Seen from afar noise is averaged away, and what remains of empty glass or of a dark field is
    one value. A tile counts with its halo.
    """
    if len(cut) == 1:
        overview = np.atleast_3d(picture.overview())
        return [0] if float(np.ptp(overview)) > 0 else []
    overview = np.atleast_3d(picture.overview())
    step = -(-max(picture.shape) // max(overview.shape[:2]))
    low, high = np.percentile(overview, (0.1, 99.9), axis=(0, 1))
    least = EMPTY * float((high - low).max())
    numbers = []
    for number in range(len(cut)):
        rows, columns = cut.with_halo(number)
        part = overview[
            rows.start // step : -(-rows.stop // step),
            columns.start // step : -(-columns.stop // step),
        ]
        if float(np.ptp(part, axis=(0, 1)).max()) > least:
            numbers.append(number)
    return numbers


__all__ = ["Found", "Job", "divide_tile", "find", "in_turn", "predict_tile", "replace"]
