"""Projection of the picture into the nodes (section 3.2, equation 5, figure 3).

An equilateral pyramid with its apex at the node stands on the picture; the node's feature is the
mean colour of the pixels that its base covers. A node at ζ = (x, y, z), in units of the picture's
longer side L, covers the box [x ± z/√2] × [y ± z/√2], since a pyramid whose edges are all equal
has a base of side √2·z.

The mean over a box with fractional edges is exact: pixels are constant over their unit square, so
the integral of the picture from the corner to (x, y) is bilinear between the entries of the
integral image, and four look-ups give the integral over a box. The cost does not depend on the
height z, and the derivative in (x, y, z) comes with it. Base nodes are pixels and need none of it.
How the paper is read here: L3, L4.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ngat.attention import find_engine
from ngat.graph import PyramidGraph

# A projection needs at least this many pixels inside the picture (section 3.2).
MIN_VALID_PIXELS = 1.0


def integral_image(pixels: Tensor) -> Tensor:
    """Integral of a picture from its corner, ``[B, C, H, W]`` → ``[B, C, H + 1, W + 1]``.

    It is float64 whatever the picture is: in float32, the difference of two large sums leaves a
    1-pixel box of a 1024 × 1024 picture wrong by a tenth.
    """
    return F.pad(pixels.double().cumsum(-1).cumsum(-2), (1, 0, 1, 0))


def home_positions(graph: PyramidGraph, level: int, like: Tensor) -> Tensor:
    """Home ζ of a level as a tensor ``[1, 3, H_m, W_m]`` with the dtype and device of ``like``."""
    if like.device.type == "cpu":
        return torch.from_numpy(graph.home(level)).to(like)[None]
    return _home_on(graph, level, like.dtype, like.device)


@lru_cache(maxsize=16)
def _home_on(graph: PyramidGraph, level: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Copied once: a GPU that is sent numbers at every step waits, and cannot record the step."""
    with torch.inference_mode(False):
        return torch.from_numpy(graph.home(level)).to(device, dtype)[None]


def footprints(positions: Tensor, height: int, width: int) -> tuple[Tensor, ...]:
    """Bases of the nodes' pyramids in pixels: (left, right, top, bottom), each ``[B, h, w]``.

    Args:
        positions: ζ, ``[B, 3, h, w]``, in units of the picture's longer side.
    """
    x, y, z = (positions.double() * max(height, width)).unbind(1)
    half = z / 2**0.5
    return x - half, x + half, y - half, y + half


def project(integral: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the pixels under each node's pyramid (eq. 5), exact and differentiable in ζ.

    What lies outside the picture does not count. Where fewer than :data:`MIN_VALID_PIXELS` lie
    inside, the node is invalid and its mean is zero.

    Args:
        integral: from :func:`integral_image`, ``[B, C, H + 1, W + 1]``.
        positions: ζ, ``[B, 3, h, w]``; a batch of 1 serves all pictures.

    Returns:
        mean ``[B, C, h, w]`` float64, and valid ``[B, 1, h, w]`` bool.
    """
    batch, _, height, width = integral.shape
    height, width = height - 1, width - 1
    positions = positions.expand(batch, -1, -1, -1)
    left, right, top, bottom = footprints(positions, height, width)
    left, right = left.clamp(0, width), right.clamp(0, width)
    top, bottom = top.clamp(0, height), bottom.clamp(0, height)

    total = sums(
        integral,
        torch.stack([right, left, right, left], dim=1),
        torch.stack([bottom, bottom, top, top], dim=1),
    )
    total = total[:, :, 0] - total[:, :, 1] - total[:, :, 2] + total[:, :, 3]
    area = ((right - left) * (bottom - top))[:, None]
    valid = ~(area < MIN_VALID_PIXELS * (1 - 1e-9))  # NaN counts, and stays NaN
    return torch.where(valid, total / area.clamp(min=1e-9), 0.0), valid


def sums(integral: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The integral from a picture's corner to (x, y), bilinear between its entries.

    On an entry the derivative jumps, and there cells at home have their edges. It is that to the
    right and below, by every engine.

    Args:
        integral: ``[B, C, H + 1, W + 1]``.
        x, y: ``[B, ...]``, 0 to W and to H. NaN gives NaN.

    Returns:
        ``[B, C, ...]``.
    """
    height, width = integral.shape[2] - 1, integral.shape[3] - 1
    i = x.detach().nan_to_num().long().clamp(max=width - 1)
    j = y.detach().nan_to_num().long().clamp(max=height - 1)
    u, v = (x - i)[:, None], (y - j)[:, None]
    entries = integral.flatten(2)
    at = (j * (width + 1) + i).flatten(1)[:, None].expand(-1, entries.shape[1], -1)
    a, b, c, d = (
        entries.gather(2, at + step).unflatten(2, x.shape[1:])
        for step in (0, 1, width + 1, width + 2)
    )
    return torch.lerp(torch.lerp(a, b, u), torch.lerp(c, d, u), v)


def project_home(integral: Tensor, level: int) -> Tensor:
    """:func:`project` for a level's nodes at home, whose pyramids cover just their 2^m × 2^m cells.

    There the mean over pixels is that over the base nodes which lie nearest to the node (eq. 11).
    Edges of cells fall on entries of the integral image: nothing is looked up between them.

    Args:
        integral: from :func:`integral_image`, ``[B, C, H + 1, W + 1]``.

    Returns:
        mean ``[B, C, H_m, W_m]`` float64; every cell has a pixel, so that all are valid.
    """
    sides = []
    for n in integral.shape[-2:]:
        edges = torch.arange(0, n - 1 + 2**level, 2**level, device=integral.device)
        sides.append(edges.clamp(max=n - 1))
    at_edges = integral[:, :, sides[0][:, None], sides[1]]
    area = torch.outer(*(edges.diff() for edges in sides))
    return at_edges.diff(dim=-2).diff(dim=-1) / area


class Projector(NamedTuple):
    """:func:`integral_image`, :func:`project` and σ, as an engine does them.

    The mean may be of the positions' type. By a fast engine, no gradient reaches the picture.
    """

    integral_image: Callable[[Tensor], Tensor]
    project: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    sigmoid: Callable[[Tensor], Tensor]


def projector(engine: str, like: Tensor) -> Projector:
    """The projection of this engine for pictures such as ``like``.

    Raises:
        InputError, MissingDependency: as :func:`ngat.attention.find_engine`.
    """
    found = find_engine(engine, like)
    fast: Projector | None = None if like.requires_grad else found.projection
    return Projector(integral_image, project, found.sigmoid) if fast is None else fast
