"""Parts of the network: normalisation over nodes, linear maps, the position term."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngat.config import ModelConfig
from ngat.engines.cpu.fold import Fold, moments_of
from ngat.graph import HOME_DISPLACEMENT, Relation

SHARPNESS = 2.0  # length of b at the start: a head's favourite tap weighs e² times a neutral one


class Embedding:
    """Embeddings of one level's nodes, as they are and normalised over nodes.

    Residuals add to ``h``, ``[B, C, H_m, W_m]``; linear maps read ``normalised``, which is made
    when it is asked for: maps that take the normalisation into their weights do without.

    Args:
        norm: what normalises h.
        moments: sums of h and of its squares over nodes, ``[B, C, 2]``, differentiable in h; None
            where they are not known.
    """

    def __init__(self, h: Tensor, norm: Norm, moments: Tensor | None = None) -> None:
        self.h = h
        self._norm = norm
        self._moments = moments

    @cached_property
    def normalised(self) -> Tensor:
        """``[B, C, H_m, W_m]``."""
        return self._norm.normalise(self.h)

    @property
    def folded(self) -> tuple[Tensor, Fold | None]:
        """What maps can normalise themselves, and how (see :mod:`ngat.engines.cpu.normed`)."""
        if self._norm.kind != "group":
            return self.normalised, None
        if self._moments is None:
            self._moments = moments_of(self.h)
        return self.h, self._norm.fold(self._moments)

    def hand_on(self, h: Tensor) -> None:
        """Have ``h`` read from now on: the same, from the hands of an operation that read it.

        The gradient of whatever reads it later passes through that operation, which adds its own.
        """
        if self._norm.kind == "group":
            self.h = h


class Norm(nn.Module):
    """Normalisation of a channel, or a group of channels, over the nodes of a level.

    Never over the channels of a node alone: that erases contrast and amplifies flat background.
    It has no scale and shift of its own, since linear maps follow.
    """

    EPSILON = 1e-5

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.kind = config.norm
        self.groups = config.norm_groups
        if self.kind == "batch":
            self.batch = nn.BatchNorm2d(config.channels, affine=False)

    def forward(self, h: Tensor, moments: Tensor | None = None) -> Embedding:
        """``h`` ``[B, C, H_m, W_m]`` beside its normalised form."""
        found = Embedding(h, self, moments)
        if self.kind == "batch":
            _ = found.normalised  # now, since it counts what it sees in training
        return found

    def normalise(self, h: Tensor) -> Tensor:
        """``h`` in normalised form."""
        if self.kind == "none":
            return h
        if self.kind == "batch":
            normalised: Tensor = self.batch(h)
            return normalised
        if h[0, 0].numel() == 1 and h.shape[1] == self.groups:
            return torch.zeros_like(h)  # one value is its own mean
        return F.group_norm(h, self.groups, eps=self.EPSILON)

    def fold(self, moments: Tensor) -> Fold:
        """The normalisation of what has these moments."""
        return Fold(moments, self.groups, self.EPSILON)


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
        # A batched product of planes: faster than a 1 × 1 convolution, backward above all.
        weight = self.weight.to(h.dtype).expand(len(h), -1, -1)
        if self.bias is None:
            out = torch.bmm(weight, h.flatten(2))
        else:
            bias = self.bias.to(h.dtype)[None, :, None]
            out = torch.baddbmm(bias.expand(len(h), -1, -1), weight, h.flatten(2))
        return out.unflatten(2, h.shape[2:]).split(self.parts, 1)

    def in_one(self, x: Tensor, fold: Fold | None = None) -> tuple[Tensor, Tensor]:
        """All parts in one tensor, of x or of x normalised, by the CPU's own kernels.

        Returns:
            ``[B, sum of parts, h, w]``, and its moments (:class:`Embedding`).
        """
        from ngat.engines.cpu.normed import normed_maps

        assert self.bias is not None
        return normed_maps(x, fold, self.weight, self.bias)


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
