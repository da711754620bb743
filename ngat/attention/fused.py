"""The typed update in one piece, on the CPU: normalisation, maps, attention, residual (eq. 13–21).

    P = W norm(h) + b                  self, z, el and er of the nodes, z and el of their children,
                                       z of their parent
    y_i = ReLU(self_i + Σ_king α z_j + Σ_children α z_j + z_parent)
    h_i ← h_i + W_out y_i + b_out

It is what :meth:`ngat.update.Update.forward` composes of single operations, with the same result.
Around attention, those spend more time on moving memory than attention itself: normalised planes,
splitting a product and joining its gradient again, adding, biases, masks. Here every plane is read
and written once per product or attention, and backwards as well:

    g = W_outᵀ ∂L/∂h where y > 0       which is the gradient of self as it stands, and attention's
    ∂L/∂h ← ∂L/∂h + that of norm and maps (:mod:`ngat.attention.normed`)
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ngat.attention.cpu_maps import kind, linear, planes, products, share, threads_for
from ngat.attention.cpu_typed import gather, typed
from ngat.attention.cpu_work import Work
from ngat.attention.fold import Fold
from ngat.attention.normed import label, maps_back, maps_of
from ngat.graph import Relation


class Heard(NamedTuple):
    """One level that a level hears, and how it is mapped.

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
    heard: dict[Relation, Heard],
    taps: dict[Relation, Tensor],
    moves: list[Tensor | float],
    out: Out,
    itself: bool,
) -> tuple[Tensor, Tensor]:
    """New h of the module's formula, ``[B, C, H_m, W_m]``, differentiable in every tensor.

    Args:
        heard: the level itself as ``king``, and perhaps ``child`` and ``parent``.
        taps: t of king, and of child if heard, ``[heads, taps]``.
        moves: b·ζ of the moves, ``[B, heads, h, w]`` or 0 for base nodes: of the nodes as the
            king sees them, of the children, and of the nodes as the children see them.
        itself: whether the first of the level's maps is self.

    Returns:
        h, and the sums of h and of its squares over nodes, ``[B, C, 2]`` in float64, through which
        no gradient flows: :class:`ngat.attention.fold.Fold` is made of them.
    """
    like = heard["king"].h
    flat: list[Tensor | float | None] = []
    folds = []
    for relation in ("king", "child", "parent"):
        if relation in heard:
            h, fold, weight, bias = heard[relation]
            flat += [h.contiguous(), weight.to(h.dtype), bias.to(h.dtype)]
            folds.append(fold)
        else:
            flat += [None, None, None]
            folds.append(None)
    t_child = taps["child"].to(like.dtype) if "child" in taps else None
    same = out.base is heard["king"].h
    base = None if out.base is None or same else out.base.contiguous()
    flat += [taps["king"].to(like.dtype), t_child, *moves]
    flat += [out.weight.to(like.dtype), out.bias.to(like.dtype), base]
    h, moments = TypedUpdate.apply(folds, itself, same, *flat)
    return h, moments


class TypedUpdate(torch.autograd.Function):
    """Forward and backward of :func:`typed_update`; ``same``: the base is the level itself."""

    @staticmethod
    def forward(
        ctx: Any, folds: list[Fold | None], itself: bool, same: bool, *tensors: Any
    ) -> tuple[Tensor, Tensor]:
        *levels, (t_king, t_child), moves, (w_out, b_out, base) = parts(tensors)
        own, child, parent = (
            None if x is None else maps_of(x, fold, weight, bias)[0]
            for fold, (x, weight, bias) in zip(folds, levels, strict=True)
        )
        assert own is not None
        like = levels[0][0]
        y, h = (like.new_empty(len(like), len(b_out), *like.shape[2:]) for _ in range(2))
        with label("attention"):
            attention(own, child, parent, t_king, t_child, moves, itself, y)
        with label("linear maps"):
            added = like if same else base
            moments = linear(y, w_out, h, shift=b_out, base=added, moments=True)
        saved = [*(tensor for level in levels for tensor in level), t_king, t_child, w_out]
        moving = [move for move in moves if isinstance(move, Tensor)]
        ctx.save_for_backward(*saved, own, child, y, *moving)
        ctx.moving = [isinstance(move, Tensor) for move in moves]
        ctx.folds, ctx.itself, ctx.same, ctx.base = folds, itself, same, base is not None
        ctx.mark_non_differentiable(moments)
        ctx.set_materialize_grads(False)
        assert moments is not None
        return h, moments

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        levels = [ctx.saved_tensors[n : n + 3] for n in (0, 3, 6)]
        t_king, t_child, w_out, own, child, y, *saved = ctx.saved_tensors[9:]
        moves = [saved.pop(0) if moving else 0.0 for moving in ctx.moving]
        channels, d, d_own = y.shape[1], d.contiguous(), torch.empty_like(own)
        with label("linear maps"):
            g = d_own[:, :channels] if ctx.itself else torch.empty_like(y)
            linear(d, w_out.T, g, gate=y)
            d_out, d_bias = (sums.sum(0).to(y.dtype) for sums in products(d, y))

        d_child = None if child is None else torch.empty_like(child)
        d_taps: dict[Relation, Tensor] = {}
        with label("attention"):
            groups = softmaxes(own, child, t_king, t_child, moves, channels, ctx.itself)
            still = (0.0, 0.0, 0.0)
            into = softmaxes(d_own, d_child, t_king, t_child, still, channels, ctx.itself)
            for relation, (er, z, el, t) in groups.items():
                d_er, d_z, d_el, _ = into[relation]
                (d_t,) = Work((relation,), er, (z, el, t)).backward(g, (d_z, d_el, t), d_er)
                d_taps[relation] = d_t.to(t.dtype)
            d_parent = None if levels[2][0] is None else children(g, levels[2][0])
            d_moves = of_moves(ctx.moving, into)

        found: list[Tensor | None] = []
        for n, d_maps in enumerate((d_own, d_child, d_parent)):
            x, weight, _ = levels[n]
            base = d if n == 0 and ctx.same else None
            if d_maps is None:
                found += [None, None, None]
            else:
                found += maps_back(x, ctx.folds[n], weight, d_maps, base)
        of_attention = d_taps["king"], d_taps.get("child"), *d_moves
        return None, None, None, *found, *of_attention, d_out, d_bias, d if ctx.base else None


def of_moves(moving: list[bool], into: Any) -> list[Tensor | None]:
    """Gradients of the moves from those of the scores that they were added to."""
    found: list[Tensor | None] = [None, None, None]
    if moving[0]:
        d_er, _, d_el, _ = into["king"]
        found[0] = d_el - d_er
    if moving[1]:
        found[1] = into["child"][2].clone()
    if moving[2]:
        found[2] = -into["child"][0]
    return found


def parts(tensors: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...]:
    """(h, W, b) of the level, of children and of parents; t; moves; W_out, b_out and base."""
    ends = (0, 3, 6, 9, 11, 14, 17)
    return tuple(tensors[first:last] for first, last in pairwise(ends))


def attention(
    own: Tensor,
    child: Tensor | None,
    parent: Tensor | None,
    t_king: Tensor,
    t_child: Tensor | None,
    moves: Any,
    itself: bool,
    y: Tensor,
) -> None:
    """``y`` of the module's formula."""
    groups = softmaxes(own, child, t_king, t_child, moves, y.shape[1], itself)
    relations: list[Relation] = list(groups)
    tensors = [tensor for _, *group in groups.values() for tensor in group]
    if parent is not None:  # of which the kernel reads z alone
        relations.append("parent")
        tensors += [parent, parent, t_king]
    er = groups["king"][0]
    seen = groups["child"][0] if child is not None else er
    work = Work(relations, er, tensors)
    where = work.planes(own) if itself else (0, 0)
    work.share(typed, *work.planes(seen), *where, *work.planes(y))


def softmaxes(
    own: Tensor,
    child: Tensor | None,
    t_king: Tensor,
    t_child: Tensor | None,
    moves: Any,
    channels: int,
    itself: bool,
) -> dict[Relation, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """(er, z, el, t) of king and children: views of the products, moved where nodes have moved."""
    heads = len(t_king)
    scores = [heads] * (2 if child is None else 3)
    z, el, er, *er_child = own[:, channels if itself else 0 :].split([channels, *scores], 1)
    here, source, seen = moves
    found: dict[Relation, tuple[Tensor, Tensor, Tensor, Tensor]] = {
        "king": (_sum(er, here, -1), z, _sum(el, here, 1), t_king)
    }
    if child is not None and t_child is not None:
        z, el = child.split([channels, heads], 1)
        found["child"] = (_sum(er_child[0], seen, -1), z, _sum(el, source, 1), t_child)
    return found


def _sum(score: Tensor, move: Tensor | float, sign: int) -> Tensor:
    return torch.add(score, move, alpha=sign) if isinstance(move, Tensor) else score


def children(g: Tensor, like: Tensor) -> Tensor:
    """Sums of g over the children of every parent, planes of the size of ``like``."""
    batch, channels, height, width = g.shape
    out = g.new_empty(batch, channels, *like.shape[2:])

    def run(_: int, first: int, last: int) -> None:
        gather(first, last, channels, height, width, *planes(g), *planes(out), *kind(g.dtype))

    share(run, batch * channels, threads_for(g))
    return out
