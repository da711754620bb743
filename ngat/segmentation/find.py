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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from ngat.data.resize import LOBES
from ngat.inference import WHOLE
from ngat.instances import in_reading_order
from ngat.io.picture import Picture, array_picture
from ngat.parts import Part, PartLabels, merged, whole_of
from ngat.segmentation.job import (
    Opener,
    PictureJob,
    divide_tile,
    join,
    on_tile,
    predict_tile,
)
from ngat.segmentation.measure import measure
from ngat.segmentation.network import Segmenter
from ngat.segmentation.panels import CAMERA, searched
from ngat.segmentation.remarks import remarks
from ngat.segmentation.scale_bar import Mask, without_drawn
from ngat.segmentation.tasks import IN_TURN, Tasks
from ngat.segmentation.tiles import TILE, Canvas, Grid, Window, at_once, grid
from ngat.thresholds import Method, Thresholds

# A tile is empty if, seen from afar, it varies by less than this share of the picture's range.
EMPTY = 0.02
# So many pictures side by side are told with their places.
LISTED = 4


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
    panels: bool = True,
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
        panels: whether pictures side by side are searched one by one, without blank margins
            (:mod:`ngat.segmentation.panels`) and without a scale bar that was drawn into them
            (:mod:`ngat.segmentation.scale_bar`), if it is not too large for that.
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
    if panels and max(picture.shape) <= CAMERA:
        pixels, windows, drawn = searched(picture.read())
        if drawn is not None or windows != [whole_of(picture.shape, 1.0).window]:
            how = network, method, thresholds
            find = partial(
                find_nuclei, magnification=magnification, panels=False, tile=tile, tasks=tasks
            )
            found = []
            for i, window in enumerate(windows):

                def within(done: int, total: int, before: int = i) -> None:
                    progress(before * total + done, len(windows) * total)

                found.append(find(array_picture(pixels[window]), *how, progress=within))
            return _placed(found, windows, picture, drawn)
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


def _placed(
    found: Sequence[FoundNuclei],
    windows: Sequence[Window],
    picture: Picture,
    drawn: Mask | None,
) -> FoundNuclei:
    """The nuclei of windows of a picture as those of the picture, less those of which most was
    filled in where something was drawn; its magnification is the largest window's.
    """
    every = np.zeros(picture.shape, np.int32)
    for one, window in zip(found, windows, strict=True):
        own = one.labels.whole()
        every[window] = np.where(own > 0, own + every.max(), 0)
    notes = _told(found, windows, picture.shape)
    if drawn is not None:
        every = without_drawn(every, drawn)
        notes = (
            f"a scale bar at {_place(*ndimage.find_objects(drawn.astype(int))[0])} was left out",
            *notes,
        )
    every = in_reading_order(every)
    labels = Canvas(picture.shape, np.int32)
    labels.write(whole_of(picture.shape, 1.0).window, every)
    table = measure(every, picture.read_all(), picture.channel_names)
    largest = max(range(len(found)), key=lambda i: found[i].labels.whole().size)
    return FoundNuclei(labels, table, found[largest].magnification, notes)


def _place(rows: slice, columns: slice) -> str:
    return f"rows {rows.start} to {rows.stop - 1} and columns {columns.start} to {columns.stop - 1}"


def _told(
    found: Sequence[FoundNuclei], windows: Sequence[Window], shape: tuple[int, int]
) -> tuple[str, ...]:
    """Which windows were searched, and what a user should know of each."""
    places = [_place(*window) for window in windows]
    if list(windows) == [whole_of(shape, 1.0).window]:
        return found[0].notes
    if len(found) == 1:
        note = f"blank margins were left out: searched were {places[0]}"
        return note, *found[0].notes
    seen = [f"{place} at {one.magnification:.2f}" for place, one in zip(places, found, strict=True)]
    if len(seen) > LISTED:
        seen[LISTED:] = ["and so on"]
    notes = [f"{len(found)} pictures side by side, searched one by one: {'; '.join(seen)}"]
    for text in dict.fromkeys(note for one in found for note in one.notes):
        numbers = [str(i) for i, one in enumerate(found, start=1) if text in one.notes]
        notes.append(f"picture {', '.join(numbers)}: {text}")
    return tuple(notes)


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
    not_empty = job.once("searched", lambda: {"tiles": np.array(_not_empty(job.picture, cut), int)})
    numbers = not_empty["tiles"].tolist()
    total, steps = 2 * len(numbers) + 1, count(1)
    there = job.elsewhere if tasks.client is not None else None
    if there is None:
        tasks = replace(tasks, client=None)
    for work in (predict_tile, divide_tile):
        on_each = partial(on_tile, work, there or job)
        tasks.run(on_each, numbers, lambda _: progress(next(steps), total))
    if len(cut) == 1 and not numbers:
        notes.append(_emptiness(job.picture))
    elif len(numbers) < len(cut):
        notes.append(f"{len(cut) - len(numbers)} of {len(cut)} tiles are empty, not searched")
    table = join(job, numbers, notes)
    if parts:
        table = _with_parts(job, parts, notes)
    notes += remarks(job.picture, job.labels, table, cut.magnification)
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
        how = job.network, job.method, job.thresholds
        one = find_nuclei(pixels, *how, magnification=part.magnification, panels=False)
        found.append(PartLabels(part, one.labels.whole()))
        notes.append(f"a part of the picture was seen at magnification {part.magnification:.2f}")
    labels = merged(PartLabels(every, job.labels.whole()), found)
    job.labels.write(every.window, labels)
    names = job.picture.channel_names
    return measure(labels, job.picture.read_all(), names)


def _emptiness(picture: Picture) -> str:
    """Why a picture that goes through at once shows nothing."""
    if picture.stack.alpha and not picture.stored()[:, :, -1].any():
        return "every pixel is transparent; save the picture without transparency"
    return "all pixels have the same value"


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
