"""The published numbers, as data: what measured rows are set beside, and never mixed up with.

Sources: (P) the NGAT paper, tables 1 and 2; (C) Caicedo et al. 2019, Nature Methods 16:1247, with
its published analysis. All were measured on the challenge's stage 2: 106 images, 3,717 objects.
Table 1's rows of the challenge's systems stand in both.
"""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from ngat.data import TYPES

MEASURED_ON = "published, stage 2"


class PublishedRow(NamedTuple):
    """One row of table 1; recall, missed and extra are pooled over objects at IoU > 0.7."""

    system: str
    method: str
    score: float
    average_f1: float
    recall: float
    missed: float
    extra: float
    source: str


class Pool(NamedTuple):
    """Objects of all stage 2 images counted at IoU > 0.7."""

    tp: int
    fp: int
    fn: int


class Stratum(NamedTuple):
    """How many images and annotated objects of one type stage 2 has."""

    images: int
    objects: int


PAPER = "NGAT (the paper)"

# Table 1 (P; the first four also C).
TABLE_1: tuple[PublishedRow, ...] = (
    PublishedRow(
        "topcoders", "U-Net/FPN, 32 networks", 0.6316, 0.7120, 0.7762, 0.2238, 0.1455, "C, P"
    ),
    PublishedRow("Jacobkie", "FC-FPN", 0.6147, 0.6987, 0.6914, 0.3086, 0.1504, "C, P"),
    PublishedRow("Deep Retina", "Mask R-CNN", 0.6141, 0.7008, 0.6807, 0.3193, 0.1090, "C, P"),
    PublishedRow("CellProfiler", "classical", 0.5281, 0.6280, 0.5935, 0.4065, 0.3955, "C, P"),
    PublishedRow(PAPER, "GAT", 0.6762, 0.7384, 0.7931, 0.2069, 0.1425, "P"),
)

# Table 2 (P): F1 at IoU > 0.7, mean over a type's images, in the order of TYPES. Weighted by images
# its rows fall short of F1_AT_07 by .005 to .007 each: its digits are cut, not rounded.
TABLE_2: dict[str, dict[str, float]] = {
    system: dict(zip(TYPES, values, strict=True))
    for system, values in {
        "topcoders": (0.89, 0.70, 0.80, 0.51, 0.55),
        "Jacobkie": (0.88, 0.64, 0.62, 0.89, 0.15),
        "Deep Retina": (0.89, 0.70, 0.53, 0.64, 0.43),
        "CellProfiler": (0.79, 0.54, 0.40, 0.84, 0.45),
        PAPER: (0.90, 0.72, 0.71, 0.84, 0.56),
    }.items()
}

# Stage 2 by type (C).
STAGE_2: dict[str, Stratum] = {
    "small_fluorescent": Stratum(72, 1779),
    "purple_tissue": Stratum(16, 1152),
    "pink_and_purple_tissue": Stratum(5, 642),
    "large_fluorescent": Stratum(12, 36),
    "grayscale_tissue": Stratum(1, 108),
}


def same_images(counts: pd.DataFrame) -> bool:
    """Whether a run was measured on stage 2, the images of the published numbers.

    Told by what no other set has: so many images of each type, and as many annotated nuclei but
    for one in a hundred (two readings of one annotation differ by a handful).

    Args:
        counts: lines of a result file, :data:`ngat.evaluation.results.COUNT_COLUMNS`.
    """
    images = counts.drop_duplicates("image_id")
    found = {kind: len(rows) for kind, rows in images.groupby("type")}
    objects = sum(stratum.objects for stratum in STAGE_2.values())
    same = abs(int(images["n_true"].sum()) - objects) <= objects / 100
    return same and found == {kind: stratum.images for kind, stratum in STAGE_2.items()}


# Pooled counts at IoU > 0.7 (C). The paper publishes none.
COUNTS_AT_07: dict[str, Pool] = {
    "topcoders": Pool(2885, 541, 832),
    "Jacobkie": Pool(2570, 559, 1147),
    "Deep Retina": Pool(2530, 405, 1187),
    "CellProfiler": Pool(2206, 1470, 1511),
}

# F1 at IoU > 0.7, mean over images (C).
F1_AT_07: dict[str, float] = {
    "topcoders": 0.816,
    "Jacobkie": 0.832,
    "Deep Retina": 0.819,
    "CellProfiler": 0.743,
}


class Agreement(NamedTuple):
    """How well one annotator's objects match another's: a ceiling for any method."""

    images: int
    average_f1: float
    f1_at_07: float
    f1_at_07_grayscale: float


# Two human annotators on five stage 2 images, one of them the grayscale one (C).
ANNOTATORS = Agreement(images=5, average_f1=0.675, f1_at_07=0.805, f1_at_07_grayscale=0.680)
