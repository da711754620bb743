"""Linear maps of normalised planes that never write the normalised planes, on the CPU.

    n = s (x − μ),    P = W n + b = (W s) x + (b − W s μ)

with the mean μ and the scale s = 1 / √(variance + ε) of a channel's group over all nodes of a
picture. Backwards, with d = ∂L/∂P, the product G = d xᵀ and the sums r = d 1 over nodes:

    ∂L/∂W = Σ_pictures s (G − r μᵀ)        ∂L/∂b = Σ_pictures r
    ∂L/∂x = (W s)ᵀ d − s² Q x + s (s Q μ − A)

where A and Q are means over the group's nodes and channels of ∂L/∂n = Wᵀ d and of n ∂L/∂n. Both
follow from small matrices, A from Wᵀ r and Q from the columns of W ∘ G, not from passes over nodes.

All but the first term of ∂L/∂x is what reaches x through its moments: ∂L/∂Σx = s (s Q μ − A) and
∂L/∂Σx² = −s² Q / 2. As such it is returned to what took the moments. However many maps read x,
it is added to ∂L/∂x once (:func:`settled`), at best while that is being read anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ngat.engines.cpu.compile import inlined, kernel
from ngat.engines.cpu.products import linear, products
from ngat.system.precision import label

if TYPE_CHECKING:
    from ngat.model import Norm


class Fold(NamedTuple):
    """n = s (x − μ), a normalisation to be folded into the maps that follow.

    Attributes:
        moments: Σx and Σx² of every channel over nodes, ``[B, C, 2]`` in float64. μ and s follow
            from them, and what the normalisation adds to ∂L/∂x reaches x through them.
        groups: of channels that share μ and s.
        epsilon: what is added to the variance.
    """

    moments: Tensor
    groups: int
    epsilon: float


def moments_of(x: Tensor) -> Tensor:
    """Σx and Σx² over nodes, where they were not taken on the way."""
    x = x.double()
    return torch.stack([x.sum((2, 3)), x.square().sum((2, 3))], 2)


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


def normed_maps(
    x: Tensor, fold: Fold | None, weight: Tensor, bias: Tensor, sums: bool = True
) -> tuple[Tensor, Tensor | None, Tensor]:
    """P of the module's formula, ``[B, M, h, w]``, differentiable in x, weight and bias.

    Args:
        x: ``[B, K, h, w]`` in float32 or float64.
        fold: None where x is mapped as it is.
        weight: ``[M, K]``. bias: ``[M]``.
        sums: whether those are taken that the next normalisation needs.

    Returns:
        P; the sums of P and of its squares over nodes, ``[B, M, 2]`` in float64, or None; and x for
        whoever reads it later: then this operation adds up their gradients.
    """
    moments = None if fold is None else fold.moments
    found: tuple[Tensor, Tensor | None, Tensor] = applied(
        NormedMaps, fold, sums, x.contiguous(), moments, weight.to(x.dtype), bias.to(x.dtype)
    )
    return found


def applied(operation: Any, *arguments: Any) -> Any:
    """An operation's results; autograd, which takes its time, is asked only for gradients."""
    tensors = (x for x in arguments if isinstance(x, Tensor))
    if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
        return operation.apply(*arguments)
    return operation.forward(Unrecorded(), *arguments)


class Unrecorded:
    """What an operation keeps for a backward pass, if there is none."""

    def save_for_backward(self, *_: Tensor) -> None:
        """Nothing is."""

    def set_materialize_grads(self, _: bool) -> None:
        """There are no gradients."""


class NormedMaps(torch.autograd.Function):
    """Forward and backward of :func:`normed_maps`; ``moments`` are those of ``fold``."""

    @staticmethod
    def forward(
        ctx: Any,
        fold: Fold | None,
        take: bool,
        x: Tensor,
        moments: Tensor | None,
        weight: Tensor,
        bias: Tensor,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        out = x.new_empty(len(x), len(weight), *x.shape[2:])
        with label("norm"):
            scaled, shift = folded(x, fold, weight, bias)
        with label("linear maps"):
            sums = linear(x, scaled, out, shift=shift, moments=take)
        ctx.save_for_backward(x, moments, weight, scaled, shift)
        ctx.how = None if fold is None else fold[1:]
        ctx.set_materialize_grads(False)
        return out, sums, x

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d: Tensor | None, d_sums: Tensor | None, base: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, moments, weight, scaled, shift = ctx.saved_tensors
        fold = None if moments is None else Fold(moments, *ctx.how)
        with label("linear maps"):
            d = x.new_zeros(len(x), len(weight), *x.shape[2:]) if d is None else d.contiguous()
            g, r = products(d, x)
            late = None if d_sums is None else Late(x, scaled, shift, d_sums)
            if late is not None:
                g, r = g + late.g, r + late.r
        with label("norm"):
            d_weight, d_moments = unfolded(x, fold, weight, g, r)
        d_x = None
        if ctx.needs_input_grad[2]:
            with label("linear maps"):
                d_x, base = torch.empty_like(x), None if base is None else base.contiguous()
                if late is not None:
                    linear(x, late.factor, d_x, shift=late.shift, base=base)
                linear(d, scaled.mT, d_x, base=base if late is None else d_x)
        return None, None, d_x, d_moments, d_weight.to(x.dtype), r.sum(0).to(x.dtype)


class Late:
    """What P's moments, with f = 2 ∂L/∂ΣP² and s = ∂L/∂ΣP, add to d: f ∘ P + s.

    P = W x + c is as wide as d, but all that becomes of the sum follows from Σ x xᵀ and Σ x:

        G + f ∘ (W Σ x xᵀ + c Σ xᵀ) + s Σ xᵀ        r + f ∘ (W Σ x + c Σ 1) + s Σ 1
        ∂L/∂x + Wᵀ (f ∘ W) x + Wᵀ (f ∘ c + s)

    Attributes:
        g, r: what is added to G and r. factor, shift: of x, what is added to ∂L/∂x.
    """

    def __init__(self, x: Tensor, weight: Tensor, shift: Tensor, d_moments: Tensor) -> None:
        xx, x1 = products(x, x)
        nodes = x.shape[2] * x.shape[3]
        s, f = d_moments[..., :1], 2 * d_moments[..., 1:]  # columns, as are all vectors below
        w, c = weight.double(), shift.double()[..., None]
        x1 = x1[..., None]
        self.g = f * (w @ xx + c * x1.mT) + s * x1.mT
        self.r = (f * (w @ x1 + c * nodes) + s * nodes)[..., 0]
        self.factor = w.mT @ (f * w)
        self.shift = (w.mT @ (f * c + s))[..., 0]


def settled(d: Tensor, x: Tensor, d_moments: Tensor) -> Tensor:
    """∂L/∂x from what reached x directly and through its moments: d + ∂L/∂Σx + 2 x ∂L/∂Σx²."""
    shift, factor = shares(d_moments, d.dtype)
    nothing = d.new_empty(d.shape[1], 0)
    linear(d[:, :0], nothing, out := torch.empty_like(d), shift=shift, base=d, more=(factor, x))
    return out


def shares(d_moments: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """∂L/∂Σx and 2 ∂L/∂Σx², each ``[B, C]``."""
    shift, factor = d_moments.to(dtype).unbind(2)
    return shift.contiguous(), 2 * factor


def folded(x: Tensor, fold: Fold | None, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """W s, ``[B, M, K]``, and b − W s μ, ``[B, M]``; W and b themselves where nothing is folded."""
    weight, bias = weight.detach().contiguous(), bias.detach().contiguous()
    if fold is None:
        return weight, bias
    scaled, shifts = weight.new_empty(len(x), *weight.shape), weight.new_empty(len(x), len(weight))
    tensors = weight, bias, fold.moments, scaled, shifts
    nodes = x.shape[2] * x.shape[3]
    fold_in(*(a.detach().numpy() for a in tensors), fold.groups, nodes, fold.epsilon)
    return scaled, shifts


def unfolded(
    x: Tensor, fold: Fold | None, weight: Tensor, g: Tensor, r: Tensor
) -> tuple[Tensor, Tensor | None]:
    """From G and r: ∂L/∂W in float64, and ∂L/∂moments."""
    if fold is None:
        return g.sum(0), None
    d_weight = torch.zeros(weight.shape, dtype=torch.float64)
    d_moments = torch.empty_like(fold.moments)
    tensors = weight, g, r, fold.moments, d_weight, d_moments
    nodes = x.shape[2] * x.shape[3]
    fold_back(*(a.detach().numpy() for a in tensors), fold.groups, nodes, fold.epsilon)
    return d_weight, d_moments


@inlined
def mean_and_scale(moments, b, group, each, nodes, epsilon):  # type: ignore[no-untyped-def]
    """μ and s of a group."""
    sum_ = squares = 0.0
    for k in range(group * each, (group + 1) * each):
        sum_ += moments[b, k, 0]
        squares += moments[b, k, 1]
    mean = sum_ / (each * nodes)
    variance = squares / (each * nodes) - mean * mean
    if variance < 0.0:  # by rounding; NaN stays, as max(0, ·) would not have it
        variance = 0.0
    return mean, 1.0 / np.sqrt(variance + epsilon)


@kernel
def fold_in(weight, bias, moments, scaled, shifts, groups, nodes, epsilon):  # type: ignore[no-untyped-def]
    """W s and b − W s μ of every picture into ``scaled`` and ``shifts``."""
    batch, rows, depth = scaled.shape
    each = depth // groups
    means, scales = np.empty(depth), np.empty(depth)
    for b in range(batch):
        for group in range(groups):
            mean, scale = mean_and_scale(moments, b, group, each, nodes, epsilon)
            means[group * each : (group + 1) * each] = mean
            scales[group * each : (group + 1) * each] = scale
        for m in range(rows):
            shift = float(bias[m])
            for k in range(depth):
                scaled[b, m, k] = weight[m, k] * scales[k]
                # With the weight as it was rounded, the mean falls out exactly.
                shift -= scaled[b, m, k] * means[k]
            shifts[b, m] = shift


@kernel
def fold_back(weight, g, r, moments, d_weight, d_moments, groups, nodes, epsilon):  # type: ignore[no-untyped-def]
    """∂L/∂W, and ∂L/∂Σx and ∂L/∂Σx²."""
    batch, rows, depth = g.shape
    each = depth // groups
    for b in range(batch):
        for group in range(groups):
            mean, scale = mean_and_scale(moments, b, group, each, nodes, epsilon)
            a = q = 0.0
            for k in range(group * each, (group + 1) * each):
                along = across = 0.0  # Σ ∂L/∂n and Σ x ∂L/∂n over the channel's nodes
                for m in range(rows):
                    along += weight[m, k] * r[b, m]
                    across += weight[m, k] * g[b, m, k]
                    d_weight[m, k] += scale * (g[b, m, k] - r[b, m] * mean)
                a += along / (each * nodes)
                q += scale * (across - mean * along) / (each * nodes)
            for k in range(group * each, (group + 1) * each):
                d_moments[b, k, 0] = scale * (scale * q * mean - a)
                d_moments[b, k, 1] = -scale * scale * q / 2
