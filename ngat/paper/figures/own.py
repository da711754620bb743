"""Figures of how a picture is seen (notebooks 5 and 13), and sliders over the thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ngat.inference import Prediction, instances
from ngat.instances import Labels
from ngat.magnification import Seen
from ngat.paper.figures.pictures import count, numbered_colours, outline, outlined
from ngat.paper.study.pictures import visible
from ngat.paper.style import (
    BLACK,
    BLUE,
    ORANGE,
    VERMILION,
    YELLOW,
    bare,
    grid_lines,
    live,
    style,
    widgets,
)
from ngat.segmentation.tiles import Window
from ngat.thresholds import Method, Thresholds

if TYPE_CHECKING:
    from ipywidgets import VBox


@style()
def nuclei(image: npt.NDArray[np.uint8], prediction: Prediction, labels: Labels) -> Figure:
    """A picture large, its nuclei outlined; beside it the probabilities, and nuclei as labels."""
    planes: dict[str, npt.NDArray[Any]] = {
        f"{len(np.unique(labels[labels > 0]))} nuclei": numbered_colours(labels),
        "probability of nucleus\n(black 0, white 1)": prediction.probability,
        "probability of core\n(black 0, white 1)": prediction.core,
    }
    tall = image.shape[0] / image.shape[1]
    small = min(2.0, 2.2 / tall)  # inches of a small panel's width
    fig = Figure(figsize=(4 * small + 0.4, (3 * small + 0.4) * tall + 0.5))
    grid = fig.add_gridspec(3, 4)
    large = fig.add_subplot(grid[:, :3])
    large.imshow(outlined(visible(image)[0], labels, ORANGE))
    large.set_title("nuclei outlined")
    axes = [fig.add_subplot(grid[row, 3]) for row in range(3)]
    for ax, (title, plane) in zip(axes, planes.items(), strict=True):
        ax.imshow(plane, cmap="gray", vmin=0, vmax=1)
        ax.set_title(title, size=8)
    bare([large, *axes])
    return fig


@style()
def sizes(table: pd.DataFrame) -> Figure:
    """Histogram of the nuclei's diameters.

    Args:
        table: from :func:`ngat.paper.study.dataset.measured`.
    """
    fig = Figure(figsize=(4.6, 2.2))
    ax = fig.subplots()
    ax.hist(table["diameter"], bins=min(20, max(5, len(table) // 3)), color=BLUE)
    ax.set(xlabel="diameter of nuclei / px", ylabel="nuclei")
    return fig


@style()
def robustness(table: pd.DataFrame) -> Figure:
    """Average F1 of changed pictures less that of the same pictures unchanged, with intervals.

    The change that costs most stands above; behind its name, how many pictures it was made of.

    Args:
        table: as :data:`ngat.evaluation.robustness.COLUMNS` says.
    """
    table = table.sort_values("difference", ascending=False, kind="stable")
    fig = Figure(figsize=(6.4, 0.24 * len(table) + 0.6))
    ax = fig.subplots()
    y = np.arange(len(table))
    ax.axvline(0, color=BLACK, linewidth=0.8, zorder=0)
    ax.hlines(y, table["low"], table["high"], color=VERMILION)
    ax.scatter(table["difference"], y, s=26, color=VERMILION)
    names = [f"{row.change}  ({row.images})" for row in table.itertuples()]
    ax.set_yticks(y, names)
    ax.set_xlabel("average F1 changed less unchanged (in brackets: pictures)")
    grid_lines(ax, "x")
    return fig


@style()
def looks(seen: Sequence[Seen], chosen: float) -> Figure:
    """What each look at a picture tells of its nuclei, and the magnification that was chosen.

    Args:
        seen: from :func:`ngat.inference.find_magnification`.
        chosen: likewise.
    """
    evidence = dict(sorted((look.magnification, look.evidence) for look in seen))
    fig = Figure(figsize=(5.0, 2.3))
    ax = fig.subplots()
    ax.bar([f"× {factor:g}" for factor in evidence], list(evidence.values()), width=0.6, color=BLUE)
    ax.set_xlabel(f"magnification at which it was evaluated; chosen: × {chosen:.2f}")
    ax.set_ylabel("evidence of nuclei")
    return fig


@style()
def parts(image: npt.NDArray[np.uint8], prediction: Prediction) -> Figure:
    """Nuclei at the magnification of the whole picture, and with parts at their own.

    A dashed frame is a part; a dotted one is what is evaluated with it, its margin.
    """
    rest = f"× {prediction.magnification:.2f}"
    own = " and ".join(f"× {part.magnification:.2f}" for part, _ in prediction.parts)
    seen = {
        f"all at {rest}": prediction._replace(parts=()),
        f"the part at {own}, the rest at {rest}": prediction,
    }
    height, width = image.shape[:2]
    fig = Figure(figsize=(8.4, 2 * 8.2 * height / width + 0.6))
    axes = fig.subplots(2, 1)
    for ax, (title, one) in zip(axes, seen.items(), strict=True):
        labels = instances(one)
        ax.imshow(visible(image)[0])
        outline(ax, labels, (0, width, height, 0), YELLOW)
        ax.set_title(f"{title}: {labels.max()} nuclei")
        for part, _ in one.parts:
            for name, window, dashes in (
                ("margin", part.window, ":"),
                (f"× {part.magnification:.2f}", part.inner, "--"),
            ):
                (top, bottom), (left, right) = ((side.start, side.stop) for side in window)
                width, height = right - left, bottom - top
                frame = Rectangle(
                    (left, top), width, height, fill=False, ls=dashes, ec=VERMILION, lw=1.2
                )
                ax.add_patch(frame)
                told = {"textcoords": "offset points", "color": VERMILION, "size": 9}
                corner, apart = (top, -12) if dashes == ":" else (bottom, 5)
                shade = {"boxstyle": "square,pad=0.15", "fc": BLACK, "ec": "none", "alpha": 0.7}
                ax.annotate(name, (left, corner), (4, apart), bbox=shade, **told)
    bare(axes)
    return fig


@style()
def side_by_side(
    image: npt.NDArray[np.uint8], found: Mapping[str, Labels], windows: Sequence[Window] = ()
) -> Figure:
    """Nuclei of a picture as each of two ways finds them: of a wide one below each other.

    Args:
        image: ``uint8 [H, W, 3]``.
        found: label images by the name of the way.
        windows: of pictures side by side, which a dashed line parts.
    """
    height, width = image.shape[:2]
    rows, columns = (len(found), 1) if width > 1.5 * height else (1, len(found))
    size = 6.2 / columns
    fig = Figure(figsize=(6.4, rows * (size * height / width + 0.3)))
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for ax, (name, labels) in zip(axes, found.items(), strict=True):
        ax.imshow(visible(image)[0], extent=(0, width, height, 0))
        outline(ax, labels, (0, width, height, 0), YELLOW)
        ax.set_title(f"{name}: {count(labels)} nuclei")
        for _, right in windows[1:]:
            ax.axvline(right.start, color=VERMILION, linestyle="--", linewidth=1.2)
    bare(axes)
    return fig


def workbench(
    image: npt.NDArray[np.uint8], prediction: Prediction, method: Method, thresholds: Thresholds
) -> VBox:
    """Sliders over the thresholds; the network runs once, the nuclei are recomputed.

    Raises:
        MissingDependency: ipywidgets is not installed.
    """
    ipywidgets = widgets()
    share = {"min": 0.05, "max": 0.95, "step": 0.05}
    sliders = {
        "probability": ipywidgets.FloatSlider(description="nucleus", **share),
        "core": ipywidgets.FloatSlider(description="core", **share),
        "prominence": ipywidgets.FloatSlider(description="prominence", max=0.5, step=0.01),
        "min_area": ipywidgets.IntSlider(description="least px", min=1, max=200),
    }
    for name, slider in sliders.items():
        slider.value = getattr(thresholds, name)

    def draw() -> Figure:
        chosen = replace(thresholds, **{name: slider.value for name, slider in sliders.items()})
        return nuclei(image, prediction, instances(prediction, method, chosen))

    box: VBox = live(list(sliders.values()), draw)
    return box
