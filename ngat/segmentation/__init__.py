"""Nuclei in a user's own pictures, of any kind, size and number.

:func:`segment` (``ngat.segment``) finds those of one picture; :mod:`ngat.segmentation.batch` does
many files (``ngat segment``).
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ngat.errors import InputError
from ngat.instances import Labels
from ngat.io.picture import Picture, array_picture, open_picture
from ngat.segmentation.find import FoundNuclei, find_nuclei
from ngat.segmentation.formats import (
    features,
    outlined,
    rois,
    shown_table,
    write_geojson,
    write_rois,
)
from ngat.segmentation.network import Segmenter, chosen_magnification, trained
from ngat.segmentation.tasks import Tasks, usual_threads
from ngat.segmentation.tiles import TILE
from ngat.system.files import replacing
from ngat.thresholds import METHODS, Method, Thresholds
from ngat.training.distributed import find_device


@dataclass(frozen=True)
class Segmentation:
    """Nuclei of a picture.

    Attributes:
        labels: ``int32 [H, W]``, 0 is background, 1 … n are nuclei in reading order.
        table: one line per nucleus: centre, area, shape, and the intensities of every channel, in
            pixels, and in micrometres where the file knows them.
        magnification: factor at which the network saw the picture.
        thresholds: with which its maps became nuclei.
        notes: what a user should know.
    """

    labels: Labels
    table: pd.DataFrame
    magnification: float
    thresholds: Thresholds
    notes: tuple[str, ...]
    _found: FoundNuclei
    _picture: Picture

    def __len__(self) -> int:
        return len(self.table)

    def to_geojson(self, path: Path | str | None = None) -> dict[str, Any]:
        """A GeoJSON collection that QuPath opens as detections; written to ``path`` if given."""
        if path is not None:
            with replacing(path) as beside:
                write_geojson(beside, self._found, self._picture, str(path))
        return {
            "type": "FeatureCollection",
            "features": list(features(self._found, self._picture)),
        }

    def to_rois(self, path: Path | str | None = None) -> list[bytes]:
        """ImageJ's regions of interest, one per nucleus; as a zip in ``path`` if given."""
        if path is not None:
            with replacing(path) as beside:
                write_rois(beside, self._found, self._picture, str(path))
        return [data for _, data in rois(self._found)]

    def outlined(self) -> npt.NDArray[np.uint8]:
        """The picture ``uint8 [h, w, 3]`` with stretched contrast and all nuclei outlined."""
        return outlined(self._found, self._picture)


def segment(
    image: npt.ArrayLike | Path | str,
    *,
    weights: Path | str | None = None,
    diameter: float | None = None,
    scale: float | None = None,
    channel: str | int | None = None,
    page: int | None = None,
    level: int = 0,
    axes: str | None = None,
    method: Method = "split",
    thresholds: Thresholds | None = None,
    device: str = "cpu",
    tta: bool = False,
    panels: bool = True,
    network: Segmenter | None = None,
    tile: int = TILE,
    threads: int | None = None,
) -> Segmentation:
    """Find the nuclei in a picture of any kind and size.

    A picture on bright background is seen twice, as it is and as its negative (L35).

    Args:
        image: a file (PNG, JPEG, TIFF of any kind, OME-Zarr), or an array ``[H, W]``,
            ``[H, W, 3]`` (colour), or of any shape whose ``axes`` are given, for example
            ``axes="CYX"``.
        weights: a file that ``ngat train`` wrote; None takes those that are shipped.
        diameter: of a typical nucleus in pixels, if it is known; else the network finds it.
        scale: instead, the factor by which the picture is resized for the network.
        channel, page, level, axes: what is read of a file that holds more than one picture; see
            :func:`ngat.io.open_picture`.
        method: ``split`` parts touching nuclei, ``components`` does not.
        thresholds: None takes those that were chosen for the weights.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        tta: average over the picture and its three flips: four times the work.
        panels: search pictures side by side one by one, without blank margins and scale bars;
            False searches the picture as it is.
        network: instead of ``weights``, ``device`` and ``tta``.
        tile: side of the tiles that pictures are cut into; it changes memory, not nuclei.
        threads: tiles of a large picture at once; None is one a core, up to 4.

    Raises:
        InputError: one sentence that says what is wrong and what would help.
    """
    for name, value in (("tile", tile), ("threads", 1 if threads is None else threads)):
        if not (isinstance(value, Integral) and value > 0) or isinstance(value, bool):
            raise InputError(f"{name} is a whole number from 1; got {value!r}.")
    for name, chosen in (("tta", tta), ("panels", panels)):
        if not isinstance(chosen, bool):
            raise InputError(f"{name} is True or False; got {chosen!r}.")
    if not isinstance(weights, str | Path | None):
        raise InputError(f"weights is the name of a file; got {weights!r}.")
    if isinstance(image, str | Path):
        picture = open_picture(image, channel=channel, page=page, level=level, axes=axes)
    elif level != 0:
        raise InputError(f"an array has one level; leave out level, which is {level!r}.")
    else:
        picture = array_picture(image, channel=channel, page=page, axes=axes)
    asked = chosen_magnification(diameter, scale)
    if method not in METHODS:
        raise InputError(f"Unknown method {method!r}; known: {', '.join(METHODS)}.")
    if not isinstance(thresholds, Thresholds | None):
        raise InputError(f"thresholds is an ngat.thresholds.Thresholds; got {thresholds!r}.")
    if network is not None:
        if not isinstance(network, Segmenter):
            raise InputError(f"network is a ngat.segmentation.network.Segmenter; got {network!r}.")
        if weights is not None:
            raise InputError("Give weights or network, not both.")
        if device != "cpu" or tta:
            raise InputError("device and tta belong to weights: a network has its own; leave them.")
    else:
        on = str(find_device(device))
        network = trained(Path(weights) if weights is not None else None, on, tta)
    limits = thresholds or network.thresholds(method)
    tasks = Tasks(threads or usual_threads())
    found = find_nuclei(
        picture,
        network,
        method,
        limits,
        magnification=asked,
        panels=panels,
        tile=tile,
        tasks=tasks,
    )
    labels, table = found.labels.whole(), shown_table(found, picture.pixel_size)
    return Segmentation(labels, table, found.magnification, limits, found.notes, found, picture)
