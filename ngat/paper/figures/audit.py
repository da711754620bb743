"""What arithmetic says of the published tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ngat.data import TYPES
from ngat.evaluation import published
from ngat.paper.study.audit import score_bounds
from ngat.paper.style import BLACK, BLUE, GREY, TYPE_NAMES, VERMILION, grid_lines, style


@style()
def scores_possible(ratios: pd.DataFrame, table1: pd.DataFrame) -> Figure:
    """Competition score against average F1, with the bounds that arithmetic sets.

    Args:
        ratios: from :func:`ngat.paper.study.audit.ratios`.
        table1: measured rows of :func:`ngat.evaluation.tables.table1`, drawn as crosses.
    """
    fig = Figure(figsize=(5.6, 4.0))
    ax = fig.subplots()
    m = np.linspace(0, 1, 200)
    low, high = score_bounds(m)
    ax.fill_between(m, low, high, color="#EEF3F8", linewidth=0)
    ax.plot(m, high, color=GREY, linewidth=0.8)
    ax.plot(m, low, color=GREY, linewidth=0.8)
    f1 = table1["average_f1"]
    ax.plot(f1, table1["score"], "x", color=BLUE, markersize=6, label="measured here")
    ours = ratios["system"] == published.PAPER
    for rows, colour, name in (
        (ratios[~ours], BLACK, "challenge's systems, published"),
        (ratios[ours], VERMILION, "the paper"),
    ):
        ax.plot(rows["average f1"], rows["score"], "o", color=colour, markersize=5, label=name)
    start = np.floor(10 * np.nanmin([*ratios["average f1"], *f1])) / 10
    ax.set(xlim=(start, 0.85), ylim=(max(0, start - 0.1), 0.8))
    ax.set(xlabel="average F1", ylabel="competition score")
    look: dict[str, Any] = {"textcoords": "offset points", "color": GREY, "size": 7, "va": "center"}
    ax.annotate("every F1 is 0 or 1", (0.67, 0.67), (-6, 3), ha="right", **look)
    ax.annotate("every F1 the same", (0.64, score_bounds(0.64)[0]), (6, -5), ha="left", **look)
    ax.legend(loc="upper left")
    return fig


@style()
def one_column_less(left_out: pd.DataFrame) -> Figure:
    """The mean of table 2 with one type left out; the best of the other systems is named.

    Args:
        left_out: from :func:`ngat.paper.study.audit.left_out`.
    """
    lines = left_out.set_index("system")
    ours, rivals = lines.loc[published.PAPER], lines.drop(published.PAPER)
    fig = Figure(figsize=(6.6, 3.0))
    ax = fig.subplots()
    places = range(lines.shape[1])
    look: dict[str, Any] = {"linestyle": "none", "markeredgewidth": 2}
    ax.plot(places, rivals.T, marker="_", markersize=14, color=GREY, **look)
    ax.plot(places, ours, marker="o", markersize=7, color=VERMILION, **look)
    for x, name, value in zip(places, rivals.idxmax(), rivals.max(), strict=True):
        ax.text(x, value + 0.006, name, size=7, ha="center", va="bottom", color=GREY)
    ax.text(0.12, ours["none"], published.PAPER, size=7, va="center", color=VERMILION)
    names = [TYPE_NAMES[kind].replace(" ", "\n", 1) for kind in TYPES]
    ax.set_xticks(places, ["none", *names])
    ax.set(xlabel="type left out", ylabel="mean of the other F1", xlim=(-0.5, len(TYPES) + 0.5))
    grid_lines(ax, "y")
    return fig
