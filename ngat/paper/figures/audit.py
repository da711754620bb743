"""What arithmetic says of the published tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ngat.data import TYPES
from ngat.evaluation import published
from ngat.paper.study.audit import score_bounds
from ngat.paper.style import BLACK, BLUE, GREY, TYPE_NAMES, VERMILION, grid_lines, style


def scores_possible(ratios: pd.DataFrame, table1: pd.DataFrame | None = None) -> Figure:
    """Competition score against average F1, with the bounds that arithmetic sets.

    Args:
        ratios: from :func:`ngat.paper.study.audit.ratios`.
        table1: measured rows of :func:`ngat.evaluation.tables.table1`, drawn as crosses.
    """
    with style():
        fig = Figure(figsize=(5.6, 4.0))
        ax = fig.subplots()
        m = np.linspace(0, 1, 200)
        low, high = np.array([score_bounds(value) for value in m]).T
        ax.fill_between(m, low, high, color="#EEF3F8", linewidth=0)
        ax.plot(m, high, color=GREY, linewidth=0.8)
        ax.plot(m, low, color=GREY, linewidth=0.8)
        if table1 is not None and len(table1):
            ax.plot(
                table1["average_f1"], table1["score"], "x", color=BLUE, markersize=6,
                linestyle="none", label="measured here",
            )  # fmt: skip
        ours = (ratios["system"] == published.PAPER).to_numpy()
        for chosen, colour, name in (
            (~ours, BLACK, "challenge's systems, published"),
            (ours, VERMILION, "the paper"),
        ):
            rows = ratios[chosen]
            ax.plot(
                rows["average f1"], rows["score"], "o", color=colour, markersize=5,
                linestyle="none", label=name,
            )  # fmt: skip
        least = [ratios["average f1"].min()]
        if table1 is not None and len(table1):
            least.append(table1["average_f1"].min())
        start = np.floor(10 * min(least)) / 10
        ax.set(xlim=(start, 0.85), ylim=(max(0, start - 0.1), 0.8))
        ax.set(xlabel="average F1", ylabel="competition score")
        for name, x, y, offset, side in (
            ("every F1 is 0 or 1", 0.67, 0.67, (-6, 3), "right"),
            ("every F1 the same", 0.64, score_bounds(0.64)[0], (6, -5), "left"),
        ):
            ax.annotate(
                name, (x, y), offset, textcoords="offset points", color=GREY, size=7,
                ha=side, va="center",
            )  # fmt: skip
        ax.legend(loc="upper left")
    return fig


def one_column_less(left_out: pd.DataFrame) -> Figure:
    """The mean of table 2 with one type left out; the best of the other systems is named.

    Args:
        left_out: from :func:`ngat.paper.study.audit.left_out`.
    """
    columns = ["none", *TYPES]
    with style():
        fig = Figure(figsize=(6.6, 3.0))
        ax = fig.subplots()
        lines = left_out.set_index("system")[columns]
        for system, values in lines.iterrows():
            ours = system == published.PAPER
            ax.plot(
                range(len(columns)), values, linestyle="none", marker="o" if ours else "_",
                markersize=7 if ours else 14, markeredgewidth=2,
                color=VERMILION if ours else GREY, label=str(system),
            )  # fmt: skip
        rivals = lines.drop(published.PAPER)
        for x, column in enumerate(columns):
            name, value = rivals[column].idxmax(), rivals[column].max()
            ax.text(x, value + 0.006, name, size=7, ha="center", va="bottom", color=GREY)
        first = lines.loc[published.PAPER, "none"]
        ax.text(0.12, first, published.PAPER, size=7, va="center", color=VERMILION)
        ax.set_xticks(
            range(len(columns)),
            ["none", *(TYPE_NAMES[kind].replace(" ", "\n", 1) for kind in TYPES)],
        )
        ax.set(
            xlabel="type left out", ylabel="mean of the other F1", xlim=(-0.5, len(columns) - 0.5)
        )
        grid_lines(ax, "y")
    return fig
