"""A node to play with in JupyterLab: sliders for (x, y, z), its footprint and its colour."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from ngat.errors import MissingDependency
from ngat.graph import PyramidGraph
from ngat.paper.figures.graph import footprint
from ngat.paper.study.projection import Picture
from ngat.paper.style import style

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
