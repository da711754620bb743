"""Found, merged, split, missed: every annotated nucleus by outcome, and errors by kind of nucleus.

Each is *found* (IoU > 0.5), or *merged* (one object covers more than half of it and of another), or
*split* (several objects lie mostly in it), or *missed*. Counted by type, by size and by whether
another nucleus touches it, from predicted nuclei in result files: nothing is predicted anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from ngat import metrics
from ngat.data import Sample
from ngat.errors import InputError
from ngat.evaluation.results import read_counts, read_instances
from ngat.system.process import track
from ngat.system.tables import read_table

Labels = npt.NDArray[np.integer]

OUTCOMES = ("found", "merged", "split", "missed")
SIZES = ("< 100 px", "100–300 px", "300–1000 px", "≥ 1000 px")
_ENDS = (100, 300, 1000)
GAP = 1  # pixels of background between two nuclei that still touch
COLUMNS = ("method", "type", "size", "touching", *OUTCOMES)


class Outcomes(NamedTuple):
    """Of one picture.

    Attributes:
        of_each: for every annotated nucleus, in the order of its labels, an index into
            :data:`OUTCOMES`.
        extra: predicted objects that lie mostly on background.
    """

    of_each: npt.NDArray[np.intp]
    extra: int


def outcomes(pred: Labels, true: Labels) -> Outcomes:
    """Outcome of every annotated nucleus of a picture, and the number of extra objects.

    Raises:
        InputError: as :func:`ngat.metrics.overlaps`.
    """
    meet = metrics.overlaps(pred, true)
    area_true, area_pred = areas(true), areas(pred)
    matched = np.zeros(meet.n_true, dtype=bool)
    matched[meet.true[2 * meet.intersection > meet.union]] = True
    swallowed = 2 * meet.intersection > area_true[meet.true]
    # Objects that cover more than half of several nuclei.
    eaten = np.bincount(meet.pred[swallowed], minlength=meet.n_pred)
    merged = np.zeros(meet.n_true, dtype=bool)
    merged[meet.true[swallowed & (eaten[meet.pred] > 1)]] = True
    inside = 2 * meet.intersection > area_pred[meet.pred]
    pieces = np.bincount(meet.true[inside], minlength=meet.n_true)
    on_nuclei = np.bincount(meet.pred, meet.intersection, minlength=meet.n_pred)
    return Outcomes(
        np.select([matched, merged, pieces > 1], [0, 1, 2], 3).astype(np.intp),
        int((2 * on_nuclei < area_pred).sum()),
    )


def areas(labels: Labels) -> npt.NDArray[np.int64]:
    """Pixels of the objects, in the order of their labels."""
    names, counts = np.unique(np.asarray(labels), return_counts=True)
    return counts[names > 0]


def touching(labels: Labels, gap: int = GAP) -> npt.NDArray[np.bool_]:
    """For every object, in the order of its labels: is another within ``gap`` pixels?

    With a gap of 0 the two share a pixel's edge or corner.
    """
    names = np.unique(labels[labels > 0])
    number = np.searchsorted(names, labels) + 1
    number[labels == 0] = 0
    reach, none = 2 * gap + 3, len(names) + 1
    highest = ndimage.maximum_filter(number, reach)
    lowest = ndimage.minimum_filter(np.where(number > 0, number, none), reach)
    beside = (number > 0) & ((highest != number) | (lowest != number))
    found = np.zeros(len(names), dtype=bool)
    found[number[beside] - 1] = True
    return found


def count(
    nuclei: Mapping[str, Mapping[str, Labels]],
    samples: Sequence[Sample],
    progress: bool = True,
) -> pd.DataFrame:
    """Annotated nuclei by method, type, size, touching and outcome: :data:`COLUMNS`.

    Args:
        nuclei: predicted label images by image id, by method.
        samples: annotated pictures.

    Raises:
        InputError: a method has not been measured on one of the pictures.
    """
    for method, labels in nuclei.items():
        if lacking := [s.image_id for s in samples if s.image_id not in labels]:
            raise InputError(
                f"{method}: its result files lack {len(lacking)} of these pictures (first "
                f"{lacking[0]}); name files of the same data and split, or run `ngat evaluate`."
            )
    lines = []
    for sample in track(samples, "Compare nuclei", progress=progress):
        sizes = np.searchsorted(_ENDS, areas(sample.labels), side="right")
        beside = touching(sample.labels)
        for method, labels in nuclei.items():
            of_each = outcomes(labels[sample.image_id], sample.labels).of_each
            kinds, numbers = np.unique([sizes, beside, of_each], axis=1, return_counts=True)
            for (size, touches, outcome), n in zip(kinds.T, numbers, strict=True):
                kind = method, sample.type, SIZES[size], bool(touches), OUTCOMES[outcome], n
                lines.append(kind)
    key = list(COLUMNS[:4])
    table = pd.DataFrame(lines, columns=[*key, "outcome", "n"])
    wide = table.pivot_table("n", key, "outcome", "sum", fill_value=0).astype(int)
    return wide.reindex(columns=OUTCOMES, fill_value=0).reset_index()[list(COLUMNS)]


def committed(folder: Path, stems: Sequence[str]) -> dict[str, dict[str, Labels]]:
    """Predicted nuclei of result files, by the method's name.

    Raises:
        InputError: a file is missing or damaged, or two are of one method.
    """
    found: dict[str, dict[str, Labels]] = {}
    for stem in stems:
        counts = read_counts(folder / f"{stem}.counts.csv")
        method = str(counts["method"].iloc[0])
        if method in found:
            raise InputError(f"{stem}: {method!r} is there already; give each run its own --label.")
        found[method] = read_instances(folder / f"{stem}.rle.csv.gz")
    return found


def read(path: Path) -> pd.DataFrame:
    """Read what :func:`count` made.

    Raises:
        InputError: it cannot be read, or is another table.
    """
    return read_table(path, COLUMNS, "error types", "ngat error-types")


def by(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Sums over everything but the method and one column, with ``nuclei`` in all."""
    sums = table.groupby(["method", column], sort=False)[list(OUTCOMES)].sum().reset_index()
    return sums.assign(nuclei=sums[list(OUTCOMES)].sum(axis=1))
