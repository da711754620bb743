"""Result files drawn: tables 1 and 2, figures 7 and 9, scores by size, nuclei lost and found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.projections.polar import PolarAxes

from ngat.data import TYPES
from ngat.errors import InputError
from ngat.evaluation import published
from ngat.evaluation.error_types import OUTCOMES, SIZES, by
from ngat.paper.figures.segmentation import ERROR_COLOURS
from ngat.paper.style import (
    BLACK,
    GREY,
    TYPE_COLOURS,
    TYPE_NAMES,
    VERMILION,
    grid_lines,
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
            :func:`ngat.paper.study.tables.columns`.
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
            title = MEASURE_NAMES.get(measure, TYPE_NAMES.get(measure, measure))
            ax.set_title(title, size=8 if len(measures) > 4 else None)
            grid_lines(ax, "x")
        panels[0].set_yticks(y, list(table["method"]))
        panels[0].invert_yaxis()
        if axis:
            fig.supxlabel(axis, size=9)
    return fig


def per_type(curves: pd.DataFrame, by_confidence: pd.DataFrame, heading: str) -> Figure:
    """Figure 9: F1, precision and recall over the IoU threshold, and precision over recall.

    The larger mark in the first three panels is at IoU > 0.7. In the last one the confidence that a
    nucleus must have falls along a curve, and the mark stands where all nuclei are taken.

    Args:
        curves: from :func:`ngat.paper.study.tables.curves`.
        by_confidence: from :func:`ngat.evaluation.confidence.curves`; no line where it is unknown.
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
        for kind, rows in by_confidence.groupby("type", sort=False):
            look = {"color": TYPE_COLOURS[str(kind)], "marker": MARKERS[str(kind)]}
            last.plot(rows["recall"], rows["precision"], color=look["color"])
            last.plot(rows["recall"].iloc[-1:], rows["precision"].iloc[-1:], markersize=7, **look)
        if by_confidence.empty:
            last.text(0.5, 0.5, "no confidences are known", ha="center", size=8, color=GREY)
        _contours(last)
        last.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02))
        last.set_title("surest nuclei first, IoU > 0.7, all nuclei pooled")
        for ax in panels:
            ax.set_ylim(-0.02, 1.02)
            grid_lines(ax)
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
        ax.text(1.01, f1 / (2 - f1), f"F1 = {f1}", color=GREY, size=7, ha="left", va="center")


def radar(table2: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """Figure 7: F1 at IoU > 0.7 by image type, one polygon per method.

    All lines are alike but for colour and dashes, and none is filled: the legend tells published
    from measured ones. The area misleads: a type with one image weighs as much as one with 72, so
    the numbers of images stand at the spokes (in the order of the sets, published first).

    Args:
        table2: from :func:`ngat.evaluation.tables.table2`.
        methods: those to draw, in this order; all by default.

    Raises:
        InputError: a method is not in the table, or there is nothing to draw.
    """
    known = list(dict.fromkeys(table2["method"]))
    methods = known if methods is None else list(methods)
    unknown = [method for method in methods if method not in known]
    if unknown or not methods:
        raise InputError(
            f"{unknown[0] if unknown else 'nothing'!r} is not in table 2; "
            f"it has {', '.join(known) or 'no method'}."
        )
    drawn = table2[table2["method"].isin(methods)]
    types = [name for name in TYPES if name in set(drawn["type"])]
    angles = 2 * np.pi * np.arange(len(types)) / len(types)
    with style():
        fig = Figure(figsize=(7.6, 4.0))
        axes = fig.add_subplot(projection="polar")
        assert isinstance(axes, PolarAxes)
        axes.set_theta_zero_location("N")
        axes.set_theta_direction(-1)
        looks = method_styles(methods)
        sets: dict[str, list[Line2D]] = {}
        groups = drawn.groupby(["method", "measured on"], sort=False)
        for (method, where), rows in sorted(groups, key=lambda group: methods.index(group[0][0])):
            f1 = rows.set_index("type")["f1"].reindex(types).to_numpy(np.float64)
            closed = np.append(np.arange(len(types)), 0)
            (line,) = axes.plot(
                angles[closed],
                f1[closed],
                label=method,
                linewidth=1.3,
                marker="o",
                markersize=3,
                **looks[method],
            )
            sets.setdefault(where, []).append(line)
        axes.set_ylim(0, 1)
        rings = [0.2, 0.4, 0.6, 0.8, 1.0]
        axes.set_yticks(rings, [""] * len(rings))
        between = np.pi / max(1, len(types))
        for ring in rings:
            # Above the polygons, which would hide an axis' own labels.
            axes.text(between, ring, f"{ring}", size=7, color=GREY, ha="center", va="center",
                      bbox={"color": "white", "alpha": 0.8, "pad": 0.8})  # fmt: skip
        axes.set_xticks(angles, [_spoke(name, drawn) for name in types])
        for label, angle in zip(axes.get_xticklabels(), angles, strict=True):
            # Words beside the circle grow away from it, words above and below stay centred.
            side = np.sin(angle)
            label.set_horizontalalignment(
                "center" if abs(side) < 0.1 else "left" if side > 0 else "right"
            )
        axes.grid(color="#CCCCCC", linewidth=0.6)
        axes.spines["polar"].set_color("#CCCCCC")
        axes.set_title("F1 at IoU > 0.7 by image type", pad=14)
        _legend(fig, sets)
    return fig


def _legend(fig: Figure, sets: dict[str, list[Line2D]]) -> None:
    """Methods under the heading of what they were measured on."""
    handles: list[Line2D] = []
    for where, lines in sets.items():
        handles += [Line2D([], [], linestyle="none", label=where), *lines]
    legend = fig.legend(handles=handles, loc="outside right center", borderaxespad=1)
    for text in legend.get_texts():
        if text.get_text() in sets:
            text.set_fontweight("bold")


def _spoke(name: str, drawn: pd.DataFrame) -> str:
    """A type's name, and its number of images; of each set measured on, where they differ."""
    sets = drawn[drawn["type"] == name].drop_duplicates("measured on")
    numbers = " / ".join(str(images) for images in dict.fromkeys(sets["images"]))
    return f"{TYPE_NAMES[name]}\nn = {numbers}"


# Column of the table: title, and its values in order with their names.
PROPERTIES: dict[str, tuple[str, dict[Any, str]]] = {
    "touching": ("does another touch it?", {False: "alone", True: "touching"}),
    "size": ("its area", {size: size for size in SIZES}),
    "type": ("its picture", {kind: TYPE_NAMES[kind] for kind in TYPES}),
}


def lost(table: pd.DataFrame) -> Figure:
    """Outcomes of annotated nuclei by what they are: a panel per method, a bar per sort of nucleus.

    Args:
        table: from :func:`ngat.evaluation.error_types.read`.
    """
    methods = list(dict.fromkeys(table["method"]))
    with style():
        fig = Figure(figsize=(3.0 + 2.0 * len(methods), 4.3))
        panels: Any = fig.subplots(1, len(methods), sharex=True, sharey=True, squeeze=False)[0]
        at, places, names = 0.0, [], []
        for name, (title, values) in PROPERTIES.items():
            sums = by(table, name).set_index(["method", name])
            panels[0].text(
                -0.06, at, title, size=8, weight="bold", ha="right", va="center",
                transform=panels[0].get_yaxis_transform(),
            )  # fmt: skip
            known = set(sums.index.get_level_values(name))
            for value in (value for value in values if value in known):
                at += 1
                places.append(at)
                nuclei = sums.xs(value, level=name)["nuclei"].iloc[0]
                names.append(f"{values[value]} ({nuclei:,})")
                for ax, method in zip(panels, methods, strict=True):
                    if (method, value) in sums.index:
                        _outcomes(ax, at, sums.loc[(method, value)])
            at += 1.6
        for ax, method in zip(panels, methods, strict=True):
            ax.set_title(method.replace(" (", "\n("), size=9)
            ax.set_xticks([0, 25, 50, 75, 100], ["0", "", "50", "", "100"])
            ax.set(xlim=(0, 100), ylim=(at - 0.9, -0.6))
            ax.spines["left"].set_visible(False)
            ax.tick_params(axis="y", length=0)
        panels[0].set_yticks(places, names)
        fig.supxlabel("share of annotated nuclei / % (their number in brackets)", size=9)
        handles, labels = panels[0].get_legend_handles_labels()
        fig.legend(
            handles[: len(OUTCOMES)], labels[: len(OUTCOMES)], loc="outside upper center",
            ncols=len(OUTCOMES),
        )  # fmt: skip
    return fig


def _outcomes(ax: Axes, at: float, sums: pd.Series) -> None:
    """A bar of shares, one outcome after the other."""
    left = 0.0
    for outcome in OUTCOMES:
        share = 100 * sums[outcome] / sums["nuclei"]
        ax.barh(at, share, 0.8, left=left, color=ERROR_COLOURS[outcome], label=outcome)
        left += share


def by_size(table: pd.DataFrame) -> Figure:
    """Average F1 over the size of a picture's nuclei, a line per method.

    Args:
        table: from :func:`ngat.paper.study.tables.by_size`.
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
        grid_lines(ax, "y")
        fig.legend(loc="outside right center")
    return fig
