"""Result files drawn: tables 1 and 2, figures 7 and 9, scores by size, nuclei lost and found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.projections.polar import PolarAxes

from ngat.data import TYPES
from ngat.evaluation import published
from ngat.evaluation.error_types import OUTCOMES, SIZES, by
from ngat.paper.figures.segmentation import ERROR_COLOURS
from ngat.paper.style import (
    BLACK,
    GREY,
    TYPE_COLOURS,
    TYPE_NAMES,
    grid_lines,
    method_styles,
    style,
    style_rank,
)

MEASURE_NAMES = {
    "score": "competition score",
    "average_f1": "average F1",
    "recall": "recall at 0.7",
    "extra": "extra at 0.7",
}

# How figure 9's types differ in black and white.
MARKERS = dict(zip(TYPES, "osD^v", strict=True))


@style()
def dots(
    table: pd.DataFrame, measures: Sequence[str] = tuple(MEASURE_NAMES), axis: str = ""
) -> Figure:
    """A table as dots with their intervals: published rows hollow and above, measured rows filled.

    Both sorts of rows are sorted by the first measure, and every axis ends where its data does.

    Args:
        table: from :func:`ngat.evaluation.tables.table1`, or
            :func:`ngat.paper.study.tables.columns`.
        measures: its columns to draw, a panel each.
        axis: what is measured, where the panels' titles do not say it.
    """
    table = table.assign(theirs=table["measured on"] == published.MEASURED_ON)
    table = table.sort_values(["theirs", measures[0]], ascending=False, kind="stable")
    theirs = table["theirs"].to_numpy()
    looks = method_styles(table["method"])
    colours = np.array([looks[method]["color"] for method in table["method"]])
    y = np.arange(len(table), dtype=float) + 0.6 * np.cumsum(np.diff(theirs, prepend=theirs[0]))
    fig = Figure(figsize=(8.4, 0.26 * len(table) + 0.9))
    panels: Any = np.atleast_1d(fig.subplots(1, len(measures), sharey=True))
    for ax, measure in zip(panels, measures, strict=True):
        value = table[measure].to_numpy(np.float64)
        ax.hlines(y, table[f"{measure} low"], table[f"{measure} high"], colors=colours)
        ax.scatter(value[theirs], y[theirs], s=26, facecolors="white", edgecolors=BLACK)
        ax.scatter(value[~theirs], y[~theirs], s=26, color=colours[~theirs])
        title = MEASURE_NAMES.get(measure, TYPE_NAMES.get(measure, measure))
        ax.set_title(title, size=8 if len(measures) > 4 else None)
        grid_lines(ax, "x")
    panels[0].set_yticks(y, list(table["method"]))
    panels[0].invert_yaxis()
    if axis:
        fig.supxlabel(axis, size=9)
    return fig


@style()
def per_type(curves: pd.DataFrame, by_confidence: pd.DataFrame, heading: str) -> Figure:
    """Figure 9: F1, precision and recall over the IoU threshold, and precision over recall.

    The larger mark in the first three panels is at IoU > 0.7. In the last one the confidence that a
    nucleus must have falls along a curve, and the mark stands where all nuclei are taken.

    Args:
        curves: from :func:`ngat.paper.study.tables.by_threshold`.
        by_confidence: from :func:`ngat.evaluation.confidence.precision_recall`; no line where it is
            unknown.
        heading: whose they are, measured on what.
    """
    looks = {kind: {"color": TYPE_COLOURS[kind], "marker": MARKERS[kind]} for kind in TYPES}
    fig = Figure(figsize=(7.4, 5.6))
    panels: Any = fig.subplots(2, 2).ravel()
    names = {"f1": "F1", "precision": "precision", "recall": "recall"}
    for ax, (column, name) in zip(panels, names.items(), strict=False):
        for kind, rows in curves.groupby("type", observed=True):
            line, look = rows.set_index("threshold")[column], looks[str(kind)]
            ax.plot(line, markersize=2.5, label=TYPE_NAMES[str(kind)], **look)
            ax.plot(line[np.isclose(line.index, 0.7)], markersize=7, ls="none", **look)
        ax.set(xlabel="IoU threshold", ylabel=name, xlim=(0.48, 0.97))
        ax.set_title(f"{name}, mean over pictures")
    last = panels[3]
    for kind, rows in by_confidence.groupby("type", sort=False):
        line, look = rows.set_index("recall")["precision"], looks[str(kind)]
        last.plot(line, color=look["color"])
        last.plot(line[-1:], markersize=7, **look)
    if by_confidence.empty:
        last.text(0.5, 0.5, "no confidences are known", ha="center", size=8, color=GREY)
    _contours(last)
    last.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02))
    last.set_title("surest nuclei first, IoU > 0.7, all nuclei pooled")
    for ax in panels:
        ax.set_ylim(-0.02, 1.02)
        grid_lines(ax)
    fig.legend(
        *panels[0].get_legend_handles_labels(), title=f"{heading}; large marks: IoU > 0.7",
        loc="outside upper center", ncols=5, columnspacing=1.2,
    )  # fmt: skip
    return fig


def _contours(ax: Axes) -> None:
    """Lines of equal F1 in the plane of recall and precision."""
    for f1 in (0.2, 0.4, 0.6, 0.8):
        recall = np.linspace(f1 / (2 - f1), 1, 60)
        ax.plot(recall, f1 * recall / (2 * recall - f1), color="#BBBBBB", linewidth=0.6, zorder=0)
        ax.text(1.01, f1 / (2 - f1), f"F1 = {f1}", color=GREY, size=7, ha="left", va="center")


@style()
def radar(table2: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """Figure 7: F1 at IoU > 0.7 by image type, one polygon per method.

    No polygon is filled; ours is solid and wider, published ones are dashed. The area misleads: a
    type with one image weighs as much as one with 72, so the numbers of images stand at the spokes
    (in the order of the sets, published first).

    Args:
        table2: from :func:`ngat.evaluation.tables.table2`.
        methods: those to draw, in this order.
    """
    drawn = table2[table2["method"].isin(methods)]
    angles = np.linspace(0, 2 * np.pi, len(TYPES) + 1)  # closed
    fig = Figure(figsize=(7.6, 4.0))
    axes = fig.add_subplot(projection="polar")
    assert isinstance(axes, PolarAxes)
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    looks = method_styles(methods)
    sets: dict[str, list[Line2D]] = {}
    for method in methods:
        for where, rows in drawn[drawn["method"] == method].groupby("measured on", sort=False):
            f1 = rows.set_index("type")["f1"].reindex([*TYPES, TYPES[0]])
            look = {"linewidth": 1.3, "marker": "o", "markersize": 3, **looks[method]}
            sets.setdefault(where, []).extend(axes.plot(angles, f1, label=method, **look))
    axes.set_ylim(0, 1)
    rings = [0.2, 0.4, 0.6, 0.8, 1.0]
    axes.set_yticks(rings, [""] * len(rings))
    for ring in rings:
        # Above the polygons, which would hide an axis' own labels.
        axes.text(np.pi / len(TYPES), ring, f"{ring}", size=7, color=GREY, ha="center", va="center",
                  bbox={"color": "white", "alpha": 0.8, "pad": 0.8})  # fmt: skip
    axes.set_xticks(angles[:-1], [_spoke(name, drawn) for name in TYPES])
    for label, angle in zip(axes.get_xticklabels(), angles, strict=False):
        # Words beside the circle grow away from it, words above and below stay centred.
        side = np.sin(angle)
        label.set_horizontalalignment(
            "center" if abs(side) < 0.1 else "left" if side > 0 else "right"
        )
    axes.grid(color="#CCCCCC", linewidth=0.6)
    axes.spines["polar"].set_color("#CCCCCC")
    axes.set_title("F1 at IoU > 0.7 by image type", pad=14)
    # Methods under the heading of what they were measured on.
    handles: list[Line2D] = []
    for where, lines in sets.items():
        handles += [Line2D([], [], linestyle="none", label=where), *lines]
    legend = fig.legend(handles=handles, loc="outside right center", borderaxespad=1)
    for text in legend.get_texts():
        if text.get_text() in sets:
            text.set_fontweight("bold")
    return fig


def _spoke(name: str, drawn: pd.DataFrame) -> str:
    """A type's name, and its number of images; of each set measured on, where they differ."""
    numbers = drawn.loc[drawn["type"] == name, "images"].unique()
    return f"{TYPE_NAMES[name]}\nn = {' / '.join(map(str, numbers))}"


# Column of the table: title, and its values in order with their names.
PROPERTIES: dict[str, tuple[str, dict[Any, str]]] = {
    "touching": ("does another touch it?", {False: "alone", True: "touching"}),
    "size": ("its area", {size: size for size in SIZES}),
    "type": ("its picture", TYPE_NAMES),
}


@style()
def lost(table: pd.DataFrame) -> Figure:
    """Outcomes of annotated nuclei by what they are: a panel per method, a bar per sort of nucleus.

    Args:
        table: from :func:`ngat.evaluation.error_types.read`.
    """
    # Ours first, then other networks, then what learns nothing.
    methods = sorted(dict.fromkeys(table["method"]), key=style_rank)
    fig = Figure(figsize=(3.0 + 2.0 * len(methods), 4.3))
    panels: Any = fig.subplots(1, len(methods), sharex=True, sharey=True, squeeze=False)[0]
    at, places, names = 0.0, [], []
    for name, (title, values) in PROPERTIES.items():
        sums = by(table, name).set_index(["method", name])
        panels[0].text(
            -0.06, at, title, size=8, weight="bold", ha="right", va="center",
            transform=panels[0].get_yaxis_transform(),
        )  # fmt: skip
        for value in (value for value in values if value in sums.index.levels[1]):
            at += 1
            places.append(at)
            nuclei = sums.xs(value, level=name)["nuclei"].iloc[0]
            names.append(f"{values[value]} ({nuclei:,})")
            for ax, method in zip(panels, methods, strict=True):
                if (method, value) in sums.index:
                    counts = sums.loc[(method, value)]
                    ends = 100 * counts[list(OUTCOMES)].cumsum() / counts["nuclei"]
                    for outcome, left, end in zip(OUTCOMES, [0, *ends], ends, strict=False):
                        ax.barh(at, end - left, 0.8, left=left, color=ERROR_COLOURS[outcome])
        at += 1.6
    for ax, method in zip(panels, methods, strict=True):
        ax.set_title(method.replace(" (", "\n("), size=9)
        ax.set_xticks([0, 25, 50, 75, 100], ["0", "", "50", "", "100"])
        ax.set(xlim=(0, 100), ylim=(at - 0.9, -0.6))
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
    panels[0].set_yticks(places, names)
    fig.supxlabel("share of annotated nuclei / % (their number in brackets)", size=9)
    handles = [Patch(facecolor=ERROR_COLOURS[outcome], label=outcome) for outcome in OUTCOMES]
    fig.legend(handles=handles, loc="outside upper center", ncols=len(OUTCOMES))
    return fig


@style()
def by_size(table: pd.DataFrame) -> Figure:
    """Average F1 over the size of a picture's nuclei, a line per method, with intervals.

    Args:
        table: from :func:`ngat.paper.study.tables.by_size`.
    """
    fig = Figure(figsize=(6.4, 3.0))
    ax = fig.subplots()
    looks = method_styles(table["method"])
    for k, (method, rows) in enumerate(table.groupby("method", sort=False)):
        look = looks[str(method)]
        at = rows["size"].cat.codes + 0.06 * (k - (len(looks) - 1) / 2)  # intervals side by side
        ax.plot(at, rows["average_f1"], marker="o", ms=4, label=str(method), **look)
        ax.vlines(at, rows["low"], rows["high"], color=look["color"], linewidth=1.2, alpha=0.7)
    images = table.groupby("size", observed=False)["images"].first().fillna(0)
    ax.set_xticks(range(len(images)), [f"{size}\n{n:.0f} pictures" for size, n in images.items()])
    ax.set_xlabel("√area of the picture's median nucleus / px")
    ax.set_ylabel("average F1")
    ax.set_ylim(0, 1)
    grid_lines(ax, "y")
    fig.legend(loc="outside right center")
    return fig
