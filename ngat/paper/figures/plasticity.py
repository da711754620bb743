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
from matplotlib.patheffects import withStroke

from ngat.data import Sample
from ngat.paper.figures.pictures import outline, over_picture
from ngat.paper.study.pictures import visible
from ngat.paper.style import BLUE, GREEN, GREY, VERMILION, YELLOW, bare, style
from ngat.plasticity import REACH, Placement

AXES = {"x": BLUE, "y": VERMILION, "z": GREEN}
HEIGHT = "height less the level's mean / levels"


@style()
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
    labels, (shown, _) = sample.labels[part], visible(sample.image[part])
    height, width = labels.shape
    top, left = part[0].start, part[1].start
    extent = (left, left + width, top + height, top)
    moves = [placement.moves[m][0].double() for m in levels]
    means = [move.mean((1, 2), keepdim=True) for move in moves]
    apart = [move - mean for move, mean in zip(moves, means, strict=True)]
    limit = max(float(move[2].abs().max()) for move in apart) or 1.0
    fig = Figure(figsize=(2.5 * len(levels) + 0.7, 2.5 * height / width + 0.7))
    panels = fig.subplots(1, len(levels), squeeze=False)[0]
    for axes, m, mean, own in zip(panels, levels, means, apart, strict=True):
        # The nodes whose cells lie within these pixels.
        rows, columns = (slice(-(-along.start // 2**m), along.stop // 2**m) for along in part)
        at_home = (np.mgrid[rows, columns].reshape(2, -1)[::-1].T + 0.5) * 2**m  # x, y in pixels
        *sideways, z = own[:, rows, columns].flatten(1).numpy()
        longer = _legible(np.hypot(*sideways))
        ends = np.stack([at_home, at_home + longer * 2**m * np.transpose(sideways)], axis=1)
        axes.imshow(shown, extent=extent)
        outline(axes, labels, extent, "white")
        # A dark rim shows them on bright ground too.
        rim = [withStroke(linewidth=2.4, foreground="black")]
        axes.add_collection(
            LineCollection(list(ends), colors=YELLOW, linewidths=1.3, path_effects=rim, zorder=2)
        )
        dots = axes.scatter(
            *at_home.T, c=z, cmap="PuOr", vmin=-limit, vmax=limit, s=5 + 3 * m**2, lw=0.4,
            edgecolors="black", zorder=3,
        )  # fmt: skip
        axes.set(xlim=extent[:2], ylim=extent[2:], title=f"level {m}")
        right, down = (round(value, 2) + 0.0 for value in mean[:2].flatten().tolist())  # never −0
        caption = f"mean {right:+.2f}, {down:+.2f} cells\nlines × {longer:g}"
        axes.set_xlabel(caption.replace("-", "−"), size=8)
    bare(panels)
    fig.colorbar(dots, ax=panels, shrink=0.8, aspect=25, label=HEIGHT)
    return fig


def _legible(lengths: npt.NDArray[np.floating[Any]]) -> float:
    """A factor of one digit by which all but a twentieth of these lengths stay below .8 cells."""
    factor = max(1.0, 0.8 / max(float(np.percentile(lengths, 95)), 1e-6))
    digit = 10 ** np.floor(np.log10(factor))
    return float(np.floor(factor / digit) * digit)


@style()
def moves(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """The mean move of a level, and each node's deviation from it.

    Args:
        tables: by network, from :func:`ngat.paper.study.plasticity.moves_by_level`.
    """
    dots: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 6}
    hollow: dict[str, Any] = {"markerfacecolor": "none"}
    fig = Figure(figsize=(7.2, 2.8))
    panels = fig.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        for k, (axis, colour) in enumerate(AXES.items()):
            place = table["level"] + 0.15 * (k - 1)
            axes.plot(place, table[axis].abs(), color=colour, **dots)
            axes.plot(place, table[f"spread_{axis}"], color=colour, **dots, **hollow)
        axes.set(yscale="log", xlabel="level", title=name, xticks=table["level"])
        axes.margins(x=0.15)
    panels[0].set_ylabel("|move| / cells (x, y), levels (z)")
    handles = [Line2D([], [], color=colour, label=axis, **dots) for axis, colour in AXES.items()]
    handles += [
        Line2D([], [], color=GREY, label="common to all nodes", **dots),
        Line2D([], [], color=GREY, label="spread over nodes", **dots, **hollow),
    ]
    fig.legend(handles=handles, loc="outside upper center", ncols=5)
    return fig


def heights(sample: Sample, placement: Placement, levels: Sequence[int]) -> Figure:
    """Heights of all nodes above home less their level's mean, level by level, in two rows.

    Args:
        placement: over ``sample``.
        levels: one map for each; the mean that was subtracted stands below it.
    """
    maps = {f"level {m}": placement.moves[m][0, 2].double().numpy() for m in levels}
    captions = [f"level's mean {z.mean():+.2f}".replace("-", "−") for z in maps.values()]
    apart = {title: z - z.mean() for title, z in maps.items()}
    return over_picture(
        sample, apart, HEIGHT, signed=True, clip=99.5, captions=captions, outlines="black"
    )


@style()
def bounds(table: pd.DataFrame) -> Figure:
    """Largest moves for random weights of growing size, and their bounds.

    Args:
        table: from :func:`ngat.paper.study.plasticity.bounds`.
    """
    fig = Figure(figsize=(7.2, 2.5))
    left, right = fig.subplots(1, 2)
    for axes, column, look, colour, label in (
        (left, "sideways", "o-", BLUE, "largest |x| or |y|"),
        (left, "gap", "s--", GREEN, "smallest gap"),
        (right, "highest", "o-", VERMILION, "highest"),
        (right, "lowest", "s--", BLUE, "lowest"),
    ):
        axes.plot(table["scale"], table[column], look, color=colour, label=label)
    for axes, limits in ((left, (REACH, 1 - 2 * REACH)), (right, (0.5, 2))):
        for limit in limits:
            axes.axhline(limit, color=GREY, lw=0.8)
        axes.set(xscale="log", xlabel="standard deviation of ξ's weights")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    left.set(ylabel="cells", ylim=(0, 1.05))
    right.set(ylabel="height / height at home", yscale="log")
    right.set_yticks([0.5, 1, 2], ["0.5", "1", "2"])
    right.minorticks_off()
    return fig
