"""Tables 1 and 2 as figures, figure 9, and the audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ngat.data.sample import TYPES
from ngat.evaluation import published
from ngat.paper.study.audit import score_bounds
from ngat.paper.style import (
    BLACK,
    BLUE,
    GREY,
    TYPE_COLOURS,
    TYPE_NAMES,
    VERMILION,
    method_styles,
    style,
)

MEASURE_NAMES = {
    "score": "competition score",
    "average_f1": "average F1",
    "recall": "recall at 0.7",
    "extra": "extra at 0.7",
}
# How figure 9's types differ in black and white.
MARKERS = dict(zip(TYPES, "osD^v", strict=True))


def dots(
    table: pd.DataFrame, measures: Sequence[str] = tuple(MEASURE_NAMES), axis: str = ""
) -> Figure:
    """A table as dots with their intervals: published rows hollow and above, measured rows filled.

    Both sorts of rows are sorted by the first measure, and every axis ends where its data does.

    Args:
        table: from :func:`ngat.evaluation.tables.table1`, or
            :func:`ngat.paper.study.by_type.columns`.
        measures: its columns to draw, a panel each.
        axis: what is measured, where the panels' titles do not say it.
    """
    table = table.assign(theirs=table["measured on"] == published.MEASURED_ON)
    table = table.sort_values(["theirs", measures[0]], ascending=False, kind="stable")
    theirs = table["theirs"].to_numpy()
    y = np.arange(len(table), dtype=float) + 0.6 * np.cumsum(np.diff(theirs, prepend=theirs[0]))
    with style():
        fig = Figure(figsize=(8.4, 0.26 * len(table) + 0.9))
        panels: Any = np.atleast_1d(fig.subplots(1, len(measures), sharey=True))
        for ax, measure in zip(panels, measures, strict=True):
            low, value, high = (
                table[f"{measure}{bound}"].to_numpy(np.float64) for bound in (" low", "", " high")
            )
            ax.hlines(y, low, high, color=VERMILION, linewidth=1.6)
            ax.scatter(value[theirs], y[theirs], s=26, facecolors="white", edgecolors=BLACK)
            ax.scatter(value[~theirs], y[~theirs], s=26, color=VERMILION)
            ax.set_title(MEASURE_NAMES.get(measure, TYPE_NAMES.get(measure, measure)))
            ax.grid(axis="x", color="#E4E4E4", linewidth=0.6)
            ax.set_axisbelow(True)
        panels[0].set_yticks(y, list(table["method"]))
        panels[0].invert_yaxis()
        if axis:
            fig.supxlabel(axis, size=9)
    return fig


def by_size(table: pd.DataFrame) -> Figure:
    """Average F1 over the size of a picture's nuclei, a line per method.

    Args:
        table: from :func:`ngat.paper.study.by_type.by_size`.
    """
    bins = list(table["size"].cat.categories)
    with style():
        fig = Figure(figsize=(6.4, 3.0))
        ax = fig.subplots()
        looks = method_styles(list(dict.fromkeys(table["method"])))
        for method, rows in table.groupby("method", sort=False):
            place = [bins.index(size) for size in rows["size"]]
            ax.plot(place, rows["average_f1"], marker="o", label=str(method), **looks[str(method)])
        images = table.drop_duplicates("size").set_index("size")["images"]
        ax.set_xticks(
            range(len(bins)), [f"{size}\n{images.get(size, 0)} pictures" for size in bins]
        )
        ax.set_xlabel("√area of the picture's median nucleus / px")
        ax.set_ylabel("average F1")
        ax.set_ylim(0, 1)
        ax.grid(axis="y", color="#E4E4E4", linewidth=0.6)
        fig.legend(loc="outside right center")
    return fig


def per_type(curves: pd.DataFrame, surest: pd.DataFrame, heading: str) -> Figure:
    """Figure 9: F1, precision and recall over the IoU threshold, and precision over recall.

    The larger mark in the first three panels is at IoU > 0.7. In the last one the confidence that a
    nucleus must have falls along a curve, and the mark stands where all nuclei are taken.

    Args:
        curves: from :func:`ngat.paper.study.by_type.curves`.
        surest: from :func:`ngat.evaluation.confidence.curves`; without a line where it is unknown.
        heading: whose they are, measured on what.
    """
    with style():
        fig = Figure(figsize=(7.4, 5.6))
        panels: Any = fig.subplots(2, 2).ravel()
        names = {"f1": "F1", "precision": "precision", "recall": "recall"}
        for ax, (column, name) in zip(panels, names.items(), strict=False):
            for kind, rows in curves.groupby("type", observed=True):
                look = {"color": TYPE_COLOURS[str(kind)], "marker": MARKERS[str(kind)]}
                label = TYPE_NAMES[str(kind)]
                ax.plot(rows["threshold"], rows[column], markersize=2.5, label=label, **look)
                at = np.isclose(rows["threshold"], 0.7)
                ax.plot(rows["threshold"][at], rows[column][at], markersize=7, ls="none", **look)
            ax.set(xlabel="IoU threshold", ylabel=name, xlim=(0.48, 0.97))
            ax.set_title(f"{name}, mean over pictures")
        last = panels[3]
        for kind, rows in surest.groupby("type", sort=False):
            look = {"color": TYPE_COLOURS[str(kind)], "marker": MARKERS[str(kind)]}
            last.plot(rows["recall"], rows["precision"], color=look["color"])
            last.plot(rows["recall"].iloc[-1:], rows["precision"].iloc[-1:], markersize=7, **look)
        if surest.empty:
            last.text(0.5, 0.5, "no confidences are known", ha="center", size=8, color=GREY)
        _contours(last)
        last.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02))
        last.set_title("surest nuclei first, IoU > 0.7, all nuclei pooled")
        for ax in panels:
            ax.set_ylim(-0.02, 1.02)
            ax.grid(color="#E4E4E4", linewidth=0.6)
            ax.set_axisbelow(True)
        handles, labels = panels[0].get_legend_handles_labels()
        fig.legend(
            handles, labels, title=f"{heading}; large marks: IoU > 0.7",
            loc="outside upper center", ncols=5, columnspacing=1.2,
        )  # fmt: skip
    return fig


def _contours(ax: Axes) -> None:
    """Lines of equal F1 in the plane of recall and precision."""
    for f1 in (0.2, 0.4, 0.6, 0.8):
        recall = np.linspace(f1 / (2 - f1), 1, 60)
        ax.plot(recall, f1 * recall / (2 * recall - f1), color="#BBBBBB", linewidth=0.6, zorder=0)
        ax.text(1.01, f1 / (2 - f1), f"F1 = {f1}", color=GREY, size=6, ha="left", va="center")


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
        start = 0 if table1 is not None and (table1["average_f1"] < 0.5).any() else 0.55
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
        ax.grid(axis="y", color="#E4E4E4", linewidth=0.6)
        ax.set_axisbelow(True)
    return fig
