"""Figures of attention: what heads hear by tap, by level and by direction, and how far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ngat.data import Sample
from ngat.graph import SELF_TAP
from ngat.paper.study.attention import Heard, deviation, mean_by_tap
from ngat.paper.study.reach import Reach
from ngat.paper.style import BLACK, BLUE, GREEN, GREY, VERMILION, style


def tap_maps(heard: Sequence[Heard]) -> Figure:
    """Mean coefficients as little maps: a row per head, a column per level and relation.

    Args:
        heard: softmaxes over one relation each; king maps are drawn 3 × 3, children 2 × 2.
    """
    columns = sorted(heard, key=lambda h: (h.relations[0] != "king", h.level))
    heads = len(columns[0].alpha)
    with style():
        fig = Figure(figsize=(7.2, 0.35 + 0.82 * heads))
        panels = fig.subplots(heads, len(columns), squeeze=False)
        for column, found in enumerate(columns):
            (relation,) = found.relations
            means = mean_by_tap(found)[relation]
            side = 3 if relation == "king" else 2
            for head in range(heads):
                axes: Axes = panels[head, column]
                axes.imshow(means[head].reshape(side, side), cmap="viridis", vmin=0, vmax=1)
                for tap, value in enumerate(means[head]):
                    row, place = divmod(tap, side)
                    axes.text(
                        place, row, f"{100 * value:.0f}", ha="center", va="center", size=6,
                        color=BLACK if value > 0.6 else "white",
                    )  # fmt: skip
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                if column == 0:
                    axes.set_ylabel(f"head {head + 1}")
            title = "king" if relation == "king" else "children"
            panels[0, column].set_title(f"{title}\nlevel {found.level}", size=8)
    return fig


def shares(heard: Sequence[Heard]) -> Figure:
    """Where a joint softmax over all 14 taps goes: bars per level, a panel per head.

    Args:
        heard: one joint softmax per level.
    """
    parts = ("itself", "king neighbours", "children", "parent")
    colours = (GREY, BLUE, GREEN, VERMILION)
    heads = len(heard[0].alpha)
    with style():
        fig = Figure(figsize=(7.2, 2.5))
        panels = fig.subplots(1, heads, sharey=True, squeeze=False)[0]
        for head, axes in enumerate(panels):
            bottom = np.zeros(len(heard))
            for part, colour in zip(parts, colours, strict=True):
                heights = np.array([_shares(found, head)[part] for found in heard])
                levels = [found.level for found in heard]
                axes.bar(levels, heights, bottom=bottom, color=colour, label=part, width=0.75)
                bottom += heights
            axes.set(title=f"head {head + 1}", xlabel="level", xticks=levels, ylim=(0, 1))
        panels[0].set_ylabel("share of attention")
        handles, labels = panels[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=4)
    return fig


def _shares(found: Heard, head: int) -> dict[str, float]:
    means = {relation: values[head] for relation, values in mean_by_tap(found).items()}
    return {
        "itself": float(means["king"][SELF_TAP]),
        "king neighbours": float(np.delete(means["king"], SELF_TAP).sum()),
        "children": float(means.get("child", np.zeros(1)).sum()),
        "parent": float(means.get("parent", np.zeros(1)).sum()),
    }


def overruled(sample: Sample, found: Heard) -> Figure:
    """Where content overrules position: how far a node's mean look is from its head's mean look.

    Args:
        found: a softmax of the base level over ``sample``.
    """
    apart = deviation(found)
    with style():
        fig = Figure(figsize=(7.2, 1.9))
        panels = fig.subplots(1, 1 + len(apart))
        panels[0].imshow(sample.image)
        panels[0].set_title("picture")
        for head, axes in enumerate(panels[1:]):
            image = axes.imshow(apart[head], cmap="viridis", vmin=0, vmax=apart.max())
            axes.set_title(f"head {head + 1}")
        for axes in panels:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        bar = fig.colorbar(image, ax=panels, shrink=0.8)
        bar.set_label("deviation / cells")
    return fig


def growth(rows: Mapping[str, Sequence[Reach]]) -> Figure:
    """How far the middle pixel hears: influence on a logarithmic scale, a row per schedule.

    Args:
        rows: by the schedule's name, from :func:`ngat.paper.study.reach.growth`.
    """
    columns = max(len(found) for found in rows.values())
    with style():
        fig = Figure(figsize=(7.2, 0.2 + 1.35 * len(rows)))
        panels = fig.subplots(len(rows), columns, squeeze=False)
        for line, (name, found) in zip(panels, rows.items(), strict=True):
            for axes in line:
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            for axes, reach in zip(line, found, strict=False):
                influence = reach.influence / reach.influence.max()
                image = axes.imshow(
                    np.where(influence > 0, influence, np.nan),
                    norm=LogNorm(1e-4, 1),
                    cmap="viridis",
                )
                axes.set_facecolor("#DDDDDD")
                axes.set_title(f"{reach.title}\n{int(reach.walked.sum())} pixels", size=8)
            for axes in line[len(found) :]:
                axes.set_visible(False)
            line[0].set_ylabel(name)
        bar = fig.colorbar(image, ax=panels, shrink=0.8, extend="min", aspect=30)
        bar.set_label("influence / largest")
    return fig
