"""Counts of the pyramid graph, and the picture as its nodes project it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy import ndimage

from ngat.errors import InputError
from ngat.graph import CHILD_TAPS, KING_TAPS, RELATIONS, PyramidGraph, Relation
from ngat.projection import home_positions, integral_image, project

Ints = npt.NDArray[np.int64]

Picture = npt.NDArray[np.float64]  # [H, W, 3] in [0, 1]

# A relation's first place among the 14 taps.
FIRST_TAP = {"king": 0, "child": len(KING_TAPS), "parent": len(KING_TAPS) + len(CHILD_TAPS)}


def census(graph: PyramidGraph) -> pd.DataFrame:
    """Nodes and incoming edges per level: counted in the edge lists, and in closed form.

    One row per level, the last for all levels. Columns: level, rows, columns, nodes, and for each
    relation the counted edges and, with ``_formula`` behind the name, the closed form.
    """
    lines = []
    for m, (height, width) in enumerate(graph.sizes):
        counted = {relation: len(graph.edges(relation, m)[0]) for relation in RELATIONS}
        below = graph.sizes[m - 1] if m else (0, 0)
        formula = {
            # Pairs of equal or neighbouring rows, 3h − 2 in order, times the same for columns.
            "king": (3 * height - 2) * (3 * width - 2),
            "child": below[0] * below[1],
            "parent": height * width if m + 1 < graph.levels else 0,
        }
        line: dict[str, object] = {"level": m, "rows": height, "columns": width}
        line["nodes"] = len(graph.nodes(m).ravel())
        for relation in RELATIONS:
            line[relation] = counted[relation]
            line[f"{relation}_formula"] = formula[relation]
        lines.append(line)
    table = pd.DataFrame(lines)
    whole = {
        "level": "all",
        "rows": "",
        "columns": "",
        **table.drop(columns=["level", "rows", "columns"]).sum(),
    }
    return pd.concat([table.astype(object), pd.DataFrame([whole])], ignore_index=True)


def degrees(graph: PyramidGraph) -> Ints:
    """Number of incoming edges of every node over all relations, ``[N]``."""
    total = np.zeros(graph.num_nodes, dtype=np.int64)
    for relation in RELATIONS:
        total += np.bincount(graph.edges(relation)[1], minlength=graph.num_nodes)
    return total


def degrees_by_formula(graph: PyramidGraph) -> Ints:
    """The same without an edge list: a product of what rows and columns offer, per relation."""
    parts = []
    for m, size in enumerate(graph.sizes):
        near, below = [], []
        for axis, length in enumerate(size):
            place = np.arange(length)
            near.append(1 + (place > 0) + (place < length - 1))
            # An odd side below leaves the last node without its second child.
            children = graph.sizes[m - 1][axis] if m else 0
            below.append(np.clip(children - 2 * place, 0, 2))
        total = np.outer(near[0], near[1]) + np.outer(below[0], below[1])
        parts.append((total + (m + 1 < graph.levels)).ravel())
    return np.concatenate(parts)


def degree_table(graph: PyramidGraph) -> pd.DataFrame:
    """How many nodes of each level have how many incoming edges; one column per degree."""
    table = pd.crosstab(
        pd.Series(graph.level_of_nodes, name="level"), pd.Series(degrees(graph), name="degree")
    )
    return table.reset_index().rename_axis(columns=None)


def neighbourhood(
    graph: PyramidGraph, level: int, row: int, column: int
) -> dict[Relation, list[tuple[int, int, int, int]]]:
    """Sources of one node: (tap, level, row, column) of each, by relation.

    Taps are numbered as in :meth:`~ngat.graph.PyramidGraph.to_dgl`: king 0–8, child 9–12, parent
    13.
    """
    node = graph.nodes(level)[row, column]
    found: dict[Relation, list[tuple[int, int, int, int]]] = {}
    for relation in RELATIONS:
        sources, destinations, taps = graph.edges(relation, level)
        mine = destinations == node
        found[relation] = [
            (FIRST_TAP[relation] + int(tap), *place_of(graph, int(source)))
            for source, tap in zip(sources[mine], taps[mine], strict=True)
        ]
    return found


def place_of(graph: PyramidGraph, node: int) -> tuple[int, int, int]:
    """(level, row, column) of a node's number."""
    level = int(graph.level_of_nodes[node])
    row, column = divmod(node - graph.offsets[level], graph.sizes[level][1])
    return level, int(row), int(column)


def reach(graph: PyramidGraph, node: int, steps: int) -> list[npt.NDArray[np.bool_]]:
    """Which nodes reach a node after 0, 1, … ``steps`` synchronous layers, each ``[N]``.

    A walk over the edge lists against their direction, one edge per layer.
    """
    lists = [graph.edges(relation)[:2] for relation in RELATIONS]
    sources = np.concatenate([source for source, _ in lists])
    destinations = np.concatenate([destination for _, destination in lists])
    reached = np.zeros(graph.num_nodes, dtype=bool)
    reached[node] = True
    found = [reached]
    for _ in range(steps):
        further = reached.copy()
        further[sources[reached[destinations]]] = True
        found.append(further)
        reached = further
    return found


def crossing(length: int, levels: int) -> int:
    """How many synchronous layers a message takes to a pixel ``length`` columns away.

    In the middle of a graph that is large enough for its borders not to matter.

    Raises:
        InputError: the length is not positive.
    """
    if length < 1:
        raise InputError(f"A length must be at least 1; got {length}.")
    side = 3 * length
    graph = PyramidGraph(side, side, levels)
    row = graph.nodes(0)[side // 2]
    # King moves alone take as many steps as there are pixels.
    reached = reach(graph, int(row[length]), length)
    return next(k for k, mask in enumerate(reached) if mask[row[2 * length]])


def tensor(picture: Picture) -> torch.Tensor:
    """``[H, W, 3]`` as ``float64 [1, 3, H, W]``."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(picture, 2, 0), np.float64))[None]


def levels(picture: Picture, graph: PyramidGraph) -> list[Picture]:
    """Projected colour of every node at home (eq. 5), one ``[H_m, W_m, 3]`` per level."""
    pixels = tensor(picture)
    integral = integral_image(pixels)
    seen = [picture]
    for m in range(1, graph.levels):
        mean, _ = project(integral, home_positions(graph, m, pixels))
        seen.append(np.moveaxis(mean[0].numpy(), 0, 2))
    return seen


def crowded(labels: npt.NDArray[np.int32], side: int) -> tuple[int, int]:
    """Top and left of the square cut-out that is most evenly half nucleus, half background.

    Args:
        labels: ``[H, W]``, both sides at least ``side``.
    """
    share = ndimage.uniform_filter((labels > 0).astype(np.float64), side)
    inside = [slice(side // 2, n - (side - 1) // 2) for n in labels.shape]
    uneven = np.abs(share[inside[0], inside[1]] - 0.5)
    top, left = np.unravel_index(int(uneven.argmin()), uneven.shape)
    return int(top), int(left)


def seen_from(picture: Picture, position: tuple[float, float, float]) -> tuple[Picture, float]:
    """Colour ``[3]`` that a node at ζ = (x, y, z) sees, and how many pixels lie under its pyramid.

    The colour is zero where fewer than one pixel does. Units of ζ: the picture's longer side.
    """
    zeta = torch.tensor(position, dtype=torch.float64).reshape(1, 3, 1, 1)
    mean, _ = project(integral_image(tensor(picture)), zeta)
    rows, columns = overlaps(picture.shape[0], picture.shape[1], position)
    return mean[0, :, 0, 0].numpy(), float(rows.sum() * columns.sum())


def mean_by_counting(picture: Picture, position: tuple[float, float, float]) -> Picture:
    """Eq. 5 pixel by pixel, each weighted by the part of it that the base covers, ``[3]``."""
    rows, columns = overlaps(picture.shape[0], picture.shape[1], position)
    covered = np.outer(rows, columns)
    mean: Picture = (covered[:, :, None] * picture).sum((0, 1)) / covered.sum()
    return mean


def overlaps(
    height: int, width: int, position: tuple[float, float, float]
) -> tuple[Picture, Picture]:
    """How much of every row and of every column of pixels a node's base covers."""
    x, y, z = (value * max(height, width) for value in position)
    half = z / np.sqrt(2.0)

    def along(length: int, centre: float) -> Picture:
        edges = np.clip(np.arange(length + 1), centre - half, centre + half)
        return np.diff(edges)

    return along(height, y), along(width, x)
