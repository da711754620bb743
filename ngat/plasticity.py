"""Plasticity: nodes learn where to project from (section 3.3, equations 7–11).

Positions pass through a constant number of iterations ζ_{k+1} = ξ(ζ_k) (eq. 8, 9); base nodes
never move (eq. 10). After each iteration a node is again the mean of what lies under it (eq. 11, by
the projection of eq. 5). Edges never change. ξ has three dense layers, and a sigmoid bounds the
*move*, a node's offset from home:

    x, y = home + REACH · cell · (2σ(u) − 1)        z = home · 2^(2σ(u) − 1)

so these bounds hold for any weights, and eq. 7 by a clamp: a node stays within its own cell
(neighbours of one level cannot change places or meet, since REACH < 1/2; a parent and its child
can), and its height stays within a factor of two of home. That a pyramid covers at least one pixel
(section 3.2) does not follow: a low node of level 1 at the picture's border can cover less. Such a
node is invalid: its colour is 0, it still sends messages, and the loss leaves it out. The last
layer starts at zero, σ(0) = 1/2, and ξ starts as the identity. Each iteration adds to u, and the
feature is projected again after each move. How the paper is read here: L4, L5, L6, L22.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngat.config import ModelConfig
from ngat.graph import PyramidGraph
from ngat.projection import Projector, home_positions, project_home, projector
from ngat.system.precision import label

REACH = 0.45  # largest sideways move in cells of the node's level
COLOURS = 3

Elementwise = Callable[[Tensor], Tensor]


class Placement(NamedTuple):
    """Positions of the nodes of each level, and the colours below them.

    Attributes:
        positions: ζ per level, ``[B, 3, H_m, W_m]`` in units of the picture's longer side.
        moves: offset from home per level, ``[B, 3, H_m, W_m]``: x and y in cells of the level, z in
            levels (log2 of the ratio of heights).
        features: projected colour ĉ per level, ``[B, 3, H_m, W_m]``.
        valid: per level, ``[B, 1, H_m, W_m]``: enough pixels were under the pyramid.
    """

    positions: list[Tensor]
    moves: list[Tensor]
    features: list[Tensor]
    valid: list[Tensor]


def moved(u: Tensor, sigmoid: Elementwise = torch.sigmoid) -> Tensor:
    """Bounded moves from ξ's unbounded output: (x, y) in cells, z in levels, ``[B, 3, h, w]``."""
    bounded = 2 * sigmoid(u) - 1
    return torch.cat([REACH * bounded[:, :2], bounded[:, 2:]], dim=1)


def positions_after(home: Tensor, moves: Tensor, level: int, longer: int) -> Tensor:
    """ζ from home and moves, kept inside the unit cube (eq. 7).

    In float64, and where no gradient is asked for, the edges of a node's pyramid are moved by
    multiples of 2^-32 pixels: then how far one lies behind a pixel is known to the last bit,
    wherever in a picture that is.

    Args:
        home: ``[1, 3, h, w]``. moves: ``[B, 3, h, w]``. longer: the picture's longer side, pixels.
    """
    cell, moves = 2.0**level, moves.to(home)
    by, half = moves[:, :2] * cell, torch.exp2(moves[:, 2:]) * (cell / 2)  # pixels
    if home.dtype == torch.float64 and not moves.requires_grad:
        by, half = torch.round(by * 2.0**32) / 2.0**32, torch.round(half * 2.0**32) / 2.0**32
    xy = home[:, :2] + by / longer
    return torch.cat([xy, half * (2**0.5 / longer)], dim=1).clamp(0.0, 1.0)


class Dense(nn.Linear):
    """A dense layer on planes, ``[B, C, nodes]``, as a matrix product: nothing is transposed."""

    def forward(self, h: Tensor) -> Tensor:
        """``[B, inputs, nodes]`` → ``[B, outputs, nodes]``."""
        weight, bias = self.weight.expand(len(h), -1, -1), self.bias[:, None]
        return torch.baddbmm(bias.expand(len(h), -1, -1), weight, h)


class Xi(nn.Module):
    """ξ (eq. 9): three dense layers per node that read its move, feature, level and neighbourhood.

    The input has 3 colours, 4 × 3 differences to the neighbours left, right, above and below, the
    3 moves so far, and the normalised level m̂.

    Behind a plain sigmoid all hidden values lie near 1/2 at first, whatever the colours, and ξ
    first learns one move for all nodes. With ``centred``, 2σ(2x) − 1 = tanh x, which is centred at
    zero and four times as steep, moves differ from node to node; which of the two does it was not
    measured (notebook 2).
    """

    def __init__(self, width: int, squash: str = "sigmoid") -> None:
        super().__init__()
        self.squash: Elementwise = torch.sigmoid if squash == "sigmoid" else torch.tanh
        inputs = COLOURS * 5 + 3 + 1
        layers = [Dense(inputs, width), Dense(width, width), Dense(width, 3)]
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(layers[-1].weight)  # the identity
        self.layers = nn.ModuleList(layers)

    def forward(
        self, feature: Tensor, moves: Tensor, level: float, sigmoid: Elementwise = torch.sigmoid
    ) -> Tensor:
        """Change of u, ``[B, 3, h, w]``, from ĉ ``[B, 3, h, w]``, moves and m̂."""
        around = F.pad(feature, (1, 1, 1, 1), mode="replicate")
        sides = [
            around[:, :, 1:-1, :-2],
            around[:, :, 1:-1, 2:],
            around[:, :, :-2, 1:-1],
            around[:, :, 2:, 1:-1],
        ]
        seen = [feature, *(side - feature for side in sides), moves]
        h = torch.cat([*seen, torch.full_like(feature[:, :1], level)], dim=1).flatten(2)
        squash = sigmoid if self.squash is torch.sigmoid else self.squash
        h = squash(self.layers[0](h))
        h = squash(self.layers[1](h))
        return self.layers[2](h).unflatten(2, feature.shape[2:])


class Plasticity(nn.Module):
    """Positions and projected features of all nodes (eq. 8–10): fixed, a free table, or moved by ξ.

    The table has one u per node of a ``TABLE × TABLE`` grid over the picture for every level (the
    ablation "each node is assigned a learnable positional feature"); other sizes interpolate it.
    """

    TABLE = 16

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.kind = config.plasticity
        self.engine = config.engine
        self.steps = config.plasticity_steps
        self.xi = None
        if self.kind == "xi":
            self.xi = Xi(config.plasticity_width, config.plasticity_squash)
        if self.kind == "table":
            self.table = nn.Parameter(torch.zeros(config.levels, 3, self.TABLE, self.TABLE))

    def forward(self, image: Tensor, graph: PyramidGraph) -> Placement:
        """Place the nodes over ``image`` ``[B, 3, H, W]``."""
        projection = projector(self.engine, image)
        integral = projection.integral_image(image)
        levels = [self._place(image, graph, m, projection, integral) for m in range(graph.levels)]
        return Placement(*(list(parts) for parts in zip(*levels, strict=True)))

    def _place(
        self, image: Tensor, graph: PyramidGraph, m: int, projection: Projector, integral: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Positions, moves, features and valid of level m, each as in :class:`Placement`."""
        # Exact to the last bit where that is possible, see positions_after.
        exact = image.device.type == "cpu" and not torch.is_grad_enabled()
        home = home_positions(graph, m, image.double() if exact else image)
        if m == 0:  # eq. 10: a base node is its pixel
            positions = home.expand(len(image), -1, -1, -1).to(image)
            valid = torch.ones_like(image[:, :1], dtype=torch.bool)
            return positions, torch.zeros_like(positions), image, valid
        longer = max(graph.height, graph.width)
        u = torch.zeros_like(home, dtype=image.dtype).expand(len(image), -1, -1, -1)
        if self.kind == "table":
            grid = self.table[m : m + 1]
            u = F.interpolate(grid, home.shape[-2:], mode="bilinear").expand_as(u)
        moves = moved(u, projection.sigmoid)
        positions = positions_after(home, moves, m, longer)
        # Eq. 7 moves a node whose cell overhangs the picture by half, or is larger than that.
        farthest = 2**m * max(max(home.shape[-2:]) - 0.5, 0.5**0.5)
        if self.kind == "table" or farthest > longer:
            feature, valid = projection.project(integral, positions)
        else:
            feature = project_home(integral, m)
            valid = torch.ones_like(feature[:, :1], dtype=torch.bool)
        feature = feature.to(image)
        if self.xi is not None:
            for _ in range(self.steps):  # eq. 8, 9
                level = m / max(graph.levels - 1, 1)
                u = u + self.xi(feature, moves, level, projection.sigmoid)
                moves = moved(u, projection.sigmoid)
                positions = positions_after(home, moves, m, longer)
                feature, valid = projection.project(integral, positions)
                feature = feature.to(image)
        return positions.to(image), moves.to(image), feature, valid


def project_targets(targets: Tensor, positions: list[Tensor], engine: str) -> list[Tensor]:
    """Ground truth ``[B, K, H, W]`` under the nodes of every level, constant in ζ."""
    projection = projector(engine, targets)
    with label("projection and plasticity"):
        integral = projection.integral_image(targets)
        coarse = [projection.project(integral, zeta.detach())[0] for zeta in positions[1:]]
    return [targets, *(mean.to(targets) for mean in coarse)]
