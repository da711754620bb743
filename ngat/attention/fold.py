"""Group normalisation as numbers, not yet done."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Fold(NamedTuple):
    """n = s (x − μ), a normalisation to be folded into the maps that follow.

    Attributes:
        mean, scale: μ and s of every channel, ``[B, C]`` in float64; no gradient flows to them,
            since :mod:`ngat.attention.normed` knows what they are made of.
        groups: of channels that share them.
    """

    mean: Tensor
    scale: Tensor
    groups: int
