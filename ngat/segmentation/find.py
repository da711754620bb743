"""Nuclei of one picture of any size, tile by tile, in memory that a tile determines.

First every tile is predicted, with a halo. Then nuclei are made of each tile's components; those
that cross a seam are put together from all tiles they touch. What becomes of a component depends on
itself and a few pixels around it (:func:`ngat.instances.margin`), so the nuclei are those of the
whole picture, whatever the tiles. At last they are numbered in reading order.

All that is known so far lies in planes (:class:`ngat.segmentation.tiles.Canvas`) and one small
file per tile. With a folder for them, the work goes on where it was stopped, in any process.

A picture that is unlike those of training deserves a second look, and gets a remark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from ngat.data.resize import LOBES
from ngat.inference import WHOLE
from ngat.io.picture import Picture, array_picture
from ngat.io.stack import Array
from ngat.parts import Part, PartLabels, merged, whole_of
from ngat.segmentation.job import (
    Opener,
    PictureJob,
    divide_tile,
    join,
    on_tile,
    predict_tile,
)
from ngat.segmentation.measure import measure, typical_diameter
from ngat.segmentation.network import Segmenter
from ngat.segmentation.tasks import IN_TURN, Tasks
from ngat.segmentation.tiles import TILE, Canvas, Grid, at_once, grid
from ngat.thresholds import Method, Thresholds

# A tile is empty if, seen from afar, it varies by less than this share of the picture's range.
EMPTY = 0.02


@dataclass(frozen=True)
class FoundNuclei:
    """The nuclei of a picture.

    Attributes:
        labels: their plane, ``int32 [H, W]``, numbered 1 … n in reading order.
        table: one line per nucleus, see :func:`ngat.segmentation.measure.measure`.
        magnification: at which the network saw the picture.
        notes: what a user should know.
    """

    labels: Canvas
    table: pd.DataFrame
    magnification: float
    notes: tuple[str, ...] = ()


def find_nuclei(
    picture: Picture,
    network: Segmenter,
    method: Method = "split",
    thresholds: Thresholds | None = None,
    *,
    magnification: float | None = None,
    tile: int = TILE,
    folder: Path | None = None,
    source: Opener | None = None,
    tasks: Tasks = IN_TURN,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FoundNuclei:
    """Find the nuclei of a picture of any size.

    Args:
        thresholds: None takes those chosen for the network.
        magnification: None lets the network find it.
        tile: side of the tiles as the network sees them; it changes memory, not nuclei. A picture
            that goes through at once in :func:`ngat.inference.predict` does so here. The
            magnification of a larger one is rounded by a few per cent, so that tiles fit.
        folder, source: see :class:`ngat.segmentation.job.PictureJob`.
        tasks: how the work on all tiles is done.
        progress: told how many steps of how many are done.

    Raises:
        InputError: the picture cannot be read.
    """
    thresholds = thresholds or network.thresholds(method)
    parts: tuple[Part, ...] = ()
    if magnification is None:
        magnification, parts = network.magnification(picture)
    seen = picture.shape[0] * picture.shape[1] * magnification**2
    if seen <= WHOLE:
        cut = at_once(picture.shape, magnification)
    else:
        cut = tiled(picture, network, magnification, tile)
    job = PictureJob(picture, network, cut, method, thresholds, folder, source)
    return search(job, parts, tasks, progress)


def tiled(picture: Picture, network: Segmenter, magnification: float, tile: int = TILE) -> Grid:
    """The tiles of a picture, each with what the network's predictions depend on."""
    # Enlarged, a pixel is made of some on each side.
    halo = network.halo + math.ceil(LOBES * max(1.0, magnification))
    return grid(picture.shape, magnification, halo, tile)


def search(
    job: PictureJob,
    parts: Sequence[Part] = (),
    tasks: Tasks = IN_TURN,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FoundNuclei:
    """All steps of a job; ``parts`` of the picture are looked at once more."""
    notes: list[str] = []
    cut = job.grid
    searched = job.once("searched", lambda: {"tiles": np.array(_not_empty(job.picture, cut), int)})
    numbers = searched["tiles"].tolist()
    total, steps = 2 * len(numbers) + 1, count(1)
    there = job.elsewhere if tasks.client is not None else None
    if there is None:
        tasks = replace(tasks, client=None)
    for work in (predict_tile, divide_tile):
        on_each = partial(on_tile, work, there or job)
        tasks.run(on_each, numbers, lambda _: progress(next(steps), total))
    if len(numbers) < len(cut):
        notes.append(f"{len(cut) - len(numbers)} of {len(cut)} tiles are empty, not searched")
    table = join(job, numbers, notes)
    if parts:
        table = _with_parts(job, parts, notes)
    notes += remarks(job.picture, table, cut.magnification)
    progress(total, total)
    return FoundNuclei(job.labels, table, cut.magnification, tuple(notes))


def _with_parts(job: PictureJob, parts: Sequence[Part], notes: list[str]) -> pd.DataFrame:
    """The table of all nuclei, and the plane of labels, with those of the parts.

    A picture that has parts is small enough to be looked at as a whole.
    """
    every = whole_of(job.picture.shape, job.grid.magnification)
    found = []
    for part in parts:
        pixels = array_picture(job.picture.read(*part.window))
        one = find_nuclei(
            pixels, job.network, job.method, job.thresholds, magnification=part.magnification
        )
        found.append(PartLabels(part, one.labels.whole()))
        notes.append(f"a part of the picture was seen at magnification {part.magnification:.2f}")
    labels = merged(PartLabels(every, job.labels.whole()), found)
    job.labels.write(every.window, labels)
    names = job.picture.channel_names
    return measure(labels, job.picture.read_all(), names)


def _not_empty(picture: Picture, cut: Grid) -> list[int]:
    """Numbers of the tiles in which there is anything to see; of a picture of one tile, that one.

    Seen from afar noise is averaged away, and what remains of empty glass or of a dark field is
    one value. A tile counts with its halo.
    """
    overview = np.atleast_3d(picture.overview())
    if len(cut) == 1:
        return [0] if float(np.ptp(overview)) > 0 else []
    step = -(-max(picture.shape) // max(overview.shape[:2]))
    low, high = np.percentile(overview, (0.1, 99.9), axis=(0, 1))
    least = EMPTY * float((high - low).max())
    numbers = []
    for number in range(len(cut)):
        rows, columns = cut.with_halo(number)
        part = overview[
            rows.start // step : -(-rows.stop // step),
            columns.start // step : -(-columns.stop // step),
        ]
        if float(np.ptp(part, axis=(0, 1)).max()) > least:
            numbers.append(number)
    return numbers


# From training pictures of stage 1 of the 2018 Data Science Bowl, with their annotated nuclei
# (medians: 125, 3.5 and 16): the least of 128; of all, what 97 and 99.5 % keep within; the range.
CONTRAST = 11.0
# Of a nucleus that is nothing but blur it is 1.4. A drawn disc of 18 pixels with an edge of one
# pixel has 8: the network was trained to take such things for debris.
SHARPNESS = (1.6, 6.0)
DIAMETER = (5.0, 60.0)  # of the median nucleus in pixels, as the network sees it
# Shares of red and blue in what stains absorb: the range of 96 stained pictures of the training
# split, two hundredths wider. Brown of diaminobenzidine lies at .17 and .48.
RED, BLUE = (0.05, 0.40), (0.02, 0.29)
_WINDOW = 512  # pixels a side that are looked at


def remarks(picture: Picture, table: pd.DataFrame, magnification: float) -> Iterator[str]:
    """What of a picture is unlike training, in words; nothing where it is like it.

    Args:
        picture, table: the picture and its nuclei (:func:`ngat.segmentation.measure.measure`).
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
    place = [
        slice(max(0, int(at) - _WINDOW // 2), max(0, int(at) - _WINDOW // 2) + _WINDOW)
        for at in (middle["y"], middle["x"])
    ]
    pixels = picture.read(*place)
    contrast, sharpness = features(pixels, diameter)
    if contrast < CONTRAST:
        yield "contrast is lower than in any training picture"
    if sharpness < SHARPNESS[0]:
        yield "edges are more blurred than in nearly all training pictures"
    if sharpness > SHARPNESS[1]:
        yield "edges are sharper than in nearly all training pictures; blurring by a pixel may help"
    red, blue = stain(pixels) or (RED[0], BLUE[0])
    if not (RED[0] <= red <= RED[1] and BLUE[0] <= blue <= BLUE[1]):
        yield "the stain has another colour than those of training; look at the outlines"


def features(pixels: Array, diameter: float) -> tuple[float, float]:
    """Contrast and sharpness of a picture, whatever its range of values.

    Args:
        pixels: ``[h, w]`` or ``[h, w, 3]``.
        diameter: of a typical nucleus.

    Returns:
        the range of values over the noise between neighbouring pixels; and the number of times
        that the steepest edges would rise over the whole range within a nucleus' diameter.
    """
    grey = np.asarray(pixels, dtype=np.float64)
    grey = grey.mean(axis=2) if grey.ndim == 3 else grey
    low, high = np.percentile(grey, (0.5, 99.5))
    span = max(float(high - low), 1e-12)
    # Second differences do not see slopes; a sixth of their variance is that of the noise.
    second = grey[:, 2:] - 2 * grey[:, 1:-1] + grey[:, :-2]
    noise = 1.4826 * np.median(np.abs(second)) / np.sqrt(6) if second.size else 0.0
    edges = ndimage.gaussian_gradient_magnitude(grey, max(0.5, diameter / 24))
    return span / max(float(noise), 1e-12), float(np.percentile(edges, 99.5)) * diameter / span


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
