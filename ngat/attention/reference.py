"""The reference engine: plain torch on shifted views, no edge list, no gather.

It reads like the formula and works for every dtype and device. Every other engine is tested
against it, forward and backward.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ngat.attention.taps import SLOPE, TapGroup
from ngat.graph import CHILD_TAPS, KING_TAPS, Relation


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
