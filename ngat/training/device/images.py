"""Images on the device: all pixels of all images in one flat tensor, read at real-valued places.

Images differ in size, so there is no batch of them; but a place in one of them is a number in the
flat tensor, and patches of many images are gathered at once. Every image is held at its own
resolution, at half, a quarter and an eighth of it (a Gaussian pyramid): a patch that is reduced
reads the level just above its own magnification, through the Gaussian filter that is still due. The
outcome is that of :mod:`ngat.training.augment`, which filters at the full resolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ngat.data.contrast import EMPTY, Contrast

LEVELS = 4  # the coarsest is an eighth; no patch is reduced to less than a tenth
BLURRED = 0.8  # patches that are reduced further are filtered (ngat.training.augment)
COPIES = 16  # mirrored copies of an image, by axis, whose nuclei have numbers of their own
TRUNCATE = 2.5  # where a Gaussian filter ends, in standard deviations


class Ready(NamedTuple):
    """An image as it goes to the device.

    Attributes:
        pixels: ``uint8 [H, W, 3]``.
        marked: labels with the core as the lowest bit, ``int32 [H, W]``.
        sizes: √area of every nucleus in pixels, by label.
        ranges: contrast by half octaves of the magnification; empty for networks without.
    """

    pixels: npt.NDArray[np.uint8]
    marked: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.float64]
    ranges: dict[int, Contrast]


class Places(NamedTuple):
    """Where the pixels of B patches lie.

    Attributes:
        which: number of the image, ``[B]``.
        zoom: magnification, ``[B]``.
        y, x: in pixels of the image, which is mirrored at its edge pixels; ``[B, S, S]``.
    """

    which: Tensor
    zoom: Tensor
    y: Tensor
    x: Tensor

    def chosen(self, rows: Tensor) -> Places:
        """Some of the patches."""
        return Places(*(t[rows] for t in self))


class DeviceImages:
    """Pixels, marked labels, sizes of nuclei and contrast of all images.

    Args:
        images: at least one.
        device: where they are held: six bytes a pixel for the image, a third of that for its
            pyramid, and four for the labels.
    """

    def __init__(self, images: Sequence[Ready], device: torch.device) -> None:
        self.device = device
        self.shapes = self._table([image.marked.shape for image in images])
        self._sizes = self._flat([torch.from_numpy(image.sizes).float() for image in images])
        self._marked = self._flat([torch.from_numpy(image.marked).flatten() for image in images])
        self._at_edges = self._flat([torch.from_numpy(at_edges(image)) for image in images])
        levels = [pyramid(torch.from_numpy(image.pixels).to(device)) for image in images]
        self._level_shapes = self._table([[t.shape[1:] for t in found] for found in levels])
        starts = np.cumsum([0] + [t[0].numel() for found in levels for t in found])
        self._level_starts = self._table(starts[:-1].reshape(len(images), LEVELS))
        # Half precision holds grey levels to a sixteenth, and all whole ones exactly.
        self._pixels = torch.cat([t.flatten(1).T.half() for found in levels for t in found])
        self.octaves = sorted({octave for image in images for octave in image.ranges})
        if self.octaves:
            self._place_ranges(images)

    def pictures(self, places: Places, zooms: npt.NDArray[np.float64]) -> Tensor:
        """Filtered and interpolated pixels, in grey levels.

        Args:
            places: of B patches.
            zooms: their magnifications once more, on the host, ``[B]``: what it knows need not be
                waited for.

        Returns:
            ``float32 [B, 3, S, S]``.
        """
        levels = np.array([level_of(zoom) for zoom in zooms], dtype=np.int64)
        remaining = np.minimum(zooms * 2.0**levels, 1.0)
        sigmas = np.where(zooms < BLURRED, 0.5 * np.sqrt(1 / remaining**2 - 1), 0.0)
        radius = int(np.floor(TRUNCATE * sigmas + 0.5).max())
        level = torch.from_numpy(levels).to(self.device)
        sigma = torch.from_numpy(sigmas.astype(np.float32)).to(self.device)
        height, width = self._level_shapes[places.which, level].unbind(1)
        start = self._level_starts[places.which, level][:, None, None]
        y, x = (
            mirrored_at(at, self.shapes[places.which, axis]) / 2.0 ** level[:, None, None]
            for axis, at in enumerate((places.y, places.x))
        )
        rows, row_weights = taps(y, height, sigma, radius)
        columns, column_weights = taps(x, width, sigma, radius)
        total = y.new_zeros(*y.shape, 3)
        for row, of_row in zip(rows, row_weights, strict=True):
            first = start + row * width[:, None, None]
            for column, of_column in zip(columns, column_weights, strict=True):
                weight = (of_row * of_column)[..., None]
                total += weight * self._pixels[first + column].float()
        return total.permute(0, 3, 1, 2)

    def contrasted(self, picture: Tensor, places: Places, octaves: Tensor) -> Tensor:
        """Every channel over its surroundings' range (:class:`ngat.data.contrast.Contrast`).

        Args:
            picture: ``[B, 3, S, S]`` in grey levels.
            octaves: half octaves of the magnification at which contrast is taken, ``[B]``.
        """
        column = octaves - self.octaves[0]
        rows, columns = self._range_shapes[places.which, column].unbind(1)
        start = self._range_starts[places.which, column]
        at = []
        for axis, (position, count) in enumerate(((places.y, rows), (places.x, columns))):
            length = self.shapes[places.which, axis]
            inside = mirrored_at(position, length)
            place = (inside + 0.5) * (count / length)[:, None, None] - 0.5
            place = torch.minimum(place.clamp(min=0), (count - 1)[:, None, None].float())
            first = torch.minimum(place.long(), (count - 2).clamp(min=0)[:, None, None])
            at.append((first, torch.minimum(first + 1, (count - 1)[:, None, None]), place - first))
        ends = torch.zeros_like(picture[:, :1]).permute(0, 2, 3, 1).expand(-1, -1, -1, 6)
        (top, bottom, dy), (left, right, dx) = at
        for row, of_row in ((top, 1 - dy), (bottom, dy)):
            for place, of_column in ((left, 1 - dx), (right, dx)):
                flat = start[:, None, None] + row * columns[:, None, None] + place
                ends = ends + (of_row * of_column)[..., None] * self._ranges[flat]
        low, high = ends.permute(0, 3, 1, 2).split(3, dim=1)
        spread = high - low
        widest = spread.abs().amax(1, keepdim=True)
        seen = (picture - low) / torch.where(spread != 0, spread, 1.0)
        seen = seen.clamp(0, 1)
        full = (spread.abs() >= EMPTY * widest).float()
        mean = (seen * full).sum(1, keepdim=True) / full.sum(1, keepdim=True)
        return torch.where(full > 0, seen, mean)

    def marked(self, places: Places) -> Tensor:
        """Labels with the core as the lowest bit at the nearest pixels, ``int64 [B, S, S]``."""
        tensor, starts = self._marked
        height, width = self.shapes[places.which].unbind(1)
        row = mirrored((places.y + 0.5).floor().long(), height[:, None, None])
        column = mirrored((places.x + 0.5).floor().long(), width[:, None, None])
        first = starts[places.which][:, None, None]
        return tensor[first + row * width[:, None, None] + column].long()

    def sizes(self, index: Tensor, marked: Tensor) -> Tensor:
        """√area of the nuclei that marked labels name, in pixels of the image, ``[B, S, S]``."""
        tensor, starts = self._sizes
        return tensor[starts[index][:, None, None] + marked // 2]

    def numbers(self, places: Places, marked: Tensor) -> Tensor:
        """A number for every nucleus of a patch, 0 on the background, ``int64 [B, S, S]``.

        A mirrored copy of a nucleus is another nucleus, with a number of its own, unless it meets
        its original at the image's edge.
        """
        table, starts = self._at_edges
        meets = table[starts[places.which][:, None, None] + marked // 2]
        number = marked // 2
        for axis, at in enumerate((places.y, places.x)):
            last = (self.shapes[places.which, axis] - 1).clamp(min=1)[:, None, None]
            tile = torch.div((at + 0.5).floor().long(), last, rounding_mode="floor")
            # Tiles 2 k and 2 k + 1 meet at the image's last row, 2 k − 1 and 2 k at its first.
            first_too, last_too = meets[..., axis, 0], meets[..., axis, 1]
            tile = torch.where(
                first_too,
                torch.where(last_too, 0, (tile + 1) >> 1),
                torch.where(last_too, tile >> 1, tile),
            )
            number = number * COPIES + tile.clamp(-COPIES // 2, COPIES // 2 - 1) + COPIES // 2
        return torch.where(marked > 1, number, 0)

    def _place_ranges(self, images: Sequence[Ready]) -> None:
        first, last = self.octaves[0], self.octaves[-1]
        shapes = np.ones((len(images), last - first + 1, 2), dtype=np.int64)
        starts = np.zeros(shapes.shape[:2], dtype=np.int64)
        parts, total = [], 0
        for i, image in enumerate(images):
            for octave, found in image.ranges.items():
                shapes[i, octave - first] = found.low.shape[:2]
                starts[i, octave - first] = total
                both = np.concatenate([found.low, found.high], axis=2).reshape(-1, 6)
                parts.append(both.astype(np.float32))
                total += len(both)
        self._range_shapes, self._range_starts = self._table(shapes), self._table(starts)
        self._ranges = torch.from_numpy(np.concatenate(parts)).to(self.device)

    def _table(self, values: object) -> Tensor:
        return torch.as_tensor(np.asarray(values, dtype=np.int64), device=self.device)

    def _flat(self, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """All parts in one tensor, and where each of them begins."""
        starts = np.cumsum([0] + [len(part) for part in parts])[:-1]
        return torch.cat([*parts]).to(self.device), self._table(starts)


def at_edges(image: Ready) -> npt.NDArray[np.bool_]:
    """Whether nuclei reach the first and the last row and column, by label: ``[N + 1, 2, 2]``."""
    labels = image.marked // 2
    found = np.zeros((len(image.sizes), 2, 2), dtype=bool)
    for axis in (0, 1):
        for end in (0, -1):
            found[np.unique(labels.take(end, axis)), axis, end] = True
    return found


def level_of(zoom: float) -> int:
    """Level of the pyramid that a patch of this magnification reads: the last not below it."""
    return min(max(math.floor(-math.log2(zoom) + 1e-6), 0), LEVELS - 1)


def pyramid(pixels: Tensor) -> list[Tensor]:
    """An image ``[H, W, 3]`` at its own resolution, a half, a quarter and an eighth of it.

    Every second pixel of a level, after the filter that :mod:`ngat.training.augment` gives to a
    patch at half the magnification. A pixel of level l lies at 2^l times its row and column.
    """
    levels = [pixels.permute(2, 0, 1).float()]
    sigma = levels[0].new_tensor([0.5 * math.sqrt(3)])
    for _ in range(1, LEVELS):
        below = levels[-1]
        for axis in (1, 2):
            length = below.shape[axis]
            even = torch.arange(0, length, 2, device=below.device)
            places, weights = taps(even[None].float(), even.new_tensor([length]), sigma, 2)
            shape = (1, -1, 1) if axis == 1 else (1, 1, -1)
            below = torch.stack(
                [
                    weight[0].view(shape) * below.index_select(axis, place[0])
                    for place, weight in zip(places, weights, strict=True)
                ]
            ).sum(0)
        levels.append(below)
    return levels


def taps(
    at: Tensor, length: Tensor, sigma: Tensor, largest: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Pixels of one axis and their weights: a Gaussian filter, then linear interpolation.

    Args:
        at: real-valued places in pixels, ``[B, …]``.
        length: of the axis, by which it is mirrored, ``[B]``.
        sigma: standard deviation of the filter in pixels, 0 for none, ``[B]``.
        largest: radius R of the widest filter.

    Returns:
        indices and weights of 2 R + 2 pixels, each like ``at``.
    """
    more = (-1,) + (1,) * (at.ndim - 1)
    radius = (TRUNCATE * sigma + 0.5).floor()
    offsets = torch.arange(-largest, largest + 1, device=at.device)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3)[:, None]) ** 2)
    kernel = torch.where(offsets.abs() <= radius[:, None], kernel, 0.0)
    kernel = F.pad(kernel / kernel.sum(1, keepdim=True), (1, 1))
    first = at.floor()
    share = at - first
    places, weights = [], []
    for n in range(2 * largest + 2):
        places.append(mirrored(first.long() + (n - largest), length.view(more)))
        weights.append((1 - share) * kernel[:, n + 1].view(more) + share * kernel[:, n].view(more))
    return places, weights


def mirrored(index: Tensor, length: Tensor) -> Tensor:
    """Whole places of an axis that is mirrored about its end pixels."""
    period = (2 * (length - 1)).clamp(min=1)
    index = index % period
    return torch.where(length > 1, torch.minimum(index, period - index), torch.zeros_like(index))


def mirrored_at(at: Tensor, length: Tensor) -> Tensor:
    """The same for real-valued places ``[B, S, S]``; ``length`` is ``[B]``."""
    last = (length - 1).to(at.dtype)[:, None, None]
    at = at % (2 * last).clamp(min=1)
    return torch.minimum(torch.minimum(at, 2 * last - at).clamp(min=0), last)
