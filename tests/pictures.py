"""One picture of nuclei, stored in every way there is."""

from __future__ import annotations

import numpy as np

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
