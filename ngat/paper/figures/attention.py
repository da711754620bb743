"""Figures of attention: coefficients by tap, level and direction, and their reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from ngat.data import Sample
from ngat.graph import SELF_TAP
from ngat.paper.figures.pictures import outlined
from ngat.paper.study.network import Array, Coefficients, Reach, mean_by_tap
from ngat.paper.study.pictures import visible
from ngat.paper.style import BLACK, GREY, RELATION_COLOURS, VERMILION, bare, stacked, style

SHARES = {
    "itself": GREY,
    "king neighbours": RELATION_COLOURS["king"],
    "children": RELATION_COLOURS["child"],
    "parent": RELATION_COLOURS["parent"],
}


def _numbered(axes: Axes, alpha: Array, largest: float, **look: Any) -> Any:
    """Coefficients as a map, those of the king 3 × 3, of children 2 × 2, with their per cent."""
    side = 3 if len(alpha) == 9 else 2
    for place, value in zip(np.ndindex(side, side), alpha, strict=True):
        colour = BLACK if value > 0.65 * largest else "white"
        look |= {"ha": "center", "va": "center", "color": colour}
        axes.text(place[1], place[0], f"{100 * value:.0f}", **look)
    return axes.imshow(alpha.reshape(side, side), cmap="viridis", vmin=0, vmax=largest)


def _percent(fig: Figure, image: Any, panels: Array, label: str) -> None:
    """The colour bar of maps of coefficients, in per cent."""
    form = PercentFormatter(1, decimals=0, symbol=None)
    fig.colorbar(image, ax=panels, shrink=0.8, aspect=25, label=label, format=form)


@style()
def tap_maps(softmaxes: Sequence[Coefficients]) -> Figure:
    """Mean coefficients as little maps: a row per head, a column per level and relation.

    All maps share one scale, from zero to the largest of them.

    Args:
        softmaxes: softmaxes over one relation each, king or child.
    """
    ordered = sorted(softmaxes, key=lambda s: (s.relations[0] != "king", s.level))
    maps = [mean_by_tap(found)[found.relations[0]] for found in ordered]
    heads, largest = len(maps[0]), max(float(means.max()) for means in maps)
    fig = Figure(figsize=(8.4, 0.35 + 0.82 * heads))
    panels = fig.subplots(heads, len(maps), squeeze=False)
    for column, found, means in zip(panels.T, ordered, maps, strict=True):
        for axes, alpha in zip(column, means, strict=True):
            image = _numbered(axes, alpha, largest, size=6.5)
        title = "king" if found.relations[0] == "king" else "children"
        column[0].set_title(f"{title}\nlevel {found.level}", size=8)
    for head, axes in enumerate(panels[:, 0], start=1):
        axes.set_ylabel(f"head {head}")
    bare(panels.flat)
    _percent(fig, image, panels, "mean α / %")
    return fig


@style()
def shares(softmaxes: Sequence[Coefficients]) -> Figure:
    """Where a joint softmax over all 14 taps goes: bars per level, a panel per head.

    Args:
        softmaxes: one joint softmax per level.
    """
    heads = len(softmaxes[0].alpha)
    fig = Figure(figsize=(7.2, 2.5))
    panels = fig.subplots(1, heads, sharey=True, squeeze=False)[0]
    for head, axes in enumerate(panels):
        rows = {}
        for found in softmaxes:
            sums = {relation: means[head] for relation, means in mean_by_tap(found).items()}
            king, itself = sums["king"].sum(), sums["king"][SELF_TAP]
            others = [np.sum(sums.get("child", 0)), np.sum(sums.get("parent", 0))]
            rows[found.level] = [itself, king - itself, *others]
        stacked(
            axes, pd.DataFrame.from_dict(rows, "index", columns=list(SHARES)), SHARES, width=0.75
        )
        axes.set(title=f"head {head + 1}", xlabel="level", xticks=list(rows), ylim=(0, 1))
    panels[0].set_ylabel("share of attention")
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig


@style()
def nodes(sample: Sample, found: Coefficients, places: Mapping[str, tuple[int, int]]) -> Figure:
    """The king coefficients of single base nodes: a row per node, a 3 × 3 map per head.

    Args:
        found: a king softmax of the base level over ``sample``.
        places: (row, column) by what stands there.
    """
    heads, half = len(found.alpha), 12  # half the side of the part shown, in pixels
    largest = max(float(found.alpha[:, :, r, c].max()) for r, c in places.values())
    shown = outlined(visible(sample.image)[0], sample.labels)
    fig = Figure(figsize=(1.35 * (1 + heads) + 0.7, 1.42 * len(places) + 0.3))
    panels = fig.subplots(len(places), 1 + heads, squeeze=False)
    for (first, *rest), (name, (row, column)) in zip(panels, places.items(), strict=True):
        first.imshow(shown)
        corner = (column - 1.5, row - 1.5)
        first.add_patch(Rectangle(corner, 3, 3, fill=False, ec=VERMILION, lw=1.8))
        first.set(xlim=(column - half, column + half), ylim=(row + half, row - half), ylabel=name)
        for axes, alpha in zip(rest, found.alpha[:, :, row, column], strict=True):
            image = _numbered(axes, alpha, largest, size=7)
    titles = ["the node", *(f"head {head}" for head in range(1, heads + 1))]
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title)
    bare(panels.flat)
    _percent(fig, image, panels, "α / %")
    return fig


@style()
def growth(rows: Mapping[str, Sequence[Reach]]) -> Figure:
    """Pixels that reach the middle one: influence on a logarithmic scale, a row per schedule.

    Args:
        rows: by the schedule's name, from :func:`ngat.paper.study.network.growth`.
    """
    columns = max(len(found) for found in rows.values())
    fig = Figure(figsize=(7.2, 0.2 + 1.35 * len(rows)))
    panels = fig.subplots(len(rows), columns, squeeze=False)
    for line, (name, found) in zip(panels, rows.items(), strict=True):
        line[0].set_ylabel(name)
        for axes, reach in zip(line, found, strict=False):
            influence = np.ma.masked_equal(reach.influence / reach.influence.max(), 0)
            image = axes.imshow(influence, norm=LogNorm(1e-4, 1), cmap="viridis")
            axes.set_facecolor("#DDDDDD")
            axes.set_title(f"{reach.title}\n{int(reach.walked.sum())} pixels", size=8)
        for axes in line[len(found) :]:
            axes.set_visible(False)
    bare(panels.flat)
    bar = fig.colorbar(image, ax=panels, shrink=0.8, extend="min", aspect=30)
    bar.set_label("influence / largest")
    return fig
