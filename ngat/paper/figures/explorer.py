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
from string import Template
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
from ngat.system.files import write_text

SCRIPT, PAGE = (Path(__file__).with_name(f"explorer.{kind}") for kind in ("js", "html"))
STEPS = 65535  # a coefficient is stored as so many parts of one


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


def write_page(explored: Sequence[Explored], about: str, path: Path) -> Path:
    """A self-contained HTML page; it opens from a disk, without a server or a network."""
    content = json.dumps(data(explored, about), separators=(",", ":")).replace("</", "<\\/")
    page = Template(PAGE.read_text(encoding="utf-8"))
    write_text(path, page.substitute(script=SCRIPT.read_text(encoding="utf-8"), content=content))
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


@style()
def still(one: Explored, row: int, column: int) -> Figure:
    """The picture with the cells of a pixel's nodes, and their weights by head and level.

    Args:
        one: from :func:`ngat.paper.study.explorer.explore`.
        row, column: the pixel, in the window.
    """
    heads, top = len(one.levels[0].alpha), len(one.levels) - 1
    fig = Figure(figsize=(9.0, 0.8 * len(one.levels) + 0.5))
    grid = fig.add_gridspec(len(one.levels), heads + 1, width_ratios=[3.4, *[1.35] * heads])
    ax = fig.add_subplot(grid[:, 0])
    ax.imshow(one.image)
    bare((ax,))
    ax.set_title(f"{one.name}: row {row}, column {column}; weights in %")
    for m in range(top, -1, -1):
        level, colour = one.levels[m], LEVEL_COLOURS[m % len(LEVEL_COLOURS)]
        r, c = row >> m, column >> m
        side = 2.0**m
        look: dict[str, Any] = {"fill": False, "edgecolor": colour}
        ax.add_patch(Rectangle((c * side - 0.5, r * side - 0.5), side, side, **look))
        if m:
            x, y, z = level.position[:, r, c]
            base = np.sqrt(2) * z  # of the pyramid with all edges equal
            moved = (x - base / 2 - 0.5, y - base / 2 - 0.5)
            ax.add_patch(Rectangle(moved, base, base, linestyle="--", **look))
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
    places = {k: (1.0 + dx, 1.0 + dy) for k, (dy, dx) in enumerate(KING_TAPS)}
    if level:
        places |= {9 + k: (3.35 + dx, 1.0 + dy) for k, (dy, dx) in enumerate(CHILD_TAPS)}
    if level < top:
        places[13] = (3.85, 0.0)
    for tap, (x, y) in places.items():
        value = float(alpha[tap])
        shade = tuple(1 - value * (1 - part) for part in to_rgb(colour))
        own = tap == 4
        edge: dict[str, Any] = {"ec": "black" if own else "#999999", "lw": 1.2 if own else 0.4}
        ax.add_patch(Rectangle((x, y), 1, 1, facecolor=shade, zorder=1 + own, **edge))
        ink = "white" if sum(shade) < 1.45 else "#222222"
        middle: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 3}
        ax.text(x + 0.5, y + 0.5, f"{100 * value:.0f}", size=6.5, color=ink, **middle)
    ax.set(xlim=(-0.1, 5.45), ylim=(3.1, -0.1), aspect="equal")
    ax.axis("off")
