"""Group normalisation as numbers, not yet done."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


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
    """Σx and Σx² over nodes, where nobody took them on the way."""
    x = x.double()
    return torch.stack([x.sum((2, 3)), x.square().sum((2, 3))], 2)
