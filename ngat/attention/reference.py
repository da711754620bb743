"""Plain torch on shifted views, no edge list, no gather: attention, and aggregators without it.

The reference engine reads like the formula and works for every dtype and device. Every other engine
is tested against it, forward and backward. Graph convolution (eq. 14) and the MLP of Zaheer et al.
"achieve similar results" to attention, the paper says; they are its ablation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ngat.attention import SLOPE, TapGroup
from ngat.graph import CHILD_TAPS, KING_TAPS, SOURCE_STEP, Relation, sources_of

if TYPE_CHECKING:
    from ngat.model import PyramidGATConv


def shifted(
    field: Tensor, relation: Relation, height: int, width: int, fill: float
) -> Iterator[Tensor]:
    """Views of a source field at the positions of the destination's nodes, one per tap.

    Args:
        field: ``[B, C, h, w]`` at the source's level.
        fill: what stands where the tap leads outside the picture.

    Yields:
        ``[B, C, height, width]`` for every tap in order.
    """
    if relation == "king":
        padded = F.pad(field, (1, 1, 1, 1), value=fill)
        for dy, dx in KING_TAPS:
            yield padded[:, :, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
    elif relation == "child":
        # An odd side leaves the last node without its second row or column of children.
        padded = F.pad(
            field, (0, 2 * width - field.shape[-1], 0, 2 * height - field.shape[-2]), value=fill
        )
        for cy, cx in CHILD_TAPS:
            yield padded[:, :, cy::2, cx::2]
    else:
        rows = field.repeat_interleave(2, dim=-2)[:, :, :height]
        yield rows.repeat_interleave(2, dim=-1)[:, :, :, :width]


def coefficients(groups: Sequence[TapGroup], destination: Tensor) -> Tensor:
    """Attention coefficients α (eq. 16, 17), ``[B, heads, taps, H, W]``."""
    height, width = destination.shape[-2:]
    scores = []
    for group in groups:
        for k, el in enumerate(
            shifted(group.source, group.relation, height, width, fill=-torch.inf)
        ):
            # LeakyReLU keeps -inf, so a tap outside the picture gets weight zero.
            e = F.leaky_relu(el + destination + group.tap[:, k, None, None], SLOPE)
            scores.append(e)
    return torch.softmax(torch.stack(scores, dim=2), dim=2)


def attend(groups: Sequence[TapGroup], destination: Tensor) -> Tensor:
    """Σ_j α_ij z_j (eq. 18, 20); see :func:`ngat.attention.attend`."""
    batch, heads, height, width = destination.shape
    alpha = coefficients(groups, destination).unbind(dim=2)
    views = (
        z.unflatten(1, (heads, -1))
        for group in groups
        for z in shifted(group.values, group.relation, height, width, fill=0.0)
    )
    out = sum(a.unsqueeze(2) * z for a, z in zip(alpha, views, strict=True))
    assert isinstance(out, Tensor)
    return out.flatten(1, 2)


Sizes = Sequence[tuple[int, ...]]  # of all levels: (H_m, W_m)


def aggregate(
    update: PyramidGATConv, maps: Mapping[Relation, tuple[Tensor, ...]], sizes: Sizes, level: int
) -> Tensor:
    """A level's aggregate, the node's own map included, ``[B, C, H_m, W_m]``.

    Args:
        maps: as in :meth:`ngat.model.PyramidGATConv.update`.
        sizes: of all levels.
    """
    values = {relation: parts[0] for relation, parts in maps.items()}
    own: Tensor | float = 0.0
    if update.self_map:
        own, values["king"] = maps["king"]
    if update.config.aggregator == "gcn":
        return own + convolve(values, sizes, level)
    mixed: Tensor = update.mlp(F.relu(own + mean(values, sizes, level)))[0]
    return mixed


def neighbour_sum(relation: Relation, field: Tensor, height: int, width: int) -> Tensor:
    """Sum over the taps of a relation, ``[B, C, h, w]`` → ``[B, C, height, width]``."""
    if relation == "king":
        return F.avg_pool2d(field, 3, stride=1, padding=1, divisor_override=1)
    if relation == "child":
        pad = (0, 2 * width - field.shape[-1], 0, 2 * height - field.shape[-2])
        return F.avg_pool2d(F.pad(field, pad), 2, divisor_override=1)
    return next(shifted(field, relation, height, width, fill=0.0))


def degrees(sizes: Sizes, level: int, like: Tensor) -> Tensor:
    """|N(i)| of a level's nodes over all relations, ``[1, 1, H_m, W_m]``."""
    height, width = sizes[level]
    counts = [
        neighbour_sum(relation, like.new_ones(1, 1, *sizes[source]), height, width)
        for relation, source in sources_of(level, len(sizes))
    ]
    return torch.stack(counts).sum(0)


def convolve(values: Mapping[Relation, Tensor], sizes: Sizes, level: int) -> Tensor:
    """Σ_j z_j / c_ij with c_ij = √|N(i)| √|N(j)| (eq. 14), ``[B, C, H_m, W_m]``."""
    height, width = sizes[level]
    sums = []
    for relation, z in values.items():
        source = degrees(sizes, level + SOURCE_STEP[relation], z)
        sums.append(neighbour_sum(relation, z * source.rsqrt(), height, width))
    total = torch.stack(sums).sum(0)
    return total * degrees(sizes, level, total).rsqrt()


def mean(values: Mapping[Relation, Tensor], sizes: Sizes, level: int) -> Tensor:
    """Mean over all taps, ``[B, C, H_m, W_m]``: what the MLP aggregator starts from."""
    height, width = sizes[level]
    sums = [neighbour_sum(relation, z, height, width) for relation, z in values.items()]
    ones = [
        neighbour_sum(relation, torch.ones_like(z[:1, :1]), height, width)
        for relation, z in values.items()
    ]
    return torch.stack(sums).sum(0) / torch.stack(ones).sum(0)
