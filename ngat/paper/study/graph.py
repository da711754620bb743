"""What the pyramid graph consists of, counted edge by edge and by formula."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ngat.errors import InputError
from ngat.graph import CHILD_TAPS, KING_TAPS, RELATIONS, PyramidGraph, Relation

Ints = npt.NDArray[np.int64]


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
    """What one node hears: (tap, level, row, column) of every source, by relation.

    Taps are numbered as in :meth:`~ngat.graph.PyramidGraph.to_dgl`: king 0–8, child 9–12, parent
    13.
    """
    node = graph.nodes(level)[row, column]
    first = {"king": 0, "child": len(KING_TAPS), "parent": len(KING_TAPS) + len(CHILD_TAPS)}
    heard: dict[Relation, list[tuple[int, int, int, int]]] = {}
    for relation in RELATIONS:
        sources, destinations, taps = graph.edges(relation, level)
        mine = destinations == node
        heard[relation] = [
            (first[relation] + int(tap), *place_of(graph, int(source)))
            for source, tap in zip(sources[mine], taps[mine], strict=True)
        ]
    return heard


def place_of(graph: PyramidGraph, node: int) -> tuple[int, int, int]:
    """(level, row, column) of a node's number."""
    level = int(graph.level_of_nodes[node])
    row, column = divmod(node - graph.offsets[level], graph.sizes[level][1])
    return level, int(row), int(column)


def reach(graph: PyramidGraph, node: int, steps: int) -> list[npt.NDArray[np.bool_]]:
    """Which nodes a node has heard after 0, 1, … ``steps`` synchronous layers, each ``[N]``.

    A walk over the edge lists against their direction, one edge per layer.
    """
    lists = [graph.edges(relation)[:2] for relation in RELATIONS]
    sources = np.concatenate([source for source, _ in lists])
    destinations = np.concatenate([destination for _, destination in lists])
    heard = np.zeros(graph.num_nodes, dtype=bool)
    heard[node] = True
    found = [heard]
    for _ in range(steps):
        further = heard.copy()
        further[sources[heard[destinations]]] = True
        found.append(further)
        heard = further
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
    heard = reach(graph, int(row[length]), length)
    return next(k for k, mask in enumerate(heard) if mask[row[2 * length]])
