"""One click of the attention explorer as a figure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ngat.graph import CHILD_TAPS, KING_TAPS
from ngat.paper.explorer.nodes import Explored
from ngat.paper.style import LEVEL_COLOURS, style


def steepest(probability: npt.NDArray[np.float32]) -> tuple[int, int]:
    """The pixel of the middle where the probability of nucleus changes most: on an outline."""
    slope = np.hypot(*np.gradient(probability.astype(np.float64)))
    aside, below = (side // 4 for side in slope.shape[::-1])
    middle = slope[below : slope.shape[0] - below, aside : slope.shape[1] - aside]
    row, column = np.unravel_index(int(middle.argmax()), middle.shape)
    return int(row) + below, int(column) + aside


def still(one: Explored, row: int, column: int) -> Figure:
    """The picture with the cells of a pixel's nodes, and their weights by head and level.

    Args:
        one: from :func:`ngat.paper.explorer.nodes.explore`.
        row, column: the pixel, in the window.
    """
    heads = one.levels[0].alpha.shape[0]
    top = len(one.levels) - 1
    with style():
        fig = Figure(figsize=(9.0, 0.8 * len(one.levels) + 0.5))
        grid = fig.add_gridspec(len(one.levels), heads + 1, width_ratios=[3.4, *[1.35] * heads])
        ax = fig.add_subplot(grid[:, 0])
        ax.imshow(one.image)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_title(f"{one.name}: row {row}, column {column}")
        for m in range(top, -1, -1):
            level, colour = one.levels[m], LEVEL_COLOURS[m % len(LEVEL_COLOURS)]
            r, c = row >> m, column >> m
            side = 2.0**m
            corner = (c * side - 0.5, r * side - 0.5)
            ax.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=colour))
            if m:
                x, y, z = level.position[:, r, c]
                base = np.sqrt(2) * z  # of the pyramid with all edges equal
                moved = (x - base / 2 - 0.5, y - base / 2 - 0.5)
                ax.add_patch(
                    Rectangle(moved, base, base, fill=False, edgecolor=colour, linestyle="--")
                )
            for head in range(heads):
                cells = fig.add_subplot(grid[top - m, head + 1])
                _taps(cells, level.alpha[head, :, r, c], m, top, colour)
                if m == top:
                    cells.set_title(f"head {head + 1}")
                if not head:
                    cells.text(-0.25, 1.5, f"level {m}", color=colour, ha="right", va="center")
    return fig


def _taps(ax: Axes, alpha: npt.NDArray[np.float64], level: int, top: int, colour: str) -> None:
    """King taps to the left, to the right the parent over the children; in per cent."""
    taps = [(k, 1 + dy, 1 + dx) for k, (dy, dx) in enumerate(KING_TAPS)]
    places: list[tuple[int, float, float]] = [(k, float(y), float(x)) for k, y, x in taps]
    if level:
        places += [(9 + k, 1.0 + dy, 3.35 + dx) for k, (dy, dx) in enumerate(CHILD_TAPS)]
    if level < top:
        places.append((13, 0.0, 3.85))
    for tap, y, x in places:
        value = float(alpha[tap])
        shade = tuple(1 - value * (1 - part) for part in to_rgb(colour))
        ax.add_patch(
            Rectangle(
                (x, y), 1, 1, facecolor=shade, edgecolor="black" if tap == 4 else "#999999",
                linewidth=1.2 if tap == 4 else 0.4, zorder=2 if tap == 4 else 1,
            )
        )  # fmt: skip
        ax.text(
            x + 0.5, y + 0.5, f"{100 * value:.0f}", size=5.5, ha="center", va="center",
            color="white" if value > 0.55 else "#222222", zorder=3,
        )  # fmt: skip
    ax.set(xlim=(-0.1, 5.45), ylim=(3.1, -0.1), aspect="equal")
    ax.axis("off")
