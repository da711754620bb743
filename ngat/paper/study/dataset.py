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
from ngat.evaluation.error_types import areas, touching
from ngat.instances import Labels
from ngat.segmentation.measure import measure
from ngat.system.tables import read_table

_WHERE = ["image_id", "split", "type", "group"]
PICTURE_COLUMNS = [*_WHERE, "height", "width", "nuclei", "median_diameter", "touching", "covered"]


def pictures(samples: Iterable[Sample]) -> pd.DataFrame:
    """One line per picture.

    Returns:
        image_id, split, type, group, height and width in pixels, number of nuclei, median of
        their diameters in pixels (of discs of their areas), share of them that share a pixel's
        edge or corner with another, share of pixels covered; the last three to four digits.
    """
    rows = []
    for sample in samples:
        area = areas(sample.labels)
        # Of a picture without nuclei all three are zero.
        values = (
            np.median(np.sqrt(4 / np.pi * area)) if len(area) else 0.0,
            touching(sample.labels, gap=0).mean() if len(area) else 0.0,
            (sample.labels > 0).mean(),
        )
        where = [getattr(sample, name) for name in _WHERE]
        rounded = [round(float(value), 4) for value in values]
        rows.append([*where, *sample.labels.shape, len(area), *rounded])
    return pd.DataFrame(rows, columns=PICTURE_COLUMNS)


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
            "touches": touching(labels, gap=0),
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
        table.groupby(["type", "group", "split"], observed=True).size().reset_index(name="pictures")
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
    every = pd.MultiIndex.from_product([SPLITS, TYPES], names=["part", "type"])
    counted = facts.groupby(["split", "type"])["nuclei"].agg(images="size", objects="sum")
    return counted.reindex(every, fill_value=0).reset_index()


def composition_table(counts: pd.DataFrame) -> pd.DataFrame:
    """A line per type and one for all, a column per part: ``<pictures> / <nuclei>``.

    Args:
        counts: from :func:`composition`.
    """
    whole = counts.groupby("part", sort=False)[["images", "objects"]].sum().assign(type="all")
    counts = pd.concat([counts, whole.reset_index()])
    cells = counts["images"].map("{:,}".format) + " / " + counts["objects"].map("{:,}".format)
    return _by_type_and_part(counts.assign(cell=cells))


def image_sizes(facts: pd.DataFrame) -> pd.Series:
    """√area in pixels of each picture's median nucleus: the side of a square as large.

    Args:
        facts: from :func:`pictures`, whose diameters are those of discs.
    """
    return (facts["median_diameter"] * np.sqrt(np.pi) / 2).rename("size")


def size_table(facts: pd.DataFrame) -> pd.DataFrame:
    """A line per type and one for all, a column per part: median √area, smallest to largest."""
    sized = facts[["type"]].assign(part=facts["split"], size=image_sizes(facts))
    ranges = pd.concat([sized, sized.assign(type="all")]).groupby(["type", "part"])["size"]
    cells = ranges.agg(lambda s: f"{s.median():.0f} ({s.min():.0f}–{s.max():.0f})")
    return _by_type_and_part(cells.rename("cell").reset_index())


def _by_type_and_part(cells: pd.DataFrame) -> pd.DataFrame:
    """A line per type and one for all, a column per part of the split."""
    wide = cells.pivot(index="type", columns="part", values="cell")
    wide = wide.reindex(index=[*TYPES, "all"], columns=SPLITS)
    return wide.rename_axis(columns=None).reset_index()
