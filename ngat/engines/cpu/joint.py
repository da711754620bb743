"""The joint layer in one piece, on the CPU: projection and attention on all levels (eq. 15–18).

    (z, el, er) = [W; a_s W; a_d W] h,      h_i ← Σ_j α_ij z_j over king, children and parent

It is what a product per level and :func:`ngat.attention.attend_levels` compose, with the same
result. Here the product belongs to nobody else, and is made by the threads that read it, all levels
at once (:func:`ngat.engines.cpu.threads.share`). For training it is made in two parts, each of
half the heads, and the backward pass drops the first before it fills the other half of the
gradient: that takes 30 bytes a node off the peak of memory. The gradient itself is dropped level by
level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ngat.engines.cpu.executor import Work
from ngat.engines.cpu.maps import mapping, producing
from ngat.engines.cpu.threads import share
from ngat.graph import RELATIONS, Relation


def joint_layer(
    levels: Sequence[Tensor], weight: Tensor, taps: Mapping[Relation, Tensor]
) -> list[Tensor]:
    """Σ_j α_ij z_j on all levels, ``[B, heads · D, H_m, W_m]``, differentiable in every tensor.

    Args:
        levels: the nodes' embeddings h, ``[B, C, H_m, W_m]``, base first, in float32 or float64.
        weight: W, a_s W and a_d W one below the other, ``[heads · (D + 2), C]``.
        taps: t of king, child and parent, ``[heads, taps]``.
    """
    inputs = [weight, *(taps[relation] for relation in RELATIONS), *levels]
    training = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    return list(JointLayer.apply(parts(weight, len(inputs[1]), 2 if training else 1), *inputs))


class JointLayer(torch.autograd.Function):
    """Forward and backward of :func:`joint_layer`."""

    @staticmethod
    def forward(ctx: Any, parts: list[Part], weight: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        taps, levels = others[:3], others[3:]
        width = len(weight) - 2 * len(taps[0])
        outs = tuple(h.new_empty(len(h), width, *h.shape[2:]) for h in levels)
        ctx.parts, ctx.works = parts, []
        for part in parts:
            works = part.works(weight, taps, levels)
            into = [out[:, part.rows[0]] for out in outs]
            share(*(work.forward(out) for work, out in zip(works, into, strict=True)))
            ctx.works.append(works)
        ctx.save_for_backward(weight, *others)
        return outs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weight, *others = ctx.saved_tensors
        taps, levels = others[:3], others[3:]
        made, ctx.works = ctx.works, []
        d_taps = [torch.zeros(t.shape, dtype=torch.float64) for t in taps]
        d_products = [h.new_empty(len(h), len(weight), *h.shape[2:]) for h in levels]
        for part in ctx.parts:
            # A second backward pass through the same graph finds nothing and makes them again.
            works = made.pop(0) if made else part.works(weight, taps, levels)
            into = [part.of(d) for d in d_products]
            for m, (work, gradient) in enumerate(zip(works, gradients, strict=True)):
                d_tensors, add = [], []
                for relation in work.relations:
                    z, el, _ = into[m + STEP[relation]]
                    d_tensors += [z, el, el]
                    # The level below was here before, as these nodes' children.
                    add += [int(relation == "child" or (relation == "king" and m > 0))] * 3
                found = work.backward(gradient[:, part.rows[0]], d_tensors, into[m][2], [*add, 0])
                for relation, d_t in zip(work.relations, found, strict=True):
                    d_taps[RELATIONS.index(relation)][part.heads] += d_t
            del works, work  # and with them this part's products
        del into, d_tensors, z, el  # which hold on to all levels' gradients

        d_weight = torch.zeros(weight.shape, dtype=torch.float64)
        d_levels: list[Tensor | None] = [None] * len(levels)

        def through(some: range) -> None:
            """Their products' gradients become those of W and h, and are dropped."""
            jobs, sums = [], []
            for m in some:
                d, h = d_products[m], levels[m].contiguous()
                job, found = producing(d, h)
                jobs.append(job)
                sums.append(found)
                if ctx.needs_input_grad[5 + m]:
                    d_levels[m] = d_h = torch.empty_like(h)
                    jobs.append(mapping(d, weight.T, d_h)[0])
            share(*jobs)
            for found in sums:
                d_weight.add_(found.sum((0, 1))[:, :-1])
            del d_products[some.start :]

        # The base, most of it all, last: then no other level's products are left beside it.
        through(range(1, len(levels)))
        through(range(1))
        return (
            None,
            d_weight.to(weight.dtype),
            *(d.to(t.dtype) for d, t in zip(d_taps, taps, strict=True)),
            *d_levels,
        )


# From a level to the level of what its nodes hear.
STEP: dict[Relation, int] = {"king": 0, "child": -1, "parent": 1}


class Part:
    """Some of the heads: their rows in [W; a_s W; a_d W], for z, el and er.

    Args:
        heads: which of them.
        count: number of all heads.
        width: number of all rows of W.
    """

    def __init__(self, heads: slice, count: int, width: int) -> None:
        each = width // count
        self.heads = heads
        self.rows = (
            slice(each * heads.start, each * heads.stop),
            slice(width + heads.start, width + heads.stop),
            slice(width + count + heads.start, width + count + heads.stop),
        )

    def of(self, product: Tensor) -> list[Tensor]:
        """(z, el, er) out of the whole product, ``[B, rows, H_m, W_m]``."""
        return [product[:, rows] for rows in self.rows]

    def works(self, weight: Tensor, taps: Sequence[Tensor], levels: Sequence[Tensor]) -> list[Work]:
        """Attention of every level, and the only hold on the products (z, el, er) it reads."""
        rows = [weight[rows] for rows in self.rows]
        own, sizes = torch.cat(rows), [len(part) for part in rows]
        made = [h.new_empty(len(h), len(own), *h.shape[2:]) for h in levels]
        share(*(mapping(h.contiguous(), own, z)[0] for h, z in zip(levels, made, strict=True)))
        products = [z.split(sizes, 1) for z in made]
        t = {relation: t[self.heads] for relation, t in zip(RELATIONS, taps, strict=True)}
        found = []
        for m, (_, _, er) in enumerate(products):
            heard = [r for r in RELATIONS if 0 <= m + STEP[r] < len(products)]
            tensors = [x for r in heard for x in (*products[m + STEP[r]][:2], t[r])]
            found.append(Work(heard, er, tensors))
        return found


def parts(weight: Tensor, heads: int, number: int) -> list[Part]:
    """The heads in at most ``number`` parts."""
    ends = sorted({heads * n // number for n in range(number + 1)})
    slices = (slice(first, last) for first, last in pairwise(ends))
    return [Part(part, heads, len(weight) - 2 * heads) for part in slices]
