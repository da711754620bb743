"""Linear maps of normalised planes that never write the normalised planes, on the CPU.

    n = s (x − μ),    P = W n + b = (W s) x + (b − W s μ)

with the mean μ and the scale s = 1 / √(variance + ε) of a channel's group over all nodes of a
picture. Backwards, with d = ∂L/∂P, the product G = d xᵀ and the sums r = d 1 over nodes:

    ∂L/∂W = Σ_pictures s (G − r μᵀ)        ∂L/∂b = Σ_pictures r
    ∂L/∂x = (W s)ᵀ d − s² Q x + s (s Q μ − A)

where A and Q are means over the group's nodes and channels of ∂L/∂n = Wᵀ d and of n ∂L/∂n. Both
follow from small matrices, A from Wᵀ r and Q from the columns of W ∘ G, not from passes over nodes.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.profiler import record_function

from ngat.attention.cpu_maps import linear, products
from ngat.attention.fold import Fold


def normed_maps(
    x: Tensor, fold: Fold | None, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """P of the module's formula, ``[B, M, h, w]``, differentiable in x, weight and bias.

    Args:
        x: ``[B, K, h, w]`` in float32 or float64.
        fold: None where x is mapped as it is.
        weight: ``[M, K]``. bias: ``[M]``.

    Returns:
        P, and the sums of P and of its squares over nodes, ``[B, M, 2]`` in float64, through which
        no gradient flows.
    """
    found: tuple[Tensor, Tensor] = NormedMaps.apply(
        fold, x.contiguous(), weight.to(x.dtype), bias.to(x.dtype)
    )
    return found


class NormedMaps(torch.autograd.Function):
    """Forward and backward of :func:`normed_maps`."""

    @staticmethod
    def forward(
        ctx: Any, fold: Fold | None, x: Tensor, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        ctx.save_for_backward(x, weight)
        ctx.fold = fold
        ctx.set_materialize_grads(False)
        out, moments = maps_of(x, fold, weight, bias, moments=True)
        ctx.mark_non_differentiable(moments)
        return out, moments

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needed = ctx.needs_input_grad[1]
        return None, *maps_back(x, ctx.fold, weight, d.contiguous(), needed=needed)


def maps_of(
    x: Tensor, fold: Fold | None, weight: Tensor, bias: Tensor, moments: bool = False
) -> tuple[Tensor, Tensor | None]:
    """P of the module's formula, and if asked for its moments."""
    out = x.new_empty(len(x), len(weight), *x.shape[2:])
    with label("norm"):
        weight, shift = folded(x, fold, weight, bias)
    with label("linear maps"):
        return out, linear(x, weight, out, shift=shift, moments=moments)


def folded(x: Tensor, fold: Fold | None, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """W s, ``[B, M, K]``, and b − W s μ, ``[B, M]``; W and b themselves where nothing is folded."""
    weight, bias = weight.detach().contiguous(), bias.detach().contiguous()
    if fold is None:
        return weight, bias
    scaled, shifts = weight.new_empty(len(x), *weight.shape), weight.new_empty(len(x), len(weight))
    fold_in(*(a.numpy() for a in (weight, bias, *fold[:2], scaled, shifts)))
    return scaled, shifts


def maps_back(
    x: Tensor, fold: Fold | None, weight: Tensor, d: Tensor, needed: bool = True
) -> tuple[Tensor | None, Tensor, Tensor]:
    """∂L/∂x if needed, ∂L/∂W and ∂L/∂b of :func:`maps_of` for d = ∂L/∂P."""
    with label("linear maps"):
        d_x = torch.empty_like(x) if needed else None
        g, r = products(d, x)
    with label("norm"):
        d_weight, back = unfolded(x, fold, weight, g, r)
    with label("linear maps"):
        if d_x is not None:
            more = None if back.factor is None else (back.factor, x)
            linear(d, back.weight, d_x, shift=back.shift, more=more)
    return d_x, d_weight.to(weight.dtype), r.sum(0).to(weight.dtype)


class Unfolded(NamedTuple):
    """∂L/∂x = weight d + factor x + shift: (W s)ᵀ, ``[B, K, M]``, and −s² Q and s (s Q μ − A)."""

    weight: Tensor
    factor: Tensor | None
    shift: Tensor | None


def unfolded(
    x: Tensor, fold: Fold | None, weight: Tensor, g: Tensor, r: Tensor
) -> tuple[Tensor, Unfolded]:
    """∂L/∂W in float64, and what ∂L/∂x is made of, from G and r."""
    if fold is None:
        return g.sum(0), Unfolded(weight.T, None, None)
    back = weight.new_empty(len(x), *weight.T.shape)
    factor, shift = (weight.new_empty(x.shape[:2]) for _ in range(2))
    d_weight = torch.zeros(weight.shape, dtype=torch.float64)
    tensors = weight, g, r, *fold[:2], d_weight, back, factor, shift
    nodes = x.shape[2] * x.shape[3]
    fold_back(*(a.detach().numpy() for a in tensors), fold.groups, nodes)
    return d_weight, Unfolded(back, factor, shift)


@njit(nogil=True, cache=True, error_model="numpy")
def fold_in(weight, bias, mean, scale, scaled, shifts):  # type: ignore[no-untyped-def]
    """W s and b − W s μ of every picture into ``scaled`` and ``shifts``."""
    batch, rows, depth = scaled.shape
    for b in range(batch):
        for m in range(rows):
            shift = float(bias[m])
            for k in range(depth):
                scaled[b, m, k] = weight[m, k] * scale[b, k]
                # With the weight as it was rounded, the mean falls out exactly.
                shift -= scaled[b, m, k] * mean[b, k]
            shifts[b, m] = shift


@njit(nogil=True, cache=True, error_model="numpy")
def fold_back(weight, g, r, mean, scale, d_weight, back, factor, shift, groups, nodes):  # type: ignore[no-untyped-def]
    """∂L/∂W, and what ∂L/∂x is made of: (W s)ᵀ, −s² Q, and s (s Q μ − A)."""
    batch, rows, depth = g.shape
    each = depth // groups
    for b in range(batch):
        for group in range(groups):
            a = q = 0.0
            for k in range(group * each, (group + 1) * each):
                along = across = 0.0  # Σ ∂L/∂n and Σ x ∂L/∂n over the channel's nodes
                for m in range(rows):
                    along += weight[m, k] * r[b, m]
                    across += weight[m, k] * g[b, m, k]
                    d_weight[m, k] += scale[b, k] * (g[b, m, k] - r[b, m] * mean[b, k])
                    back[b, k, m] = weight[m, k] * scale[b, k]
                a += along / (each * nodes)
                q += scale[b, k] * (across - mean[b, k] * along) / (each * nodes)
            for k in range(group * each, (group + 1) * each):
                factor[b, k] = -scale[b, k] * scale[b, k] * q
                shift[b, k] = scale[b, k] * (scale[b, k] * q * mean[b, k] - a)


def label(part: str) -> contextlib.AbstractContextManager[object]:
    """Tells a profiler, if there is one, to what part of a network the time goes."""
    if torch.autograd.profiler._is_profiler_enabled:
        return record_function("ngat: " + part)
    return contextlib.nullcontext()
