"""The published tables beside what the pictures of stage 2 give: composition, ratios, intervals."""

from __future__ import annotations

import pandas as pd

from ngat.data.sample import TYPES
from ngat.errors import InputError
from ngat.evaluation import published
from ngat.paper.study import audit


def composition(facts: pd.DataFrame) -> pd.DataFrame:
    """Pictures and annotated nuclei of stage 2 by type, in the files and as published.

    Args:
        facts: from :func:`ngat.paper.study.dataset.read_pictures`.

    Returns:
        One row per type: ``type``, ``images``, ``images published``, ``objects``,
        ``objects published``.
    """
    test = facts[facts["split"] == "test"].groupby("type")["nuclei"].agg(["size", "sum"])
    rows = []
    for kind in TYPES:
        stratum = published.STAGE_2[kind]
        images, objects = test.loc[kind] if kind in test.index else (0, 0)
        rows.append(
            {
                "type": kind,
                "images": int(images),
                "images published": stratum.images,
                "objects": int(objects),
                "objects published": stratum.objects,
            }
        )
    return pd.DataFrame(rows)


def places(table1: pd.DataFrame) -> pd.DataFrame:
    """Where each method's competition score lies between the bounds that its average F1 sets.

    Args:
        table1: measured rows of :func:`ngat.evaluation.tables.table1`.

    Returns:
        ``method``, ``measured on``, ``ratio`` (score over average F1) and ``place between`` the
        bounds of :func:`ngat.paper.study.audit.score_bounds` (0: every F1 is the same, 1: each is
        0 or 1); published rows first.
    """
    theirs = audit.ratios().rename(columns={"system": "method"})
    rows = theirs.assign(**{"measured on": published.MEASURED_ON})
    low, high = audit.score_bounds(table1["average_f1"])
    measured = table1[["method", "measured on"]].assign(
        **{
            "ratio": table1["score"] / table1["average_f1"],
            "place between": (table1["score"] - low) / (high - low),
        }
    )
    columns = ["method", "measured on", "ratio", "place between"]
    return pd.concat([rows[columns], measured[columns]], ignore_index=True)


def leads(table2: pd.DataFrame, method: str) -> pd.DataFrame:
    """The paper's lead in each column of table 2 beside the width of a measured interval.

    Args:
        table2: measured rows of :func:`ngat.evaluation.tables.table2`.
        method: whose interval it is.

    Returns:
        One row per type: ``type``, ``images``, ``rival`` (the best other published system),
        ``lead`` (the paper's F1 less the rival's; negative where it is behind), ``half width`` of
        the method's 95 % interval (missing where one picture gives none).

    Raises:
        InputError: the method is not there.
    """
    measured = table2[table2["method"] == method].set_index("type")
    if measured.empty:
        known = ", ".join(dict.fromkeys(table2["method"]))
        raise InputError(f"{method!r} is not among the results; there are {known}.")
    rows = []
    for kind in TYPES:
        others = {
            system: values[kind]
            for system, values in published.TABLE_2.items()
            if system != published.PAPER
        }
        rival = max(others, key=lambda system: others[system])
        there = measured.loc[kind] if kind in measured.index else None
        rows.append(
            {
                "type": kind,
                "images": published.STAGE_2[kind].images,
                "rival": rival,
                "lead": published.TABLE_2[published.PAPER][kind] - others[rival],
                "half width": float("nan") if there is None else (there["high"] - there["low"]) / 2,
            }
        )
    return pd.DataFrame(rows)
