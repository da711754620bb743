"""Borders of nuclei as lines over a picture or a map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ngat.data import Sample
from ngat.paper.figures.dataset import visible
from ngat.paper.style import YELLOW


def outline(
    axes: Axes, labels: npt.NDArray[np.integer], extent: tuple[float, ...], colour: str
) -> None:
    """Draw the borders of nuclei as lines, each its own, so that touching ones stay apart.

    Args:
        labels: ``[h, w]``.
        extent: left, right, bottom and top of what they cover, as imshow takes it.
    """
    for number in np.unique(labels[labels > 0]):
        mine = np.pad(labels == number, 1)  # a nucleus at the edge is closed
        dx = (extent[1] - extent[0]) / labels.shape[1]
        dy = (extent[2] - extent[3]) / labels.shape[0]
        wider = (extent[0] - dx, extent[1] + dx, extent[2] + dy, extent[3] - dy)
        axes.contour(
            mine, levels=[0.5], origin="upper", extent=wider, colors=colour, linewidths=0.8
        )
    axes.set(xlim=extent[:2], ylim=extent[2:])


def beside_picture(
    fig: Figure, sample: Sample, columns: int
) -> tuple[list[Axes], tuple[int, int, int, int]]:
    """Two rows of panels without axes, the first with a picture and its annotated nuclei.

    Returns:
        the other panels, for maps of the picture, and its extent, as imshow takes it.
    """
    height, width = sample.labels.shape
    extent = (0, width, height, 0)
    panels = fig.subplots(2, columns)
    first, *rest = panels.flat
    first.imshow(visible(sample.image)[0], extent=extent)
    first.set_title("picture")
    outline(first, sample.labels, extent, YELLOW)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return rest, extent
