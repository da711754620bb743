"""The picture as the nodes see it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from ngat.graph import PyramidGraph
from ngat.projection import home_positions, integral_image, project

Picture = npt.NDArray[np.float64]  # [H, W, 3] in [0, 1]


def tensor(picture: Picture) -> torch.Tensor:
    """``[H, W, 3]`` as ``float64 [1, 3, H, W]``."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(picture, 2, 0), np.float64))[None]


def levels(picture: Picture, graph: PyramidGraph) -> list[Picture]:
    """Projected colour of every node at home (eq. 5), one ``[H_m, W_m, 3]`` per level."""
    pixels = tensor(picture)
    integral = integral_image(pixels)
    seen = [picture]
    for m in range(1, graph.levels):
        mean, _ = project(integral, home_positions(graph, m, pixels))
        seen.append(np.moveaxis(mean[0].numpy(), 0, 2))
    return seen


def crowded(labels: npt.NDArray[np.int32], side: int) -> tuple[int, int]:
    """Top and left of the square cut-out that is most evenly half nucleus, half ground.

    Args:
        labels: ``[H, W]``, both sides at least ``side``.
    """
    share = ndimage.uniform_filter((labels > 0).astype(np.float64), side)
    inside = [slice(side // 2, n - (side - 1) // 2) for n in labels.shape]
    uneven = np.abs(share[inside[0], inside[1]] - 0.5)
    top, left = np.unravel_index(int(uneven.argmin()), uneven.shape)
    return int(top), int(left)


def seen_from(picture: Picture, position: tuple[float, float, float]) -> tuple[Picture, float]:
    """Colour ``[3]`` that a node at ζ = (x, y, z) sees, and how many pixels lie under its pyramid.

    The colour is zero where fewer than one pixel does. Units of ζ: the picture's longer side.
    """
    zeta = torch.tensor(position, dtype=torch.float64).reshape(1, 3, 1, 1)
    mean, _ = project(integral_image(tensor(picture)), zeta)
    rows, columns = overlaps(picture.shape[0], picture.shape[1], position)
    return mean[0, :, 0, 0].numpy(), float(rows.sum() * columns.sum())


def mean_by_counting(picture: Picture, position: tuple[float, float, float]) -> Picture:
    """Eq. 5 pixel by pixel, each weighted by the part of it that the base covers, ``[3]``."""
    rows, columns = overlaps(picture.shape[0], picture.shape[1], position)
    covered = np.outer(rows, columns)
    mean: Picture = (covered[:, :, None] * picture).sum((0, 1)) / covered.sum()
    return mean


def overlaps(
    height: int, width: int, position: tuple[float, float, float]
) -> tuple[Picture, Picture]:
    """How much of every row and of every column of pixels a node's base covers."""
    x, y, z = (value * max(height, width) for value in position)
    half = z / np.sqrt(2.0)

    def along(length: int, centre: float) -> Picture:
        edges = np.clip(np.arange(length + 1), centre - half, centre + half)
        return np.diff(edges)

    return along(height, y), along(width, x)
