"""Figures 1 and 3, and sliders that move a node: the pyramid graph, its taps, its projection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection

from ngat.graph import PyramidGraph, Relation, sources_of
from ngat.paper.study.graph import Picture, Position, neighbourhood, seen_from
from ngat.paper.style import (
    GREY,
    RELATION_COLOURS,
    VERMILION,
    bare,
    live,
    style,
    widgets,
)

if TYPE_CHECKING:
    from ipywidgets import VBox

RELATION_NAMES: dict[Relation, str] = {
    "king": "king: 9 taps, itself included",
    "child": "children: 4 taps",
    "parent": "parent: 1 tap",
}

Place = tuple[int, int, int]  # level, row, column
Floats = npt.NDArray[np.float64]


@style()
def pyramid(seen: Sequence[Picture], graph: PyramidGraph, node: Place) -> Figure:
    """Figure 1: the levels above the picture, every node a tile, and the edges of one node.

    Levels are drawn at equal distances; true heights double from level to level (figure 3).

    Args:
        seen: colours of every level, from :func:`ngat.paper.study.graph.levels`.
        node: whose edges are drawn thick.
    """
    gap = 0.45 * max(graph.height, graph.width)
    centres = np.concatenate([_centres(graph, m, m * gap) for m in range(graph.levels)])
    fig = Figure(figsize=(7.2, 5.6))
    axes = _space(fig, seen[0], (graph.levels - 1) * gap, (0, 0, 0.95, 1.06), zoom=0.92)
    for m, (height, width) in enumerate(graph.sizes):
        text = f"level {m}\n{height} × {width}"
        axes.text(graph.width + 2, 0, m * gap, text, size=8, va="center")
        if m > 1:  # a line per pixel would hide the picture
            ends = np.stack([centres[end] for end in graph.edges("child", m)[:2]], axis=1)
            _lines(axes, ends, GREY, 0.4, m - 0.5, alpha=0.5)
        if m > 0:
            tiles = [_square(x, y, z, 2.0**m) for x, y, z in centres[graph.nodes(m).ravel()]]
            look = {"edgecolors": "white", "linewidths": 0.3, "alpha": 0.9}
            _faces(axes, tiles, seen[m].reshape(-1, 3), m, **look)
    # A tile hides what lies below it; the children's edges shine through.
    order = {"king": 0.4, "child": -0.4, "parent": 0.6}
    level, row, column = node
    number = graph.nodes(level)[row, column]
    for relation, _ in sources_of(level, graph.levels):
        sources, destinations, _ = graph.edges(relation, level)
        others = centres[sources[destinations == number]]
        ends = np.stack([np.broadcast_to(centres[number], others.shape), others], axis=1)
        colour, name = RELATION_COLOURS[relation], RELATION_NAMES[relation]
        _lines(axes, ends, colour, 2.0, level + order[relation], label=name)
        if relation == "child":
            _lines(axes, ends, colour, 1.2, level + 0.3, linestyles=":")
        axes.scatter(*others.T, color=colour, s=9, depthshade=False, zorder=level + 0.5)
    axes.set_axis_off()
    axes.legend(loc="upper center", bbox_to_anchor=(0.55, 0.03), ncols=3)
    return fig


@style()
def taps(graph: PyramidGraph, node: Place) -> Figure:
    """The taps of one node with their numbers, level by level."""
    level, top, left = node
    sources = neighbourhood(graph, *node)
    panels: dict[Relation, str] = {
        "child": "children, one level below",
        "king": "its own level",
        "parent": "parent, one level above",
    }
    fig = Figure(figsize=(7.2, 2.8))
    for axes, (relation, title) in zip(fig.subplots(1, 3), panels.items(), strict=True):
        m = sources[relation][0][1]
        cell = 2.0 ** (m - level)
        for y, x in np.ndindex(graph.sizes[m]):
            corner = (x * cell, y * cell)
            axes.add_patch(Rectangle(corner, cell, cell, fill=False, ec="#CCCCCC", lw=0.7))
        for tap, _, y, x in sources[relation]:
            colour = RELATION_COLOURS[relation]
            corner = (x * cell, y * cell)
            axes.add_patch(Rectangle(corner, cell, cell, fc=colour, alpha=0.3, ec=colour))
            middle = [value + min(cell, 1) / 2 for value in corner]
            axes.text(*middle, str(tap), ha="center", va="center")
        # The node itself, where it stands on every level.
        axes.add_patch(Rectangle((left, top), 1, 1, fill=False, ec="black", lw=1.8))
        axes.set(xlim=(left - 1.6, left + 2.6), ylim=(top + 2.6, top - 1.6), aspect="equal")
        axes.set_title(f"{title}\n(level {m})")
    bare(fig.axes)
    return fig


@style()
def pyramids(picture: Picture, positions: Sequence[Position]) -> Figure:
    """Figure 3: equilateral pyramids on the picture, each node in its projected colour.

    Args:
        picture: ``[H, W, 3]`` in [0, 1].
        positions: of nodes.
    """
    longer = max(picture.shape[:2])
    fig = Figure(figsize=(7.2, 3.5))
    axes = _space(fig, picture, longer * max(z for _, _, z in positions), (0, 0, 1, 1), zoom=1.85)
    axes.view_init(elev=28, azim=-60)
    for order, position in enumerate(positions, start=1):
        colour, _ = seen_from(picture, position)
        x, y, z = (value * longer for value in position)
        base = _square(x, y, 0.0, z * np.sqrt(2))
        sides = np.stack([np.roll(base, 1, axis=0), base], axis=1)  # of the base
        faces = [[*side, (x, y, z)] for side in sides]
        _faces(axes, faces, (*colour, 0.35), order, edgecolors="black", linewidths=0.8)
        _lines(axes, sides, VERMILION, 1.8, order)
        look = {"color": [tuple(colour)], "s": 70, "edgecolors": "black", "depthshade": False}
        axes.scatter([x], [y], [z], zorder=order + 0.5, **look)
    return fig


@style()
def footprint(picture: Picture, position: Position) -> Figure:
    """One node from above and from the side, and its projected colour."""
    height, width = picture.shape[:2]
    x, y, z = (value * max(height, width) for value in position)
    half = z / np.sqrt(2)
    colour, pixels = seen_from(picture, position)
    fig = Figure(figsize=(7.2, 2.7))
    above, side, swatch = fig.subplots(1, 3, width_ratios=(1.2, 1.2, 0.7))
    above.imshow(picture, extent=(0, width, height, 0), vmin=0, vmax=1)
    corner = (x - half, y - half)
    above.add_patch(Rectangle(corner, 2 * half, 2 * half, fill=False, ec=VERMILION, lw=2))
    side.fill([x - half, x + half, x], [0, 0, z], fc=(*colour, 0.6), ec=VERMILION, lw=2)
    for axes, place in ((above, y), (side, z)):
        axes.plot([x], [place], "o", color=VERMILION, markersize=4, clip_on=False)
        axes.set(xlim=(0, width), xlabel="x / pixel")
    above.set(ylim=(height, 0), ylabel="y / pixel", title="base on the picture")
    side.set(ylim=(0, max(height, width) * 0.55), ylabel="z / pixel", aspect="equal")
    side.set_title("pyramid from the side")
    swatch.set_facecolor(tuple(colour))
    swatch.set(xticks=[], yticks=[], aspect="equal", title="colour of the node")
    numbers = ", ".join(f"{value:.2f}" for value in colour)
    swatch.set_xlabel(f"({numbers})\n{pixels:.0f} pixels")
    swatch.spines[:].set_visible(True)
    return fig


def node_sliders(picture: Picture, graph: PyramidGraph, level: int) -> VBox:
    """Sliders over the position of a node that starts in the middle of a level.

    Args:
        picture: ``[H, W, 3]`` in [0, 1].
        level: where the node is at home: its height at the start.

    Raises:
        MissingDependency: ipywidgets is not installed.
    """
    ipywidgets = widgets()
    height, width = graph.sizes[level]
    home = graph.home(level)[:, height // 2, width // 2]
    # Sliders know only whole steps from their least value. Half a pixel to the side, and the height
    # over a pixel upwards, are steps on which every node is at home.
    pixel, lowest = 1 / max(graph.height, graph.width), float(graph.home(0)[2, 0, 0])
    ranges = ((0.0, 1.0, pixel / 2), (0.0, 1.0, pixel / 2), (lowest, 0.7, lowest))
    sliders = [
        ipywidgets.FloatSlider(
            float(value), min=low, max=high, step=step, description=name, readout_format=".3f"
        )
        for name, value, (low, high, step) in zip("xyz", home, ranges, strict=True)
    ]

    def draw() -> Figure:
        x, y, z = (slider.value for slider in sliders)
        return footprint(picture, (x, y, z))

    box: VBox = live(sliders, draw)
    return box


def _space(
    fig: Figure, picture: Picture, top: float, rect: tuple[float, float, float, float], zoom: float
) -> Any:
    """Axes in space with the picture on the ground, in pixels."""
    fig.set_layout_engine("none")
    axes: Any = fig.add_axes(rect, projection="3d", computed_zorder=False)
    height, width = picture.shape[:2]
    x, y = np.meshgrid(np.arange(width + 1), np.arange(height + 1))
    axes.plot_surface(
        x, y, np.zeros_like(x, dtype=float), facecolors=np.clip(picture, 0, 1), rstride=1,
        cstride=1, shade=False, linewidth=0, antialiased=False, zorder=0, clip_on=False,
    )  # fmt: skip
    axes.set_box_aspect((width, height, top), zoom=zoom)
    axes.set(xlim=(0, width), ylim=(height, 0), zlim=(0, top))
    axes.set(xlabel="x / pixel", ylabel="y / pixel", zlabel="z / pixel")
    axes.view_init(elev=24, azim=-60)
    axes.grid(False)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.pane.set_visible(False)
        axis.set_tick_params(pad=-4)  # else the zoom takes the numbers far from their ticks
        axis.labelpad = -6
    return axes


def _centres(graph: PyramidGraph, level: int, height: float) -> Floats:
    """The centres of a level's cells in pixels, at a height in space, ``[H_m W_m, 3]``."""
    y, x = (np.indices(graph.sizes[level]).reshape(2, -1) + 0.5) * 2.0**level
    return np.stack([x, y, np.full_like(x, height)], axis=1)


def _square(x: float, y: float, z: float, side: float) -> Floats:
    """Corners of a level square around a point, ``[4, 3]``."""
    corners = np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)])
    return np.array([x, y, z]) + side / 2 * corners


def _faces(axes: Any, faces: Sequence[Any], colours: Any, order: float, **look: Any) -> None:
    drawn = Poly3DCollection(faces, facecolors=colours, zorder=order, clip_on=False, **look)
    axes.add_collection3d(drawn)


def _lines(axes: Any, ends: Floats, colour: str, width: float, order: float, **look: Any) -> None:
    """Lines in space, ``ends`` being ``[n, 2, 3]``."""
    drawn = Line3DCollection(
        ends, colors=colour, linewidths=width, zorder=order, clip_on=False, **look
    )
    axes.add_collection3d(drawn)
