"""Figure 9's numbers: F1, precision and recall by image type, at every IoU threshold."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ngat import metrics
from ngat.data.sample import TYPES
from ngat.errors import InputError


def curves(counts: pd.DataFrame, method: str) -> pd.DataFrame:
    """Means over a type's images, as in table 2, at each threshold.

    Args:
        counts: lines of result files (:data:`ngat.evaluation.results.COUNT_COLUMNS`).
        method: whose.

    Returns:
        Columns type, threshold, images, f1, precision, recall; types in the order of
        :data:`~ngat.data.sample.TYPES`. Conventions for images without nuclei as in
        :mod:`ngat.metrics`.

    Raises:
        InputError: the method is not there.
    """
    rows = counts[counts["method"] == method]
    if rows.empty:
        known = ", ".join(dict.fromkeys(counts["method"]))
        raise InputError(f"{method!r} is not among the results; there are {known}.")
    tp, fp, fn = (rows[name].to_numpy(np.float64) for name in ("tp", "fp", "fn"))
    empty = tp + fp + fn == 0
    rows = rows.assign(
        f1=metrics.f1(tp, fp, fn),
        precision=np.where(empty, 1.0, tp / np.maximum(tp + fp, 1)),
        recall=np.where(empty, 1.0, tp / np.maximum(tp + fn, 1)),
    )
    table = (
        rows.groupby(["type", "threshold"])
        .agg(
            images=("image_id", "nunique"),
            f1=("f1", "mean"),
            precision=("precision", "mean"),
            recall=("recall", "mean"),
        )
        .reset_index()
    )
    table["type"] = pd.Categorical(table["type"], [k for k in TYPES if k in set(table["type"])])
    return table.sort_values(["type", "threshold"], ignore_index=True)
