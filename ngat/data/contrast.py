"""Contrast: every picture over its own range, as a general model needs.

Fluorescent pictures of the challenge reach from 27 to all of 255 grey levels, and the background of
stained tissue from white to lilac. What a network reads should not depend on a lamp, a camera or
the amount of a dye: each channel is stretched so that its own darkest pixels lie at 0 and its
brightest at 1. The statistics are those of the whole picture, never of a crop or a tile: a crop
without nuclei would show its noise at full contrast.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Share of pixels that may lie beyond either end, in percent: a nucleus of 65 pixels in 256 × 256
# still counts as the brightest part, single hot pixels do not.
TAIL = 0.1
# A channel is stretched at most to 1/SHARE of what the widest channel is: what hardly varies, an
# empty channel or a picture without anything in it, stays flat.
SHARE = 0.5
LEAST = 8 / 255  # narrowest range that is stretched over all of [0, 1]


def stretch(image: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Every channel over its own range.

    Args:
        image: ``[H, W, C]``, finite.

    Returns:
        ``float32 [H, W, C]`` in [0, 1].
    """
    low, high = np.percentile(image, (TAIL, 100 - TAIL), axis=(0, 1))
    spread = np.maximum(high - low, max(SHARE * float((high - low).max()), LEAST))
    # Where a channel is narrower than it is taken to be, its middle stays in the middle.
    start = (low + high - spread) / 2
    stretched = (image - start) / spread
    return np.clip(stretched, 0.0, 1.0).astype(np.float32)


def stretch_bytes(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """:func:`stretch` of ``uint8 [H, W, C]``, as bytes again."""
    return np.rint(255 * stretch(image / np.float32(255))).astype(np.uint8)
