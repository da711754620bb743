"""A node to play with in JupyterLab: sliders for (x, y, z), its footprint and its colour."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from ngat.errors import MissingDependency
from ngat.figures.graph import footprint
from ngat.graph import PyramidGraph
from ngat.study.projection import Picture
from ngat.style import style

if TYPE_CHECKING:
    from ipywidgets import VBox


def explorer(picture: Picture, graph: PyramidGraph, level: int) -> VBox:
    """Sliders over the position of a node that starts in the middle of a level.

    Args:
        picture: ``[H, W, 3]`` in [0, 1].
        level: where the node is at home: its height at the start.

    Raises:
        MissingDependency: ipywidgets is not installed.
    """
    try:
        import ipywidgets
    except ImportError as error:
        raise MissingDependency(
            "The sliders need ipywidgets: pip install 'ngat[notebooks]'."
        ) from error
    height, width = graph.sizes[level]
    home = graph.home(level)[:, height // 2, width // 2]
    ends = ((0.0, 1.0), (0.0, 1.0), (float(graph.home(0)[2, 0, 0]), 0.7))
    sliders = [
        ipywidgets.FloatSlider(
            value=float(value), min=low, max=high, step=0.01, description=name, readout_format=".2f"
        )
        for name, value, (low, high) in zip("xyz", home, ends, strict=True)
    ]

    def drawn() -> bytes:
        x, y, z = (slider.value for slider in sliders)
        return png(footprint(picture, (x, y, z)))

    image = ipywidgets.Image(value=drawn(), format="png", width=720)

    def redraw(_: object) -> None:
        image.value = drawn()

    for slider in sliders:
        slider.observe(redraw, names="value")
    return ipywidgets.VBox([ipywidgets.HBox(sliders), image])


def png(fig: Figure) -> bytes:
    """A figure as PNG, at the resolution of a screen."""
    buffer = io.BytesIO()
    with style():
        fig.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()
