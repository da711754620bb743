"""The pyramid graph (section 3.1, equations 1–4): connectivity as an immutable value.

A picture of ``height × width`` pixels becomes a pyramid of node grids. Level 0 has a node for
every pixel; each further level halves both sides, rounding up, so that pictures of any size need
no padding. Two kinds of edges join the nodes, both ways; one layer sends one message along each of
them (eq. 2):

* *king* edges to the up to eight neighbours on the same level (eq. 4), and
* edges between adjacent levels (eq. 3): a node's *parent* and its up to four *children*.

Every node also has an edge to itself, as graph attention needs. That makes at most
9 + 4 + 1 = 14 incoming edges; each has a fixed *tap*, its place in the neighbourhood. Edges never
change; only positions do (section 3.3). This module knows no network: it is plain arrays. How the
paper is read here: L1–L3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from ngat.errors import InputError, MissingDependency

if TYPE_CHECKING:
    import dgl

Relation = Literal["king", "child", "parent"]
Ints = npt.NDArray[np.int64]

# (dy, dx) of the source seen from the destination, in row-major order. The king's tap 4 is the
# node itself.
KING_TAPS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
# (cy, cx): which of the four children of a node the source is.
CHILD_TAPS = ((0, 0), (0, 1), (1, 0), (1, 1))
SELF_TAP = 4

RELATIONS: tuple[Relation, ...] = ("king", "child", "parent")
TAP_COUNT: dict[Relation, int] = {"king": 9, "child": 4, "parent": 1}
# From a node's level to that of its neighbours.
SOURCE_STEP: dict[Relation, int] = {"king": 0, "child": -1, "parent": 1}

# Δζ_ij, where source j lies as seen from destination i, for every tap with both nodes at home
# (eq. 19–21, L7): (x, y) in cells of the destination's level, z in levels. A child's centre lies a
# quarter cell off; a parent's lies half a cell off in one of four directions. It has a single tap,
# so it takes their mean, which is zero.
HOME_DISPLACEMENT: dict[Relation, npt.NDArray[np.float64]] = {
    "king": np.array([(dx, dy, 0.0) for dy, dx in KING_TAPS]),
    "child": np.array([((cx - 0.5) / 2, (cy - 0.5) / 2, -1.0) for cy, cx in CHILD_TAPS]),
    "parent": np.array([(0.0, 0.0, 1.0)]),
}


def sources_of(level: int, levels: int) -> list[tuple[Relation, int]]:
    """(relation, level of the neighbours) of all relations that a level has in a pyramid."""
    found = [(relation, level + SOURCE_STEP[relation]) for relation in RELATIONS]
    return [(relation, source) for relation, source in found if 0 <= source < levels]


@dataclass(frozen=True)
class PyramidGraph:
    """A pyramid of node grids over a picture, with king, child and parent edges.

    Nodes are numbered level by level from the base, row by row within a level.

    Args:
        height: picture height in pixels, at least 1.
        width: picture width in pixels, at least 1.
        levels: number of magnification levels M, at least 1 (the paper uses three to five).

    Raises:
        InputError: a side or the number of levels is not a positive whole number.
    """

    height: int
    width: int
    levels: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, Integral) or isinstance(value, bool):
                raise InputError(f"{name} of a pyramid graph is a whole number; got {value!r}.")
        if min(self.height, self.width, self.levels) < 1:
            raise InputError(
                f"A pyramid graph needs at least one pixel and one level; got "
                f"{self.height} × {self.width} pixels and {self.levels} levels."
            )

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of every level, base first."""
        sizes = [(self.height, self.width)]
        for _ in range(1, self.levels):
            height, width = sizes[-1]
            sizes.append(((height + 1) // 2, (width + 1) // 2))
        return tuple(sizes)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Number of the first node of every level, and the number of all nodes last."""
        counts = [height * width for height, width in self.sizes]
        return tuple(int(n) for n in np.concatenate([[0], np.cumsum(counts)]))

    @property
    def num_nodes(self) -> int:
        """Number of nodes over all levels."""
        return self.offsets[-1]

    def nodes(self, level: int) -> Ints:
        """Numbers of a level's nodes as a grid ``[H_m, W_m]``."""
        height, width = self.sizes[level]
        return self.offsets[level] + np.arange(height * width).reshape(height, width)

    @cached_property
    def level_of_nodes(self) -> Ints:
        """Level m of every node, ``[N]``."""
        return np.repeat(np.arange(self.levels), np.diff(self.offsets))

    def home(self, level: int) -> npt.NDArray[np.float64]:
        """Home positions ζ(f) = (x, y, z) of a level's nodes, ``[3, H_m, W_m]`` (eq. 6, 7).

        Units are the picture's longer side, so that all three lie in [0, 1]. A node sits over the
        centre of its 2^m × 2^m pixel cell at the height z whose equilateral pyramid, with base
        side √2·z, covers just that cell. Where a cell overhangs the picture, eq. 7 holds by
        clamping.
        """
        height, width = self.sizes[level]
        cell = 2.0**level / max(self.height, self.width)
        x, y = np.meshgrid((np.arange(width) + 0.5) * cell, (np.arange(height) + 0.5) * cell)
        return np.minimum(np.stack([x, y, np.full_like(x, cell / np.sqrt(2.0))]), 1.0)

    def _taps(self, level: int, relation: Relation) -> Iterator[tuple[int, Ints, Ints]]:
        """Yield (tap, sources, destinations) of one relation into one level."""
        here = self.nodes(level)
        height, width = here.shape
        if relation == "king":
            for tap, (dy, dx) in enumerate(KING_TAPS):
                rows = slice(max(0, -dy), height - max(0, dy))
                columns = slice(max(0, -dx), width - max(0, dx))
                shifted = here[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)]
                yield tap, shifted.ravel(), here[rows, columns].ravel()
        elif relation == "child" and level > 0:
            below = self.nodes(level - 1)
            for tap, (cy, cx) in enumerate(CHILD_TAPS):
                children = below[cy::2, cx::2]
                yield tap, children.ravel(), here[: children.shape[0], : children.shape[1]].ravel()
        elif relation == "parent" and level + 1 < self.levels:
            above = self.nodes(level + 1)
            y, x = np.indices(here.shape)
            yield 0, above[y // 2, x // 2].ravel(), here.ravel()

    def edges(self, relation: Relation, level: int | None = None) -> tuple[Ints, Ints, Ints]:
        """Edges of a relation: (sources, destinations, taps), each ``[E]``.

        Along each goes one message of a layer (eq. 2). ``child`` edges run from a child up to the
        node, ``parent`` edges from the parent down to the node (eq. 3). ``king`` edges join
        neighbours (eq. 4), with the self-loops as tap 4.

        Args:
            relation: ``king``, ``child`` or ``parent``.
            level: keep only edges into this level; all levels if None.
        """
        levels = range(self.levels) if level is None else (level,)
        parts = [part for m in levels for part in self._taps(m, relation)]
        if not parts:
            empty = np.zeros(0, dtype=np.int64)
            return empty, empty, empty
        sources = np.concatenate([source for _, source, _ in parts])
        destinations = np.concatenate([destination for _, _, destination in parts])
        taps = np.concatenate([np.full(source.size, tap) for tap, source, _ in parts])
        return sources, destinations, taps

    def count_edges(self, relation: Relation) -> int:
        """Number of edges of a relation in closed form.

        A king graph of h × w nodes has (3h − 2)(3w − 2) pairs of equal or touching nodes, counting
        order; every node but those of the top level has one parent.
        """
        if relation == "king":
            return sum((3 * h - 2) * (3 * w - 2) for h, w in self.sizes)
        return sum(h * w for h, w in self.sizes[:-1])

    def to_dgl(self) -> dgl.DGLGraph:
        """The whole pyramid as one homogeneous DGL graph.

        Node data: ``level`` (m), ``position`` (home ζ). Edge data: ``relation`` (index into
        :data:`RELATIONS`) and ``tap`` (0–8 king, 9–12 children, 13 parent).

        Raises:
            MissingDependency: DGL is not installed.
        """
        dgl, torch = import_dgl()
        sources, destinations, relations, taps = [], [], [], []
        first_tap = 0
        for index, relation in enumerate(RELATIONS):
            source, destination, tap = self.edges(relation)
            sources.append(source)
            destinations.append(destination)
            relations.append(np.full(source.size, index))
            taps.append(tap + first_tap)
            first_tap += TAP_COUNT[relation]
        graph = dgl.graph(
            (
                torch.from_numpy(np.concatenate(sources)),
                torch.from_numpy(np.concatenate(destinations)),
            ),
            num_nodes=self.num_nodes,
        )
        home = [self.home(m).reshape(3, -1) for m in range(self.levels)]
        graph.ndata["level"] = torch.from_numpy(self.level_of_nodes)
        graph.ndata["position"] = torch.from_numpy(np.concatenate(home, axis=1).T.copy())
        graph.edata["relation"] = torch.from_numpy(np.concatenate(relations))
        graph.edata["tap"] = torch.from_numpy(np.concatenate(taps))
        return graph


def import_dgl():  # type: ignore[no-untyped-def]  # modules without type information
    """DGL and the torch it works on, or a sentence that says how to get it."""
    import os

    os.environ.setdefault("DGLBACKEND", "pytorch")  # else DGL writes a file into the home folder
    try:
        import dgl
        import torch
    except (ImportError, OSError) as error:  # OSError: a compiled part that does not fit torch
        raise MissingDependency(
            f"The DGL engine needs DGL, which cannot be loaded here ({error}). It has wheels for "
            "Python 3.11 and older: pip install dgl==1.1.3 packaging. Everything else in ngat "
            "works without it."
        ) from error
    return dgl, torch


def batch_dgl(graphs: list[dgl.DGLGraph]) -> dgl.DGLGraph:
    """Several pictures' graphs side by side as one (``dgl.batch``)."""
    return import_dgl()[0].batch(graphs)
