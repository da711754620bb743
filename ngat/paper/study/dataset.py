"""What a data set is made of: nuclei, their sizes and crowding, and whether a split leaks.

Numbers of pictures, not pictures: a table of them may be kept where the pictures may not.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from skimage.measure import label

from ngat.data import SPLITS, TYPES, Sample
from ngat.errors import InputError
from ngat.instances import Labels
from ngat.segmentation.measure import measure
from ngat.system.files import read_table

_WHERE = ["image_id", "split", "type", "group"]
NUCLEUS_COLUMNS = ["image_id", "split", "type", "area", "diameter", "touches"]
PICTURE_COLUMNS = [*_WHERE, "height", "width", "nuclei", "median_diameter", "touching", "covered"]


def nuclei(samples: Iterable[Sample]) -> pd.DataFrame:
    """One line per annotated nucleus.

    Returns:
        image_id, split, type, area in pixels, diameter of the disc of that area in pixels, and
        whether it touches another nucleus.
    """
    parts = []
    for sample in samples:
        area = np.bincount(sample.labels.ravel(), minlength=1)[1:]
        there = area > 0
        parts.append(
            pd.DataFrame(
                {
                    "image_id": sample.image_id,
                    "split": sample.split,
                    "type": sample.type,
                    "area": area[there],
                    "diameter": np.sqrt(4 / np.pi * area[there]),
                    "touches": touching(sample.labels)[there],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)[NUCLEUS_COLUMNS] if parts else pd.DataFrame()


def pictures(samples: Iterable[Sample]) -> pd.DataFrame:
    """One line per picture.

    Returns:
        image_id, split, type, group, height and width in pixels, number of nuclei, median of
        their diameters in pixels, share of them that touch another, share of pixels covered;
        the last three to four digits, and zero where there is no nucleus.
    """
    rows = []
    for sample in samples:
        of_picture = nuclei([sample])
        some = len(of_picture) > 0
        values = (
            (
                float(of_picture["diameter"].median()),
                float(of_picture["touches"].mean()),
                float((sample.labels > 0).mean()),
            )
            if some
            else (0.0, 0.0, 0.0)
        )
        rows.append(
            [
                *(getattr(sample, name) for name in _WHERE),
                *sample.labels.shape,
                len(of_picture),
                *(round(value, 4) for value in values),
            ]
        )
    return pd.DataFrame(rows, columns=PICTURE_COLUMNS)


def touching(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """For labels 1 … n, does the nucleus share a pixel's edge or corner with another one?

    Args:
        labels: ``int [H, W]``.

    Returns:
        ``bool [n]``, n the largest label.
    """
    labels = np.asarray(labels)
    touches = np.zeros(int(labels.max(initial=0)) + 1, dtype=bool)
    # A pixel and its neighbour to the right, below, and on both diagonals: all pairs once.
    for a, b in (
        (labels[:, :-1], labels[:, 1:]),
        (labels[:-1], labels[1:]),
        (labels[:-1, :-1], labels[1:, 1:]),
        (labels[:-1, 1:], labels[1:, :-1]),
    ):
        meet = (a != b) & (a > 0) & (b > 0)
        touches[a[meet]] = True
        touches[b[meet]] = True
    return touches[1:]


def measured(labels: Labels) -> pd.DataFrame:
    """One line per nucleus of a label image that numbers them 1 … n.

    Returns:
        nucleus, row and column of its centre, area, diameter of the disc of that area, elongation
        (long over short axis of the ellipse of equal moments), and whether it touches another;
        lengths in pixels.
    """
    found = measure(labels, np.zeros((*labels.shape, 0)), ())
    return pd.DataFrame(
        {
            "nucleus": found["nucleus"],
            "row": found["y"].round(1),
            "column": found["x"].round(1),
            "area": found["area"],
            "diameter": np.sqrt(4 / np.pi * found["area"]).round(1),
            "elongation": (found["major_axis"] / found["minor_axis"].clip(lower=1)).round(2),
            "touches": touching(labels)[found["nucleus"].to_numpy(dtype=int) - 1],
        }
    )


def read_pictures(path: Path | str) -> pd.DataFrame:
    """Read a table that :func:`pictures` made.

    Raises:
        InputError: it cannot be read, or columns are missing.
    """
    return read_table(path, PICTURE_COLUMNS, "pictures", "ngat data describe")


def groups(table: pd.DataFrame) -> pd.DataFrame:
    """One line per group of pictures with one parent: type, split, number of pictures.

    Args:
        table: columns type, group and split, one line per picture.

    Raises:
        InputError: a group straddles the split, which would let a network be tested on parts of
            pictures that it was trained on.
    """
    splits = table.groupby("group")["split"].nunique()
    if (splits > 1).any():
        raise InputError(f"group {splits.idxmax()} lies in more than one part of the split.")
    return (
        table.groupby(["type", "group", "split"], observed=True)
        .size()
        .rename("pictures")
        .reset_index()
    )


def leaking(table: pd.DataFrame, *, draws: int = 200, seed: int = 0) -> pd.Series:
    """Share of test pictures that would have a sibling in training, were each sampled alone.

    Pictures of a type are assigned at random to parts as large as they are now, without looking at
    groups: what most splits of this data set do.

    Args:
        table: columns type, group and split, one line per picture.
        draws: how many random splits.
        seed: of the draws.

    Returns:
        the share of test pictures with a sibling in train, one value per draw.
    """
    rng = np.random.default_rng(seed)
    table = table[table["split"].isin(SPLITS)].reset_index(drop=True)
    group = pd.factorize(table["group"])[0]
    split = table["split"].to_numpy()
    of_type = [np.flatnonzero(table["type"] == kind) for kind in table["type"].unique()]
    shares = []
    for _ in range(draws):
        drawn = split.copy()
        for places in of_type:
            drawn[places] = split[rng.permutation(places)]
        trained = np.unique(group[drawn == "train"])
        shares.append(float(np.isin(group[drawn == "test"], trained).mean()))
    return pd.Series(shares, name="leaking")


def in_parts(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Numbers of the annotated nuclei that consist of several connected parts.

    Args:
        labels: ``[H, W]``; pixels that touch at a corner are connected.
    """
    inside = labels > 0
    parts = label(labels, connectivity=2)[inside]
    whose = labels[inside][np.unique(parts, return_index=True)[1]]  # of each part
    numbers, count = np.unique(whose, return_counts=True)
    several: npt.NDArray[np.integer] = numbers[count > 1]
    return several


def composition(facts: pd.DataFrame) -> pd.DataFrame:
    """Pictures and nuclei by part of the split and type.

    Args:
        facts: from :func:`pictures`.

    Returns:
        Columns part, type, images, objects; a line for each part and type, zero where none is.
    """
    counted = facts.groupby(["split", "type"])["nuclei"].agg(["size", "sum"])
    rows = []
    for part in SPLITS:
        for kind in TYPES:
            images, objects = counted.loc[(part, kind)] if (part, kind) in counted.index else (0, 0)
            rows.append((part, kind, int(images), int(objects)))
    return pd.DataFrame(rows, columns=["part", "type", "images", "objects"])


def image_sizes(facts: pd.DataFrame) -> pd.Series:
    """√area in pixels of each picture's median nucleus: the side of a square as large.

    Args:
        facts: from :func:`pictures`, whose diameters are those of discs.
    """
    return (facts["median_diameter"] * np.sqrt(np.pi) / 2).rename("size")


def size_table(facts: pd.DataFrame) -> pd.DataFrame:
    """A line per type and one for all, a column per part: median √area, smallest to largest."""
    sized = facts.assign(size=image_sizes(facts))
    rows = []
    for kind in [*TYPES, "all"]:
        of_kind = sized if kind == "all" else sized[sized["type"] == kind]
        cells = {}
        for part in SPLITS:
            size = of_kind.loc[of_kind["split"] == part, "size"]
            cells[part] = f"{size.median():.0f} ({size.min():.0f}–{size.max():.0f})"
        rows.append({"type": kind, **cells})
    return pd.DataFrame(rows)


def composition_table(counts: pd.DataFrame) -> pd.DataFrame:
    """A line per type and one for all, a column per part: ``<pictures> / <nuclei>``."""
    parts = list(dict.fromkeys(counts["part"]))
    rows = []
    for kind in [*dict.fromkeys(counts["type"]), "all"]:
        of_kind = counts if kind == "all" else counts[counts["type"] == kind]
        sums = of_kind.groupby("part")[["images", "objects"]].sum()
        cells = {p: f"{sums.images[p]:,} / {sums.objects[p]:,}" for p in parts}
        rows.append({"type": kind, **cells})
    return pd.DataFrame(rows)
