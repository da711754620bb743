"""Counts of the pyramid graph, and the picture as its nodes project it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from ngat.graph import CHILD_TAPS, KING_TAPS, RELATIONS, PyramidGraph, Relation, sources_of
from ngat.projection import home_positions, integral_image, project

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Picture = npt.NDArray[np.float64]  # [H, W, 3] in [0, 1]
Position = tuple[float, float, float]  # ζ = (x, y, z) in units of the picture's longer side

# A relation's first place among the 14 taps.
FIRST_TAP = {"king": 0, "child": len(KING_TAPS), "parent": len(KING_TAPS) + len(CHILD_TAPS)}


def census(graph: PyramidGraph) -> pd.DataFrame:
    """Nodes and incoming edges per level: counted in the edge lists, and in closed form.

    One row per level, the last for all levels. Columns: level, rows, columns, nodes, and for each
    relation the counted edges and, with ``_formula`` behind the name, the closed form.
    """
    lines = []
    for m, (height, width) in enumerate(graph.sizes):
        formula = {
            # Pairs of equal or neighbouring rows, 3h − 2 in order, times the same for columns.
            "king": (3 * height - 2) * (3 * width - 2),
            "child": graph.nodes(m - 1).size if m else 0,
            "parent": height * width if m + 1 < graph.levels else 0,
        }
        line = {"level": m, "rows": height, "columns": width, "nodes": graph.nodes(m).size}
        for relation in RELATIONS:
            line[relation] = len(graph.edges(relation, m)[0])
            line[f"{relation}_formula"] = formula[relation]
        lines.append(line)
    total = {name: sum(line[name] for line in lines) for name in lines[0]}
    return pd.DataFrame([*lines, {**total, "level": "all", "rows": "", "columns": ""}])


def degrees(graph: PyramidGraph) -> Ints:
    """Number of incoming edges of every node over all relations, ``[N]``."""
    destinations = np.concatenate([graph.edges(relation)[1] for relation in RELATIONS])
    return np.bincount(destinations, minlength=graph.num_nodes)


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


def neighbourhood(
    graph: PyramidGraph, level: int, row: int, column: int
) -> dict[Relation, list[tuple[int, int, int, int]]]:
    """Sources of one node: (tap, level, row, column) of each, by relation.

    Taps are numbered as in :meth:`~ngat.graph.PyramidGraph.to_dgl`: king 0–8, child 9–12, parent
    13.
    """
    node = graph.nodes(level)[row, column]
    found: dict[Relation, list[tuple[int, int, int, int]]] = {}
    for relation, m in sources_of(level, graph.levels):
        sources, destinations, taps = graph.edges(relation, level)
        mine = destinations == node
        rows, columns = np.divmod(sources[mine] - graph.offsets[m], graph.sizes[m][1])
        numbers = (FIRST_TAP[relation] + taps[mine]).tolist()
        places = zip(numbers, rows.tolist(), columns.tolist(), strict=True)
        found[relation] = [(tap, m, r, c) for tap, r, c in places]
    return found


def with_sources(nodes: Mask, edges: Iterable[tuple[Ints, Ints]]) -> Mask:
    """These nodes, and those from which an edge leads to one of them, ``[N]``.

    Args:
        nodes: ``[N]``.
        edges: sources and destinations of some relations.
    """
    found = nodes.copy()
    for sources, destinations in edges:
        found[sources[nodes[destinations]]] = True
    return found


def walk(graph: PyramidGraph, node: int) -> Iterator[Mask]:
    """Which nodes reach a node after 0, 1, … synchronous layers, without end, each ``[N]``.

    A walk over the edge lists against their direction, one edge per layer.
    """
    edges = [graph.edges(relation)[:2] for relation in RELATIONS]
    reached = np.arange(graph.num_nodes) == node
    while True:
        yield reached
        reached = with_sources(reached, edges)


def reach(graph: PyramidGraph, node: int, steps: int) -> list[Mask]:
    """The first ``steps`` + 1 of :func:`walk`."""
    return list(islice(walk(graph, node), steps + 1))


def crossing(length: int, levels: int) -> int:
    """How many synchronous layers a message takes to a pixel ``length`` ≥ 1 columns away.

    Along a strip that is long enough for its ends not to matter; no way is shorter for leaving it.
    """
    graph = PyramidGraph(2 << levels, 3 * length, levels)
    row = graph.nodes(0)[1 << levels]
    reached = walk(graph, int(row[length]))
    return next(k for k, mask in enumerate(reached) if mask[row[2 * length]])


def levels(picture: Picture, graph: PyramidGraph) -> list[Picture]:
    """Projected colour of every node at home (eq. 5), one ``[H_m, W_m, 3]`` per level."""
    pixels = _tensor(picture)
    integral = integral_image(pixels)
    means = [project(integral, home_positions(graph, m, pixels))[0] for m in range(1, graph.levels)]
    return [picture, *(np.moveaxis(mean[0].numpy(), 0, 2) for mean in means)]


def _tensor(picture: Picture) -> torch.Tensor:
    """``[H, W, 3]`` as ``float64 [1, 3, H, W]``."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(picture, 2, 0), np.float64))[None]


def seen_from(picture: Picture, position: Position) -> tuple[Picture, float]:
    """Colour ``[3]`` that a node sees, and how many pixels lie under its pyramid.

    The colour is zero where fewer than one pixel does.
    """
    zeta = torch.tensor(position, dtype=torch.float64).reshape(1, 3, 1, 1)
    mean, _ = project(integral_image(_tensor(picture)), zeta)
    return mean[0, :, 0, 0].numpy(), float(_under(picture, position).sum())


def mean_by_counting(picture: Picture, position: Position) -> Picture:
    """Eq. 5 pixel by pixel, each weighted by the part of it that the base covers, ``[3]``."""
    under = _under(picture, position)
    mean: Picture = (under[:, :, None] * picture).sum((0, 1)) / under.sum()
    return mean


def _under(picture: Picture, position: Position) -> Picture:
    """How much of every pixel a node's base covers, ``[H, W]``."""
    x, y, z = (value * max(picture.shape[:2]) for value in position)
    half = z / np.sqrt(2.0)
    rows, columns = (
        np.diff(np.clip(np.arange(length + 1), centre - half, centre + half))
        for length, centre in zip(picture.shape[:2], (y, x), strict=True)
    )
    return np.outer(rows, columns)
