"""Figures 1 and 3, and sliders that move a node: the pyramid graph, its taps, its projection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection

from ngat.graph import RELATIONS, PyramidGraph, Relation
from ngat.paper.study.graph import Picture, neighbourhood, place_of, seen_from
from ngat.paper.style import BLUE, GREEN, GREY, VERMILION, bare, live, style, widgets

if TYPE_CHECKING:
    from ipywidgets import VBox


RELATION_COLOURS: dict[Relation, str] = {"king": BLUE, "child": GREEN, "parent": VERMILION}

RELATION_NAMES: dict[Relation, str] = {
    "king": "king: 9 taps, itself included",
    "child": "children: 4 taps",
    "parent": "parent: 1 tap",
}

Place = tuple[int, int, int]  # level, row, column

Point = tuple[float, float, float]


def pyramid(seen: Sequence[Picture], graph: PyramidGraph, node: Place) -> Figure:
    """Figure 1: the levels above the picture, every node a tile, and the edges of one node.

    Levels are drawn at equal distances; true heights double from level to level (figure 3).

    Args:
        seen: colours of every level, from :func:`ngat.paper.study.graph.levels`.
        node: whose edges are drawn thick.
    """
    gap = 0.45 * max(graph.height, graph.width)

    def at(m: int, row: int, column: int) -> Point:
        cell = 2.0**m
        return (column + 0.5) * cell, (row + 0.5) * cell, m * gap

    with style():
        fig = Figure(figsize=(7.2, 5.6))
        axes = _space(fig, seen[0], (graph.levels - 1) * gap, (0, 0, 0.95, 1.06), zoom=0.92)
        for m in range(1, graph.levels):
            source, target, _ = graph.edges("child", m)
            if m > 1:  # a line per pixel would hide the picture
                ends = [
                    (at(*place_of(graph, a)), at(*place_of(graph, b)))
                    for a, b in zip(source, target, strict=True)
                ]
                _lines(axes, ends, GREY, 0.4, m - 0.5, alpha=0.5)
            tiles = [
                _square(*at(m, row, column), 2.0**m)
                for row in range(graph.sizes[m][0])
                for column in range(graph.sizes[m][1])
            ]
            axes.add_collection3d(
                Poly3DCollection(
                    tiles, facecolors=seen[m].reshape(-1, 3), edgecolors="white", linewidths=0.3,
                    alpha=0.9, zorder=m, clip_on=False,
                )
            )  # fmt: skip
        for m, (height, width) in enumerate(graph.sizes):
            axes.text(
                graph.width + 2, 0, m * gap, f"level {m}\n{height} × {width}", size=8, va="center"
            )
        # A tile hides what lies below it; the children's edges shine through.
        order = {"king": 0.4, "child": -0.4, "parent": 0.6}
        for relation, sources in neighbourhood(graph, *node).items():
            ends = [(at(*node), at(*source)) for _, *source in sources]
            colour = RELATION_COLOURS[relation]
            _lines(axes, ends, colour, 2.0, node[0] + order[relation])
            if relation == "child":
                _lines(axes, ends, colour, 1.2, node[0] + 0.3, linestyles=":")
            dots = np.array([end for _, end in ends]).T
            axes.scatter(*dots, color=colour, s=9, depthshade=False, zorder=node[0] + 0.5)
        axes.set_axis_off()
        handles = [
            Line2D([], [], color=RELATION_COLOURS[r], linewidth=2.2, label=RELATION_NAMES[r])
            for r in RELATIONS
        ]
        axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.55, 0.03), ncols=3)
    return fig


def taps(graph: PyramidGraph, node: Place) -> Figure:
    """The taps of one node with their numbers, level by level."""
    sources = neighbourhood(graph, *node)
    panels: list[tuple[str, int, Iterable[Relation]]] = [
        ("children, one level below", node[0] - 1, ("child",)),
        ("its own level", node[0], ("king",)),
        ("parent, one level above", node[0] + 1, ("parent",)),
    ]
    with style():
        fig = Figure(figsize=(7.2, 2.8))
        for column, (title, level, relations) in enumerate(panels, start=1):
            axes = fig.add_subplot(1, 3, column)
            height, width = graph.sizes[level]
            cell = 2.0 ** (level - node[0])
            for row in range(height):
                for place in range(width):
                    corner = (place * cell, row * cell)
                    axes.add_patch(Rectangle(corner, cell, cell, fill=False, ec="#CCCCCC", lw=0.7))
            for relation in relations:
                for tap, _, row, place in sources[relation]:
                    corner = (place * cell, row * cell)
                    colour = RELATION_COLOURS[relation]
                    axes.add_patch(Rectangle(corner, cell, cell, fc=colour, alpha=0.3, ec=colour))
                    x, y = (value + min(cell, 1) / 2 for value in corner)
                    axes.text(x, y, str(tap), ha="center", va="center")
            # The node itself, where it stands on every level.
            axes.add_patch(Rectangle((node[2], node[1]), 1, 1, fill=False, ec="black", lw=1.8))
            axes.set(
                xlim=(node[2] - 1.6, node[2] + 2.6), ylim=(node[1] + 2.6, node[1] - 1.6),
                xticks=[], yticks=[], aspect="equal", title=f"{title}\n(level {level})",
            )  # fmt: skip
            axes.spines[:].set_visible(False)
    return fig


def levels(seen: Sequence[Picture]) -> Figure:
    """The picture at every level: each node drawn as its cell, in its projected colour."""
    with style():
        fig = Figure(figsize=(7.2, 1.9))
        for m, picture in enumerate(seen):
            axes = fig.add_subplot(1, len(seen), m + 1)
            axes.imshow(picture, vmin=0, vmax=1)
            axes.set_title(f"level {m}\n{picture.shape[0]} × {picture.shape[1]} nodes", size=8)
        bare(fig.axes)
    return fig


def pyramids(picture: Picture, positions: Sequence[Point]) -> Figure:
    """Figure 3: equilateral pyramids on the picture, each node in its projected colour.

    Args:
        picture: ``[H, W, 3]`` in [0, 1].
        positions: ζ = (x, y, z) in units of the picture's longer side.
    """
    longer = max(picture.shape[:2])
    with style():
        fig = Figure(figsize=(7.2, 3.5))
        top = longer * max(z for _, _, z in positions)
        axes = _space(fig, picture, top, (0, 0, 1, 1), zoom=1.85)
        axes.view_init(elev=28, azim=-60)
        for order, position in enumerate(positions, start=1):
            colour, _ = seen_from(picture, position)
            x, y, z = (value * longer for value in position)
            base = _square(x, y, 0.0, z * np.sqrt(2))
            faces = [[base[k], base[(k + 1) % 4], (x, y, z)] for k in range(4)]
            axes.add_collection3d(
                Poly3DCollection(
                    faces, facecolors=(*colour, 0.35), edgecolors="black", linewidths=0.8,
                    zorder=order, clip_on=False,
                )
            )  # fmt: skip
            _lines(axes, [(base[k], base[(k + 1) % 4]) for k in range(4)], VERMILION, 1.8, order)
            axes.scatter(
                [x], [y], [z], color=[tuple(colour)], s=70, edgecolors="black", depthshade=False,
                zorder=order + 0.5,
            )  # fmt: skip
    return fig


def footprint(picture: Picture, position: Point) -> Figure:
    """One node from above and from the side, and its projected colour.

    Args:
        position: ζ = (x, y, z) in units of the picture's longer side.
    """
    height, width = picture.shape[:2]
    x, y, z = (value * max(height, width) for value in position)
    half = z / np.sqrt(2)
    colour, pixels = seen_from(picture, position)
    with style():
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
        red, green, blue = colour
        swatch.set_xlabel(f"({red:.2f}, {green:.2f}, {blue:.2f})\n{pixels:.0f} pixels")
        swatch.spines[:].set_visible(True)
    return fig


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


def _square(x: float, y: float, z: float, side: float) -> list[Point]:
    """Corners of a level square around a point."""
    half = side / 2
    return [
        (x - half, y - half, z),
        (x + half, y - half, z),
        (x + half, y + half, z),
        (x - half, y + half, z),
    ]


def _lines(
    axes: Any,
    ends: Sequence[tuple[Point, Point]],
    colour: str,
    width: float,
    order: float,
    **look: Any,
) -> None:
    axes.add_collection3d(
        Line3DCollection(ends, colors=colour, linewidths=width, zorder=order, clip_on=False, **look)
    )


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
