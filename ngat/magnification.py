"""Magnification: how large a nucleus is, and how an image is resized so that it is seen well.

A network sees nuclei best at the size that it was trained for. The size of a nucleus is √area, in
pixels; of an image, the median over its nuclei. Training resizes every patch so that this size
falls near :data:`SIZE`. A third output of the network tells, at every node, the size of the nucleus
that covers it, on a logarithmic scale: the paper's z, "the relevant magnification" (section 3.2),
as something that is learnt and can be read off. Both go beyond the paper (L28, L29).

An image is looked at from afar first, reduced sixteen times, then at twice that and so on. Each
look says how large nuclei are and how sure it is of them; the look that has most evidence of nuclei
near :data:`SIZE` decides. Summed over the nuclei of a look, that is

    √share · sureness⁴ · min(contrast / 0.2, 1)² · fit · magnification^0.1

as :class:`Seen` explains. A part of the image may ask for another one (:mod:`ngat.parts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.floating]

# √area, in pixels, at which a nucleus is seen best.
SIZE = 20.0
# What the size output spans, in octaves round SIZE: 1.8 to 226 pixels.
OCTAVES = 7.0
# Magnifications of the looks; the last two only where the others saw small nuclei, or none.
FAR = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
NEAR = (2.0, 4.0)
# An image is not looked at with fewer pixels than this along its longer side.
SHORTEST = 24
# How far an image is reduced or enlarged.
LIMITS = (1 / 20, 4.0)
# Nuclei this many octaves from SIZE are seen half as well as those of that size.
WIDTH = 1.0
# How the evidence of a look is weighed, chosen on validation images at five magnifications, and
# enlarged with texture and debris added. A nucleus counts by the root of its share of the image,
# between one for each and its area; by how sure it is and by its contrast, to powers that set the
# nuclei of the right look above what a wrong one makes of noise and texture; and a finer look
# counts for a little more than a coarse one, where everything is a blob. More contrast than ENOUGH
# says nothing: debris is brighter than nuclei.
SHARE_POWER, SURENESS_POWER, CONTRAST_POWER, FINER_POWER, ENOUGH = 0.5, 4.0, 2.0, 0.1, 0.2
# Contrast is the distance from the mean of a window of so many pixels.
AROUND = 41
# Smaller components (pixels) of a look are no nuclei. Nor is what fills so large a share of the
# image, as a whole embryo does, which looks like one from afar: no nucleus that was trained on
# fills more than .09.
SPECK, LARGEST = 6, 0.5


def areas_of(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Area of every label in pixels, the background's set to zero."""
    areas = np.bincount(labels.ravel(), minlength=1)
    areas[0] = 0
    return areas


def size_of(labels: npt.NDArray[np.integer]) -> float:
    """Median √area of the nuclei in pixels; :data:`SIZE` where there are none."""
    areas = areas_of(labels)
    present = areas[areas > 0]
    return float(np.sqrt(np.median(present))) if len(present) else SIZE


def encode(size: Floats) -> npt.NDArray[np.float32]:
    """Sizes in pixels as targets in [0, 1]; one half is :data:`SIZE`."""
    octaves = np.log2(np.maximum(size, 1e-3) / SIZE)
    return np.clip(0.5 + octaves / OCTAVES, 0.0, 1.0).astype(np.float32)


def decode(target: Floats) -> Floats:
    """The inverse of :func:`encode`."""
    return SIZE * np.exp2(OCTAVES * (target - 0.5))


class Seen(NamedTuple):
    """The nuclei that a look at an image found, one entry per nucleus.

    Attributes:
        magnification: of the look.
        sizes: √area in pixels at that magnification, as the size output tells it.
        sureness: mean of 2p − 1 over a nucleus, 0 to 1.
        shares: areas as shares of the image.
        contrast: mean distance of the grey level from that of its surroundings, 0 to 1.
        places: rows and columns of the middles, in pixels of the image, ``[n, 2]``.
        counts: how much each nucleus counts, for a look at a part of the image; 1 of the whole.
    """

    magnification: float
    sizes: Floats
    sureness: Floats
    shares: Floats
    contrast: Floats
    places: Floats
    counts: Floats | float = 1.0

    @property
    def weights(self) -> Floats:
        """The evidence of each nucleus, ``[n]``."""
        sure = np.clip(self.sureness, 0.0, 1.0) ** SURENESS_POWER
        clear = np.minimum(self.contrast / ENOUGH, 1.0) ** CONTRAST_POWER
        share = self.shares**SHARE_POWER
        finer = self.magnification**FINER_POWER
        return np.asarray(self.counts * share * sure * clear * self.fit * finer)

    @property
    def evidence(self) -> float:
        """How much a look has of sharp nuclei of the right size; 0 where it has no nuclei."""
        return float(self.weights.sum())

    @property
    def fit(self) -> Floats:
        """How well a nucleus of this size is seen, 0 to 1."""
        return fit(self.sizes)

    @property
    def wanted(self) -> float:
        """The magnification at which the median nucleus has the size :data:`SIZE`.

        Nuclei count by sureness and fit. There has to be evidence of one.
        """
        order = np.argsort(self.sizes)
        weight = np.cumsum((self.counts * self.sureness * self.fit)[order])
        median = self.sizes[order][np.searchsorted(weight, weight[-1] / 2)]
        return float(np.clip(self.magnification * SIZE / median, *LIMITS))

    def near(self, row: float, column: float, reach: float) -> Seen:
        """The look at a part of the image; nuclei count less, the farther they are from it.

        Args:
            row, column: of its middle, in pixels of the image.
            reach: standard deviation; beyond twice as much they do not count.
        """
        away = ((self.places - (row, column)) ** 2).sum(axis=1) / reach**2
        return self._replace(counts=np.where(away < 4, np.exp(-0.5 * away), 0.0))


def fit(sizes: Floats) -> Floats:
    """How well nuclei of these sizes are seen, 0 to 1."""
    return np.asarray(np.exp2(-((np.log2(sizes / SIZE) / WIDTH) ** 2)))


def seen(values: Floats, magnification: float) -> Seen:
    """The nuclei in a look.

    Args:
        values: ``[4, h, w]``: probability of nucleus, of core, encoded size, and the grey level of
            the image, whose range is one.
        magnification: of the look.
    """
    mask = values[0] > 0.5
    labels, count = ndimage.label(mask)
    area = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    kept = (area >= SPECK) & (area < LARGEST * mask.size)
    index = np.arange(1, count + 1)[kept]
    grey = values[3] - ndimage.uniform_filter(values[3], AROUND, mode="nearest")
    # A component may hold several touching nuclei: the mean of what its nodes say, not its area.
    means = (
        np.asarray(ndimage.mean(plane, labels, index)).reshape(-1)
        for plane in (values[2], 2 * values[0] - 1, np.abs(grey))
    )
    size, sureness, contrast = means
    middles = np.asarray(ndimage.center_of_mass(mask, labels, index)).reshape(-1, 2)
    return Seen(
        magnification,
        decode(size),
        sureness,
        area[kept] / mask.size,
        np.clip(contrast, 1e-3, 1.0),
        (middles + 0.5) / magnification,
    )


def best_magnification(
    look: Callable[[float], Floats], height: int, width: int
) -> tuple[float, list[Seen]]:
    """The magnification that suits the nuclei of an image, and the looks at it.

    Args:
        look: what the network says of the image at a magnification, ``[4, h, w]`` as :func:`seen`
            takes it.
        height, width: of the image in pixels.

    Returns:
        1 where no look has evidence of a nucleus; and all looks.
    """
    looks: list[Seen] = []

    def take(factors: Iterable[float]) -> None:
        for factor in factors:
            if factor >= 1 or factor * max(height, width) >= SHORTEST:
                looks.append(seen(look(factor), factor))

    take(FAR)
    best = strongest(looks)
    for factor in NEAR:
        if best.evidence > 0 and best.wanted < 0.75 * factor:
            break
        take([factor])
        best = strongest(looks)
    return (best.wanted if best.evidence > 0 else 1.0), looks


def strongest(looks: Sequence[Seen]) -> Seen:
    """The look that has most evidence."""
    return max(looks, key=lambda look: look.evidence)
