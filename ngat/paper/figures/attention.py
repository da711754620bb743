"""Figures of attention: coefficients by tap, level and direction, and their reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ngat.data import Sample
from ngat.graph import RELATIONS, SELF_TAP
from ngat.paper.figures.graph import RELATION_COLOURS
from ngat.paper.figures.pictures import outlined
from ngat.paper.study.network import Coefficients, Reach, deviation, mean_by_tap
from ngat.paper.study.pictures import visible
from ngat.paper.style import BLACK, GREY, VERMILION, bare, style


def tap_maps(softmaxes: Sequence[Coefficients]) -> Figure:
    """Mean coefficients as little maps: a row per head, a column per level and relation.

    All maps share one scale, from zero to the largest of them.

    Args:
        softmaxes: softmaxes over one relation each; king maps are drawn 3 × 3, children 2 × 2.
    """
    columns = sorted(softmaxes, key=lambda s: (s.relations[0] != "king", s.level))
    heads = len(columns[0].alpha)
    maps = [mean_by_tap(found)[found.relations[0]] for found in columns]
    largest = max(float(means.max()) for means in maps)
    with style():
        fig = Figure(figsize=(8.4, 0.35 + 0.82 * heads))
        panels = fig.subplots(heads, len(columns), squeeze=False)
        for column, (found, means) in enumerate(zip(columns, maps, strict=True)):
            (relation,) = found.relations
            side = 3 if relation == "king" else 2
            for head in range(heads):
                axes: Axes = panels[head, column]
                image = axes.imshow(
                    means[head].reshape(side, side), cmap="viridis", vmin=0, vmax=largest
                )
                for tap, value in enumerate(means[head]):
                    row, place = divmod(tap, side)
                    axes.text(
                        place, row, f"{100 * value:.0f}", ha="center", va="center", size=6.5,
                        color=BLACK if value > 0.6 * largest else "white",
                    )  # fmt: skip
                if column == 0:
                    axes.set_ylabel(f"head {head + 1}")
            title = "king" if relation == "king" else "children"
            panels[0, column].set_title(f"{title}\nlevel {found.level}", size=8)
        bare(panels.flat)
        fig.colorbar(image, ax=panels, shrink=0.8, aspect=25, label="mean α (numbers: %)")
    return fig


def shares(softmaxes: Sequence[Coefficients]) -> Figure:
    """Where a joint softmax over all 14 taps goes: bars per level, a panel per head.

    Args:
        softmaxes: one joint softmax per level.
    """
    parts = ("itself", "king neighbours", "children", "parent")
    colours = (GREY, *(RELATION_COLOURS[relation] for relation in RELATIONS))
    heads = len(softmaxes[0].alpha)
    with style():
        fig = Figure(figsize=(7.2, 2.5))
        panels = fig.subplots(1, heads, sharey=True, squeeze=False)[0]
        for head, axes in enumerate(panels):
            bottom = np.zeros(len(softmaxes))
            for part, colour in zip(parts, colours, strict=True):
                heights = np.array([_shares(found, head)[part] for found in softmaxes])
                levels = [found.level for found in softmaxes]
                axes.bar(levels, heights, bottom=bottom, color=colour, label=part, width=0.75)
                bottom += heights
            axes.set(title=f"head {head + 1}", xlabel="level", xticks=levels, ylim=(0, 1))
        panels[0].set_ylabel("share of attention")
        handles, labels = panels[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=4)
    return fig


def _shares(found: Coefficients, head: int) -> dict[str, float]:
    means = {relation: values[head] for relation, values in mean_by_tap(found).items()}
    return {
        "itself": float(means["king"][SELF_TAP]),
        "king neighbours": float(np.delete(means["king"], SELF_TAP).sum()),
        "children": float(means.get("child", np.zeros(1)).sum()),
        "parent": float(means.get("parent", np.zeros(1)).sum()),
    }


def overruled(sample: Sample, found: Coefficients) -> Figure:
    """Where content overrules position: distance of a node's mean displacement from its head's.

    Args:
        found: a softmax of the base level over ``sample``.
    """
    apart = deviation(found)
    columns = -(-(1 + len(apart)) // 2)
    with style():
        fig = Figure(figsize=(2.3 * columns + 0.6, 5.0))
        panels = fig.subplots(2, columns)
        first, *rest = panels.flat
        shown, _ = visible(sample.image)
        first.imshow(outlined(shown, sample.labels))
        first.set_title("picture, nuclei outlined")
        largest = float(np.percentile(apart, 99.8))
        for head, axes in enumerate(rest[: len(apart)]):
            image = axes.imshow(apart[head], cmap="viridis", vmin=0, vmax=largest)
            axes.set_title(f"head {head + 1}")
        bare(panels.flat)
        bar = fig.colorbar(image, ax=panels, shrink=0.8, aspect=30, extend="max")
        bar.set_label("deviation / cells")
    return fig


def nodes(
    sample: Sample, found: Coefficients, places: Mapping[str, tuple[int, int]], side: int = 24
) -> Figure:
    """The king coefficients of single base nodes: a row per node, a 3 × 3 map per head.

    Args:
        found: a king softmax of the base level over ``sample``.
        places: (row, column) by what stands there.
        side: of the part of the picture around the node, in pixels.
    """
    heads = len(found.alpha)
    largest = max(float(found.alpha[:, :, r, c].max()) for r, c in places.values())
    shown, _ = visible(sample.image)
    shown = outlined(shown, sample.labels)
    with style():
        fig = Figure(figsize=(1.35 * (1 + heads) + 0.7, 1.42 * len(places) + 0.3))
        panels = fig.subplots(len(places), 1 + heads, squeeze=False)
        for line, (name, (row, column)) in zip(panels, places.items(), strict=True):
            line[0].imshow(shown)
            line[0].add_patch(
                Rectangle((column - 1.5, row - 1.5), 3, 3, fill=False, ec=VERMILION, lw=1.8)
            )
            line[0].set(
                xlim=(column - side / 2, column + side / 2),
                ylim=(row + side / 2, row - side / 2), ylabel=name,
            )  # fmt: skip
            for axes, alpha in zip(line[1:], found.alpha[:, :, row, column], strict=True):
                image = axes.imshow(alpha.reshape(3, 3), cmap="viridis", vmin=0, vmax=largest)
                for tap, value in enumerate(alpha):
                    y, x = divmod(tap, 3)
                    axes.text(
                        x, y, f"{100 * value:.0f}", ha="center", va="center", size=7,
                        color=BLACK if value > 0.7 * largest else "white",
                    )  # fmt: skip
        panels[0, 0].set_title("the node")
        for head, axes in enumerate(panels[0, 1:], start=1):
            axes.set_title(f"head {head}")
        bare(panels.flat)
        fig.colorbar(image, ax=panels, shrink=0.8, aspect=25, label="α (numbers: %)")
    return fig


def growth(rows: Mapping[str, Sequence[Reach]]) -> Figure:
    """Pixels that reach the middle one: influence on a logarithmic scale, a row per schedule.

    Args:
        rows: by the schedule's name, from :func:`ngat.paper.study.network.growth`.
    """
    columns = max(len(found) for found in rows.values())
    with style():
        fig = Figure(figsize=(7.2, 0.2 + 1.35 * len(rows)))
        panels = fig.subplots(len(rows), columns, squeeze=False)
        for line, (name, found) in zip(panels, rows.items(), strict=True):
            bare(line)
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
