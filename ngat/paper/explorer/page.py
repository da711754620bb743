"""The attention explorer: as a page that needs nothing but itself, and live in JupyterLab.

Both are drawn by ``explorer.js``, from one dictionary. The widget is an anywidget: the notebook
runs the page's own code, in JupyterLab, VS Code and Colab alike, and tells the kernel of a click.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ngat.errors import MissingDependency
from ngat.paper.explorer.nodes import Explored, Level
from ngat.paper.style import LEVEL_COLOURS, VERMILION
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
        explored: from :func:`ngat.paper.explorer.nodes.explore`.
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


def _level(level: Level) -> dict[str, Any]:
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
    stream = io.BytesIO()
    Image.fromarray(plane).save(stream, "png", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def weights(level: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Decode a level of :func:`data` as ``explorer.js`` does: ``[heads, 14, h, w]``."""
    heads, *size = level["shape"]
    alpha = np.empty((heads, len(level["constant"]), *size))
    alpha[:] = np.array(level["constant"])[:, None, None]
    parts = np.frombuffer(base64.b64decode(level["alpha"]), "<u2")
    alpha[:, level["taps"]] = parts.reshape(heads, -1, *size) / STEPS
    return alpha
