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
from torch.nn import functional as F

from ngat.attention import ENGINES, Attend, find_engine
from ngat.attention import reference as reference_engine
from ngat.config import ModelConfig
from ngat.errors import InputError, MissingDependency
from ngat.graph import RELATIONS, PyramidGraph, batch_dgl, import_dgl, sources_of
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

    def planes(self, channels: int, seed: int) -> list[Tensor]:
        """Normal numbers, ``[B, channels, H_m, W_m]`` for every level."""
        generator = torch.Generator().manual_seed(seed)
        return [
            torch.randn(self.batch, channels, *size, generator=generator).to(self.torch_dtype)
            for size in self.graph.sizes
        ]


class Softmax(NamedTuple):
    """W ``[C, C]`` (eq. 15); a_s and a_d ``[heads, D]``, the halves of a in eq. 16."""

    projection: Tensor
    source: Tensor
    destination: Tensor

    def rows(self, name: str) -> Tensor:
        """a_s·z_j of every head as a map of h_j: (a_s W), ``[heads, C]``; or a_d·z_i."""
        by_head = self.projection.unflatten(0, (len(self.source), -1))
        return torch.einsum("hd,hdc->hc", getattr(self, name), by_head)


class Weights(NamedTuple):
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


def draw(case: Case, seed: int = 0) -> Weights:
    """Weights of ordinary size, the same for all layers."""
    generator = torch.Generator().manual_seed(seed)
    heads = (case.heads, case.channels // case.heads)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator) / size[-1] ** 0.5

    def square() -> Tensor:
        return normal(case.channels, case.channels)

    king, child = (Softmax(square(), normal(*heads), normal(*heads)) for _ in range(2))
    return Weights(king, child, square(), square(), square())


class Layer(nn.Module):
    """A layer on a pyramid of planes: NGAT's own layout. Others override how they lie.

    Where ``apart`` is true, the layer is ``attention(project(inputs))`` and the attention can be
    measured alone.
    """

    apart = True

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case

    def project(self, inputs: list[Tensor]) -> list[Tensor]:
        """z, el and er (eq. 15), in the layer's own layout."""
        raise NotImplementedError

    def attention(self, maps: list[Tensor]) -> list[Tensor]:
        """The attention alone (eq. 16–18), from what :meth:`project` gives."""
        raise NotImplementedError

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

    def __init__(self, case: Case, weights: Weights, engine: str) -> None:
        super().__init__(case)
        self.engine = engine
        self.apart = case.relations == "joint"
        config = ModelConfig(
            levels=case.levels,
            channels=case.channels,
            heads=case.heads,
            relations=cast(Any, case.relations),
            norm="none",
            plasticity="fixed",
        )
        self.conv = PyramidGATConv(config)
        w_king, _, _ = king = weights.king
        with torch.no_grad():
            if case.relations == "joint":
                rows = [w_king, king.rows("source"), king.rows("destination")]
                self.conv.own.weight.copy_(torch.cat(rows))
            else:
                child, other = weights.child, self.conv.other
                ers = [king.rows("destination"), child.rows("destination")]
                self.conv.own.weight.copy_(
                    torch.cat([weights.own, w_king, king.rows("source"), *ers])
                )
                of_child = torch.cat([child.projection, child.rows("source")])
                other["child"].get_parameter("weight").copy_(of_child)
                other["parent"].get_parameter("weight").copy_(weights.parent)
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
        from ngat.engines.cpu.network import Nodes, layer

        nodes = [Nodes(h, self.conv.norm, m) for m, h in enumerate(planes)]
        return [new.h for new in layer(self.conv, nodes, None, engine.attend).values()]

    def project(self, planes: list[Tensor]) -> list[Tensor]:
        """(z, el, er) of all levels, one after the other."""
        return [part for h in planes for part in self.conv.own(h)]

    def attention(self, maps: list[Tensor]) -> list[Tensor]:
        """From (z, el, er) of all levels, one after the other."""
        levels = self.case.levels
        attend: Attend = reference_engine.attend
        if self.engine != "compile":
            attend = find_engine(self.engine, maps[0]).attend
        updates = []
        for m in range(levels):
            of_sources = {r: tuple(maps[3 * n : 3 * n + 3]) for r, n in sources_of(m, levels)}
            ((groups, er),) = self.conv.softmaxes(of_sources, m, None)
            updates.append(attend(groups, er))
        return updates


class Rows(Layer):
    """Layers on explicit edges hold one row per node, picture after picture, level after level."""

    def lay_out(self, planes: Sequence[Tensor]) -> list[Tensor]:
        flat = torch.cat([plane.flatten(2) for plane in planes], dim=2)
        return [flat.transpose(1, 2).flatten(0, 1).contiguous()]

    def planes(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        rows = outputs[0].reshape(self.case.batch, self.case.graph.num_nodes, -1).transpose(1, 2)
        sizes = self.case.graph.sizes
        parts = rows.split([height * width for height, width in sizes], dim=2)
        return [part.unflatten(2, size) for part, size in zip(parts, sizes, strict=True)]


class DGLLayer(Rows):
    """``dgl.nn.GATConv`` on ``PyramidGraph.to_dgl()``, or a ``HeteroGraphConv``; pictures joined.

    Raises:
        MissingDependency: DGL is not installed, or its build does not serve this device.
    """

    apart = False

    def __init__(self, case: Case, weights: Weights, device: torch.device) -> None:
        super().__init__(case)
        dgl, _ = import_dgl()  # raises before the next line can
        from dgl.nn import GATConv, GraphConv, HeteroGraphConv

        def gat(softmax: Softmax, bias: bool) -> nn.Module:
            conv = GATConv(
                case.channels,
                case.channels // case.heads,
                case.heads,
                bias=bias,
                allow_zero_in_degree=True,  # spares the check; the base has no children
            )
            conv.fc.weight.data.copy_(softmax.projection)
            conv.attn_l.data.copy_(softmax.source[None])
            conv.attn_r.data.copy_(softmax.destination[None])
            found: nn.Module = conv
            return found

        if case.relations == "joint":
            one = case.graph.to_dgl()
            for data in (one.ndata, one.edata):
                for name in list(data):
                    data.pop(name)
            self.conv = gat(weights.king, bias=True)
        else:
            edges = {
                ("node", r, "node"): tuple(torch.from_numpy(e) for e in case.graph.edges(r)[:2])
                for r in RELATIONS
            }
            one = dgl.heterograph(edges, num_nodes_dict={"node": case.graph.num_nodes})
            parent = GraphConv(
                case.channels, case.channels, norm="none", bias=False, allow_zero_in_degree=True
            )
            parent.weight.data.copy_(weights.parent.T)
            convs = {"king": gat(weights.king, False), "child": gat(weights.child, False)}
            self.conv = HeteroGraphConv({**convs, "parent": parent}, aggregate=_summed)
            self.own, self.out = _linear(weights.own), _linear(weights.out)
        graph = batch_dgl([one] * case.batch)
        try:
            self.graph = graph.to(device)
        except Exception as error:  # DGL's own, which derives from nothing more telling
            raise MissingDependency(f"This build of DGL does not serve {device}.") from error
        self.graph.create_formats_()

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """``[N, C]`` → ``[N, C]``."""
        (h,) = inputs
        if self.case.relations == "joint":
            return [h + F.relu(self.conv(self.graph, h).flatten(1))]
        gathered = self.conv(self.graph, {"node": h})["node"]
        return [h + self.out(F.relu(self.own(h) + gathered))]


def _summed(parts: list[Tensor], _: str) -> Tensor:
    """Of all relations, ``[N, heads, D]`` or ``[N, C]``."""
    first, *others = (part.flatten(1) for part in parts)
    for other in others:
        first = first + other
    return first


def _linear(weight: Tensor) -> nn.Linear:
    linear = nn.Linear(*weight.T.shape)
    linear.weight.data.copy_(weight)
    nn.init.zeros_(linear.bias)
    return linear


class PyGLayer(Rows):
    """PyTorch Geometric's ``GATConv`` on the same edges, sorted by destination.

    Raises:
        MissingDependency: PyTorch Geometric is not installed.
    """

    conv: Any

    def __init__(self, case: Case, weights: Weights, device: torch.device) -> None:
        super().__init__(case)
        self.apart = case.relations == "joint"
        try:
            from torch_geometric.nn import GATConv, SimpleConv
        except ImportError as error:
            raise MissingDependency(
                f"PyTorch Geometric cannot be loaded ({error}): pip install 'ngat[benchmark]'."
            ) from error

        def gat(softmax: Softmax, bias: bool) -> nn.Module:
            conv = GATConv(
                case.channels,
                case.channels // case.heads,
                heads=case.heads,
                bias=bias,
                add_self_loops=False,  # they are among the edges
            )
            conv.lin.weight.data.copy_(softmax.projection)
            conv.att_src.data.copy_(softmax.source[None])
            conv.att_dst.data.copy_(softmax.destination[None])
            found: nn.Module = conv
            return found

        if case.relations == "joint":
            self.register_buffer("edges", self._edges(*RELATIONS).to(device))
            self.conv = gat(weights.king, bias=True)
            return
        for relation in RELATIONS:
            self.register_buffer(f"edges_{relation}", self._edges(relation).to(device))
        softmaxes = {"king": gat(weights.king, False), "child": gat(weights.child, False)}
        self.convs = nn.ModuleDict({**softmaxes, "parent": SimpleConv(aggr="sum")})
        linear = {"parent": weights.parent, "own": weights.own, "out": weights.out}
        self.linear = nn.ModuleDict({name: _linear(weight) for name, weight in linear.items()})

    def _edges(self, *relations: str) -> Tensor:
        """Edges of these relations in all pictures, ``[2, E]``, sorted by destination."""
        graph = self.case.graph
        ends = [graph.edges(relation)[:2] for relation in RELATIONS if relation in relations]
        one = torch.cat([torch.stack([torch.from_numpy(e) for e in pair]) for pair in ends], dim=1)
        one = one[:, one[1].argsort(stable=True)]
        shift = torch.arange(self.case.batch)[:, None] * graph.num_nodes
        return (one[:, None] + shift).flatten(1).contiguous()

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """``[N, C]`` → ``[N, C]``."""
        (h,) = inputs
        if self.case.relations == "joint":
            return [h + F.relu(self.conv(h, self.edges))]
        gathered: Tensor = self.linear["own"](h)
        for relation, conv in self.convs.items():
            x = self.linear["parent"](h) if relation == "parent" else h
            gathered = gathered + conv(x, getattr(self, f"edges_{relation}"))
        return [h + self.linear["out"](F.relu(gathered))]

    def project(self, inputs: list[Tensor]) -> list[Tensor]:
        """z ``[N, heads, D]``, el and er ``[N, heads]``."""
        z = self.conv.lin(inputs[0]).unflatten(1, (self.case.heads, -1))
        return [z, (z * self.conv.att_src).sum(-1), (z * self.conv.att_dst).sum(-1)]

    def attention(self, maps: list[Tensor]) -> list[Tensor]:
        """The two steps that its ``forward`` takes after the projection."""
        z, el, er = maps
        alpha = self.conv.edge_updater(self.edges, alpha=(el, er), edge_attr=None, size=None)
        return [self.conv.propagate(self.edges, x=(z, z), alpha=alpha, size=None).flatten(1)]


def build(engine: str, case: Case, device: str = "cpu") -> Layer:
    """The layer of this name with the common weights, on a device.

    Raises:
        InputError: no layer has this name.
        MissingDependency: its package is not installed.
    """
    where = torch.device(device)
    weights = draw(case)
    layer: Layer
    if engine == "dgl_gatconv":
        layer = DGLLayer(case, weights, where)
    elif engine == "pyg_gatconv":
        layer = PyGLayer(case, weights, where)
    elif engine in ENGINES or engine == "compile":
        layer = PyramidLayer(case, weights, engine)
    else:
        raise InputError(f"Unknown layer {engine!r}; known: {', '.join(LABELS)}.")
    return layer.to(where, case.torch_dtype)
