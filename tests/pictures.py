"""One picture of nuclei, stored in every way there is; and drawn ones that differ by their seed."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy import ndimage

SHAPE = (48, 64)


def discs(shape=SHAPE, radius=5, step=16):
    """Labels of discs on a grid; the first row lies nearer to the edge than the last."""
    labels = np.zeros(shape, np.int32)
    rows, columns = np.indices(shape)
    number = 0
    for y in range(7, shape[0] - radius, step):
        for x in range(8, shape[1] - radius, step):
            number += 1
            labels[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = number
    return labels


def grey(high=255, low=20, dtype=np.uint8, shape=SHAPE):
    """Bright discs on a ramp, so that no turn and no flip leaves it as it is."""
    ramp = np.linspace(0, 0.2, shape[0] * shape[1]).reshape(shape)
    light = 0.8 * (discs(shape) > 0) + ramp
    return (low + (high - low) * light).astype(dtype)


def colour(**options):
    """Purple nuclei on white."""
    light = grey(**options).astype(np.float64)
    full = light.max()
    planes = [full - light * share for share in (0.6, 0.9, 0.3)]
    return np.stack(planes, axis=2).astype(options.get("dtype", np.uint8))


def cells(seed, shape, count, *, light=120, ground=20, bright=False):
    """Blurred discs at random places, with noise, ``uint8 [H, W]``; dark ones if ``bright``."""
    rng = np.random.default_rng(seed)
    spots = np.zeros(shape, dtype=bool)
    rows, columns = np.indices(shape)
    for y, x in rng.uniform(0, shape[0], (count, 2)):
        spots |= np.hypot(rows - y, columns - x) < 9
    levels = ground + light * ndimage.gaussian_filter(spots.astype(float), 1.5)
    levels += rng.normal(0, 2, shape)
    return (255 - levels if bright else levels).clip(0, 255).astype(np.uint8)


def as_jpeg(pixels, quality=75):
    """What JPEG makes of a picture."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))
