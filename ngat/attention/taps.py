"""The sources of one relation."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ngat.graph import Relation

# Negative slope of the LeakyReLU of eq. 16, as in Veličković et al. 2018.
SLOPE = 0.2


class TapGroup(NamedTuple):
    """One relation's sources for the nodes of one level.

    Attributes:
        relation: ``king`` (9 taps), ``child`` (4) or ``parent`` (1).
        values: z_j, ``[B, heads · D, h, w]`` at the source's level (eq. 15).
        source: el_j, ``[B, heads, h, w]``: a_s·z_j and the moved part of b·ζ_j.
        tap: t_k, ``[heads, taps]``: the home part of b·Δζ_ij.
    """

    relation: Relation
    values: Tensor
    source: Tensor
    tap: Tensor
