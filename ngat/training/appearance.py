"""Appearance of a training picture, changed at random: stain, blur, noise, texture and the like.

Labels stay as they are. :mod:`ngat.training.device.appearance` does the same to a batch on a GPU.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from skimage.color import hed_from_rgb, rgb_from_hed

from ngat.data.resize import shares
from ngat.magnification import SIZE

if TYPE_CHECKING:
    from ngat.training.augment import AugmentConfig

Generator = np.random.Generator
Picture = npt.NDArray[np.float32]  # [S, S, 3] in [0, 1]

# From this size on, √area in pixels, nuclei show texture.
LARGE = 1.5 * SIZE
# σ of the grains in nuclei and on the background, as shares of the size of a nucleus, and how
# strong they are at most, as shares of the contrast of nuclei and background.
GRAIN, UNEVENNESS = (0.02, 0.08), (0.02, 0.4)
INSIDE, OUTSIDE = 0.5, 0.15
# The edge of a nucleus is so wide, σ as a share of its size.
EDGE = 0.03


def happens(rng: Generator, probability: float) -> bool:
    """Draw whether something happens."""
    return bool(rng.random() < probability)


def appearance(view: Picture, rng: Generator, config: AugmentConfig) -> Picture:
    """A picture as another stain, microscope, camera or file would show it.

    Args:
        view: ``float32 [S, S, 3]`` in [0, 1].
        rng: source of all chance.
        config: operations and strengths.

    Returns:
        The same shape; values may lie a little outside [0, 1].
    """
    coloured = float(np.ptp(view, axis=2).max(initial=0.0)) > 0.02
    grey = not coloured
    if coloured and happens(rng, config.grey):
        view, grey = np.repeat(view.mean(axis=2, keepdims=True), 3, axis=2), True
        if config.positive:  # what is stained lies on bright background
            view = np.float32(1.0) - view
    elif coloured and happens(rng, config.stain):
        view = _stain(view, rng, config)
    elif not coloured and happens(rng, config.merge):
        view, grey = _merged(view, rng), False
    if happens(rng, config.intensity):
        view = _intensity(view, rng, config)
    if happens(rng, config.invert) and not (grey and config.positive):
        view = np.float32(1.0) - view
    if config.coarse and happens(rng, config.coarse):  # else no chance is spent
        fewer = round(len(view) / config.reduction ** rng.uniform())
        axis = coarse(len(view), max(1, fewer))
        view = np.einsum("yi,ijc,xj->yxc", axis, view, axis, optimize=True)
    if happens(rng, config.blur):
        sigma = rng.uniform(0.0, config.sigma)
        view = ndimage.gaussian_filter(view, (sigma, sigma, 0.0), truncate=3.0)
    if happens(rng, config.noise):
        # A grey camera has one noise, a colour camera three.
        shape = (*view.shape[:2], 3 if coloured else 1)
        low, high = _range(view)
        strength = rng.uniform(0.0, config.grain) * (high - low)
        view = view + np.float32(strength) * rng.standard_normal(shape, dtype=np.float32)
    if happens(rng, config.photons):
        view = _counted(view, config.counts * 16.0 ** rng.uniform(), rng)
    if happens(rng, config.jpeg):
        view = _compressed(view, int(rng.integers(40, 96)))
    return view


@lru_cache(maxsize=512)
def coarse(side: int, fewer: int) -> npt.NDArray[np.float32]:
    """A line of ``side`` pixels made of ``fewer`` and enlarged again, as a matrix ``[S, S]``.

    Enlarged as a picture is before the network sees it (:mod:`ngat.data.resize`).
    """
    return (shares(fewer, side, lanczos=True) @ shares(side, fewer)).astype(np.float32)


def _merged(view: Picture, rng: Generator) -> Picture:
    """A grey picture as one channel of three; the others show its surroundings, or nothing.

    Stained cell bodies reach beyond their nuclei and are brighter in some places than in others.
    """
    nuclei = view[:, :, 0]
    planes = []
    for _ in range(2):
        if happens(rng, 0.5):
            planes.append(np.zeros_like(nuclei))
            continue
        body = ndimage.gaussian_filter(nuclei, rng.uniform(2.0, 8.0))
        relief = ndimage.gaussian_filter(
            rng.standard_normal(nuclei.shape, dtype=np.float32), rng.uniform(2.0, 12.0)
        )
        relief *= np.float32(rng.uniform(0.0, 0.4)) / max(float(relief.std()), 1e-6)
        planes.append(np.clip(body * np.float32(rng.uniform(0.3, 1.5)) + relief, 0.0, 1.0))
    planes.insert(int(rng.integers(0, 3)), nuclei)
    return np.stack(planes, axis=2)


def _counted(view: Picture, counts: float, rng: Generator) -> Picture:
    """The picture with photon noise: a pixel of value 1 counts ``counts`` photons on average.

    Values are then stretched back to at most 1 but for the brightest percent, as the contrast of a
    noisy picture would be.
    """
    grey = np.ptp(view, axis=2).max(initial=0.0) < 0.02
    expected = view[:, :, :1] if grey else view
    noisy = rng.poisson(np.clip(expected, 0.0, 1.0) * counts).astype(np.float32)
    noisy /= np.float32(max(counts, _range(noisy)[1]))
    return np.repeat(noisy, 3, axis=2) if grey else noisy


def _compressed(view: Picture, quality: int) -> Picture:
    """The picture after compression as JPEG."""
    stream = io.BytesIO()
    pixels = np.rint(255 * np.clip(view, 0.0, 1.0)).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream), dtype=np.float32) / np.float32(255.0)


def _intensity(view: Picture, rng: Generator, config: AugmentConfig) -> Picture:
    """Gain, offset and gamma, held back where they would wash out more than a percent."""
    low, high = _range(view)
    gain = config.gain ** rng.uniform(-1.0, 1.0)
    if gain > 1.0:
        gain = max(1.0, min(gain, 1.0 / max(high, 1e-3)))
    offset = rng.uniform(-config.offset, config.offset)
    offset = min(max(offset, -gain * low), max(0.0, 1.0 - gain * high))
    gamma = config.gamma ** rng.uniform(-1.0, 1.0)
    top = max(gain * high + offset, 1e-3)
    view = np.maximum(view * np.float32(gain) + np.float32(offset), 0.0) / np.float32(top)
    # Relative to the picture's own top, so that gamma does not darken dim pictures twice.
    return np.power(view, np.float32(gamma)) * np.float32(top)


def _range(view: Picture) -> tuple[float, float]:
    """The grey levels that all but one percent lie above and below, from every 16th pixel."""
    low, high = np.percentile(view[::4, ::4], (1.0, 99.0))
    return float(low), float(high)


def _stain(view: Picture, rng: Generator, config: AugmentConfig) -> Picture:
    """Other amounts of each dye, then a little of each colour channel in the others.

    Dyes absorb: their optical densities -ln(intensity) add up (Beer and Lambert), so amounts are
    scaled in the basis of haematoxylin, eosin and DAB (Ruifrok & Johnston 2001).
    """
    amounts = np.diag(1.0 + rng.uniform(-config.dye, config.dye, 3))
    mixing = (hed_from_rgb @ amounts @ rgb_from_hed).astype(np.float32)
    density = -np.log(np.maximum(view, np.float32(1 / 255)))
    view = np.exp(-(density @ mixing))
    share = rng.uniform(0.0, config.hue, (3, 3))
    np.fill_diagonal(share, 0.0)
    np.fill_diagonal(share, 1.0 - share.sum(axis=0))  # grey stays grey
    return np.minimum(view, np.float32(1.0)) @ share.astype(np.float32)


def textured(
    view: Picture,
    nuclei: npt.NDArray[np.bool_],
    size: float,
    rng: Generator,
) -> Picture:
    """A crop with grains in its nuclei and on its background; half have bright ones only.

    Most training pictures were taken at low magnifications. Enlarged, their nuclei are smooth;
    those of a picture that was taken at a high magnification show chromatin, and its background is
    not even. A network that never saw either takes the grains for nuclei.

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


def contrast_of(view: Picture, nuclei: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Mean of the nuclei less that of the background, by channel; half of the one if all is one."""
    if nuclei.all() or not nuclei.any():
        difference = 0.5 * view.mean(axis=(0, 1), dtype=np.float64)
    else:
        within, beyond = (view[part].mean(axis=0, dtype=np.float64) for part in (nuclei, ~nuclei))
        difference = within - beyond
    return np.asarray(difference, dtype=np.float32)


def _relief(rng: Generator, shape: tuple[int, ...], sigma: float) -> npt.NDArray[np.float32]:
    """Smooth noise of mean 0 and standard deviation 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma)
    noise -= noise.mean()
    return np.asarray(noise / max(float(noise.std()), 1e-6))
