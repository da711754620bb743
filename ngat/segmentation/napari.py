"""For napari: a picture and its nuclei from the record of ``ngat segment``, and a widget.

napari itself is not needed to load this; what it takes are plain tuples (data, options, kind).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import tifffile

from ngat.errors import InputError
from ngat.io.picture import open_picture
from ngat.segmentation import segment
from ngat.segmentation.files import read_record
from ngat.segmentation.formats import FORMATS

if TYPE_CHECKING:
    import napari  # type: ignore[import-not-found]

LayerData = tuple[Any, dict[str, Any], str]


def reader_of(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """A reader of a record that ``ngat segment`` wrote; None for any other file."""
    try:
        known = isinstance(path, str) and read_record(Path(path))
    except InputError:
        return None
    return read_record_layers if known else None


def read_record_layers(path: str) -> list[LayerData]:
    """The picture, where it still is, and its nuclei with their measurements.

    Raises:
        InputError: the picture cannot be read.
    """
    place = Path(path)
    record, name = read_record(place) or {}, place.stem
    # Names of results hold sub-folders, which the place of the record tells.
    out = place.parent
    while not any((out / output).exists() for output in record["outputs"]) and out != out.parent:
        out = out.parent
    size = record.get("pixel_size_um")
    shown: dict[str, Any] = {} if size is None else {"scale": tuple(size)}
    layers: list[LayerData] = []
    if Path(record["input"]).exists():
        reading = {option: record["options"][option] for option in ("channel", "level", "axes")}
        pixels = open_picture(record["input"], page=record["page"], **reading).read()
        layers.append((pixels, {"name": name, "rgb": pixels.ndim == 3, **shown}, "image"))
    forms = {form.folder: name for name, form in FORMATS.items()}
    found = {forms[output.partition("/")[0]]: out / output for output in record["outputs"]}
    if "labels" in found:
        measured = {}
        if "table" in found:
            table = pd.read_csv(found["table"]).rename(columns={"nucleus": "index"})
            measured = {"features": table}
        labels = tifffile.imread(found["labels"])
        layers.append((labels, {"name": f"{name} nuclei", **measured, **shown}, "labels"))
    return layers


def segment_layer(image: napari.layers.Image, diameter: float = 0.0) -> napari.types.LayerDataTuple:
    """The nuclei of an image layer as a new layer.

    Args:
        image: a layer ``[H, W]``, or ``[H, W, 3]`` in colour.
        diameter: of a typical nucleus in pixels; 0 lets the network find it.
    """
    axes = "YXS" if image.rgb else None
    nuclei = segment(image.data, axes=axes, diameter=diameter or None)
    table = nuclei.table.rename(columns={"nucleus": "index"})
    options = {"name": f"{image.name} nuclei", "features": table, "scale": tuple(image.scale)}
    return nuclei.labels, options, "labels"
