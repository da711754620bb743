"""The benchmark's layers by name: ours, and on explicit edges those by DGL and PyG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from ngat.graph import RELATIONS, Relation, batch_dgl, import_dgl


class Rows(Layer):
    """Layers on explicit edges hold one row per node, picture after picture, level after level."""

    def __init__(self, case: Case, weights: LayerWeights) -> None:
        super().__init__(case)
        if case.relations == "typed":
            self.own, self.out = _linear(weights.own), _linear(weights.out)

    def gather(self, h: Tensor) -> Tensor:
        """What nodes receive along edges, ``[N, C]`` → ``[N, C]``."""
        raise NotImplementedError

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """``[N, C]`` → ``[N, C]``."""
        (h,) = inputs
        if self.case.relations == "joint":
            return [h + F.relu(self.gather(h))]
        return [h + self.out(F.relu(self.own(h) + self.gather(h)))]

    def lay_out(self, planes: Sequence[Tensor]) -> list[Tensor]:
        flat = torch.cat([plane.flatten(2) for plane in planes], dim=2)
        return [flat.transpose(1, 2).flatten(0, 1).contiguous()]

    def planes(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        rows = outputs[0].reshape(self.case.batch, self.case.graph.num_nodes, -1).transpose(1, 2)
        sizes = self.case.graph.sizes
        parts = rows.split([height * width for height, width in sizes], dim=2)
        return [part.unflatten(2, size) for part, size in zip(parts, sizes, strict=True)]


def _linear(weight: Tensor) -> nn.Linear:
    linear = nn.Linear(*weight.T.shape)
    linear.weight.data.copy_(weight)
    nn.init.zeros_(linear.bias)
    return linear


def _gat(
    kind: Callable[..., nn.Module], case: Case, softmax: Softmax, *names: str, **options: Any
) -> nn.Module:
    """A library's GATConv with our weights; names are those of W, a_s and a_d there."""
    size = case.channels, case.channels // case.heads, case.heads
    conv = kind(*size, bias=case.relations == "joint", **options)
    for name, value in zip(names, softmax, strict=True):
        parameter = conv.get_parameter(name)
        parameter.data.copy_(value.reshape(parameter.shape))
    return conv


class DGLLayer(Rows):
    """``dgl.nn.GATConv`` on ``PyramidGraph.to_dgl()``, or a ``HeteroGraphConv``; pictures joined.

    Raises:
        MissingDependency: DGL is not installed, or its build does not serve this device.
    """

    def __init__(self, case: Case, weights: LayerWeights, device: torch.device) -> None:
        super().__init__(case, weights)
        dgl, _ = import_dgl()  # raises before the next line can
        from dgl.nn import GATConv, GraphConv, HeteroGraphConv

        def gat(softmax: Softmax) -> nn.Module:
            # Zero in-degrees are allowed, which spares the check; the base has no children.
            names = ("fc.weight", "attn_l", "attn_r")
            return _gat(GATConv, case, softmax, *names, allow_zero_in_degree=True)

        if case.relations == "joint":
            one = case.graph.to_dgl()
            for data in (one.ndata, one.edata):
                for name in list(data):
                    data.pop(name)
            self.conv = gat(weights.king)
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
            convs = {"king": gat(weights.king), "child": gat(weights.child), "parent": parent}
            self.conv = HeteroGraphConv(convs, aggregate=_summed)
        graph = batch_dgl([one] * case.batch)
        try:
            self.graph = graph.to(device)
        except Exception as error:  # DGL's own, which derives from nothing more telling
            raise MissingDependency(f"This build of DGL does not serve {device}.") from error
        self.graph.create_formats_()

    def gather(self, h: Tensor) -> Tensor:
        if self.case.relations == "joint":
            return self.conv(self.graph, h).flatten(1)
        found: Tensor = self.conv(self.graph, {"node": h})["node"]
        return found


def _summed(parts: list[Tensor], _: str) -> Tensor:
    """Of all relations, ``[N, heads, D]`` or ``[N, C]``."""
    first, *others = (part.flatten(1) for part in parts)
    for other in others:
        first = first + other
    return first


class PyGLayer(Rows):
    """PyTorch Geometric's ``GATConv`` on the same edges, sorted by destination.

    Raises:
        MissingDependency: PyTorch Geometric is not installed.
    """

    conv: Any

    def __init__(self, case: Case, weights: LayerWeights, device: torch.device) -> None:
        super().__init__(case, weights)
        try:
            from torch_geometric.nn import GATConv, SimpleConv
        except ImportError as error:
            raise MissingDependency(
                f"PyTorch Geometric cannot be loaded ({error}): pip install 'ngat[benchmark]'."
            ) from error

        def gat(softmax: Softmax) -> nn.Module:
            # No self-loops are added: they are among the edges.
            names = ("lin.weight", "att_src", "att_dst")
            return _gat(GATConv, case, softmax, *names, add_self_loops=False)

        if case.relations == "joint":
            self.edges = {"": self._edges(*RELATIONS).to(device)}
            self.conv = gat(weights.king)
            return
        self.edges = {relation: self._edges(relation).to(device) for relation in RELATIONS}
        softmaxes = {"king": gat(weights.king), "child": gat(weights.child)}
        self.conv = nn.ModuleDict({**softmaxes, "parent": SimpleConv(aggr="sum")})
        self.parent = _linear(weights.parent)

    def _edges(self, *relations: Relation) -> Tensor:
        """Edges of these relations in all pictures, ``[2, E]``, sorted by destination."""
        graph = self.case.graph
        ends = [graph.edges(relation)[:2] for relation in relations]
        one = torch.cat([torch.stack([torch.from_numpy(e) for e in pair]) for pair in ends], dim=1)
        one = one[:, one[1].argsort(stable=True)]
        shift = torch.arange(self.case.batch)[:, None] * graph.num_nodes
        return (one[:, None] + shift).flatten(1).contiguous()

    def gather(self, h: Tensor) -> Tensor:
        if self.case.relations == "joint":
            found: Tensor = self.conv(h, self.edges[""])
            return found
        of_king = self.conv["king"](h, self.edges["king"])
        of_child = self.conv["child"](h, self.edges["child"])
        of_parent: Tensor = self.conv["parent"](self.parent(h), self.edges["parent"])
        return of_parent + of_king + of_child


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
