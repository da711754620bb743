"""The DGL engine: the same operator as message passing on explicit edges.

Slow, and independent of all that makes the other engines fast: it is the second witness of what
is right. Typed relations are edge types of a DGL heterograph; a joint softmax runs over the edges
of all relations together.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ngat.attention import SLOPE, TapGroup
from ngat.graph import TAP_COUNT, PyramidGraph, Relation, import_dgl

if TYPE_CHECKING:
    import dgl


def message_passing(graph: dgl.DGLGraph, z: Tensor, el: Tensor, er: Tensor, tap: Tensor) -> Tensor:
    """Eq. 16–18 on any DGL graph whose edges carry their ``tap``.

    Args:
        graph: homogeneous or bipartite DGL graph with edge data ``tap``.
        z: ``[N_src, heads, D]``; el: ``[N_src, heads]``; er: ``[N_dst, heads]``.
        tap: t, ``[heads, taps]``.

    Returns:
        ``[N_dst, heads, D]``.
    """
    library, _ = import_dgl()
    with graph.local_scope():
        graph.srcdata.update({"z": z, "el": el})
        graph.dstdata.update({"er": er})
        graph.apply_edges(library.function.u_add_v("el", "er", "e"))
        e = F.leaky_relu(graph.edata["e"] + tap.T[graph.edata["tap"]], SLOPE)
        graph.edata["alpha"] = library.nn.functional.edge_softmax(graph, e).unsqueeze(-1)
        graph.update_all(
            library.function.u_mul_e("z", "alpha", "m"), library.function.sum("m", "h")
        )
        return graph.dstdata["h"]


@lru_cache(maxsize=64)
def bipartite(
    relations: tuple[Relation, ...],
    sizes: tuple[tuple[int, int], ...],
    height: int,
    width: int,
    batch: int,
) -> dgl.DGLGraph:
    """Sources of all relations, one after the other, joined to the nodes of one level.

    Args:
        relations: in the order of their taps.
        sizes: (rows, columns) of the sources of each.
        height, width: of the level that attends.

    The edges come from :class:`~ngat.graph.PyramidGraph`, renumbered within each level.
    """
    library, _ = import_dgl()
    sources, destinations, taps = [], [], []
    first_source = first_tap = 0
    for relation, (h, w) in zip(relations, sizes, strict=True):
        if relation == "child":
            graph, level, source_level = PyramidGraph(h, w, 2), 1, 0
        else:
            graph, level, source_level = PyramidGraph(height, width, 2), 0, int(relation != "king")
        source, destination, tap = graph.edges(relation, level)
        sources.append(source - graph.offsets[source_level] + first_source)
        destinations.append(destination - graph.offsets[level])
        taps.append(tap + first_tap)
        first_source += h * w
        first_tap += TAP_COUNT[relation]
    joined = library.heterograph(
        {
            ("source", "+".join(relations), "node"): (
                torch.from_numpy(np.concatenate(sources)),
                torch.from_numpy(np.concatenate(destinations)),
            )
        },
        num_nodes_dict={"source": first_source, "node": height * width},
    )
    joined.edata["tap"] = torch.from_numpy(np.concatenate(taps))
    return library.batch([joined] * batch)


def attend(groups: Sequence[TapGroup], destination: Tensor) -> Tensor:
    """As :func:`ngat.attention.attend`, by DGL.

    Raises:
        MissingDependency: DGL is not installed.
    """
    batch, heads, height, width = destination.shape
    graph = bipartite(
        tuple(group.relation for group in groups),
        tuple((group.source.shape[2], group.source.shape[3]) for group in groups),
        height,
        width,
        batch,
    ).to(destination.device)

    def rows(fields: list[Tensor]) -> Tensor:
        """Planes ``[B, C, h, w]`` of all groups as node rows ``[B · Σhw, C]``."""
        planes = torch.cat([field.flatten(2) for field in fields], dim=2)
        return planes.transpose(1, 2).flatten(0, 1)

    out = message_passing(
        graph,
        rows([group.values for group in groups]).unflatten(1, (heads, -1)),
        rows([group.source for group in groups]),
        rows([destination]),
        torch.cat([group.tap for group in groups], dim=1),
    )
    return out.reshape(batch, height, width, -1).permute(0, 3, 1, 2)
