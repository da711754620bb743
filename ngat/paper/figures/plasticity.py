"""Figures of moving nodes: where they went over a picture, moves per level, bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ngat.data import Sample
from ngat.paper.figures.pictures import beside_picture, outline
from ngat.paper.study.pictures import visible
from ngat.paper.style import BLUE, GREEN, GREY, VERMILION, YELLOW, bare, style
from ngat.plasticity import REACH, Placement

AXES = {"x": BLUE, "y": VERMILION, "z": GREEN}


def quiver(
    sample: Sample, placement: Placement, levels: Sequence[int], part: tuple[slice, slice]
) -> Figure:
    """Moves over a part of a picture, less the mean move of their level.

    A dot is a node at home, its colour the height; the line leads to where the node went sideways,
    so many times as long as stands below it.

    Args:
        sample: the picture that ``placement`` is of.
        levels: a panel for each.
        part: rows and columns of pixels that are shown.
    """
    top, left = part[0].start, part[1].start
    height, width = part[0].stop - top, part[1].stop - left
    extent = (left, left + width, top + height, top)
    moves = [placement.moves[m][0].double() for m in levels]
    apart = [move - move.mean((1, 2), keepdim=True) for move in moves]
    limit = max(float(move[2].abs().max()) for move in apart) or 1.0
    shown, _ = visible(sample.image[part])
    with style():
        fig = Figure(figsize=(2.5 * len(levels) + 0.7, 2.5 * height / width + 0.7))
        panels = fig.subplots(1, len(levels), squeeze=False)[0]
        for axes, m, move, own in zip(panels, levels, moves, apart, strict=True):
            rows, columns = (_nodes(along, m) for along in part)
            y, x = (np.mgrid[rows, columns].reshape(2, -1) + 0.5) * 2**m  # at home, in pixels
            u, v, z = own[:, rows, columns].flatten(1).numpy()
            axes.imshow(shown, extent=extent)
            outline(axes, sample.labels[part], extent, "white")
            longer = _legible(np.hypot(u, v))
            ends = np.stack([x, y, x + longer * u * 2**m, y + longer * v * 2**m], axis=1)
            axes.add_collection(
                LineCollection(list(ends.reshape(-1, 2, 2)), colors=YELLOW, linewidths=1.1)
            )
            dots = axes.scatter(
                x, y, c=z, cmap="PuOr", vmin=-limit, vmax=limit, s=5 + 3 * m**2, lw=0.4,
                edgecolors="black", zorder=3,
            )  # fmt: skip
            axes.set(xlim=extent[:2], ylim=extent[2:], title=f"level {m}")
            bare((axes,))
            right, down, _ = move.mean((1, 2)).tolist()
            right, down = (round(mean, 2) + 0.0 for mean in (right, down))  # no negative zero
            caption = f"mean {right:+.2f}, {down:+.2f} cells\nlines × {longer:g}"
            axes.set_xlabel(caption.replace("-", "−"), size=8)
        label = "height less the level's mean / levels"
        fig.colorbar(dots, ax=panels, shrink=0.8, aspect=25, label=label)
    return fig


def _nodes(along: slice, level: int) -> slice:
    """The nodes of a level whose cells lie within these pixels."""
    return slice(-(-along.start // 2**level), along.stop // 2**level)


def _legible(lengths: npt.NDArray[np.floating[Any]]) -> float:
    """A factor of one digit by which all but a twentieth of these lengths stay below .45 cells."""
    factor = max(1.0, 0.45 / max(float(np.percentile(lengths, 95)), 1e-6))
    digit = 10 ** np.floor(np.log10(factor))
    return float(np.floor(factor / digit) * digit)


def moves(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """The mean move of a level, and each node's deviation from it.

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
        panels[0].set_ylabel("|move| / cells (x, y), levels (z)")
        handles = [
            *(Line2D([], [], marker="o", ls="", color=c, label=axis) for axis, c in AXES.items()),
            Line2D([], [], marker="o", ls="", color=GREY, label="common to all nodes"),
            Line2D([], [], marker="o", ls="", mfc="none", mec=GREY, label="spread over nodes"),
        ]
        fig.legend(handles=handles, loc="outside upper center", ncols=5)
    return fig


def heights(sample: Sample, placement: Placement, levels: Sequence[int]) -> Figure:
    """Heights of all nodes above home less their level's mean, level by level, in two rows.

    Args:
        placement: over ``sample``.
        levels: one map for each; the mean that was subtracted stands below it.
    """
    maps = [placement.moves[m][0, 2].double().numpy() for m in levels]
    largest = max(float(np.percentile(np.abs(z - z.mean()), 99.5)) for z in maps) or 1.0
    columns = -(-(1 + len(levels)) // 2)
    height, width = sample.labels.shape
    with style():
        fig = Figure(figsize=(2.3 * columns + 0.6, 2 * (2.2 * height / width + 0.45)))
        rest, extent = beside_picture(fig, sample, columns)
        for axes, m, z in zip(rest, levels, maps, strict=False):
            outline(axes, sample.labels, extent, "black")
            image = axes.imshow(
                z - z.mean(), extent=extent, cmap="PuOr", vmin=-largest, vmax=largest
            )
            axes.set_title(f"level {m}")
            axes.set_xlabel(f"level's mean {z.mean():+.2f}".replace("-", "−"), size=8, labelpad=2)
        bar = fig.colorbar(image, ax=fig.axes, shrink=0.8, aspect=30, extend="both")
        bar.set_label("height less the level's mean / levels")
    return fig


def bounds(table: pd.DataFrame) -> Figure:
    """Largest moves for random weights of growing size, and their bounds.

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
