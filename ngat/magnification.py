"""Magnification: how large a nucleus is, and how an image is resized so that it is seen well.

A network sees nuclei best at the size that it was trained for. The size of a nucleus is √area, in
pixels; of an image, the median over its nuclei. Training resizes every patch so that this size
falls near :data:`SIZE`. A third output of the network tells, at every node, the size of the nucleus
that covers it, on a logarithmic scale: the paper's z, "the relevant magnification" (section 3.2),
as something that is learnt and can be read off.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# √area, in pixels, at which a nucleus is seen best.
SIZE = 20.0
# What the size output spans, in octaves round SIZE: 1.8 to 226 pixels.
OCTAVES = 7.0


def size_of(labels: npt.NDArray[np.integer]) -> float:
    """Median √area of the nuclei in pixels; :data:`SIZE` where there are none."""
    areas = areas_of(labels)
    present = areas[areas > 0]
    return float(np.sqrt(np.median(present))) if len(present) else SIZE


def areas_of(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Area of every label in pixels, the background's set to zero."""
    areas = np.bincount(labels.ravel(), minlength=1)
    areas[0] = 0
    return areas


def encode(size: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Sizes in pixels as targets in [0, 1]; one half is :data:`SIZE`."""
    octaves = np.log2(np.maximum(size, 1e-3) / SIZE)
    return np.clip(0.5 + octaves / OCTAVES, 0.0, 1.0).astype(np.float32)


def decode(target: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The inverse of :func:`encode`."""
    return SIZE * np.exp2(OCTAVES * (target - 0.5))
