"""The losses (section 3.6, equations 22–25, figure 8).

Targets are soft: a coarse node's is the share of nucleus among the pixels it covers. For such a
target y, the focal loss below is the mean of eq. 23 over those pixels.

The balanced loss (eq. 25) weighs a node by the field of eq. 24. That is a vector and the loss needs
a scalar: the default takes its norm, with x and y measured inside the node's home cell. The loss is
averaged within a level before the levels are weighted, so that the many base nodes do not outweigh
the few coarse ones. Weights fall with m: "weighted higher for high levels of resolution". How the
paper is read here: L6, L13–L15; nuclei that touch count more (L30). No loss is computed in half
precision, whose eight bits are too few.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ngat.config import LossConfig
from ngat.model import Output
from ngat.system.precision import exact

NEARLY = 2  # pixels within which two nuclei nearly touch


def binary_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """−(y log ŷ + (1 − y) log(1 − ŷ)) per node (eq. 22)."""
    logits = exact(logits)
    return F.binary_cross_entropy_with_logits(logits, y.to(logits), reduction="none")


def focal_loss(logits: Tensor, y: Tensor, gamma: float, alpha: float) -> Tensor:
    """−α_t (1 − p_t)^γ log(p_t) per node (eq. 23); α_t is α for nuclei, 1 − α for background.

    With s(x) = softplus(x) = −log σ(−x), a nucleus has (1 − p)^γ = exp(−γ s(x)) and −log p = s(−x).
    As a power of 1 − p it would have an infinite slope at p = 1, which float32 reaches at x = 17.
    """
    logits = exact(logits)
    y = y.to(logits)
    nucleus_missed, nucleus_found = F.softplus(-logits), F.softplus(logits)
    nucleus = alpha * torch.exp(-gamma * nucleus_found) * nucleus_missed
    background = (1 - alpha) * torch.exp(-gamma * nucleus_missed) * nucleus_found
    return y * nucleus + (1 - y) * background


def field(x: Tensor, y: Tensor, z: Tensor, reading: str = "norm") -> Tensor:
    """Scalar readings of ζ(n) (eq. 24) from coordinates in [0, 1].

    The norm is √(sin²πy + z² cos²πy), since cos²πx + sin²πx = 1: it does not depend on x, is one in
    the middle row of the cell and z at its upper and lower edge. The sum can be negative.

    Args:
        x, y, z: of one shape.
        reading: ``sum`` of the three components, or else their norm.
    """
    zeta_x = torch.cos(torch.pi * x) * torch.sin(torch.pi * y)
    zeta_y = torch.sin(torch.pi * x) * torch.sin(torch.pi * y)
    zeta_z = z * torch.cos(torch.pi * y)
    if reading == "sum":
        return zeta_x + zeta_y + zeta_z
    return torch.sqrt(zeta_x**2 + zeta_y**2 + zeta_z**2)


def field_of(output: Output, level: int, reading: str) -> Tensor:
    """The field at a level's nodes, ``[B, 1, H_m, W_m]``; no gradient flows through it.

    With a gradient, nodes would move to where their mistakes do not count.

    Args:
        reading: ``norm`` or ``sum`` of eq. 24 inside the node's home cell, ``patch`` for the norm
            over the picture, or ``none`` for ones.
    """
    positions, moves = output.positions[level].detach(), output.moves[level].detach()
    z = positions[:, 2:]
    if reading == "none":
        return torch.ones_like(z)
    if reading == "patch":
        height, width = output.positions[0].shape[-2:]
        longer = max(height, width)  # the unit of positions
        return field(positions[:, :1] * longer / width, positions[:, 1:2] * longer / height, z)
    return field(0.5 + moves[:, :1], 0.5 + moves[:, 1:2], z, reading)


def size_loss(logits: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of the size output, where there are nuclei; a scalar.

    Args:
        logits: ``[B, 1, H, W]``.
        y: targets ``[B, 3, H, W]``. The third channel is the encoded size times the first, so that
            a coarse node's is the mean over the nuclei that it covers.
        weight: of the nodes, ``[B, 1, H, W]``.
    """
    nucleus = y[:, :1]
    size = (y[:, 2:] / nucleus.clamp(min=1e-3)).clamp(0, 1)
    nodes = binary_cross_entropy(logits, size) - binary_cross_entropy(
        torch.logit(size, eps=1e-4), size
    )
    weight = weight * nucleus
    return (nodes * weight).sum() / weight.sum().clamp(min=1)


def contacts(numbers: Tensor) -> Tensor:
    """Where two nuclei meet or nearly do: both lie within :data:`NEARLY` pixels, row and column.

    Most mistakes are touching nuclei that become one, yet few nodes lie between two nuclei. To
    weigh them more is the border weight of Ronneberger et al. (2015), with a step for a Gaussian.

    Args:
        numbers: of the nuclei at the base nodes, 0 on the background, ``[B, 1, H, W]``.

    Returns:
        ``bool [B, 1, H, W]``.
    """
    side = 2 * NEARLY + 1
    numbers = numbers.float()
    largest = F.max_pool2d(torch.where(numbers > 0, numbers, -torch.inf), side, 1, NEARLY)
    smallest = -F.max_pool2d(torch.where(numbers > 0, -numbers, -torch.inf), side, 1, NEARLY)
    return largest > smallest


def level_loss(
    output: Output, level: int, config: LossConfig, numbers: Tensor | None = None
) -> Tensor:
    """Mean loss of a level's valid nodes, its channels weighed against one another; a scalar.

    Args:
        output, numbers: as in :func:`loss_of`.
        level: m; numbers count on level 0 alone.
    """
    assert output.targets is not None, "the loss needs targets: call the model with them"
    logits, y = output.logits[level], output.targets[level]
    valid = output.valid[level].to(logits.dtype)
    weight = valid
    if config.kind == "balanced":
        weight = weight * field_of(output, level, config.field)
    if level == 0 and config.contact and numbers is not None:
        weight = weight * (1 + config.contact * contacts(numbers).to(weight))
    if config.kind == "bce":
        nodes = binary_cross_entropy(logits[:, :2], y[:, :2])
    else:
        nodes = focal_loss(logits[:, :2], y[:, :2], config.gamma, config.alpha)
    channels = list(((nodes * weight).sum((0, 2, 3)) / valid.sum().clamp(min=1)).unbind())
    if logits.shape[1] > 2:
        channels.append(size_loss(logits[:, 2:], y, weight))
    weights = [1.0, config.core_weight, config.size_weight][: len(channels)]
    weighed = (w * channel for w, channel in zip(weights, channels, strict=True))
    return sum(weighed, logits.new_zeros(())) / sum(weights)


def loss_of(
    output: Output, config: LossConfig, numbers: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    """The loss of a batch, and what each level contributes before its weight.

    ``bce`` and ``focal`` use the base nodes alone, as section 3.6 says of them; ``balanced`` is
    eq. 25 over all levels.

    Args:
        output: of a forward pass with targets.
        numbers: of the nuclei at the base nodes, ``[B, 1, H, W]``; without them no node counts
            more for lying between two nuclei.

    Returns:
        a scalar, and the mean loss of every level.
    """
    levels = range(len(output.logits)) if config.kind == "balanced" else range(1)
    per_level = [level_loss(output, m, config, numbers) for m in levels]
    decay = [config.level_decay**m for m in levels]
    total = sum(w * level for w, level in zip(decay, per_level, strict=True)) / sum(decay)
    assert isinstance(total, Tensor)
    return total, [level.detach() for level in per_level]
