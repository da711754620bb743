"""Nuclei that the seams of tiles cut, and the numbering of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from ngat.segmentation.job import Arrays, PictureJob, nuclei_of
from ngat.segmentation.measure import measure

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
    tiles = {number: job.known(f"divided-{number}") or {} for number in numbers}
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
