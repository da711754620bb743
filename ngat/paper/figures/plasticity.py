"""Figures of moving nodes: footprints before and after, moves per level, bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ngat.data import Sample
from ngat.paper.style import BLUE, GREEN, GREY, ORANGE, SKY, VERMILION, style
from ngat.plasticity import REACH, Placement

CELLS = 5  # nodes along a side of a cut-out
AXES = {"x": BLUE, "y": VERMILION, "z": GREEN}


def footprints(
    sample: Sample,
    home: Placement,
    after: Placement,
    levels: Sequence[int],
    centre: tuple[int, int],
) -> Figure:
    """Footprints at home and after training, and an arrow from one centre to the other.

    Args:
        home, after: placements over ``sample``.
        levels: one cut-out of 5 × 5 nodes for each.
        centre: (row, column) in pixels that the cut-outs are around.
    """
    longer = max(sample.labels.shape)
    with style():
        fig = Figure(figsize=(7.2, 2.75))
        for k, m in enumerate(levels, start=1):
            axes = fig.add_subplot(1, len(levels), k)
            cell = 2**m
            rows, columns = (
                slice(*_window(at // cell, size))
                for at, size in zip(centre, home.positions[m].shape[2:], strict=True)
            )
            before, now = (
                (placement.positions[m][0, :, rows, columns].flatten(1) * longer).numpy()
                for placement in (home, after)
            )
            axes.imshow(sample.image, extent=(0, *sample.labels.shape[1::-1], 0))
            for (x, y, z), colour, look in ((before, "white", "--"), (now, ORANGE, "-")):
                half = z / np.sqrt(2)
                squares = [
                    Rectangle((a - h, b - h), 2 * h, 2 * h)
                    for a, b, h in zip(x, y, half, strict=True)
                ]
                axes.add_collection(
                    PatchCollection(squares, fc="none", ec=colour, lw=0.9, linestyle=look)
                )
            x, y = before[:2]
            u, v = now[:2] - before[:2]
            axes.quiver(
                x, y, u, v, color=SKY, angles="xy", scale_units="xy", scale=1, width=0.008,
                headwidth=3.5, headlength=3, headaxislength=3, minlength=0.2,
            )  # fmt: skip
            edge = cell / 2
            axes.set(
                xlim=(columns.start * cell - edge, columns.stop * cell + edge),
                ylim=(rows.stop * cell + edge, rows.start * cell - edge),
                title=f"level {m}", xlabel="x / pixel", ylabel="y / pixel" if k == 1 else "",
            )  # fmt: skip
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(4, integer=True))
        handles = [
            Line2D([], [], color=GREY, linestyle="--", label="at home (white)"),
            Line2D([], [], color=ORANGE, label="after training"),
        ]
        fig.legend(handles=handles, loc="outside lower center", ncols=2)
    return fig


def _window(at: int, size: int) -> tuple[int, int]:
    """First and last + 1 of five nodes around ``at``, inside the level."""
    first = max(0, min(at - CELLS // 2, size - CELLS))
    return first, min(size, first + CELLS)


def moves(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """The move that all nodes of a level share, and what differs from node to node.

    Args:
        tables: by network, from :func:`ngat.paper.study.plasticity.moves_by_level`.
    """
    with style():
        fig = Figure(figsize=(7.2, 2.8))
        panels = fig.subplots(1, len(tables), sharey=True, squeeze=False)[0]
        for axes, (name, table) in zip(panels, tables.items(), strict=True):
            for axis, colour in AXES.items():
                place = table["level"] + 0.15 * ("xyz".index(axis) - 1)
                axes.plot(place, table[axis].abs(), "o", color=colour, markersize=6)
                axes.plot(place, table[f"spread_{axis}"], "o", mfc="none", mec=colour, markersize=6)
            axes.set(yscale="log", xlabel="level", title=name, xticks=table["level"])
            axes.margins(x=0.15)
        panels[0].set_ylabel("move / cells (x, y), levels (z)")
        handles = [
            *(Line2D([], [], marker="o", ls="", color=c, label=axis) for axis, c in AXES.items()),
            Line2D([], [], marker="o", ls="", color=GREY, label="common to all nodes"),
            Line2D([], [], marker="o", ls="", mfc="none", mec=GREY, label="spread over nodes"),
        ]
        fig.legend(handles=handles, loc="outside upper center", ncols=5)
    return fig


def heights(sample: Sample, placement: Placement, levels: Sequence[int]) -> Figure:
    """How much higher or lower than at home every node stands, level by level.

    Args:
        placement: over ``sample``.
        levels: one map for each.
    """
    maps = [placement.moves[m][0, 2].numpy() for m in levels]
    largest = max(float(np.abs(z).max()) for z in maps)
    with style():
        fig = Figure(figsize=(7.2, 2.1))
        panels = fig.subplots(1, 1 + len(levels))
        extent = (0, sample.labels.shape[1], sample.labels.shape[0], 0)
        panels[0].imshow(sample.image, extent=extent)
        panels[0].set_title("picture")
        for axes, m, z in zip(panels[1:], levels, maps, strict=True):
            image = axes.imshow(z, extent=extent, cmap="PuOr", vmin=-largest, vmax=largest)
            axes.contour(
                sample.labels > 0, levels=[0.5], extent=(*extent[:2], 0, extent[2]),
                colors="black", linewidths=0.5,
            )  # fmt: skip
            axes.set_title(f"level {m}")
        for axes in panels:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        bar = fig.colorbar(image, ax=panels, shrink=0.8)
        bar.set_label("height above home / levels")
    return fig


def bounds(table: pd.DataFrame) -> Figure:
    """Largest moves for random weights of growing size, and the bounds they cannot cross.

    Args:
        table: from :func:`ngat.paper.study.plasticity.bounds`.
    """
    with style():
        fig = Figure(figsize=(7.2, 2.5))
        left, right = fig.subplots(1, 2)
        left.plot(table["scale"], table["sideways"], "o-", color=BLUE, label="largest |x| or |y|")
        left.plot(table["scale"], table["gap"], "s--", color=GREEN, label="smallest gap")
        left.axhline(REACH, color=GREY, lw=0.8)
        left.axhline(1 - 2 * REACH, color=GREY, lw=0.8)
        left.set(ylabel="cells", ylim=(0, 1.05))
        left.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
        right.plot(table["scale"], table["highest"], "o-", color=VERMILION, label="highest")
        right.plot(table["scale"], table["lowest"], "s--", color=BLUE, label="lowest")
        for limit in (0.5, 2):
            right.axhline(limit, color=GREY, lw=0.8)
        right.set(ylabel="height / height at home", yscale="log", yticks=[0.5, 1, 2])
        right.set_yticklabels(["0.5", "1", "2"])
        right.minorticks_off()
        right.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
        for axes in (left, right):
            axes.set(xscale="log", xlabel="standard deviation of ξ's weights")
    return fig
