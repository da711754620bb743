"""The layers that are compared: all compute the same graph attention (eq. 15–18) on one pyramid.

Each takes a picture's embeddings in the layout that it likes best and holds the same weights W,
a_s and a_d, so that all give the same values and gradients
(tests/benchmark/test_benchmark.py). Settings are those that favour the rival: the graph is built,
sorted and indexed beforehand, it has its
self-loops, and checks that a layer could repeat at every call are off. NGAT's own layers carry the
position term's table of taps, at zero, and compute its gradient; the rivals have nothing like it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ngat import aggregate
from ngat.attention import ENGINES, TapGroup, attend, fuses
from ngat.attention import reference as reference_engine
from ngat.errors import InputError, MissingDependency
from ngat.graph import RELATIONS, TAP_COUNT, PyramidGraph, batch_dgl
from ngat.layers import Maps

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

    def __post_init__(self) -> None:
        if min(self.side, self.batch, self.levels, self.heads, self.channels) < 1:
            raise InputError(f"A benchmark needs sizes of at least 1; got {self}.")
        if self.channels % self.heads:
            raise InputError(f"{self.heads} heads do not share {self.channels} channels equally.")

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


class Weights(NamedTuple):
    """W ``[C, C]`` (eq. 15); a_s and a_d ``[heads, D]``, the halves of a in eq. 16."""

    projection: Tensor
    source: Tensor
    destination: Tensor


def draw(case: Case, seed: int = 0) -> Weights:
    """Weights of ordinary size, the same for all layers."""
    generator = torch.Generator().manual_seed(seed)
    shape = (case.heads, case.channels // case.heads)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator) / size[-1] ** 0.5

    return Weights(normal(case.channels, case.channels), normal(*shape), normal(*shape))


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
    """One product [W; a_s W; a_d W] and joint attention on all levels.

    On the CPU both are one operation (:mod:`ngat.engines.cpu.joint`); else as the network does it.

    Args:
        engine: a name in :data:`ngat.attention.ENGINES`; ``compile`` leaves out the door of the
            operator, which chooses an engine by name, and takes the reference's own function.
    """

    def __init__(self, case: Case, weights: Weights, engine: str) -> None:
        super().__init__(case)
        self.engine = engine
        self.maps = Maps(case.channels, [case.channels, case.heads, case.heads], bias=False)
        # a_s·z_j of every head is a row of (a_s W): a sum over the rows of W that are the head's.
        by_head = weights.projection.unflatten(0, (case.heads, -1))
        rows = [torch.einsum("hd,hdc->hc", a, by_head) for a in weights[1:]]
        self.maps.weight.data.copy_(torch.cat([weights.projection, *rows]))
        self.t = nn.ParameterDict(
            {r: nn.Parameter(torch.zeros(case.heads, TAP_COUNT[r])) for r in RELATIONS}
        )

    def forward(self, planes: list[Tensor]) -> list[Tensor]:
        """``[B, C, H_m, W_m]`` per level → the same."""
        if self.engine in ENGINES and fuses(self.engine, planes[0]):
            from ngat.engines.cpu.joint import joint_layer

            return joint_layer(planes, self.maps.weight, {r: self.t[r] for r in RELATIONS})
        return self.attention(self.project(planes))

    def project(self, planes: list[Tensor]) -> list[Tensor]:
        """(z, el, er) of all levels, one after the other."""
        return [part for h in planes for part in self.maps(h)]

    def attention(self, maps: list[Tensor]) -> list[Tensor]:
        """From (z, el, er) of all levels, one after the other."""
        levels = self.case.levels
        updates = []
        for m in range(levels):
            groups = [
                TapGroup(r, maps[3 * n], maps[3 * n + 1], self.t[r].to(maps[0].dtype))
                for r, n in aggregate.heard_by(m, levels)
            ]
            er = maps[3 * m + 2]
            if self.engine == "compile":
                updates.append(reference_engine.attend(groups, er))
            else:
                updates.append(attend(groups, er, self.engine))
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
    """``dgl.nn.GATConv`` on ``PyramidGraph.to_dgl()``, pictures joined by ``dgl.batch``.

    Raises:
        MissingDependency: DGL is not installed, or its build does not serve this device.
    """

    apart = False

    def __init__(self, case: Case, weights: Weights, device: torch.device) -> None:
        super().__init__(case)
        one = case.graph.to_dgl()  # raises before the next line can
        from dgl.nn import GATConv

        graph = batch_dgl([one] * case.batch)
        for data in (graph.ndata, graph.edata):
            for name in list(data):
                data.pop(name)
        try:
            self.graph = graph.to(device)
        except Exception as error:  # DGL's own, which derives from nothing more telling
            raise MissingDependency(f"This build of DGL does not serve {device}.") from error
        self.graph.create_formats_()
        self.conv = GATConv(
            case.channels,
            case.channels // case.heads,
            case.heads,
            bias=False,
            allow_zero_in_degree=True,  # there are none; this spares the check
        )
        self.conv.fc.weight.data.copy_(weights.projection)
        self.conv.attn_l.data.copy_(weights.source[None])
        self.conv.attn_r.data.copy_(weights.destination[None])

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """``[N, C]`` → ``[N, heads, D]``."""
        return [self.conv(self.graph, inputs[0])]


class PyGLayer(Rows):
    """PyTorch Geometric's ``GATConv`` on the same edges, sorted by destination.

    Raises:
        MissingDependency: PyTorch Geometric is not installed.
    """

    def __init__(self, case: Case, weights: Weights, device: torch.device) -> None:
        super().__init__(case)
        try:
            from torch_geometric.nn import GATConv
        except ImportError as error:
            raise MissingDependency(
                f"PyTorch Geometric cannot be loaded ({error}): pip install 'ngat[benchmark]'."
            ) from error
        ends = [case.graph.edges(relation)[:2] for relation in RELATIONS]
        one = torch.cat([torch.stack([torch.from_numpy(e) for e in pair]) for pair in ends], dim=1)
        one = one[:, one[1].argsort(stable=True)]
        shift = torch.arange(case.batch)[:, None] * case.graph.num_nodes
        edges = (one[:, None] + shift).flatten(1).contiguous()
        self.register_buffer("edges", edges.to(device))
        self.conv = GATConv(
            case.channels,
            case.channels // case.heads,
            heads=case.heads,
            bias=False,
            add_self_loops=False,  # they are among the edges
        )
        self.conv.lin.weight.data.copy_(weights.projection)
        self.conv.att_src.data.copy_(weights.source[None])
        self.conv.att_dst.data.copy_(weights.destination[None])

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """``[N, C]`` → ``[N, C]``."""
        return [self.conv(inputs[0], self.edges)]

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
