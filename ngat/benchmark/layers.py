"""The layers that are compared: the same residual update of all nodes of one pyramid.

It is :class:`ngat.model.PyramidGATConv` without normalisation and moves, as the presets run it:
*joint* relations (``paper``) are one GATConv over all edges; *typed* relations (``companion``) are
a HeteroGraphConv of one GATConv per relation with more than one edge a node, a sum over the
parents, the node's own map, and a last map. NGAT's layers run by the same calls as in the network.

Each takes a picture's embeddings in the layout that it likes best and holds the same weights, so
that all give the same values and gradients (tests/benchmark/test_benchmark.py). Settings are those
that favour the other: the graph is built, sorted and indexed beforehand, it has its self-loops, and
checks that a layer could repeat at every call are off. NGAT's own layers carry the position term's
table of taps, at zero, and compute its gradient; the others have nothing like it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ngat.attention import find_engine
from ngat.attention import reference as reference_engine
from ngat.benchmark.measure import Rates
from ngat.config import ModelConfig
from ngat.errors import InputError
from ngat.graph import RELATIONS, PyramidGraph
from ngat.model import PyramidGATConv

# Engines of ours are named as in ngat.attention.ENGINES.
LABELS = {
    "cpu": "NGAT cpu",
    "cuda": "NGAT cuda",
    "reference": "NGAT reference",
    "dgl": "NGAT dgl",
    "compile": "torch.compile",
    "dgl_gatconv": "DGL GATConv",
    "pyg_gatconv": "PyG GATConv",
}
BASELINE = "dgl_gatconv"
PASSES = ("forward", "forward+backward")


@dataclass(frozen=True)
class Case:
    """A layer's size: ``batch`` pictures of ``side × side``, ``heads`` that share ``channels``.

    Raises:
        InputError: a size is not positive, or heads do not divide the channels.
    """

    side: int
    batch: int = 1
    levels: int = 4
    heads: int = 4
    channels: int = 32
    dtype: str = "float32"
    relations: str = "joint"

    def __post_init__(self) -> None:
        if min(self.side, self.batch, self.levels, self.heads, self.channels) < 1:
            raise InputError(f"A benchmark needs sizes of at least 1; got {self}.")
        if self.channels % self.heads:
            raise InputError(f"{self.heads} heads do not share {self.channels} channels equally.")
        if self.relations not in ("joint", "typed"):
            raise InputError(f"Unknown layer {self.relations!r}; known: joint, typed.")

    @property
    def scope(self) -> str:
        """The layer's name in result files: ``layer`` (joint) or ``typed layer``."""
        return "layer" if self.relations == "joint" else "typed layer"

    @cached_property
    def graph(self) -> PyramidGraph:
        """The pyramid of one picture."""
        return PyramidGraph(self.side, self.side, self.levels)

    @property
    def nodes(self) -> int:
        """Nodes of the whole batch."""
        return self.batch * self.graph.num_nodes

    @property
    def edges(self) -> int:
        """Edges of the whole batch, self-loops included."""
        return self.batch * sum(self.graph.count_edges(relation) for relation in RELATIONS)

    @property
    def torch_dtype(self) -> torch.dtype:
        """What the embeddings are held in."""
        found: torch.dtype = getattr(torch, self.dtype)
        return found

    def planes(self) -> list[Tensor]:
        """Normal numbers, ``[B, C, H_m, W_m]`` for every level."""
        generator = torch.Generator().manual_seed(1)
        shapes = [(self.batch, self.channels, *size) for size in self.graph.sizes]
        return [torch.randn(s, generator=generator).to(self.torch_dtype) for s in shapes]


class Softmax(NamedTuple):
    """W ``[C, C]`` (eq. 15); a_s and a_d ``[heads, D]``, the halves of a in eq. 16."""

    projection: Tensor
    source: Tensor
    destination: Tensor

    def rows(self, name: str) -> Tensor:
        """a_s·z_j of every head as a map of h_j: (a_s W), ``[heads, C]``; or a_d·z_i."""
        by_head = self.projection.unflatten(0, (len(self.source), -1))
        return torch.einsum("hd,hdc->hc", getattr(self, name), by_head)


class LayerWeights(NamedTuple):
    """Weights of all layers; joint relations need ``king`` alone.

    Attributes:
        king, child: their softmaxes.
        parent, own, out: maps ``[C, C]`` of the parent, of the node itself, and of the result.
    """

    king: Softmax
    child: Softmax
    parent: Tensor
    own: Tensor
    out: Tensor


def draw(case: Case) -> LayerWeights:
    """Weights of ordinary size, the same for all layers."""
    generator = torch.Generator().manual_seed(0)
    heads = (case.heads, case.channels // case.heads)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator) / size[-1] ** 0.5

    def square() -> Tensor:
        return normal(case.channels, case.channels)

    king, child = (Softmax(square(), normal(*heads), normal(*heads)) for _ in range(2))
    return LayerWeights(king, child, square(), square(), square())


class Layer(nn.Module):
    """A layer on a pyramid of planes: NGAT's own layout. Others override how they lie."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case

    def lay_out(self, planes: Sequence[Tensor]) -> list[Tensor]:
        """A pyramid of planes ``[B, C, H_m, W_m]`` as this layer's input."""
        return [plane.contiguous() for plane in planes]

    def planes(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        """The inverse of :meth:`lay_out`, for the output."""
        return list(outputs)


class PyramidLayer(Layer):
    """:class:`ngat.model.PyramidGATConv` on all levels, by the calls of the network.

    Args:
        engine: a name in :data:`ngat.attention.ENGINES`; ``compile`` leaves out the door of the
            operator, which chooses an engine by name, and takes the reference's own function.
    """

    def __init__(self, case: Case, weights: LayerWeights, engine: str) -> None:
        super().__init__(case)
        self.engine = engine
        config = ModelConfig(
            levels=case.levels,
            channels=case.channels,
            heads=case.heads,
            relations=cast(Any, case.relations),
            norm="none",
            plasticity="fixed",
        )
        self.conv = PyramidGATConv(config)
        king, child = weights.king, weights.child
        own, other = [king.projection, king.rows("source"), king.rows("destination")], {}
        if case.relations == "typed":
            own = [weights.own, *own, child.rows("destination")]
            other["child"] = torch.cat([child.projection, child.rows("source")])
            other["parent"] = weights.parent
        with torch.no_grad():
            self.conv.own.weight.copy_(torch.cat(own))
            for relation, weight in other.items():
                self.conv.other[relation].get_parameter("weight").copy_(weight)
            if case.relations == "typed":
                self.conv.out.weight.copy_(weights.out)
            for name, taps in self.conv.terms.named_parameters():
                if ".t." in name:
                    taps.zero_()

    def forward(self, planes: list[Tensor]) -> list[Tensor]:
        """``[B, C, H_m, W_m]`` per level → the same."""
        if self.engine == "compile":
            return list(self.conv(planes, attend=reference_engine.attend).values())
        engine = find_engine(self.engine, planes[0])
        if engine.message_passing is None:
            return list(self.conv(planes, attend=engine.attend).values())
        from ngat.engines.cpu.fused import layer
        from ngat.engines.cpu.normed import Nodes

        nodes = [Nodes(h, self.conv.norm, m) for m, h in enumerate(planes)]
        return [new.h for new in layer(self.conv, nodes, None).values()]


class Cost(NamedTuple):
    """Bytes that must move, and multiply-adds that must be done."""

    bytes: int
    multiply_adds: int


def cost(case: Case, which: str) -> Cost:
    """What one call of a layer costs at least: the floor, which no engine can go below.

    A layer has N nodes, E edges (self-loops included), C channels, h heads and b bytes a number.
    What it reads and writes once, whatever happens in between:

        forward    x in, h out                                        2 C   numbers a node
        backward   x and ∂L/∂h in, ∂L/∂x out                          3 C

    Weights are few and edges need no list. The multiply-adds of its formulas, with joint relations:

        forward    z, el, er = [W; a_s W; a_d W] x        (eq. 15)    N C (C + 2h)
                   h_i = Σ_j α_ij z_j                     (eq. 18)    E C
        backward   q_ij = ∂L/∂h_i · z_j                               E C
                   ∂L/∂z_j = Σ_i α_ij ∂L/∂h_i                         E C
                   ∂L/∂x, and ∂L/∂[W; a_s W; a_d W]                 2 N C (C + 2h)

    With typed relations the products are wider: self, z, el and two er of every node, z and el of
    its children, z of its parent and the last map; edges to parents need no product with α.

    Scores, exponentials and divisions are left out: 14 exponentials a node and head are far from
    nothing, so the floor is optimistic. Bytes and multiply-adds can overlap, hence

        floor = max(bytes / copy bandwidth, multiply-adds / rate of a matrix product),

    both rates measured in the same rounds and with the same threads as the engines: the bandwidth
    by copying an array of the size of x (which small pictures find in a cache), the other by a
    product of two large matrices.

    Args:
        case: the layer's size.
        which: forward, or forward+backward.
    """
    n, e, c, h = case.nodes, case.edges, case.channels, case.heads
    if case.relations == "joint":
        product = n * c * (c + 2 * h)
    else:
        sizes = [case.batch * height * width for height, width in case.graph.sizes]
        of_children, of_parents = sum(sizes[:-1]), sum(sizes[1:])
        product = n * c * (3 * c + 3 * h) + of_children * c * (c + h) + of_parents * c * c
        e -= case.batch * case.graph.count_edges("parent")
    numbers, times = (2, 1) if which == "forward" else (5, 3)
    return Cost(numbers * c * n * case.torch_dtype.itemsize, times * (product + e * c))


def floor_ms(price: Cost, rates: Rates) -> float:
    """The floor in milliseconds."""
    return 1e-6 * max(price.bytes / rates.copy, price.multiply_adds / rates.product)
