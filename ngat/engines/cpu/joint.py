"""Layers of joint relations on the CPU, all that follows the maps in one operation (eq. 12–21).

    P = [z, el, er] = W norm(h)                              by :mod:`ngat.engines.cpu.normed`
    y_i = ReLU(Σ_j α_ij z_j + bias)
    h_i ← h_i + y_i

A level's z is attended to by its own nodes, by its parents and by its children. The gradients of
the three are added while they are computed, in a place of their own in ∂L/∂P, so that neither sums
nor slices of planes pass over memory. Backwards, with d = ∂L/∂h,

    g = d where y > 0,    ∂L/∂bias = Σ_i g_i,    ∂L/∂P from g (:mod:`ngat.engines.cpu.backward`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ngat.engines.cpu.normed import Nodes, applied, normed_maps
from ngat.engines.cpu.products import linear
from ngat.engines.cpu.work import Work
from ngat.graph import RELATIONS, SOURCE_STEP, Relation
from ngat.system.precision import label

if TYPE_CHECKING:
    from ngat.attention.position import PositionTerm
    from ngat.model import PyramidGATConv


def joint_levels(
    update: PyramidGATConv,
    nodes: Sequence[Nodes],
    updated: Sequence[int],
    moves: Sequence[Tensor] | None,
) -> dict[int, Nodes]:
    """New nodes of the levels that a layer updates, by level."""
    sources = {m: update.sources(m, len(nodes)) for m in updated}
    term, weight = cast("PositionTerm", update.terms["all"]), update.own.weight
    no_bias = weight.new_zeros(len(weight))
    products: list[Tensor | None] = [None] * len(nodes)
    for n in sorted({n for found in sources.values() for _, n in found}):
        product, _, nodes[n].h = normed_maps(nodes[n].h, nodes[n].fold, weight, no_bias, False)
        products[n] = product
    dropped = update.config.dropout > 0 and update.training
    added = update.config.residual and not dropped
    attended = {(n, relation) for found in sources.values() for relation, n in found}
    like = next(product for product in products if product is not None)
    tensors = [
        update.bias.to(like.dtype),
        *(term.taps(relation).to(like.dtype).contiguous() for relation in RELATIONS),
        *products,
        *(level.h if added and m in sources else None for m, level in enumerate(nodes)),
        *(
            term.of_moves(moves, n, 2.0 ** SOURCE_STEP[r]) if (n, r) in attended else 0.0
            for n in range(len(nodes))
            for r in RELATIONS
        ),
    ]
    asked = [x for x in tensors if isinstance(x, Tensor)]
    training = torch.is_grad_enabled() and any(x.requires_grad for x in asked)
    relations = {m: tuple(r for r, _ in found) for m, found in sources.items()}
    found = applied(JointUpdate, relations, update.config.heads, training, *tensors)
    if dropped:
        found = [update.residual(nodes[m].h, y) for m, y in zip(updated, found, strict=True)]
    return {m: Nodes(h, update.norm, m) for m, h in zip(updated, found, strict=True)}


class Inputs(NamedTuple):
    """Tensors of a layer: bias and t of the relations; for every level P, h and b·ζ of the moves.

    P is absent where nobody attends to a level, h where it is not updated or has no residual, and
    moves are 0 where there are none; they count in cells of the level that attends.
    """

    bias: Tensor
    taps: dict[Relation, Tensor]
    products: Sequence[Tensor | None]
    bases: Sequence[Tensor | None]
    moves: Sequence[dict[Relation, Tensor | float]]

    @staticmethod
    def of(tensors: Sequence[Any]) -> Inputs:
        """From the flat list that autograd asks for."""
        bias, taps, levels = tensors[0], tensors[1:4], (len(tensors) - 4) // 5
        moves = tensors[4 + 2 * levels :]
        return Inputs(
            bias,
            dict(zip(RELATIONS, taps, strict=True)),
            tensors[4 : 4 + levels],
            tensors[4 + levels : 4 + 2 * levels],
            [dict(zip(RELATIONS, moves[3 * n : 3 * n + 3], strict=True)) for n in range(levels)],
        )

    def work(self, m: int, relations: Sequence[Relation], heads: int) -> Work:
        """One level's attention."""
        channels = len(self.bias)
        tensors = []
        for relation in relations:
            n = m + SOURCE_STEP[relation]
            z, el, _ = cast(Tensor, self.products[n]).split([channels, heads, heads], 1)
            move = self.moves[n][relation]
            tensors += [z, el + move if isinstance(move, Tensor) else el, self.taps[relation]]
        er, move = cast(Tensor, self.products[m])[:, channels + heads :], self.moves[m]["king"]
        return Work(relations, er - move if isinstance(move, Tensor) else er, tensors)


class JointUpdate(torch.autograd.Function):
    """Forward and backward of the module's formula, from P on.

    ``relations``: what each of the updated levels attends to.
    """

    @staticmethod
    def forward(
        ctx: Any,
        relations: dict[int, tuple[Relation, ...]],
        heads: int,
        training: bool,
        *tensors: Any,
    ) -> tuple[Tensor, ...]:
        inputs, out, ys = Inputs.of(tensors), [], []
        for m, present in relations.items():
            product, base = cast(Tensor, inputs.products[m]), inputs.bases[m]
            h = product.new_empty(len(product), len(inputs.bias), *product.shape[2:])
            y = torch.empty_like(h) if training and base is not None else None
            with label("attention"):
                inputs.work(m, present, heads).forward(h, inputs.bias, base, y)
            out.append(h)
            ys.append(h if y is None else y)
        ctx.relations, ctx.heads = relations, heads
        ctx.absent = [None if isinstance(x, Tensor) else x for x in tensors]
        ctx.present = [isinstance(x, Tensor) for x in tensors]
        ctx.save_for_backward(*ys, *(x for x in tensors if isinstance(x, Tensor)))
        ctx.set_materialize_grads(False)
        return tuple(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *arrived: Tensor | None) -> tuple[Tensor | None, ...]:
        ys, kept = ctx.saved_tensors[: len(arrived)], list(ctx.saved_tensors[len(arrived) :])
        tensors = [
            kept.pop(0) if here else value
            for here, value in zip(ctx.present, ctx.absent, strict=True)
        ]
        inputs = Inputs.of(tensors)
        found = _Gradients(inputs, ctx.heads)
        for (m, present), d, y in zip(ctx.relations.items(), arrived, ys, strict=True):
            if d is not None:
                with label("attention"):
                    found.add(m, present, d.contiguous(), y)
        return None, None, None, *found.flat()


class _Gradients:
    """∂L/∂ of all :class:`Inputs`, added up level by level."""

    def __init__(self, inputs: Inputs, heads: int) -> None:
        self.inputs, self.heads, self.channels = inputs, heads, len(inputs.bias)
        self.bias = torch.zeros(self.channels, dtype=torch.float64)
        self.taps: dict[Relation, Tensor] = {}  # of those that are attended to
        self.products = [None if p is None else torch.empty_like(p) for p in inputs.products]
        self.bases: list[Tensor | None] = [None] * len(inputs.bases)
        self.els: list[dict[Relation, Tensor]] = [{} for _ in inputs.products]
        self.ers: dict[int, Tensor] = {}

    def add(self, m: int, relations: Sequence[Relation], d: Tensor, y: Tensor) -> None:
        """What reaches them through level m, from d = ∂L/∂h and y."""
        g = torch.empty_like(y)
        nothing = d.new_empty(self.channels, 0)
        sums = linear(d[:, :0], nothing, g, base=d, gate=y, moments=True)
        assert sums is not None
        self.bias += sums[..., 0].sum(0)
        if self.inputs.bases[m] is not None:
            self.bases[m] = d
        started = [bool(self.els[m + SOURCE_STEP[relation]]) for relation in RELATIONS[:2]]
        into = []
        for relation in relations:
            n = m + SOURCE_STEP[relation]
            z, el, _ = self.parts(n)
            self.els[n][relation] = torch.empty(el.shape, dtype=el.dtype)
            into += [z, self.els[n][relation], self.inputs.taps[relation]]
        self.ers[m] = self.parts(m)[2]
        work = self.inputs.work(m, relations, self.heads)
        king, child = (int(before) for before in started)
        found = work.backward(g, into, self.ers[m], (king, child))
        for relation, d_tap in zip(relations, found, strict=True):
            before = self.taps.get(relation)
            self.taps[relation] = d_tap if before is None else before + d_tap

    def parts(self, n: int) -> tuple[Tensor, ...]:
        """∂L/∂z, ∂L/∂el and ∂L/∂er of a level, slices of one tensor."""
        return cast(Tensor, self.products[n]).split([self.channels, self.heads, self.heads], 1)

    def flat(self) -> list[Tensor | None]:
        """In the order of the inputs."""
        moves: list[Tensor | None] = []
        for n, (els, product) in enumerate(zip(self.els, self.products, strict=True)):
            moved = self.inputs.moves[n]
            er = self.ers.get(n)
            if product is not None and not els and er is None:
                product.zero_()
            elif product is not None:
                _, el, place = self.parts(n)
                torch.sum(torch.stack(list(els.values())), 0, out=el)
                if er is None:
                    place.zero_()
            for relation in RELATIONS:
                d_move = els.get(relation)
                if not isinstance(moved[relation], Tensor):
                    d_move = None
                elif relation == "king" and d_move is not None and er is not None:
                    d_move = d_move - er
                moves.append(d_move)
        dtype = self.inputs.bias.dtype
        small = [self.bias, *(self.taps.get(relation) for relation in RELATIONS)]
        small = [None if x is None else x.to(dtype) for x in small]
        return [*small, *self.products, *self.bases, *moves]
