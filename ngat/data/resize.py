"""Planes at another size, whose parts are resized to the numbers of the whole, and labels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ngat.data import Sample

if TYPE_CHECKING:
    from torch import Tensor

Labels = npt.NDArray[np.int32]


# How far Lanczos' kernel reaches, in pixels of what is enlarged.
LOBES = 3


def resized(planes: Tensor, height: int, width: int) -> Tensor:
    """Planes at another size: bilinear, where they shrink over all that a pixel then covers.

    As torch's own with ``antialias``, but that a part whose sides are whole multiples of the same
    fraction is resized to the very numbers of the whole, away from its edges.

    Args:
        planes: ``[B, C, H, W]`` in float32.

    Returns:
        ``[B, C, height, width]``.
    """
    return _resized(planes, height, width, lanczos=False)


def resized_picture(planes: Tensor, height: int, width: int) -> Tensor:
    """Pixels in [0, 1] at another size: as :func:`resized`, but enlarged by Lanczos' kernel.

    The outlines of small nuclei stay sharp, where bilinear interpolation blurs them.
    """
    same = planes.shape[2:] == (height, width)
    return planes if same else _resized(planes, height, width, lanczos=True).clamp(0, 1)


def _resized(planes: Tensor, height: int, width: int, *, lanczos: bool) -> Tensor:
    if planes.shape[2] != height:
        planes = _rows(planes, height, lanczos)
    if planes.shape[3] != width:
        planes = _rows(planes.mT.contiguous(), width, lanczos).mT.contiguous()
    return planes


def resized_labels(labels: Labels, height: int, width: int) -> Labels:
    """Labels at another size: a pixel has the label of which it holds most, see :func:`resized`.

    To take one pixel of each block would shift all nuclei by half a pixel of the larger picture.

    Args:
        labels: ``[H, W]``, 0 is background.

    Returns:
        ``[height, width]``, of the same type. A nucleus that nowhere has most of a pixel is gone.
    """
    down, across = shares(labels.shape[0], height), shares(labels.shape[1], width)
    most = down @ (labels == 0) @ across.T
    found = np.zeros_like(labels, shape=(height, width))
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            y, x = down[:, box[0]], across[:, box[1]]
            rows, columns = y.any(axis=1), x.any(axis=1)
            there = np.ix_(rows, columns)
            share = y[rows] @ (labels[box] == label) @ x[columns].T
            found[there] = np.where(share > most[there], label, found[there])
            most[there] = np.maximum(share, most[there])
    return found


def resized_sample(sample: Sample, factor: float) -> Sample:
    """A picture and its annotation at another magnification."""
    # Which takes a while to load, and only studies ask for.
    from skimage.transform import resize

    height, width = (max(1, round(side * factor)) for side in sample.labels.shape)
    image = resize(
        sample.image.astype(np.float64), (height, width), order=1, anti_aliasing=factor < 1
    )
    labels = resized_labels(sample.labels, height, width)
    return replace(sample, image=np.rint(image).astype(np.uint8), labels=labels)


def shares(before: int, after: int, *, lanczos: bool = False) -> npt.NDArray[np.float64]:
    """How much of each pixel of a line is in each of its resized copy, ``[after, before]``.

    Args:
        before, after: lengths.
        lanczos: enlarge as :func:`resized_picture`, instead of as :func:`resized`.
    """
    found = np.zeros((after, before))
    for places, weights in zip(*_taps(before, after, lanczos), strict=True):
        np.add.at(found, (np.arange(after), places), weights)
    return found


def _rows(planes: Tensor, length: int, lanczos: bool, band: int = 32) -> Tensor:
    """Planes with so many rows, a band at a time, which stays in a core's cache."""
    # Here, since StarDist's environment (peers/) has no torch and uses the rest of this module.
    import torch

    places, shares = _taps(planes.shape[2], length, lanczos)
    index = torch.from_numpy(places).to(planes.device)
    weights = torch.from_numpy(shares).to(planes)[:, :, None]
    found = planes.new_zeros(*planes.shape[:2], length, planes.shape[3])
    for at in range(0, length, band):
        rows = slice(at, at + band)
        for i, weight in zip(index, weights, strict=True):
            found[:, :, rows] += planes.index_select(2, i[rows]).mul_(weight[rows])
    return found


def _taps(
    before: int, after: int, lanczos: bool = False
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Which pixels of a line, and how much of each, make those of its resized copy: ``[T, after]``.

    Places are fractions of whole numbers, which do not depend on how far along the line they lie.
    """
    common = math.gcd(before, after)
    p, q = before // common, after // common
    # The middle of pixel i of the copy lies at (2i + 1) p / 2q of the line.
    whole, rest = np.divmod((2 * np.arange(after) + 1) * p, 2 * q)
    enlarged = lanczos and p < q
    reach = LOBES if enlarged else max(1.0, p / q)
    steps = np.arange(-math.ceil(reach) - 1, math.ceil(reach) + 2)[:, None]
    index = whole + steps
    away = np.abs(steps + 0.5 - rest / (2 * q)) / reach
    weights = np.maximum(0.0, 1 - away)
    if enlarged:
        weights = np.where(away < 1, np.sinc(LOBES * away) * np.sinc(away), 0.0)
    weights[(index < 0) | (index >= before)] = 0
    used = weights.any(axis=1)
    weights = weights[used] / weights[used].sum(axis=0)
    return np.clip(index[used], 0, before - 1), weights
