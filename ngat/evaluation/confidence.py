"""How sure a network is of each nucleus that it predicts, and precision over recall by that.

A predicted nucleus is as sure as its pixels' mean probability. Precision and recall at IoU > 0.7,
over those that are surer than a bound which falls from 1 to 0, are the curve that the challenge's
counts cannot give: they hold one point of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ngat import metrics
from ngat.data import TYPES, Sample
from ngat.data.own import TYPE as OWN
from ngat.instances import confidences
from ngat.metrics import Labels
from ngat.system.tables import read_table

# Matched when intersection / union is more than 7/10, in whole numbers.
AT = (7, 10)
COLUMNS = ("image_id", "type", "annotated", "confidence", "matched")


def of_picture(
    sample: Sample, labels: Labels, probability: npt.NDArray[np.floating]
) -> pd.DataFrame:
    """A line per predicted nucleus, :data:`COLUMNS`; one without confidence where there is none.

    Args:
        labels: predicted nuclei, ``int [H, W]``.
        probability: of nucleus, ``float [H, W]``.

    Raises:
        InputError: as :func:`ngat.metrics.overlaps`.
    """
    meet = metrics.overlaps(labels, sample.labels)
    names = np.unique(labels)
    mean = confidences(labels, probability)[names]
    matched = np.zeros(meet.n_pred, dtype=int)
    matched[meet.pred[AT[1] * meet.intersection > AT[0] * meet.union]] = 1
    found = pd.DataFrame({"confidence": mean[names > 0].round(4), "matched": matched})
    if found.empty:
        found = pd.DataFrame({"confidence": [np.nan], "matched": [0]})
    return found.assign(image_id=sample.image_id, type=sample.type, annotated=meet.n_true)[
        list(COLUMNS)
    ]


def table(pictures: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The lines of all pictures, in the order of their ids."""
    return pd.concat(sorted(pictures, key=lambda lines: str(lines["image_id"].iloc[0])))


def read(path: Path) -> pd.DataFrame:
    """Read the file that `ngat evaluate` writes of a network.

    Raises:
        InputError: it cannot be read, or is another table.
    """
    return read_table(path, COLUMNS, "confidences", "ngat evaluate")


def precision_recall(lines: pd.DataFrame) -> pd.DataFrame:
    """Precision and recall over nuclei of at least some confidence, by type of picture.

    The nuclei of a type's pictures are thrown together, as the challenge's recall is.

    Returns:
        Columns type, confidence (falling), recall, precision; types in the paper's order, then own.
    """
    parts = []
    for kind in [name for name in (*TYPES, OWN) if name in set(lines["type"])]:
        of_type = lines[lines["type"] == kind]
        annotated = of_type.drop_duplicates("image_id")["annotated"].sum()
        found = of_type.dropna(subset="confidence").sort_values("confidence", ascending=False)
        hits, taken = found["matched"].cumsum(), np.arange(1, len(found) + 1)
        part = pd.DataFrame(
            {
                "type": kind,
                "confidence": found["confidence"],
                "recall": hits / max(annotated, 1),
                "precision": hits / taken,
            }
        )
        parts.append(part.drop_duplicates("confidence", keep="last"))  # equals come in together
    return pd.concat(parts, ignore_index=True)


def average_precision(curve: pd.DataFrame) -> float:
    """The area under one type's curve: precision weighted by the recall that each step adds."""
    added = np.diff(curve["recall"].to_numpy(), prepend=0.0)
    return float((added * curve["precision"].to_numpy()).sum())
