"""Figures of one nucleus: at several magnifications, and from its pixels to its overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ngat.inference import Prediction
from ngat.paper.figures.dataset import visible
from ngat.paper.figures.outlines import outline
from ngat.paper.figures.segmentation import EXTRA, MISSING, RIGHT, difference_map
from ngat.paper.study.one_nucleus import Magnified
from ngat.paper.style import VERMILION, YELLOW, style

Labels = npt.NDArray[np.integer]
FRACTIONS = {0.125: "⅛", 0.25: "¼", 0.5: "½"}


def magnified(looks: Sequence[Magnified], size: float) -> Figure:
    """What the network is shown of a nucleus (above) and the probability that it gives (below).

    Args:
        looks: a column each.
        size: √area of the nucleus at magnification 1, in pixels.
    """
    with style():
        fig = Figure(figsize=(1.75 * len(looks) + 0.7, 4.0))
        panels = fig.subplots(2, len(looks), squeeze=False)
        _, factor = visible(max(looks, key=lambda seen: seen.magnification).image)
        for (above, below), seen in zip(panels.T, looks, strict=True):
            height, width = seen.mask.shape
            extent = (0, width, height, 0)
            bright = np.minimum(seen.image * factor, 255).astype(np.uint8)
            above.imshow(bright, extent=extent)
            image = below.imshow(seen.probability, cmap="gray", vmin=0, vmax=1, extent=extent)
            for axes, colour in ((above, YELLOW), (below, VERMILION)):
                outline(axes, seen.mask.astype(int), extent, colour)
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            m = seen.magnification
            above.set_title(f"× {FRACTIONS.get(m, f'{m:g}')}")
            above.set_xlabel(f"{m * size:.0f} px wide", size=8, labelpad=2)
            below.set_xlabel(f"IoU {seen.iou:.2f}", size=8, labelpad=2)
        panels[0, 0].set_ylabel("shown")
        panels[1, 0].set_ylabel("probability")
        fig.colorbar(image, ax=panels[1], shrink=0.9, aspect=12)
        fig.colorbar(image, ax=panels[0], shrink=0.9, aspect=12).ax.set_visible(False)
    return fig


def counted(
    image: npt.NDArray[np.uint8], prediction: Prediction, pred: Labels, true: Labels,
    part: tuple[slice, slice],
) -> Figure:  # fmt: skip
    """From pixels to overlap: picture, annotation, probability, found nuclei, their difference.

    Args:
        pred, true: label images in which the nucleus in question is kept alone.
        part: rows and columns that are shown.
    """
    height, width = true[part].shape
    extent = (0, width, height, 0)
    with style():
        fig = Figure(figsize=(8.4, 2.35))
        panels = fig.subplots(1, 4)
        shown, _ = visible(image[part])
        for axes, labels, title in (
            (panels[0], true, "annotated"),
            (panels[2], pred, "found"),
        ):
            axes.imshow(shown, extent=extent)
            outline(axes, labels[part], extent, YELLOW)
            axes.set_title(title)
        panels[1].imshow(prediction.probability[part], cmap="gray", vmin=0, vmax=1, extent=extent)
        panels[1].set_title("probability of nucleus")
        panels[3].imshow(difference_map(pred[part], true[part]), extent=extent)
        panels[3].set_title("overlap")
        for axes in panels:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("#DDDDDD")
            axes.spines[:].set_visible(True)
        names = {"in both": RIGHT, "found only": EXTRA, "annotated only": MISSING}
        handles = [Patch(color=colour, label=name) for name, colour in names.items()]
        fig.legend(handles=handles, loc="outside lower right", ncols=3)
    return fig
