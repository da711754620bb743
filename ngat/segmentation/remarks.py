"""What of a picture is unlike training, in words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from ngat.instances import Labels
from ngat.io.picture import Picture
from ngat.io.stack import Array
from ngat.io.values import grey_levels
from ngat.segmentation.measure import typical_diameter
from ngat.segmentation.tiles import Canvas, Window

# From 603 training pictures of stage 1 of the 2018 Data Science Bowl, with their annotated nuclei
# (medians: 150, 3.7 and 16): all but one have more; all but one and all but three keep within; the
# range.
CONTRAST = 11.0
# Of a nucleus that is nothing but blur it is 1.4. A drawn disc of 18 pixels with an edge of one
# pixel has 8: the network was trained to take such things for debris.
SHARPNESS = (1.6, 6.0)
DIAMETER = (5.0, 60.0)  # of the median nucleus in pixels, as the network sees it
# Shares of red and blue in what stains absorb: the range of 96 stained pictures of the training
# split, two hundredths wider. Brown of diaminobenzidine lies at .17 and .48.
RED, BLUE = (0.05, 0.40), (0.02, 0.29)
# Of colours on dark background: a channel that has such a share of the widest range shows
# something, and two that correlate less show different things. No picture of training or
# validation does.
SHOWN, ALIKE = 0.25, 0.8
# The brightest nucleus is so many times as bright as what is left, which is so many times its own
# noise: then it is not noise. So it is in 7 of the 599 fluorescent pictures.
GLARE, CLEAR = 4.0, 100.0
_WINDOW = 512  # pixels a side that are looked at


def remarks(
    picture: Picture, labels: Canvas, table: pd.DataFrame, magnification: float
) -> Iterator[str]:
    """What of a picture is unlike training, in words; nothing where it is like it.

    Args:
        picture, labels, table: the picture and its nuclei
            (:func:`ngat.segmentation.measure.measure`).
        magnification: at which the network saw it.
    """
    if not len(table):
        yield "no nucleus was found"
        return
    diameter = typical_diameter(table["area"])
    if not DIAMETER[0] <= diameter * magnification <= DIAMETER[1]:
        size = "small" if diameter * magnification < DIAMETER[0] else "large"
        yield f"nuclei are unusually {size} for the network; try --diameter"
    middle = table.iloc[len(table) // 2]
    place = _around(middle, picture.shape)
    pixels = picture.read(*place)
    shown = labels.read(place)
    # The middle of a very large nucleus may lie outside it, with nothing of it in view.
    near = ndimage.distance_transform_edt(shown == 0) <= diameter if shown.any() else None
    contrast, sharpness = features(pixels, diameter, near)
    if contrast < CONTRAST:
        yield "contrast is lower than in nearly all training pictures"
    if sharpness < SHARPNESS[0]:
        yield "edges are more blurred than in nearly all training pictures"
    if sharpness > SHARPNESS[1]:
        yield "edges are sharper than in nearly all training pictures; blurring by a pixel may help"
    if different_stains(pixels):
        yield "channels show different things; choose the nuclei's, as with --channel blue"
    means = [f"mean_{picture.channel_names[i]}" for i in picture.chosen]
    place = _around(table.loc[table[means].sum(axis=1).idxmax()], picture.shape)
    limit = glare(picture.read(*place), labels.read(place), diameter)
    if limit is not None:
        yield f"bright objects may hide faint nuclei; replace values above {limit:.5g} by it"
    red, blue = stain(pixels) or (RED[0], BLUE[0])
    if not (RED[0] <= red <= RED[1] and BLUE[0] <= blue <= BLUE[1]):
        yield "the stain has another colour than those of training; look at the outlines"


def _around(nucleus: pd.Series, shape: tuple[int, int]) -> Window:
    """Rows and columns of the pixels that are looked at around a nucleus."""
    rows, columns = (
        slice(first := max(0, int(at) - _WINDOW // 2), min(side, first + _WINDOW))
        for at, side in zip((nucleus["y"], nucleus["x"]), shape, strict=True)
    )
    return rows, columns


def features(
    pixels: Array, diameter: float, near: npt.NDArray[np.bool_] | None = None
) -> tuple[float, float]:
    """Contrast and sharpness of a picture, whatever its range of values.

    Args:
        pixels: ``[h, w]`` or ``[h, w, 3]``.
        diameter: of a typical nucleus.
        near: ``[h, w]``, pixels in nuclei or around them; None is all. A scale bar or a frame far
            from them says nothing, nor does empty background how bright a lone nucleus is.

    Returns:
        the range of values over the noise between neighbouring pixels; and the number of times
        that the steepest edges would rise over the whole range within a nucleus' diameter.
    """
    grey = grey_levels(pixels)
    near = np.ones(grey.shape, bool) if near is None else near
    # Second differences do not see slopes; a sixth of their variance is that of the noise.
    second = grey[:, 2:] - 2 * grey[:, 1:-1] + grey[:, :-2]
    noise = 1.4826 * np.median(np.abs(second)) / np.sqrt(6) if second.size else 0.0
    # A pixel that is brighter than all of its neighbours is a camera's defect: it takes the next.
    grey = np.minimum(grey, ndimage.rank_filter(grey, -2, 3))
    low, high = np.percentile(grey[near], (0.5, 99.5))
    span = max(float(high - low), 1e-12)
    edges = ndimage.gaussian_gradient_magnitude(grey, max(0.5, diameter / 24))
    steepest = float(np.percentile(edges[near], 99.5))
    return span / max(float(noise), 1e-12), steepest * diameter / span


def stain(pixels: Array) -> tuple[float, float] | None:
    """The colour of what is dark on light background: shares of red and of blue in its absorbance.

    Grey and fluorescent pictures have none: their colours are a choice of display.

    Args:
        pixels: ``[h, w]`` or ``[h, w, 3]``.
    """
    if pixels.ndim == 2:
        return None
    seen = np.asarray(pixels, dtype=np.float64).reshape(-1, 3)
    white = np.percentile(seen, 95, axis=0)
    if not (np.median(seen, axis=0) > 0.4 * white.max()).all():
        return None
    absorbed = np.log(white / np.maximum(seen, 0.02 * white))
    total = absorbed.sum(axis=1)
    dark = absorbed[total >= np.percentile(total, 90)].mean(axis=0)
    if np.ptp(dark) < 0.1 * dark.sum():
        return None
    return float(dark[0] / dark.sum()), float(dark[2] / dark.sum())


def different_stains(pixels: Array) -> bool:
    """Whether a picture on dark background is of several fluorescent stains, each in its channel.

    Args:
        pixels: ``[h, w]`` or ``[h, w, 3]``.
    """
    if pixels.ndim == 2:
        return False
    seen = ndimage.gaussian_filter(pixels.astype(np.float64), (1, 1, 0)).reshape(-1, 3)
    low, middle, high = np.percentile(seen, (0.2, 50, 99.8), axis=0)
    shown = (high > low) & (high - low >= SHOWN * (high - low).max())
    if (middle > 0.4 * high.max()).any() or shown.sum() < 2:
        return False
    alike = np.corrcoef(np.clip(seen, low, high)[:, shown], rowvar=False)
    return bool(alike.min() < ALIKE)


def glare(pixels: Array, labels: Labels, diameter: float) -> float | None:
    """Where bright nuclei outshine what is clearly there beside them, a limit for bright values.

    Args:
        pixels: ``[h, w]`` or ``[h, w, 3]``.
        labels: ``int [h, w]``, the nuclei found.
        diameter: of a typical nucleus.
    """
    if labels.all() or not labels.any():
        return None
    grey = grey_levels(pixels)
    sigma = max(1.0, diameter / 12)
    smooth = ndimage.gaussian_filter(grey, sigma)
    numbers = np.unique(labels[labels > 0])
    light = ndimage.mean(smooth, labels, numbers) - np.median(smooth[labels == 0])
    bright = np.isin(labels, numbers[light > 0.25 * light.max()])
    rest = ndimage.distance_transform_edt(~bright) > 1.5 * diameter
    second = (grey[:, 2:] - 2 * grey[:, 1:-1] + grey[:, :-2]) ** 2
    if light.max() <= 0 or rest.mean() < 0.1 or not second.size:
        return None
    noise = 1.4 * np.sqrt(np.minimum(second, np.percentile(second, 90)).mean() / 6)
    # Uneven light is no structure: a tilt and a bow are taken off.
    y, x = (np.linspace(-1, 1, n) for n in grey.shape)
    bows = np.polynomial.polynomial.polyvander2d(*np.meshgrid(y, x, indexing="ij"), [2, 2])[rest]
    light_left = bows @ np.linalg.lstsq(bows, smooth[rest])[0]
    middle, top = np.percentile(smooth[rest] - light_left, (50, 99))
    span = float(top - middle)
    hidden = span > CLEAR * noise / (2 * np.sqrt(np.pi) * sigma) and light.max() > GLARE * span
    return float(np.median(smooth[rest])) + 3 * span if hidden else None
