"""Leave one type out: what a network makes of a type of picture that it never saw."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ngat.data.sample import TYPES
from ngat.errors import InputError
from ngat.training import sweep
from ngat.training.variants import BASE, HELD_OUT, Variant


def read(path: Path) -> pd.DataFrame:
    """Read what `ngat leave-out` wrote, type by type.

    Raises:
        InputError: it is no such table, or holds unknown types, or a measurement twice.
    """
    table = sweep.read(path)
    table = table[table["factor"].isin([BASE, HELD_OUT]) & (table["type"] != sweep.ALL)]
    strange = {*table["type"], *table["variant"]} - {*TYPES, BASE}
    if strange or table.duplicated([*Variant._fields, "type"]).any():
        raise InputError(f"{path}: holds unknown types, or runs twice; run `ngat leave-out` again.")
    return table


def pairs(table: pd.DataFrame, metric: str = "average_f1") -> pd.DataFrame:
    """Each network on each type, with that type among what it learnt from and without.

    Args:
        table: from :func:`read`.
        metric: one of its columns.

    Returns:
        One row per network and type of which both runs are there, means over the seeds that have
        both: network, type, images, seeds, seen, unseen, kept (unseen over seen); types in the
        order of :data:`~ngat.data.sample.TYPES`.
    """
    key = ["network", "type", "seed"]
    seen = table.loc[table["factor"] == BASE, [*key, "images", metric]]
    unseen = table.loc[table["variant"] == table["type"], [*key, metric]]
    both = seen.rename(columns={metric: "seen"}).merge(unseen.rename(columns={metric: "unseen"}))
    found = both.groupby(["network", "type"], sort=False, as_index=False).agg(
        images=("images", "first"),
        seeds=("seed", "nunique"),
        seen=("seen", "mean"),
        unseen=("unseen", "mean"),
    )
    place = found["type"].map({kind: k for k, kind in enumerate(TYPES)})
    found = found.assign(kept=found["unseen"] / found["seen"].where(found["seen"] > 0), place=place)
    found = found.sort_values(["place", "network"], ignore_index=True)
    return found.drop(columns="place")
