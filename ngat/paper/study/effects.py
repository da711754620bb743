"""Notebook 8: what each change does, as differences to the base with the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from ngat.errors import InputError
from ngat.training import sweep
from ngat.training.variants import BASE, FACTORS, HELD_OUT, OF_REAL

METRICS = {"dice": "Dice", "average_f1": "average F1"}


def read(path: Path) -> pd.DataFrame:
    """Read what `ngat ablate` wrote: means over all pictures, variants in the order of the plan.

    Raises:
        InputError: it is no such table, or holds unknown variants, no base, or several.
    """
    table = sweep.read(path)
    # Runs that did without a type of picture, and their bases, are of notebook 8's last section.
    changed = set(table.loc[~table["factor"].isin([BASE, HELD_OUT]), "network"])
    table = table[(table["type"] == sweep.ALL) & table["network"].isin(changed or table["network"])]
    known = {BASE: [BASE], **FACTORS, **OF_REAL}
    order = {pair: k for k, pair in enumerate((f, v) for f in known for v in known[f])}
    place = table[["factor", "variant"]].apply(tuple, axis=1).map(order)
    if place.isna().any() or not (table["factor"] == BASE).any() or table["network"].nunique() > 1:
        raise InputError(
            f"{path}: holds unknown variants, no base or several; run `ngat ablate` again."
        )
    return table.assign(place=place).sort_values(["place", "seed"]).drop(columns="place")


def effects(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Each variant's difference to the base of the same seed.

    Intervals are Student's, 95 %, over seeds: with three seeds they are wide, and honest about
    that. With one seed there is none.

    Args:
        table: from :func:`read`.
        metric: one of its columns.

    Returns:
        One row per variant, in order: factor, variant, seeds, mean, low, high, values (a list).
    """
    base = table[table["factor"] == BASE].set_index("seed")[metric]
    rows = []
    others = table[table["factor"] != BASE]
    for (factor, variant), runs in others.groupby(["factor", "variant"], sort=False):
        runs = runs.set_index("seed")[metric]
        values = (runs - base).dropna().to_numpy()
        if len(values):
            low, high = interval(values)
            rows.append([factor, variant, len(values), values.mean(), low, high, values.tolist()])
    return pd.DataFrame(
        rows, columns=["factor", "variant", "seeds", "mean", "low", "high", "values"]
    )


def interval(values: np.ndarray) -> tuple[float, float]:
    """Student's 95 % interval of the mean; NaN of fewer than two values."""
    if len(values) < 2:
        return (np.nan, np.nan)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, a line per variant: parameters, seconds, metrics, and effects with bounds.

    Effects as text, ``-0.012 [-0.03, +0.01]``; empty for the base.
    """
    found = {m: effects(table, m).set_index(["factor", "variant"]) for m in METRICS}
    rows = []
    for (factor, variant), runs in table.groupby(["factor", "variant"], sort=False):
        row: dict[str, object] = {
            "factor": factor,
            "variant": variant,
            "seeds": len(runs),
            "parameters": int(runs["parameters"].iloc[0]),
        }
        for metric, name in METRICS.items():
            row[name] = round(float(runs[metric].mean()), 3)
            effect = ""
            if (factor, variant) in found[metric].index:
                line = found[metric].loc[(factor, variant)]
                effect = f"{line['mean']:+.3f}"
                if not np.isnan(line["low"]):
                    effect += f" [{line['low']:+.3f}, {line['high']:+.3f}]"
            row[f"effect on {name}"] = effect
        rows.append(row)
    return pd.DataFrame(rows)


def verdict(low: float, high: float) -> str:
    """``better``, ``worse``, or ``undecided`` where the interval holds zero or there is none."""
    if low > 0:
        return "better"
    return "worse" if high < 0 else "undecided"
