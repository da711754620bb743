"""Outlines of nuclei drawn on a picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from skimage.segmentation import find_boundaries

from ngat.instances import Labels

OUTLINE = (230, 159, 0)  # orange of the Okabe-Ito palette: seen on dark, violet and grey


def outlined(picture: npt.NDArray[np.uint8], labels: Labels) -> npt.NDArray[np.uint8]:
    """The picture ``[H, W, 3]`` with the innermost pixels of every nucleus' edge in colour."""
    drawn = picture.copy()
    drawn[find_boundaries(labels, mode="inner")] = OUTLINE
    return drawn
