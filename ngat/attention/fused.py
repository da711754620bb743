"""The typed update in one piece, on the CPU: attention by relation, what it adds up to, ReLU.

    y = ReLU(W_self h_i + Σ_king α z_j + Σ_children α z_j + z_parent + bias)

It is what :meth:`ngat.model.Update.forward` composes of single operations, with the same result.
Around attention, those spend more time on moving memory than attention itself: splitting a product
and joining its gradient again, adding, biases. Here attention reads the product's parts where they
lie, writes its gradient where the product's gradient is, and the rest is one pass over the rows.

Biases cost nothing. Attention coefficients add up to one, so that the bias of a z adds to y as it
is; a bias of el or er shifts all scores of a relation and joins its tap table t.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numba
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ngat.attention.cpu_work import Work, workers
from ngat.graph import Relation

jit = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
# Sums along a row may be taken in any order, which is what lets them run in vectors.
jit_sum = numba.njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"}
)


class Products(NamedTuple):
    """Linear maps of the levels that a level hears, without biases.

    Attributes:
        own: ``[B, 2C + heads · (1 + softmaxes), H_m, W_m]``: self, z, el, and er of every softmax;
            C channels less without self.
        child: ``[B, C + heads, …]``, z and el at the level below; None where not heard.
        parent: ``[B, C, …]``, z at the level above; None where not heard.
    """

    own: Tensor
    child: Tensor | None
    parent: Tensor | None


def typed_update(
    products: Products,
    bias: Tensor,
    taps: dict[Relation, Tensor],
    moves: Sequence[Tensor | float],
) -> Tensor:
    """y of the module's formula, ``[B, C, H_m, W_m]``, differentiable in every tensor.

    Args:
        bias: sum of the biases of self and of all z, ``[C]``.
        taps: t with the biases of el and er, ``[heads, taps]``, of king and child.
        moves: b·ζ of the moves, ``[B, heads, h, w]`` or 0 for base nodes: of the nodes as the
            king sees them, of the children, and of the nodes as the children see them.
    """
    t_king, t_child = taps["king"].to(products.own.dtype), taps.get("child")
    if t_child is not None:
        t_child = t_child.to(products.own.dtype)
    y: Tensor = TypedUpdate.apply(*products, bias.to(t_king.dtype), t_king, t_child, *moves)
    return y


class TypedUpdate(torch.autograd.Function):
    """Forward and backward of :func:`typed_update`."""

    @staticmethod
    def forward(
        ctx: Any,
        own: Tensor,
        child: Tensor | None,
        parent: Tensor | None,
        bias: Tensor,
        t_king: Tensor,
        t_child: Tensor | None,
        *moves: Tensor | float,
    ) -> Tensor:
        batch, _, height, width = own.shape
        channels = len(bias)
        y = own.new_empty(batch, channels, height, width)
        extra = torch.empty_like(y) if child is not None else y[:, :0]
        for (relation, groups), out in zip(
            softmaxes(own, child, t_king, t_child, moves, channels).items(),
            (y, extra),
            strict=False,
        ):
            work = Work((relation,), groups[0], groups[1:])
            work.forward(out)
        itself = itself_of(own, child, channels, len(t_king))
        shared(_add_up, y, itself, bias.detach(), extra, y[:, :0] if parent is None else parent)
        ctx.save_for_backward(own, child, t_king, t_child, y, *_tensors(moves))
        ctx.moving = [isinstance(move, Tensor) for move in moves]
        ctx.parent = None if parent is None else parent.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        own, child, t_king, t_child, y, *saved = ctx.saved_tensors
        moves = [saved.pop(0) if moving else 0.0 for moving in ctx.moving]
        g, d_own = torch.empty_like(y), torch.empty_like(own)
        d_parent = y.new_empty(ctx.parent or (len(y), 0, 0, 0))
        d_bias = y.new_empty(y.shape[:2])
        d_itself = itself_of(d_own, child, y.shape[1], len(t_king))
        shared(_add_up_back, y, gradient.contiguous(), g, d_itself, d_bias, d_parent)

        d_child = None if child is None else torch.empty_like(child)
        d_taps: dict[str, Tensor] = {}
        d_scores: dict[str, tuple[Tensor, Tensor]] = {}
        groups = softmaxes(own, child, t_king, t_child, moves, y.shape[1])
        into = softmaxes(d_own, d_child, t_king, t_child, (0.0, 0.0, 0.0), y.shape[1])
        for relation, (er, z, el, t) in groups.items():
            d_er, d_z, d_el, _ = into[relation]
            work = Work((relation,), er, (z, el, t))
            (d_t,) = work.backward(g, (d_z, d_el, t), d_er)
            d_taps[relation] = d_t.to(t.dtype)
            d_scores[relation] = (d_el, d_er)

        d_moves: list[Tensor | None] = [None, None, None]
        if ctx.moving[0]:
            d_moves[0] = d_scores["king"][0] - d_scores["king"][1]
        if ctx.moving[1]:
            d_moves[1] = d_scores["child"][0].clone()
        if ctx.moving[2]:
            d_moves[2] = -d_scores["child"][1]
        return (
            d_own,
            d_child,
            d_parent if ctx.parent else None,
            d_bias.sum(0),
            d_taps["king"],
            d_taps.get("child"),
            *d_moves,
        )


def softmaxes(
    own: Tensor,
    child: Tensor | None,
    t_king: Tensor,
    t_child: Tensor | None,
    moves: Any,
    channels: int,
) -> dict[Relation, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """(er, z, el, t) of king and children: views of the products, moved where nodes have moved."""
    heads = len(t_king)
    scores = [heads] * (2 if child is None else 3)
    attended = own[:, itself_of(own, child, channels, heads).shape[1] :]
    z, el, er, *er_child = attended.split([channels, *scores], 1)
    here, source, seen = moves
    found: dict[Relation, tuple[Tensor, Tensor, Tensor, Tensor]] = {
        "king": (_sum(er, here, -1), z, _sum(el, here, 1), t_king)
    }
    if child is not None and t_child is not None:
        z, el = child.split([channels, heads], 1)
        found["child"] = (_sum(er_child[0], seen, -1), z, _sum(el, source, 1), t_child)
    return found


def itself_of(own: Tensor, child: Tensor | None, channels: int, heads: int) -> Tensor:
    """The product's first part, self, ``[B, C, H_m, W_m]``, or no channels where there is none."""
    return own[:, : own.shape[1] - channels - heads * (2 if child is None else 3)]


def _sum(score: Tensor, move: Tensor | float, sign: int) -> Tensor:
    return torch.add(score, move, alpha=sign) if isinstance(move, Tensor) else score


def _tensors(moves: tuple[Tensor | float, ...]) -> list[Tensor]:
    return [move for move in moves if isinstance(move, Tensor)]


def shared(kernel: Any, y: Tensor, *tensors: Tensor) -> None:
    """Run a pass over the planes of ``y``, in equal parts, one for every thread."""
    threads = torch.get_num_threads() if y.numel() >= 1 << 15 else 1
    planes = y.shape[0] * y.shape[1]
    arrays = [tensor.detach().numpy() for tensor in (y, *tensors)]
    ends = [planes * n // threads for n in range(threads + 1)]

    def run(n: int) -> None:
        kernel(*arrays, ends[n], ends[n + 1])

    if threads == 1:
        run(0)
    else:
        list(workers(threads, os.getpid()).map(run, range(threads)))


@jit
def _add_up(y, itself, bias, extra, parent, first, last):  # type: ignore[no-untyped-def]
    """y ← ReLU(y + self + bias + extra + parent), row by row; an absent part has no channels."""
    _, channels, height, width = y.shape
    for plane in range(first, last):
        b, c = plane // channels, plane % channels
        for row in range(height):
            out = y[b, c, row]
            if itself.shape[1]:
                more = itself[b, c, row]
                for x in range(width):
                    out[x] += more[x]
            if extra.shape[1]:
                more = extra[b, c, row]
                for x in range(width):
                    out[x] += more[x]
            if parent.shape[1]:
                above = parent[b, c, row // 2]
                for x in range(width // 2):
                    out[2 * x] += above[x]
                    out[2 * x + 1] += above[x]
                if width % 2:
                    out[width - 1] += above[width // 2]
            for x in range(width):
                total = out[x] + bias[c]
                out[x] = total if total > 0 else 0


@jit_sum
def _add_up_back(y, gradient, g, d_itself, d_bias, d_parent, first, last):  # type: ignore[no-untyped-def]
    """g ← ∂L/∂(sum): the gradient where y > 0, for self, bias and parent as it is."""
    _, channels, height, width = y.shape
    zero = y.dtype.type(0)
    for plane in range(first, last):
        b, c = plane // channels, plane % channels
        total = 0.0
        for row in range(height):
            out, towards = y[b, c, row], gradient[b, c, row]
            here = g[b, c, row]
            of_row = zero
            for x in range(width):
                d = towards[x] if out[x] > zero else zero
                here[x] = d
                of_row += d
            total += of_row
            if d_itself.shape[1]:
                d_itself[b, c, row, :] = here
            if d_parent.shape[1]:
                above = d_parent[b, c, row // 2]
                if row % 2 == 0:
                    above[:] = zero
                for x in range(width // 2):
                    above[x] += here[2 * x] + here[2 * x + 1]
                if width % 2:
                    above[width // 2] += here[width - 1]
        d_bias[b, c] = total
