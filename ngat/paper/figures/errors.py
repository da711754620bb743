"""Which nuclei are merged, split or missed, and the score by their size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ngat.data.sample import TYPES
from ngat.evaluation.error_types import OUTCOMES, SIZES, by
from ngat.paper.figures.segmentation import ERROR_COLOURS
from ngat.paper.style import TYPE_NAMES, grid_lines, method_styles, style

# Column of the table: title, and its values in order with their names.
PANELS: dict[str, tuple[str, dict[Any, str]]] = {
    "touching": ("does another touch it?", {False: "alone", True: "touching"}),
    "size": ("its area", {size: size for size in SIZES}),
    "type": ("its picture", {kind: TYPE_NAMES[kind] for kind in TYPES}),
}


def lost(table: pd.DataFrame) -> Figure:
    """A panel per property of a nucleus, a bar per value of it and method.

    Args:
        table: from :func:`ngat.evaluation.error_types.read`.
    """
    methods = list(dict.fromkeys(table["method"]))
    panels = {name: by(table, name) for name in PANELS}
    rows = [sum(value in set(panels[name][name]) for value in PANELS[name][1]) for name in PANELS]
    with style():
        fig = Figure(figsize=(7.4, 0.26 * len(methods) * sum(rows) + 0.5 * len(rows) + 0.9))
        axes = fig.subplots(len(PANELS), 1, height_ratios=[r + 0.6 for r in rows], sharex=True)
        for ax, (name, (title, values)) in zip(axes, PANELS.items(), strict=True):
            _panel(ax, panels[name], name, values, methods)
            ax.set_title(title, loc="left")
        axes[-1].set_xlabel("share of annotated nuclei / %")
        handles, _ = axes[0].get_legend_handles_labels()
        fig.legend(
            handles[: len(OUTCOMES)], OUTCOMES, loc="outside upper center", ncols=len(OUTCOMES)
        )
    return fig


def _panel(
    ax: Any, sums: pd.DataFrame, name: str, values: dict[Any, str], methods: list[str]
) -> None:
    shown = [value for value in values if value in set(sums[name])]
    height = 0.84 / len(methods)
    places, names = [], []
    for k, value in enumerate(shown):
        for n, method in enumerate(methods):
            row = sums[(sums["method"] == method) & (sums[name] == value)]
            if row.empty:
                continue
            at, left = k + height * (n - (len(methods) - 1) / 2), 0.0
            shares = 100 * row[list(OUTCOMES)].to_numpy()[0] / row["nuclei"].item()
            for outcome, share in zip(OUTCOMES, shares, strict=True):
                colour = ERROR_COLOURS[outcome]
                ax.barh(at, share, 0.9 * height, left=left, color=colour, label=outcome)
                left += share
            places.append(at)
            names.append(method)
        nuclei = sums.loc[sums[name] == value, "nuclei"].iloc[0]
        ax.text(101, k, f"{values[value]}\n({nuclei:,})", va="center", fontsize=7.5)
    ax.set_yticks(np.array(places), names, fontsize=7.5)
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.set_xlim(0, 100)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


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
