"""Paired differences: one method against each other one on the same images.

Images differ more from one another than methods do, so the intervals of two rows overlap where the
methods clearly differ. Here both methods are resampled together: an interval of the mean difference
per image, 95 % percentile bootstrap over images. It says how far the difference would move had
other images of the same kind been drawn, and nothing of other seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ngat import metrics
from ngat.errors import InputError
from ngat.evaluation.results import Run
from ngat.evaluation.tables import RESAMPLES, bootstrap_interval, resample, with_interval

COLUMNS = ["method", "against", "measured on", "images", "difference", "low", "high"]


def paired(runs: Sequence[Run], method: str) -> pd.DataFrame:
    """Difference of average F1 between a method and each other one.

    Args:
        runs: result files read back. A run of other images than the method's is left out.
        method: as it stands in tables, e.g. ``companion (split)``.

    Returns:
        Columns :data:`COLUMNS`, a row per other method in the order of ``runs``. Differences are
        positive where ``method`` is better; bounds are NaN where every image differs alike.

    Raises:
        InputError: no run of the method, or several.
    """
    scores = [_scores(run) for run in runs]
    ours = [score for score in scores if score.name == method]
    if len(ours) != 1:
        raise InputError(f"{len(ours)} runs are called {method!r}; exactly one can be compared.")
    mean = ours[0]
    drawn = resample(len(mean), 0, RESAMPLES) / len(mean)  # the same images for every row
    rows = []
    for run, other in zip(runs, scores, strict=True):
        if other is mean or not other.index.equals(mean.index):
            continue
        each = (mean - other).to_numpy()
        bounds = bootstrap_interval(drawn @ each) if np.ptp(each) > 1e-12 else (np.nan, np.nan)
        data, split = run.counts[["data", "split"]].iloc[0]
        rows.append([method, other.name, f"{data}, {split}", len(each), each.mean(), *bounds])
    return pd.DataFrame(rows, columns=COLUMNS)


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """The table for reading: ``+0.0123 [-0.004, 0.029]``."""
    out = table[["against", "measured on", "images"]].copy()
    cells = zip(table["difference"], table["low"], table["high"], strict=True)
    out["difference of average F1"] = [
        ("+" if value > 0 else "") + with_interval(value, low, high, decimals=4, bounds=3)
        for value, low, high in cells
    ]
    return out


def _scores(run: Run) -> pd.Series:
    """Average F1 of every image of a run, under the method's name; indexed by where and image."""
    f1 = metrics.f1(run.counts["tp"], run.counts["fp"], run.counts["fn"])
    where = [run.counts[column] for column in ("data", "split", "image_id")]
    return pd.Series(f1, index=run.counts.index).groupby(where).mean().rename(run.method)
