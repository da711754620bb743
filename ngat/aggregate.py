"""Aggregators that do not attend: graph convolution (eq. 14) and the MLP of Zaheer et al.

The paper reports that they "achieve similar results" to attention; they are its ablation.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ngat.attention.reference import shifted
from ngat.graph import RELATIONS, PyramidGraph, Relation

STEP: dict[Relation, int] = {"king": 0, "child": -1, "parent": 1}


def heard_by(level: int, levels: int) -> list[tuple[Relation, int]]:
    """(relation, source level) of everything that a level hears in a pyramid."""
    return [(r, level + STEP[r]) for r in RELATIONS if 0 <= level + STEP[r] < levels]


def neighbour_sum(relation: Relation, field: Tensor, height: int, width: int) -> Tensor:
    """Sum over the taps of a relation, ``[B, C, h, w]`` → ``[B, C, height, width]``."""
    if relation == "king":
        return F.avg_pool2d(field, 3, stride=1, padding=1, divisor_override=1)
    if relation == "child":
        pad = (0, 2 * width - field.shape[-1], 0, 2 * height - field.shape[-2])
        return F.avg_pool2d(F.pad(field, pad), 2, divisor_override=1)
    return next(shifted(field, relation, height, width, fill=0.0))


def degrees(graph: PyramidGraph, level: int, like: Tensor) -> Tensor:
    """|N(i)| of a level's nodes over all relations, ``[1, 1, H_m, W_m]``."""
    height, width = graph.sizes[level]
    counts = [
        neighbour_sum(relation, like.new_ones(1, 1, *graph.sizes[source]), height, width)
        for relation, source in heard_by(level, graph.levels)
    ]
    return torch.stack(counts).sum(0)


def convolve(values: dict[Relation, Tensor], graph: PyramidGraph, level: int) -> Tensor:
    """Σ_j z_j / c_ij with c_ij = √|N(i)| √|N(j)| (eq. 14), ``[B, C, H_m, W_m]``."""
    height, width = graph.sizes[level]
    total = torch.zeros((), dtype=next(iter(values.values())).dtype)
    for relation, z in values.items():
        source = degrees(graph, level + STEP[relation], z)
        total = total.to(z.device) + neighbour_sum(relation, z * source.rsqrt(), height, width)
    return total * degrees(graph, level, total).rsqrt()


def mean(values: dict[Relation, Tensor], graph: PyramidGraph, level: int) -> Tensor:
    """Mean over all taps, ``[B, C, H_m, W_m]``: what the MLP aggregator starts from."""
    height, width = graph.sizes[level]
    sums = [neighbour_sum(relation, z, height, width) for relation, z in values.items()]
    ones = [
        neighbour_sum(relation, torch.ones_like(z[:1, :1]), height, width)
        for relation, z in values.items()
    ]
    return torch.stack(sums).sum(0) / torch.stack(ones).sum(0)
