"""Texture in and between large nuclei, as a higher magnification would show it.

Most training pictures were taken at low magnifications. Enlarged, their nuclei are smooth; those of
a picture that was taken at a high magnification show chromatin, and its background is not even. A
network that never saw either takes the grains for nuclei.

:mod:`ngat.training.device.appearance` does the same to a batch on a GPU.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ngat.magnification import SIZE

# From this size on, √area in pixels, nuclei show texture.
LARGE = 1.5 * SIZE
# σ of the grains in nuclei and on the background, as shares of the size of a nucleus, and how
# strong they are at most, as shares of the contrast of nuclei and background.
GRAIN, UNEVENNESS = (0.02, 0.08), (0.02, 0.4)
INSIDE, OUTSIDE = 0.5, 0.15
# The edge of a nucleus is so wide, σ as a share of its size.
EDGE = 0.03


def textured(
    view: npt.NDArray[np.float32],
    nuclei: npt.NDArray[np.bool_],
    size: float,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """A crop with grains in its nuclei and on its background; half have bright ones only.

    Args:
        view: ``float32 [S, S, 3]`` in [0, 1].
        nuclei: ``bool [S, S]``.
        size: √area of a nucleus in pixels of the crop.
        rng: source of all chance.

    Returns:
        The same shape; values may lie a little outside [0, 1].
    """
    grains = _relief(rng, nuclei.shape, size * rng.uniform(*GRAIN))
    uneven = np.maximum(_relief(rng, nuclei.shape, size * rng.uniform(*UNEVENNESS)), 0)
    if rng.random() < 0.5:
        grains = np.maximum(grains, 0)
    inside = ndimage.gaussian_filter(nuclei.astype(np.float32), EDGE * size)
    strength = rng.uniform(0, INSIDE) * inside * grains
    strength += rng.uniform(0, OUTSIDE) * (1 - inside) * uneven
    return view + contrast_of(view, nuclei) * strength[..., None]


def contrast_of(
    view: npt.NDArray[np.float32], nuclei: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Mean of the nuclei less that of the background, by channel; half of the one if all is one."""
    if nuclei.all() or not nuclei.any():
        difference = 0.5 * view.mean(axis=(0, 1), dtype=np.float64)
    else:
        within, beyond = (view[part].mean(axis=0, dtype=np.float64) for part in (nuclei, ~nuclei))
        difference = within - beyond
    return np.asarray(difference, dtype=np.float32)


def _relief(
    rng: np.random.Generator, shape: tuple[int, ...], sigma: float
) -> npt.NDArray[np.float32]:
    """Smooth noise of mean 0 and standard deviation 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma)
    noise -= noise.mean()
    return np.asarray(noise / max(float(noise.std()), 1e-6))
