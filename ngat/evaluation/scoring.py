"""The protocol for anyone's results: two folders of label images, or two files of run lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from ngat import metrics
from ngat.errors import InputError
from ngat.evaluation.results import read_instances
from ngat.io.labels import LABEL_SUFFIXES, read_label_image
from ngat.system.tables import read_csv

Labels = npt.NDArray[np.integer]

_CSV_ENDINGS = (".csv", ".csv.gz")


class FolderScores(NamedTuple):
    """What :func:`score` found.

    ``images`` has one line per annotated image: image_id, n_true, n_pred, score, average_f1; tp,
    fp, fn and f1 at IoU > 0.7; pixel_iou, pixel_dice. ``counts`` has them at all thresholds,
    ``summary`` is table 1's row, ``unscored`` names predicted images that are not annotated.
    """

    images: pd.DataFrame
    counts: dict[str, list[metrics.Counts]]
    summary: metrics.Summary
    unscored: tuple[str, ...]


def score(
    predicted: Path | str,
    annotated: Path | str,
    *,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> FolderScores:
    """Score predictions against annotations by the challenge's protocol.

    Each side is a folder of label images (``.png``, ``.tif``, ``.npy``; whole numbers, 0 is
    background; matched by the file's name without its ending) or a CSV file in the challenge's form
    (``ImageId,EncodedPixels,Height,Width``; ``.csv`` or ``.csv.gz``). A file without sizes takes
    them from the other side.

    Args:
        predicted: what a method found.
        annotated: what is there. Every annotated image needs a prediction, if only an empty one.
        progress: wraps the image ids, to show how far the count is.

    Raises:
        InputError: a side is absent or empty, an annotated image has no prediction, sizes differ,
            runs are odd, or labels are NaN or no whole numbers.
    """
    # A submission to the challenge states no sizes; the other side, read first, knows them.
    if _is_csv(annotated) and not _has_sizes(annotated):
        if _is_csv(predicted) and not _has_sizes(predicted):
            for side in (predicted, annotated):
                read_csv(side, dtype=str)  # says what is wrong with its lines
            raise InputError(
                f"{annotated}: neither file states sizes; add columns Height,Width to one."
            )
        found = read_labels(predicted)
        truth = read_labels(annotated, _sizes(found), overlap="merge")
    else:
        truth = read_labels(annotated, overlap="merge")
        found = read_labels(predicted, _sizes(truth))
    missing = sorted(set(truth) - set(found))
    if missing:
        raise InputError(
            f"{predicted}: no prediction for image {missing[0]} ({len(missing)} of {len(truth)} "
            "missing); add them, empty where nothing was found."
        )
    counts: dict[str, list[metrics.Counts]] = {}
    rows = []
    for image_id in progress(sorted(truth)):
        pred, true = found[image_id], truth[image_id]
        try:
            counts[image_id] = metrics.match(pred, true)
        except InputError as error:
            raise InputError(f"image {image_id}: {error}") from error
        rows.append(_row(image_id, counts[image_id], pred, true))
    unscored = tuple(sorted(set(found) - set(truth)))
    return FolderScores(pd.DataFrame(rows), counts, metrics.summarise(counts.values()), unscored)


def read_labels(
    source: Path | str,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    *,
    overlap: Literal["refuse", "merge"] = "refuse",
) -> dict[str, Labels]:
    """Label images by image id, from a folder or a CSV file (see :func:`score`).

    ``sizes`` and ``overlap`` as in :func:`ngat.evaluation.results.read_instances`.
    """
    source = Path(source)
    if source.is_dir():
        return _read_folder(source)
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; check the name.")
    if not _is_csv(source):
        raise InputError(f"{source}: give a folder of label images, or a .csv or .csv.gz file.")
    labels = read_instances(source, sizes, overlap=overlap)
    if not labels:
        raise InputError(f"{source}: holds no image to score.")
    return labels


def _read_folder(folder: Path) -> dict[str, Labels]:
    # Names that begin with a dot are no images: other systems leave such files beside each.
    files = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in LABEL_SUFFIXES and not file.name.startswith(".")
    )
    if not files:
        raise InputError(f"{folder}: holds no label image ({', '.join(LABEL_SUFFIXES)}).")
    labels: dict[str, Labels] = {}
    for file in files:
        if file.stem in labels:
            raise InputError(f"{folder}: two files are called {file.stem}; keep one of them.")
        labels[file.stem] = read_label_image(file)
    return labels


def _row(
    image_id: str, counts: list[metrics.Counts], pred: Labels, true: Labels
) -> dict[str, object]:
    at = metrics.counts_at(counts, 0.7)
    means = metrics.image_score(counts)
    # Without objects all pixels are background: a slide's need not be looked at.
    pixels = slice(None if at.n_true or at.n_pred else 0)
    inside = pred[pixels] > 0, true[pixels] > 0
    return {
        "image_id": image_id,
        "n_true": at.n_true,
        "n_pred": at.n_pred,
        "score": means.score,
        "average_f1": means.average_f1,
        "tp": at.tp,
        "fp": at.fp,
        "fn": at.fn,
        "f1": at.f1,
        "pixel_iou": metrics.pixel_iou(*inside),
        "pixel_dice": metrics.pixel_dice(*inside),
    }


def _is_csv(source: Path | str) -> bool:
    return str(source).lower().endswith(_CSV_ENDINGS) and not Path(source).is_dir()


def _has_sizes(source: Path | str) -> bool:
    try:
        header = set(read_csv(source, nrows=0))
    except InputError:
        return True  # read_instances will say what is wrong with it
    if not {"ImageId", "EncodedPixels"} <= header:
        return True  # and that it holds no run lengths
    return {"Height", "Width"} <= header


def _sizes(labels: Mapping[str, Labels]) -> dict[str, tuple[int, int]]:
    return {image_id: (image.shape[0], image.shape[1]) for image_id, image in labels.items()}
