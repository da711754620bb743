"""The floor: what a threshold alone finds, with nothing learned.

Every method that claims to have learned something must score above this.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.color import rgb2gray
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu

from ngat.errors import InputError
from ngat.instances import MIN_AREA, Labels, components, split


def otsu_mask(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Foreground by Otsu's threshold on the luminance, smoothed by a Gaussian of one pixel.

    Which side is nuclei, the dark or the bright one? The picture's border is mostly background, so
    the side with the larger share of the border is background (on a tie the dark side is).

    Args:
        image: ``uint8 [H, W, 3]``.

    Returns:
        ``bool [H, W]``; nothing is foreground in a picture of one colour.

    Raises:
        InputError: the picture is not ``[H, W, 3]``.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"a picture has height, width and three colours, not {image.shape}.")
    grey = gaussian(rgb2gray(image), 1.0, mode="nearest")
    if np.ptp(grey) < 1e-6:
        return np.zeros(grey.shape, dtype=bool)
    bright = grey > threshold_otsu(grey)
    border = np.concatenate([bright[0], bright[-1], bright[1:-1, 0], bright[1:-1, -1]])
    return ~bright if border.mean() > 0.5 else bright


def otsu(image: npt.NDArray[np.uint8]) -> Labels:
    """Connected components of :func:`otsu_mask`, small holes filled: ``int32 [H, W]``."""
    mask = otsu_mask(image)
    background, _ = ndimage.label(~mask)
    small = np.bincount(background.ravel()) <= MIN_AREA
    small[0] = False  # the mask itself
    return components((mask | small[background]).astype(np.float64))


def otsu_watershed(image: npt.NDArray[np.uint8]) -> Labels:
    """As :func:`otsu`, touching nuclei divided where their shape is narrow.

    Seeds are the peaks of the smoothed distance to the mask's edge, at least five pixels apart; a
    watershed on that distance divides the mask among them.

    Returns:
        ``int32 [H, W]``.
    """
    mask = otsu(image) > 0
    depth = gaussian(ndimage.distance_transform_edt(mask), 1.0, mode="nearest")
    seeds = np.zeros(mask.shape)
    peaks = peak_local_max(depth, min_distance=5, labels=mask, exclude_border=False)
    seeds[tuple(peaks.T)] = 1.0
    return split(mask.astype(np.float64), seeds, min_seed=1)
