"""Result files: what a method found, how it was counted, and how that came about.

One run is four files with one name, of a network five:

``<name>.counts.csv``
    one line per image and threshold: :data:`COUNT_COLUMNS`. Every table follows from it.
``<name>.pixels.csv``
    one line per image: :data:`PIXEL_COLUMNS` (eq. 28 and 29, six digits).
``<name>.rle.csv.gz``
    the predicted nuclei in the challenge's form, ``ImageId,EncodedPixels,Height,Width``, one line
    per nucleus; an image without nuclei has one line without runs.
``<name>.confidence.csv.gz``
    one line per predicted nucleus, see :mod:`ngat.evaluation.confidence`; of a network alone.
``<name>.json``
    provenance, with the method's name and the data that it was measured on.

The same results give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from ngat import metrics
from ngat.data import Sample, rle
from ngat.errors import InputError
from ngat.evaluation import confidence
from ngat.system.files import locked, read_json, write_json
from ngat.system.tables import read_text_table, write_table

Labels = npt.NDArray[np.integer]

_WHERE = ["image_id", "type", "data", "split", "method"]
COUNT_COLUMNS = [*_WHERE, "threshold", "tp", "fp", "fn", "n_true", "n_pred"]
PIXEL_COLUMNS = [*_WHERE, "height", "width", "n_true", "n_pred", "pixel_iou", "pixel_dice"]
RLE_COLUMNS = ["ImageId", "EncodedPixels", "Height", "Width"]


@dataclass(frozen=True)
class Measured:
    """One image, predicted and counted. ``labels`` is the prediction, ``int [H, W]``.

    ``confidence`` is of :func:`ngat.evaluation.confidence.of_picture`, where probabilities are
    known.
    """

    image_id: str
    type: str
    split: str
    labels: Labels
    counts: tuple[metrics.Counts, ...]
    pixel_iou: float
    pixel_dice: float
    confidence: pd.DataFrame | None = None


class Run(NamedTuple):
    """What one run's files hold. ``provenance`` is empty where the JSON file is absent."""

    name: str
    counts: pd.DataFrame
    pixels: pd.DataFrame
    provenance: dict[str, Any]

    @property
    def method(self) -> str:
        """Its name in tables."""
        return str(self.counts["method"].iloc[0])


def measure(
    sample: Sample, labels: Labels, probability: npt.NDArray[np.floating] | None = None
) -> Measured:
    """Count a prediction against a sample's annotation, at all thresholds and by pixels."""
    try:
        counts = metrics.match(labels, sample.labels)
    except InputError as error:
        raise InputError(f"image {sample.image_id}: {error}") from error
    pred, true = np.asarray(labels) > 0, sample.labels > 0
    return Measured(
        sample.image_id,
        sample.type,
        sample.split,
        np.asarray(labels),
        tuple(counts),
        metrics.pixel_iou(pred, true),
        metrics.pixel_dice(pred, true),
        None if probability is None else confidence.of_picture(sample, labels, probability),
    )


def run_name(data: str, split: str, method: str) -> str:
    """The common name of a run's files, whatever letters the data set's name has."""
    plain = re.sub(r"[^a-z0-9_.-]+", "-", data.lower()).strip("-_.")
    return f"{plain or 'own'}-{split}-{method}"


def check_name(name: str) -> str:
    """The common name of a run's files, if it can be one; else :class:`InputError`."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name):
        raise InputError(f"{name!r}: name a run with small letters, digits, '-', '_' and '.'.")
    return name


def of_training(told: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance of an evaluation with minutes and hardware of the training, as tables show."""
    return {
        **told,
        "evaluation": {key: told[key] for key in ("minutes", "hardware")},
        "minutes": training.get("minutes"),
        "hardware": training.get("hardware", told["hardware"]),
    }


def write_run(
    folder: Path | str,
    name: str,
    measured: Iterable[Measured],
    *,
    method: str,
    data: str,
    provenance: Mapping[str, Any],
) -> list[Path]:
    """Write a run's files into ``folder``; images in the order of their ids.

    Args:
        folder: made if absent.
        name: the files' common name: small letters, digits, ``-``, ``_`` and ``.``.
        measured: one entry per image.
        method: as it shall stand in tables, e.g. ``companion (split)``.
        data: the data set's name, e.g. ``dsb2018``.
        provenance: from :func:`ngat.system.provenance.provenance`.

    Raises:
        InputError: a bad name, an image twice, no image, or an unwritable folder.
    """
    check_name(name)
    images = sorted(measured, key=lambda image: image.image_id)
    ids = [image.image_id for image in images]
    if not ids or len(set(ids)) < len(ids):
        raise InputError(f"run {name}: an image is there twice, or none at all.")
    counts, pixels = [], []
    for image in images:
        where = [image.image_id, image.type, data, image.split, method]
        first = image.counts[0]
        for c in image.counts:
            counts.append([*where, c.threshold, c.tp, c.fp, c.fn, c.n_true, c.n_pred])
        quality = [round(image.pixel_iou, 6), round(image.pixel_dice, 6)]
        pixels.append([*where, *image.labels.shape, first.n_true, first.n_pred, *quality])
    stem = Path(folder) / name
    paths = [_beside(stem, suffix) for suffix in (".counts.csv", ".pixels.csv")]
    with locked(stem):  # two evaluations of one name would mix their files
        for path, rows, columns in zip(
            paths, (counts, pixels), (COUNT_COLUMNS, PIXEL_COLUMNS), strict=True
        ):
            write_table(path, pd.DataFrame(rows, columns=columns))
        paths.append(_beside(stem, ".rle.csv.gz"))
        write_instances(paths[-1], {image.image_id: image.labels for image in images})
        of_each = [image.confidence for image in images if image.confidence is not None]
        sure = _beside(stem, ".confidence.csv.gz")
        sure.unlink(missing_ok=True)
        if len(of_each) == len(images):
            paths.append(sure)
            write_table(sure, confidence.table(of_each))
        paths.append(_beside(stem, ".json"))
        write_json(paths[-1], {**provenance, "method": method, "data": data, "images": len(images)})
    return paths


def read_run(stem: Path | str) -> Run:
    """Read and check the run whose files are called ``<stem>.counts.csv`` and so on."""
    stem = Path(stem)
    counts = read_counts(_beside(stem, ".counts.csv"))
    path = _beside(stem, ".pixels.csv")
    pixels = _read(path, PIXEL_COLUMNS)
    for column in PIXEL_COLUMNS[len(_WHERE) :]:
        pixels[column] = pd.to_numeric(pixels[column], errors="coerce")
        if pixels[column].isna().any():
            raise InputError(f"{path}: column {column} holds what is no number.")
    if set(pixels["image_id"]) != set(counts["image_id"]):
        raise InputError(f"{stem.name}: counts and pixels name different images; rerun evaluate.")
    history = read_json(_beside(stem, ".json"), "rerun evaluate", absent={})
    return Run(stem.name, counts, pixels, history)


def runs_in(folder: Path | str) -> list[Run]:
    """All runs in a folder, in the order of their names."""
    suffix = ".counts.csv"
    found = sorted(Path(folder).glob(f"*{suffix}"))
    if not found:
        raise InputError(f"{folder}: holds no result file (*{suffix}); run `ngat evaluate` first.")
    return [read_run(str(path)[: -len(suffix)]) for path in found]


def read_counts(path: Path | str) -> pd.DataFrame:
    """Read a counts file and check that its numbers agree with each other.

    Raises:
        InputError: absent, columns missing, numbers that are none or contradict each other, an
            image with a threshold missing or twice.
    """
    table = _read(path, COUNT_COLUMNS)
    numbers = table[["threshold", "tp", "fp", "fn", "n_true", "n_pred"]]
    numbers = numbers.apply(pd.to_numeric, errors="coerce")
    whole = numbers.drop(columns="threshold")
    bad = (
        numbers.isna().any(axis=1)
        | (whole < 0).any(axis=1)
        | (whole % 1 != 0).any(axis=1)
        | (numbers.tp + numbers.fn != numbers.n_true)
        | (numbers.tp + numbers.fp != numbers.n_pred)
    )
    if bad.any():
        raise InputError(
            f"{path}: line {int(np.argmax(bad)) + 2} does not add up (tp + fn = n_true, "
            "tp + fp = n_pred, all whole); rerun evaluate."
        )
    table[whole.columns] = whole.astype(np.int64)
    table["threshold"] = numbers.threshold
    thresholds = sorted(table["threshold"].unique())
    for (image_id, _), rows in table.groupby(["image_id", "method"], sort=False):
        if sorted(rows["threshold"]) != thresholds:
            raise InputError(f"{path}: image {image_id} lacks a threshold, or has one twice.")
    return table


def write_instances(path: Path | str, labels: Mapping[str, Labels]) -> None:
    """Write label images as run lengths in the challenge's form, compressed if ``.gz``."""
    rows = [
        (image_id, runs, *image.shape)
        for image_id, image in labels.items()
        for runs in rle.encode_labels(image) or [""]
    ]
    write_table(path, pd.DataFrame(rows, columns=RLE_COLUMNS))


def read_instances(
    path: Path | str,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    *,
    overlap: Literal["refuse", "merge"] = "refuse",
) -> dict[str, Labels]:
    """Read a CSV file in the challenge's form, plain or compressed, as label images.

    Columns ``ImageId,EncodedPixels``, then ``Height,Width`` (or give ``sizes``: a submission to the
    challenge has none). Lines whose ``Usage`` is ``Ignored`` are skipped, as the challenge does.

    Args:
        path: the file.
        sizes: height and width by image id, where the file states none.
        overlap: what to do with a pixel that two objects of a picture claim. The challenge refuses
            such predictions; ``merge`` gives it to the smallest, as the data set's reader does.

    Raises:
        InputError: absent, columns missing, sizes unknown or contradictory, runs that are odd,
            outside the picture, or (unless merged) in two objects.
    """
    table = _read(path, RLE_COLUMNS[:2])
    if "Usage" in table:
        table = table[table["Usage"].str.strip().str.lower() != "ignored"]
    nameless = table.index[table["ImageId"].str.strip() == ""]
    if len(nameless):
        raise InputError(f"{path}: line {nameless[0] + 2} has no ImageId; name its image.")
    labels: dict[str, Labels] = {}
    for image_id, rows in table.groupby("ImageId", sort=False):
        height, width = _stated_size(path, str(image_id), rows, sizes or {})
        name = f"{path}: image {image_id}"
        masks = [rle.pixels(runs, height, width, name=name) for runs in rows["EncodedPixels"]]
        merged = rle.merge([mask for mask in masks if mask.size], height, width)
        if merged.overlaps and overlap == "refuse":
            raise InputError(f"{name}: two objects share pixels; give each pixel to one.")
        labels[str(image_id)] = merged.labels
    return labels


def _stated_size(
    path: Path | str, image_id: str, rows: pd.DataFrame, sizes: Mapping[str, tuple[int, int]]
) -> tuple[int, int]:
    if not {"Height", "Width"} <= set(rows.columns):
        if image_id not in sizes:
            raise InputError(
                f"{path}: the size of image {image_id} is unknown; add columns Height,Width."
            )
        return sizes[image_id]
    stated = rows[["Height", "Width"]].drop_duplicates()
    try:
        height, width = (int(value) for value in stated.iloc[0])
    except ValueError as error:
        raise InputError(f"{path}: image {image_id} has no whole Height and Width.") from error
    if len(stated) > 1 or height < 1 or width < 1:
        raise InputError(f"{path}: image {image_id} has two sizes, or an empty one.")
    return height, width


def _read(path: Path | str, columns: list[str]) -> pd.DataFrame:
    return read_text_table(path, columns, "check the name, or run `ngat evaluate` first")


def _beside(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)
