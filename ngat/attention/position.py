"""The position term b·Δζ_ij of attention scores (eq. 19–21, read as in L7 and L8)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ngat.config import ModelConfig
from ngat.graph import HOME_DISPLACEMENT, Relation

SHARPNESS = 2.0  # length of b at the start: a head's favourite tap weighs e² times a neutral one


class PositionTerm(nn.Module):
    """b·Δζ_ij of eq. 19–21 for some relations: the tap table t, and what moves add to el and er.

    Δζ_ij = ζ_j − ζ_i has a home part, one value per tap (t = b·Δζ), and what plasticity adds to
    either end: b·moves_j joins el_j, b·moves_i is subtracted from er_i.

    Args:
        relations: the relations that share b.
        joint: they share one softmax; the heads' first directions spread over the sphere.
        moving: some of the nodes can move; else b is needed for the taps alone.
    """

    def __init__(
        self, config: ModelConfig, relations: tuple[Relation, ...], joint: bool, moving: bool
    ) -> None:
        super().__init__()
        self.kind, self.heads = config.position, config.heads
        self.moving = moving and self.kind != "none"
        start = SHARPNESS * directions(config.heads, None if joint else relations[0]).float()
        if relations == ("child",):
            start = 4 * start  # children lie a quarter cell off, king neighbours a whole one
        for relation in relations:
            home = torch.from_numpy(HOME_DISPLACEMENT[relation]).float()
            self.register_buffer(f"home_{relation}", home, persistent=False)
        if self.moving or self.kind == "linear":
            self.b = nn.Parameter(start)
        if self.kind == "table":
            self.t = nn.ParameterDict(
                {
                    relation: nn.Parameter(start @ getattr(self, f"home_{relation}").T)
                    for relation in relations
                }
            )

    def taps(self, relation: Relation) -> Tensor:
        """t, ``[heads, taps]``."""
        home: Tensor = getattr(self, f"home_{relation}")
        if self.kind == "table":
            return self.t[relation]
        if self.kind == "linear":
            return self.b @ home.T
        return home.new_zeros(self.heads, len(home))

    def of_moves(self, moves: Sequence[Tensor] | None, level: int, cells: float) -> Tensor | float:
        """b·ζ of the moves, ``[B, heads, h, w]``: added to el, and subtracted from er.

        Args:
            moves: of all levels, ``[B, 3, H_m, W_m]`` in cells of the moved node's level.
            level: which of them is meant; the base never moves (eq. 10).
            cells: side of a cell of that level in cells of the level that attends.
        """
        if not self.moving or level == 0 or moves is None:
            return 0.0
        b = torch.cat([self.b[:, :2] * cells, self.b[:, 2:]], dim=1)
        return torch.einsum("hk,bkyx->bhyx", b.to(moves[level].dtype), moves[level])


def directions(heads: int, relation: Relation | None) -> Tensor:
    """Unit vectors in (x, y, level) that the heads prefer at the start, ``[heads, 3]``.

    Within one level (a typed relation) they spread over the circle; over all relations (None)
    over the sphere, so that some heads prefer the parent, some the children, and some neighbours.
    """
    n = np.arange(heads)
    if relation is None:
        level = 1 - 2 * (n + 0.5) / heads
        angle = n * np.pi * (3 - np.sqrt(5))  # golden angle
    else:
        level = np.zeros(heads)
        angle = 2 * np.pi * n / heads
    radius = np.sqrt(1 - level**2)
    return torch.from_numpy(np.stack([radius * np.cos(angle), radius * np.sin(angle), level], 1))
