"""Aggregators without attention: graph convolution (eq. 14) and the MLP of Zaheer et al.

The paper reports that they "achieve similar results" to attention; they are its ablation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ngat.attention.reference import shifted
from ngat.graph import SOURCE_STEP, Relation, sources_of

if TYPE_CHECKING:
    from ngat.model import PyramidGATConv

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
    total = torch.zeros((), dtype=next(iter(values.values())).dtype)
    for relation, z in values.items():
        source = degrees(sizes, level + SOURCE_STEP[relation], z)
        total = total.to(z.device) + neighbour_sum(relation, z * source.rsqrt(), height, width)
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
