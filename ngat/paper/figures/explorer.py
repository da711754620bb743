"""The attention explorer as a page that needs nothing but itself, live in JupyterLab, and still.

Page and widget are drawn by ``explorer.js``, from one dictionary. The widget is an anywidget: the
notebook runs the page's own code, in JupyterLab, VS Code and Colab alike, and tells the kernel of a
click.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ngat.data.store import encoded
from ngat.errors import MissingDependency
from ngat.graph import CHILD_TAPS, KING_TAPS
from ngat.paper.study.explorer import Explored, WindowLevel
from ngat.paper.style import LEVEL_COLOURS, VERMILION, bare, style
from ngat.system.files import replacing

SCRIPT = Path(__file__).with_name("explorer.js")
STEPS = 65535  # a coefficient is stored as so many parts of one
INTRODUCTION = (
    "Click a pixel. To the right are the weights of its node on each level, by head, in per cent: "
    "the node itself (framed) and its eight neighbours; beside them the parent over the four "
    "children. Each softmax adds up to 100. In the picture, a square is a node's cell, a dashed "
    "square what it projects from after plasticity has moved it."
)
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 1rem auto; max-width: 78rem; padding: 0 1rem;
       color: #1b1b1b; background: #fff; }
h1 { font-size: 1.3rem; margin: 0 0 .4rem; }
p { margin: .3rem 0 .8rem; max-width: 60rem; }
"""


def data(explored: Sequence[Explored], about: str) -> dict[str, Any]:
    """What ``explorer.js`` draws, as JSON takes it.

    Args:
        explored: from :func:`ngat.paper.study.explorer.explore`.
        about: where the pictures and the weights come from.
    """
    return {
        "about": about,
        "steps": STEPS,
        "colours": list(LEVEL_COLOURS),
        "ink": VERMILION,
        "pictures": [
            {
                "name": one.name,
                "magnification": round(one.magnification, 3),
                "height": one.image.shape[0],
                "width": one.image.shape[1],
                "picture": _png(one.image),
                "probability": _png(np.round(255 * one.probability).astype(np.uint8)),
                "levels": [_level(level) for level in one.levels],
            }
            for one in explored
        ],
    }


def page(explored: Sequence[Explored], about: str) -> str:
    """A self-contained HTML page; it opens from a disk, without a server or a network."""
    content = json.dumps(data(explored, about), separators=(",", ":")).replace("</", "<\\/")
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>NGAT: attention explorer</title><style>{STYLE}</style></head><body>",
            "<h1>What a pixel attends to</h1>",
            f"<p>{INTRODUCTION}</p>",
            '<div id="explorer"></div>',
            '<script type="module">',
            SCRIPT.read_text(encoding="utf-8"),
            f'explore(document.getElementById("explorer"), {content});',
            "</script></body></html>",
            "",
        ]
    )


def write_page(explored: Sequence[Explored], about: str, path: Path) -> Path:
    """Write :func:`page`, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(page(explored, about), encoding="utf-8", newline="\n")
    return path


def widget(explored: Sequence[Explored], about: str) -> Any:
    """The explorer for JupyterLab; its trait ``picked`` holds picture, row and column clicked.

    Raises:
        MissingDependency: anywidget is not installed.
    """
    try:
        import anywidget
        import traitlets
    except ImportError as error:
        raise MissingDependency(
            "The explorer needs anywidget: pip install 'ngat[notebooks]'."
        ) from error

    class Explorer(anywidget.AnyWidget):
        _esm = SCRIPT.read_text(encoding="utf-8")
        content = traitlets.Dict().tag(sync=True)
        picked: Any = traitlets.List().tag(sync=True)

    return Explorer(content=data(explored, about), picked=[])


def _level(level: WindowLevel) -> dict[str, Any]:
    """Weights of the taps that differ from node to node, and what the others are everywhere."""
    heads, _, *size = level.alpha.shape
    constant = level.alpha[0, :, 0, 0]
    taps = np.flatnonzero((level.alpha != constant[:, None, None]).any((0, 2, 3)))
    return {
        "shape": [heads, *size],
        "taps": taps.tolist(),
        "constant": constant.tolist(),
        "alpha": _coded(np.round(STEPS * level.alpha[:, taps]).astype("<u2")),
        "home": _coded(level.home.astype("<f4")),
        "position": _coded(level.position.astype("<f4")),
    }


def _coded(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _png(plane: npt.NDArray[np.uint8]) -> str:
    return base64.b64encode(encoded(plane, "PNG", optimize=True)).decode("ascii")


def weights(level: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Decode a level of :func:`data` as ``explorer.js`` does: ``[heads, 14, h, w]``."""
    heads, *size = level["shape"]
    alpha = np.empty((heads, len(level["constant"]), *size))
    alpha[:] = np.array(level["constant"])[:, None, None]
    parts = np.frombuffer(base64.b64decode(level["alpha"]), "<u2")
    alpha[:, level["taps"]] = parts.reshape(heads, -1, *size) / STEPS
    return alpha


def still(one: Explored, row: int, column: int) -> Figure:
    """The picture with the cells of a pixel's nodes, and their weights by head and level.

    Args:
        one: from :func:`ngat.paper.study.explorer.explore`.
        row, column: the pixel, in the window.
    """
    heads = one.levels[0].alpha.shape[0]
    top = len(one.levels) - 1
    with style():
        fig = Figure(figsize=(9.0, 0.8 * len(one.levels) + 0.5))
        grid = fig.add_gridspec(len(one.levels), heads + 1, width_ratios=[3.4, *[1.35] * heads])
        ax = fig.add_subplot(grid[:, 0])
        ax.imshow(one.image)
        bare((ax,))
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
            x + 0.5, y + 0.5, f"{100 * value:.0f}", size=6.5, ha="center", va="center",
            color="white" if sum(shade) < 1.45 else "#222222", zorder=3,
        )  # fmt: skip
    ax.set(xlim=(-0.1, 5.45), ylim=(3.1, -0.1), aspect="equal")
    ax.axis("off")
