"""The benchmark's layers by name: ours, and on explicit edges those by DGL and PyG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngat.attention import ENGINES
from ngat.benchmark.layers import (
    LABELS,
    Case,
    Layer,
    LayerWeights,
    PyramidLayer,
    Softmax,
    draw,
)
from ngat.errors import InputError, MissingDependency
from ngat.graph import RELATIONS, batch_dgl, import_dgl


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

    def __init__(self, case: Case, weights: LayerWeights, device: torch.device) -> None:
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

    def __init__(self, case: Case, weights: LayerWeights, device: torch.device) -> None:
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
