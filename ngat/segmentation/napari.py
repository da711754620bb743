"""For napari: a picture and its nuclei from the record of ``ngat segment``, and a widget.

napari itself is not needed to load this; what it takes are plain tuples (data, options, kind).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import tifffile

from ngat.io.picture import open_picture
from ngat.segmentation.files import FORMAT
from ngat.segmentation.formats import FORMATS
from ngat.segmentation.result import segment

if TYPE_CHECKING:
    import napari  # type: ignore[import-not-found]

LayerData = tuple[Any, dict[str, Any], str]


def reader_of(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """A reader of a record that ``ngat segment`` wrote; None for any other file."""
    if not isinstance(path, str):
        return None
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        known = record["format"] == FORMAT and isinstance(record["outputs"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return read_record_layers if known else None


def read_record_layers(path: str) -> list[LayerData]:
    """The picture, where it still is, and its nuclei with their measurements.

    Raises:
        InputError: the picture cannot be read.
    """
    place = Path(path)
    record = json.loads(place.read_text(encoding="utf-8"))
    options, name = record["options"], place.stem
    # Names of results hold sub-folders, which the place of the record tells.
    out = place.parent
    while not any((out / output).exists() for output in record["outputs"]) and out != out.parent:
        out = out.parent
    size = record.get("pixel_size_um")
    shown: dict[str, Any] = {} if size is None else {"scale": tuple(size)}
    layers: list[LayerData] = []
    if Path(record["input"]).exists():
        picture = open_picture(
            record["input"],
            channel=options["channel"],
            page=record["page"],
            level=options["level"],
            axes=options["axes"],
        )
        pixels = picture.read()
        layers.append((pixels, {"name": name, "rgb": pixels.ndim == 3, **shown}, "image"))
    found = {form: out / output for form, output in _by_form(record["outputs"]).items()}
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


def _by_form(outputs: dict[str, Any]) -> dict[str, str]:
    folders = {form.folder: name for name, form in FORMATS.items()}
    return {folders[output.partition("/")[0]]: output for output in outputs}
