"""Message passing of a whole forward pass on the CPU, each typed update in one piece (eq. 12–21).

    P = W norm(h) + b                  self, z, el and er of the nodes, z and el of their children,
                                       z of their parent
    y_i = ReLU(self_i + Σ_king α z_j + Σ_children α z_j + z_parent)
    h_i ← h_i + W_out y_i + b_out

It is what :meth:`ngat.model.PyramidGATConv.update` composes of single operations. Around
attention, those spend more time on moving memory than attention itself: normalised planes,
splitting a product and joining its gradient again, adding, biases, masks. Here all that happens
block by block of rows, while they are in a core's cache. P is never in memory, nor is ∂L/∂P: of
the forward pass y alone is kept for the backward pass (:mod:`ngat.engines.cpu.sweep`).

No normalised plane is written either: statistics are taken while an update is being computed, and
the maps that read it absorb them (:mod:`ngat.engines.cpu.normed`). Dropout is drawn by torch and
added outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ngat.attention import Attend
from ngat.engines.cpu.joint import joint_levels
from ngat.engines.cpu.normed import (
    Fold,
    Nodes,
    applied,
    folded,
    normed_maps,
    settled,
    shares,
    unfolded,
)
from ngat.engines.cpu.update import Arrived, Update, UpdateMaps
from ngat.graph import RELATIONS, Relation
from ngat.system.precision import label

if TYPE_CHECKING:
    from ngat.attention.position import PositionTerm
    from ngat.model import NGAT, Norm, PyramidGATConv
    from ngat.plasticity import Placement


def forward_pass(model: NGAT, placement: Placement, attend: Attend) -> list[Tensor]:
    """As :meth:`ngat.model.NGAT.message_passing`, on the CPU in float32 or float64."""
    if model.config.aggregator != "gat":
        return model.message_passing(placement, attend)
    from ngat.model import features_of

    nodes = []
    for m, (f, norm) in enumerate(zip(features_of(placement), model.norms, strict=True)):
        h, moments, _ = normed_maps(f, None, model.embed.weight, cast(Tensor, model.embed.bias))
        nodes.append(Nodes(h, cast("Norm", norm), m, moments))
    for module in model.updates:
        update = cast("PyramidGATConv", module)
        for m, new in layer(update, nodes, placement.moves).items():
            nodes[m] = new
    heads = [model.head(m) for m in range(len(nodes))]
    return [
        normed_maps(level.h, level.fold, head.weight, cast(Tensor, head.bias))[0]
        for level, head in zip(nodes, heads, strict=True)
    ]


def layer(
    update: PyramidGATConv, nodes: Sequence[Nodes], moves: Sequence[Tensor] | None
) -> dict[int, Nodes]:
    """One layer: new nodes of the levels that it updates, by level."""
    updated = range(len(nodes)) if update.level is None else [update.level]
    if update.joint:
        return joint_levels(update, nodes, updated, moves)
    return {m: typed_level(update, nodes, m, moves) for m in updated}


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
            if unused:
                weight, bias = weight[:-unused], bias[:-unused]
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


OTHERS: tuple[Relation, ...] = ("child", "parent")


class Source(NamedTuple):
    """One level that a level attends to, and how it is mapped.

    Attributes:
        h: its nodes, ``[B, C, h, w]`` in float32 or float64.
        fold: their normalisation; None where h is mapped as it is.
        weight, bias: the maps. Of the level itself: self (unless there is none), z, el, and er of
            every softmax, one below the other, C and heads rows each; of children z and el; of
            parents z.
    """

    h: Tensor
    fold: Fold | None
    weight: Tensor
    bias: Tensor


class Out(NamedTuple):
    """The last map and what it is added to.

    Attributes:
        weight, bias: ``[C, C]`` and ``[C]``.
        base: ``[B, C, H_m, W_m]``; None without a residual.
    """

    weight: Tensor
    bias: Tensor
    base: Tensor | None


def typed_update(
    sources: dict[Relation, Source],
    taps: dict[Relation, Tensor],
    moves: list[Tensor | float],
    out: Out,
    itself: bool,
) -> tuple[Tensor, Tensor, dict[Relation, Tensor]]:
    """New h of the module's formula, ``[B, C, H_m, W_m]``, differentiable in every tensor.

    Args:
        sources: the level itself as ``king``, and perhaps ``child`` and ``parent``.
        taps: t of king, and of child if sources, ``[heads, taps]``.
        moves: b·ζ of the moves, ``[B, heads, h, w]`` or 0 for base nodes: of the nodes as the
            king sees them, of the children, and of the nodes as the children see them.
        itself: whether the first of the level's maps is self.

    Returns:
        h; the sums of h and of its squares over nodes, ``[B, C, 2]`` in float64, of which
        :class:`ngat.engines.cpu.normed.Fold` is made; and h of children and parents, for whoever
        reads them later: then this operation adds up their gradients.
    """
    like = sources["king"].h
    flat: list[Tensor | float | None] = []
    how = []
    for relation in RELATIONS:
        if relation in sources:
            h, fold, weight, bias = sources[relation]
            moments = None if fold is None else fold.moments
            flat += [h.contiguous(), moments, weight.to(h.dtype), bias.to(h.dtype)]
            how.append(None if fold is None else fold[1:])
        else:
            flat += [None] * 4
            how.append(None)
    t_child = taps["child"].to(like.dtype) if "child" in taps else None
    same = out.base is sources["king"].h
    asked = [x for x in (*flat, *taps.values(), *moves, *out) if isinstance(x, Tensor)]
    training = torch.is_grad_enabled() and any(x.requires_grad for x in asked)
    base = None if out.base is None or same else out.base.contiguous()
    flat += [taps["king"].to(like.dtype), t_child, *moves]
    flat += [out.weight.to(like.dtype), out.bias.to(like.dtype), base]
    h, moments, *others = applied(TypedUpdate, how, itself, same, training, *flat)
    return h, moments, dict(zip((r for r in OTHERS if r in sources), others, strict=True))


class TypedUpdate(torch.autograd.Function):
    """Forward and backward of :func:`typed_update`; ``same``: the base is the level itself.

    ``how``: of king, child and parent all of :class:`Fold` but the moments.
    """

    @staticmethod
    def forward(
        ctx: Any,
        how: list[tuple[int, float] | None],
        itself: bool,
        same: bool,
        training: bool,
        *tensors: Any,
    ) -> tuple[Tensor, ...]:
        *levels, (t_king, t_child), moves, (w_out, b_out, base) = parts(tensors)
        with label("norm"):
            maps = [
                None if x is None else UpdateMaps(*folded(x, fold_of(moments, rest), weight, bias))
                for (x, moments, weight, bias), rest in zip(levels, how, strict=True)
            ]
        xs = [level[0] for level in levels]
        update = Update(xs, maps, (t_king, t_child), moves, w_out.shape[1], itself)
        with label("typed update"):
            added = levels[0][0] if same else base
            y, h, sums = update.forward(w_out, b_out, added, training)
        kept = [x for level in levels for x in level[:3]]
        moving = [move for move in moves if isinstance(move, Tensor)]
        ctx.save_for_backward(*kept, t_king, t_child, w_out, y, h, *moving)
        ctx.moving = [isinstance(move, Tensor) for move in moves]
        ctx.maps, ctx.how = maps, how
        ctx.itself, ctx.same, ctx.base = itself, same, base is not None
        ctx.set_materialize_grads(False)
        return h, sums, *(x for x in xs[1:] if x is not None)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d: Tensor | None, d_sums: Tensor | None, *passed: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        levels = [ctx.saved_tensors[n : n + 3] for n in (0, 3, 6)]
        t_king, t_child, w_out, y, h, *saved = ctx.saved_tensors[9:]
        moves = [saved.pop(0) if moving else 0.0 for moving in ctx.moving]
        d = torch.zeros_like(h) if d is None else d.contiguous()
        if ctx.base and d_sums is not None:
            d, d_sums = settled(d, h, d_sums), None
        shift, factor = (None, None) if d_sums is None else shares(d_sums, d.dtype)
        xs, later = [x for x, *_ in levels], list(passed)
        bases = [None, *(None if x is None else later.pop(0) for x in xs[1:])]
        bases = [None if base is None else base.contiguous() for base in bases]
        update = Update(xs, ctx.maps, (t_king, t_child), moves, w_out.shape[1], ctx.itself)
        with label("typed update"):
            found = update.backward(Arrived(d, h, factor, shift), y, w_out, ctx.same, bases)
        gradients: list[Tensor | None] = []
        for (x, moments, weight), rest, sums, d_x in zip(
            levels, ctx.how, found.sums, found.xs, strict=True
        ):
            if x is None or sums is None:
                gradients += [None] * 4
                continue
            g, r = sums[..., :-1], sums[..., -1]
            with label("norm"):
                d_weight, d_moments = unfolded(x, fold_of(moments, rest), weight, g, r)
            gradients += [d_x, d_moments, d_weight.to(x.dtype), r.sum(0).to(x.dtype)]
        d_taps = [
            None if t is None else d_t[:, : t.shape[1]].to(t.dtype)
            for t, d_t in zip((t_king, t_child), found.taps, strict=True)
        ]
        d_out, d_bias = found.out[..., :-1].to(y.dtype), found.out[..., -1].to(y.dtype)
        of_out = d_out, d_bias, d if ctx.base else None
        return None, None, None, None, *gradients, *d_taps, *found.moves, *of_out


def fold_of(moments: Tensor | None, rest: tuple[int, float] | None) -> Fold | None:
    """A fold from its parts."""
    return None if moments is None or rest is None else Fold(moments, *rest)


def parts(tensors: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...]:
    """(h, its moments, W, b) of king, child and parent; t; moves; W_out, b_out and base."""
    ends = (0, 4, 8, 12, 14, 17, 20)
    return tuple(tensors[first:last] for first, last in pairwise(ends))
