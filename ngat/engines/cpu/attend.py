"""The CPU engine: fused kernels in numba (:mod:`ngat.engines.cpu.kernels`), as many threads as
torch uses.

float32 and float64 are computed as they are; half and bfloat16 in float32. Compiled code is kept
on disk, for every image size the same.

Message passing of a whole forward pass has normalisation folded into the maps.
The plain way (:meth:`ngat.model.NGAT.message_passing`) normalises every level after every update
and then maps it. Here no normalised plane is written: statistics are taken while an update is
being computed, and the maps that read it absorb them (:mod:`ngat.engines.cpu.normed`). Typed
updates are one operation each (:mod:`ngat.engines.cpu.fused`). Dropout is drawn by torch and added
outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ngat.attention import Attend, TapGroup
from ngat.engines.cpu.compile import Job, share, threads_for
from ngat.engines.cpu.executor import Work, computed_in
from ngat.engines.cpu.exponential import STRIP, sigmoids
from ngat.engines.cpu.fused import Out, Source, typed_update
from ngat.engines.cpu.normed import Fold, moments_of, normed_maps
from ngat.engines.cpu.products import kind
from ngat.graph import Relation

if TYPE_CHECKING:
    from ngat.attention.position import PositionTerm
    from ngat.model import NGAT, Norm, PyramidGATConv
    from ngat.plasticity import Placement


class Nodes:
    """Embeddings of one level's nodes, and their normalisation, to be done by whoever maps them.

    Args:
        h: ``[B, C, H_m, W_m]``.
        norm: what normalises h; in training, batch statistics are recorded here.
        level: whose statistics ``norm`` uses, where it keeps several.
        moments: sums of h and of its squares over nodes, ``[B, C, 2]``, differentiable in h; None
            where they are not known.

    Attributes:
        h: the same. An operation that reads it may replace it by its own output of the same
            values: then the gradients of all later readers pass through that operation, which adds
            them to its own while it writes that.
        fold: the normalisation; None for none.
    """

    def __init__(self, h: Tensor, norm: Norm, level: int, moments: Tensor | None = None) -> None:
        self.h = h
        self.fold: Fold | None = None
        if norm.kind == "none":
            return
        nodes = h.shape[2] * h.shape[3]
        if norm.kind == "batch" and not norm.training:
            mean, variance = (s.double() for s in norm.statistics(level))
            moments = nodes * torch.stack([mean, variance + mean.square()], 1)[None]
        elif moments is None:
            moments = moments_of(h)
        if norm.kind == "batch" and norm.training:
            moments = moments.mean(0, keepdim=True)
            mean, square = (moments.detach()[0] / nodes).unbind(1)
            variance = (square - mean.square()).clamp(min=0.0)
            norm.record(mean, variance, len(h) * nodes, level)
        groups = norm.groups if norm.kind == "group" else h.shape[1]
        self.fold = Fold(moments.expand(len(h), -1, -1).contiguous(), groups, norm.EPSILON)


def message_passing(model: NGAT, placement: Placement, attend: Attend) -> list[Tensor]:
    """As :meth:`ngat.model.NGAT.message_passing`, on the CPU in float32 or float64."""
    if model.config.aggregator != "gat":
        return model.message_passing(placement, attend)
    from ngat.model import features_of

    nodes = []
    for m, (f, norm) in enumerate(zip(features_of(placement), model.norms, strict=True)):
        h, moments = normed_maps(f, None, model.embed.weight, cast(Tensor, model.embed.bias))
        nodes.append(Nodes(h, cast("Norm", norm), m, moments))
    for module in model.updates:
        update = cast("PyramidGATConv", module)
        for m, new in layer(update, nodes, placement.moves, attend).items():
            nodes[m] = new
    heads = [model.head(m) for m in range(len(nodes))]
    return [
        normed_maps(level.h, level.fold, head.weight, cast(Tensor, head.bias))[0]
        for level, head in zip(nodes, heads, strict=True)
    ]


def layer(
    update: PyramidGATConv, nodes: Sequence[Nodes], moves: Sequence[Tensor] | None, attend: Attend
) -> dict[int, Nodes]:
    """One layer: new nodes of the levels that it updates, by level."""
    updated = range(len(nodes)) if update.level is None else [update.level]
    if not update.joint:
        return {m: typed_level(update, nodes, m, moves) for m in updated}
    h, no_bias = [level.h for level in nodes], update.own.weight.new_zeros(len(update.own.weight))
    maps = {}
    for n in sorted({n for m in updated for _, n in update.sources(m, len(nodes))}):
        product, _ = normed_maps(h[n], nodes[n].fold, update.own.weight, no_bias)
        maps[n] = product.split(update.own.parts, 1)
    found = {}
    for m in updated:
        of_sources = {r: maps[n] for r, n in update.sources(m, len(nodes))}
        found[m] = Nodes(update.update(h, m, of_sources, moves, attend), update.norm, m)
    return found


def typed_level(
    update: PyramidGATConv, nodes: Sequence[Nodes], m: int, moves: Sequence[Tensor] | None
) -> Nodes:
    """The update of level m with typed relations: one operation, maps included."""
    here = nodes[m]
    levels = {relation: nodes[n] for relation, n in update.sources(m, len(nodes))}
    terms = {
        name: cast("PositionTerm", term) for name, term in update.terms.items() if name in levels
    }
    sources = {}
    for relation, level in levels.items():
        maps = update.map_of(relation)
        weight: Tensor = maps.weight
        bias = cast(Tensor, maps.bias)
        if relation == "king":  # weights that serve all levels meet one without children
            unused = (len(update.terms) - len(terms)) * update.config.heads
            weight, bias = weight[: len(weight) - unused], bias[: len(bias) - unused]
        sources[relation] = Source(level.h, level.fold, weight, bias)
    moved = [terms["king"].of_moves(moves, m, 1.0), 0.0, 0.0]
    if "child" in terms:
        moved[1] = terms["child"].of_moves(moves, m - 1, 0.5)
        moved[2] = terms["child"].of_moves(moves, m, 1.0)
    taps = {relation: term.taps(relation) for relation, term in terms.items()}
    dropped = update.config.dropout > 0 and update.training
    base = here.h if update.config.residual and not dropped else None
    out = Out(update.out.weight, cast(Tensor, update.out.bias), base)
    h, moments, passed = typed_update(sources, taps, moved, out, update.self_map)
    for relation, x in passed.items():
        levels[relation].h = x
    if dropped:
        return Nodes(update.residual(here.h, h), update.norm, m)
    return Nodes(h, update.norm, m, moments)


def attend(groups: Sequence[TapGroup], destination: Tensor) -> Tensor:
    """As :func:`ngat.attention.attend`, on the CPU."""
    relations = tuple(group.relation for group in groups)
    tensors = [tensor for group in groups for tensor in group[1:]]
    out: Tensor = CpuAttention.apply(relations, destination, *tensors)
    return out


def forward_pass(model: Any, placement: Any, attend: Attend) -> list[Tensor]:
    """As :meth:`ngat.model.NGAT.message_passing`, on the CPU."""
    return message_passing(model, placement, attend)


def sigmoid(x: Tensor) -> Tensor:
    """σ(x), the same number wherever in a tensor x stands, if no gradient is asked for.

    Torch computes the last numbers of a tensor, and of each thread's share of one, by another
    formula: they differ by a unit in the last place, and tiles from the whole picture.
    """
    if x.requires_grad:
        return torch.sigmoid(x)
    x = x.contiguous()
    found = torch.empty_like(x)

    def run(_: int, first: int, last: int) -> None:
        sigmoids(x.data_ptr(), found.data_ptr(), x.numel(), first, last, kind(x.dtype)[0])

    share(Job(run, -(-x.numel() // STRIP), threads_for(x.numel())))
    return found


def projection() -> Any:
    """As :class:`ngat.projection.Projector`, on the CPU."""
    from ngat.engines.cpu import projection as projection_cpu
    from ngat.projection import Projector

    return Projector(projection_cpu.integral_image, projection_cpu.project, sigmoid)


class CpuAttention(torch.autograd.Function):
    """Eq. 16–18 and their gradients; the inputs are all that is kept between the passes.

    They are er, then (z, el, t) of every relation, one after the other.
    """

    @staticmethod
    def forward(ctx: Any, relations: tuple[Relation, ...], er: Tensor, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(er, *tensors)
        ctx.relations = relations
        work = Work(relations, er, tensors)
        out = er.new_empty(len(er), tensors[0].shape[1], *er.shape[2:], dtype=work.dtype)
        work.forward(out)
        return out.to(tensors[0].dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        er, *tensors = ctx.saved_tensors
        dtype = computed_in(er.dtype)
        d_er, *d_tensors = (torch.empty(x.shape, dtype=dtype) for x in (er, *tensors))
        work = Work(ctx.relations, er, tensors)
        d_tensors[2::3] = work.backward(gradient, d_tensors, d_er)
        return None, *(
            d.to(x.dtype) if needed else None
            for d, x, needed in zip(
                (d_er, *d_tensors), (er, *tensors), ctx.needs_input_grad[1:], strict=True
            )
        )
