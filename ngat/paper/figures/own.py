"""Notebook 11's figures, and sliders over the thresholds in JupyterLab."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from ngat.errors import MissingDependency
from ngat.inference import Method, Prediction, Thresholds, instances
from ngat.instances import Labels
from ngat.paper.figures.dataset import numbered_colours
from ngat.paper.style import BLUE, VERMILION, style
from ngat.segmentation.pictures import outlined

if TYPE_CHECKING:
    from ipywidgets import VBox


def nuclei(
    image: npt.NDArray[np.uint8], prediction: Prediction, labels: Labels, title: str = ""
) -> Figure:
    """A picture, what the network says of nucleus and of core, and the nuclei made of that."""
    with style():
        fig = Figure(figsize=(8.4, 2.35))
        axes = fig.subplots(1, 4)
        axes[0].imshow(outlined(image, labels))
        axes[0].set_title(title or "nuclei outlined")
        for ax, plane, name in (
            (axes[1], prediction.probability, "nucleus"),
            (axes[2], prediction.core, "core"),
        ):
            ax.imshow(plane, cmap="gray", vmin=0, vmax=1)
            ax.set_title(f"probability of {name}")
        axes[3].imshow(numbered_colours(labels))
        axes[3].set_title(f"{len(np.unique(labels[labels > 0]))} nuclei")
        for ax in axes:
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
    return fig


def sizes(table: pd.DataFrame) -> Figure:
    """How large the nuclei are.

    Args:
        table: from :func:`ngat.paper.study.own.table`.
    """
    with style():
        fig = Figure(figsize=(4.6, 2.2))
        ax = fig.subplots()
        ax.hist(table["diameter"], bins=min(20, max(5, len(table) // 3)), color=BLUE)
        ax.set(xlabel="diameter of nuclei / px", ylabel="nuclei")
    return fig


def limits(table: pd.DataFrame) -> Figure:
    """Dice and average F1 under changes, the unchanged pictures as lines.

    Args:
        table: from :func:`ngat.paper.study.own.limits`.
    """
    with style():
        fig = Figure(figsize=(6.4, 0.27 * len(table) + 0.9))
        panels: Any = fig.subplots(1, 2, sharey=True)
        for ax, name in zip(panels, ("Dice", "average F1"), strict=True):
            ax.barh(table["change"], table[name], color=BLUE, height=0.6)
            ax.axvline(table[name].iloc[0], color=VERMILION, linewidth=1)
            ax.set(xlabel=name, xlim=(0, 1))
        panels[0].invert_yaxis()
    return fig


def workbench(
    image: npt.NDArray[np.uint8],
    prediction: Prediction,
    method: Method,
    thresholds: Thresholds,
) -> VBox:
    """Sliders over the thresholds: the nuclei follow at once, as the network runs only once.

    Raises:
        MissingDependency: ipywidgets is not installed.
    """
    try:
        import ipywidgets
    except ImportError as error:
        raise MissingDependency(
            "The sliders need ipywidgets: pip install 'ngat[notebooks]'."
        ) from error
    sliders = {
        "probability": ipywidgets.FloatSlider(
            thresholds.probability, min=0.05, max=0.95, step=0.05, description="nucleus"
        ),
        "core": ipywidgets.FloatSlider(
            thresholds.core, min=0.05, max=0.95, step=0.05, description="core"
        ),
        "prominence": ipywidgets.FloatSlider(
            thresholds.prominence, min=0.0, max=0.5, step=0.01, description="summit"
        ),
        "min_area": ipywidgets.IntSlider(
            thresholds.min_area, min=1, max=200, description="least px"
        ),
    }

    def drawn() -> bytes:
        chosen = replace(thresholds, **{name: slider.value for name, slider in sliders.items()})
        labels = instances(prediction, method, chosen)
        stream = io.BytesIO()
        with style():
            nuclei(image, prediction, labels).savefig(stream, format="png", dpi=100)
        return stream.getvalue()

    shown = ipywidgets.Image(value=drawn(), format="png")

    def redraw(_: object) -> None:
        shown.value = drawn()

    for slider in sliders.values():
        slider.observe(redraw, names="value")
    rows = ipywidgets.HBox(list(sliders.values()), layout={"flex_flow": "row wrap"})
    return ipywidgets.VBox([rows, shown])
