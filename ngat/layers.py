"""Parts of the network: normalisation over nodes, linear maps, the position term."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngat.config import ModelConfig
from ngat.graph import HOME_DISPLACEMENT, Relation

SHARPNESS = 2.0  # length of b at the start: a head's favourite tap weighs e² times a neutral one


class Embedding(NamedTuple):
    """Embeddings of one level's nodes, as they are and normalised over nodes.

    Both are ``[B, C, H_m, W_m]``. Residuals add to ``h``; linear maps read ``normalised``.
    """

    h: Tensor
    normalised: Tensor


class Norm(nn.Module):
    """Normalisation of a channel, or a group of channels, over the nodes of a level.

    Never over the channels of a node alone: that erases contrast and amplifies flat background.
    It has no scale and shift of its own, since linear maps follow.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.kind = config.norm
        self.groups = config.norm_groups
        if self.kind == "batch":
            self.batch = nn.BatchNorm2d(config.channels, affine=False)

    def forward(self, h: Tensor) -> Embedding:
        """``h`` ``[B, C, H_m, W_m]`` beside its normalised form."""
        if self.kind == "none":
            return Embedding(h, h)
        if self.kind == "batch":
            return Embedding(h, self.batch(h))
        if h[0, 0].numel() == 1 and h.shape[1] == self.groups:
            return Embedding(h, torch.zeros_like(h))  # one value is its own mean
        return Embedding(h, F.group_norm(h, self.groups))


class Maps(nn.Module):
    """Several linear maps of the nodes' embeddings as one product (eq. 15).

    Args:
        channels: width of the input.
        parts: widths of the outputs.
        bias: whether the maps have biases (zero at the start).
    """

    def __init__(self, channels: int, parts: list[int], bias: bool = True) -> None:
        super().__init__()
        self.parts = parts
        self.weight = nn.Parameter(torch.empty(sum(parts), channels))
        for rows in self.weight.data.split(parts):
            nn.init.xavier_uniform_(rows)  # Glorot, as the paper
        self.bias = nn.Parameter(torch.zeros(sum(parts))) if bias else None

    def forward(self, h: Tensor) -> tuple[Tensor, ...]:
        """``[B, C, h, w]`` → one ``[B, part, h, w]`` per part (views of one tensor)."""
        if self.bias is None:
            return self.product(h).split(self.parts, 1)
        weight, bias = self.expanded(h), self.bias.to(h.dtype)[None, :, None]
        out = torch.baddbmm(bias.expand(len(h), -1, -1), weight, h.flatten(2))
        return out.unflatten(2, h.shape[2:]).split(self.parts, 1)

    def product(self, h: Tensor) -> Tensor:
        """All parts in one tensor, without biases."""
        # A batched product of planes: faster than a 1 × 1 convolution, backward above all.
        return torch.bmm(self.expanded(h), h.flatten(2)).unflatten(2, h.shape[2:])

    def onto(self, base: Tensor, h: Tensor) -> Tensor:
        """``base`` plus the single map of ``h``, without a tensor between."""
        assert self.bias is not None
        total = base.flatten(2) + self.bias.to(h.dtype)[:, None]
        return total.baddbmm_(self.expanded(h), h.flatten(2)).view_as(base)

    def expanded(self, h: Tensor) -> Tensor:
        """The weight for every picture of the batch."""
        return self.weight.to(h.dtype).expand(len(h), -1, -1)


def directions(heads: int, relation: Relation | None) -> Tensor:
    """Unit vectors of (x, y, level) in which the heads look at the start, ``[heads, 3]``.

    Within one level (a typed relation) they spread over the circle; over all relations (None)
    over the sphere, so that some heads look up, some down and some sideways.
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


class PositionTerm(nn.Module):
    """b·Δζ_ij of eq. 19–21 for some relations: the tap table t, and what moves add to el and er.

    Args:
        relations: the relations that share b.
        joint: they share one softmax (heads look over the sphere).
        moving: some of the nodes can move; else b is needed for the taps alone.
    """

    def __init__(
        self, config: ModelConfig, relations: tuple[Relation, ...], joint: bool, moving: bool
    ) -> None:
        super().__init__()
        self.kind = config.position
        self.heads = config.heads
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

    def of_moves(self, moves: list[Tensor], level: int, cells: float) -> Tensor | float:
        """b·ζ of the moves, ``[B, heads, h, w]``: added to el, and subtracted from er.

        Args:
            moves: of all levels, ``[B, 3, H_m, W_m]`` in cells of the moved node's level.
            level: which of them is meant; the base never moves (eq. 12).
            cells: side of a cell of that level in cells of the level that listens.
        """
        if not self.moving or level == 0:
            return 0.0
        unit = self.b.new_tensor([cells, cells, 1.0])
        return torch.einsum("hk,bkyx->bhyx", (self.b * unit).to(moves[level].dtype), moves[level])
