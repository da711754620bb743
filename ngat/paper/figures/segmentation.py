"""Figures 5 and 6: from a picture to nuclei, and where they differ from the annotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ngat.data.sample import TYPES, Sample
from ngat.inference import Prediction
from ngat.paper.figures.dataset import numbered_colours
from ngat.paper.study.segmentation import Errors, Labels, difference
from ngat.paper.style import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    TYPE_COLOURS,
    TYPE_NAMES,
    VERMILION,
    style,
)
from ngat.segmentation.pictures import outlined

# Figure 5's colours, on white: right, extra, missing.
RIGHT, EXTRA, MISSING = "#C9C9C9", VERMILION, BLUE
_LEGEND = {"right": RIGHT, "extra": EXTRA, "missing": MISSING}
ERROR_COLOURS = dict(zip(Errors._fields, (GREEN, PURPLE, ORANGE, BLUE, VERMILION), strict=True))
# Of a larger picture so many pixels are shown: those with most of nuclei.
SIDE = 256
# A picture is too dark to be printed as it is if its brightest hundredth is below this, of 255.
DARK = 128


class Case(NamedTuple):
    """A picture, what the network says of it, and the nuclei made of that."""

    heading: str
    sample: Sample
    prediction: Prediction
    labels: Labels


def window(labels: Labels, side: int = SIDE) -> tuple[slice, slice]:
    """The ``side × side`` pixels that hold most of nuclei; all of a smaller picture."""
    covered = np.pad(np.cumsum(np.cumsum(labels > 0, axis=0), axis=1), ((1, 0), (1, 0)))
    height, width = (min(side, length) for length in labels.shape)
    inside = (
        covered[height:, width:]
        - covered[:-height, width:]
        - covered[height:, :-width]
        + covered[:-height, :-width]
    )
    top, left = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)


def difference_map(pred: Labels, true: Labels) -> npt.NDArray[np.float64]:
    """:func:`ngat.paper.study.segmentation.difference` in colours, ``[H, W, 3]``."""
    colours = np.array([(1, 1, 1), to_rgb(RIGHT), to_rgb(EXTRA), to_rgb(MISSING)])
    return colours[difference(pred, true)]


def visible(image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], float]:
    """A picture as it is shown, and the factor by which it was brightened.

    A picture that prints as black, whose brightest hundredth is below half of white, is multiplied
    until that hundredth is white; others are left alone. For the eye only: networks see the file.
    """
    bright = max(float(np.percentile(image, 99)), 1.0)
    if bright >= DARK:
        return image, 1.0
    factor = 255 / bright
    return np.minimum(image * factor, 255).astype(np.uint8), factor


def _picture(ax: Axes, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Show a picture, and say below it if it was brightened; gives what is shown."""
    shown, factor = visible(image)
    ax.imshow(shown)
    if factor > 1:
        ax.set_xlabel(f"{factor:.1f} × brighter", fontsize=7, labelpad=2)
    return shown


def from_score_to_nuclei(cases: Sequence[Case]) -> Figure:
    """Figure 6, a row per case; thresholded nuclei are coloured one by one."""
    columns = ("picture", "annotation", "raw prediction", "thresholded", "overlay", "difference")
    with style():
        fig = Figure(figsize=(8.4, 1.42 * len(cases) + 0.55))
        axes = fig.subplots(len(cases), len(columns), squeeze=False)
        for row, case in zip(axes, cases, strict=True):
            part = window(case.sample.labels)
            image, true = case.sample.image[part], case.sample.labels[part]
            pred, raw = case.labels[part], case.prediction.probability[part]
            shown = _picture(row[0], image)
            row[1].imshow(numbered_colours(true))
            row[2].imshow(raw, cmap="gray", vmin=0, vmax=1)
            row[3].imshow(numbered_colours(pred))
            row[4].imshow(outlined(shown, pred.astype(np.int32)))
            row[5].imshow(difference_map(pred, true))
            row[0].set_ylabel(case.heading, fontsize=8)
            for ax in row[1], row[3]:
                count = len(np.unique(true if ax is row[1] else pred)) - 1
                ax.set_xlabel(f"{count} nuclei", fontsize=7, labelpad=2)
        for ax, name in zip(axes[0], columns, strict=True):
            ax.set_title(name)
        _bare(axes)
        _explain(fig)
    return fig


def comparison(
    samples: Sequence[Sample], found: Mapping[str, Mapping[str, Labels]], f1: pd.DataFrame
) -> Figure:
    """Figure 5: the same pictures through every method, as maps of right, extra and missing.

    Args:
        samples: a row each.
        found: labels by method and image id, a column each.
        f1: F1 at IoU > 0.7, index image ids, a column per method; printed below each map.
    """
    with style():
        fig = Figure(figsize=(1.5 * (1 + len(found)), 1.55 * len(samples) + 0.6))
        axes = fig.subplots(len(samples), 1 + len(found), squeeze=False)
        for row, sample in zip(axes, samples, strict=True):
            part = window(sample.labels)
            _picture(row[0], sample.image[part])
            row[0].set_ylabel(TYPE_NAMES[sample.type], fontsize=8)
            for ax, (method, labels) in zip(row[1:], found.items(), strict=True):
                pred, true = labels[sample.image_id][part], sample.labels[part]
                ax.imshow(difference_map(pred, true))
                ax.set_xlabel(f"F1 {f1.loc[sample.image_id, method]:.2f}", fontsize=7, labelpad=2)
        axes[0, 0].set_title("picture")
        for ax, method in zip(axes[0, 1:], found, strict=True):
            ax.set_title(method.replace(" (", "\n(").replace(" + ", " +\n"), fontsize=8)
        _bare(axes)
        _explain(fig)
    return fig


def levels(
    image: npt.NDArray[np.uint8],
    by_level: Sequence[npt.NDArray[np.float32]],
    whole: npt.NDArray[np.float32],
) -> Figure:
    """What each level says of nucleus, and their weighted reconstruction."""
    with style():
        fig = Figure(figsize=(1.5 * (2 + len(by_level)), 1.9))
        axes = fig.subplots(1, 2 + len(by_level), squeeze=False)
        _picture(axes[0, 0], image)
        axes[0, 0].set_title("picture")
        for m, (ax, probability) in enumerate(zip(axes[0, 1:-1], by_level, strict=True)):
            shown = ax.imshow(probability, cmap="gray", vmin=0, vmax=1)
            ax.set_title(f"level {m}")
        axes[0, -1].imshow(whole, cmap="gray", vmin=0, vmax=1)
        axes[0, -1].set_title("together")
        fig.colorbar(shown, ax=axes[0, -1], label="probability", shrink=0.75)
        _bare(axes)
    return fig


def scores(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Average F1 of every picture by type, a panel per method; black bars are medians.

    Args:
        tables: from :func:`ngat.paper.study.segmentation.per_picture`, by method.
    """
    with style():
        fig = Figure(figsize=(1.0 + 1.8 * len(tables), 2.6))
        panels: Any = fig.subplots(1, len(tables), sharey=True, squeeze=False)[0]
        for ax, (method, table) in zip(panels, tables.items(), strict=True):
            for row, kind in enumerate(TYPES):
                values = table.loc[table["type"] == kind, "average_f1"].to_numpy()
                if not len(values):
                    continue
                spread = np.random.default_rng(row).uniform(-0.28, 0.28, len(values))
                ax.scatter(values, row + spread, s=9, color=TYPE_COLOURS[kind], alpha=0.7)
                ax.scatter([np.median(values)], [row], marker="|", s=260, color="black")
            ax.set(xlim=(-0.03, 1.03), title=method.replace(" (", "\n("), xlabel="average F1")
            ax.grid(axis="x", color="#E4E4E4", linewidth=0.6)
            ax.set_axisbelow(True)
        panels[0].set_yticks(range(len(TYPES)), [TYPE_NAMES[kind] for kind in TYPES])
        panels[0].invert_yaxis()
    return fig


def error_bars(table: pd.DataFrame) -> Figure:
    """What became of annotated nuclei, a bar per method, and how much was extra.

    Args:
        table: from :func:`ngat.paper.study.segmentation.error_table`.
    """
    fates = [name for name in Errors._fields if name != "extra"]
    with style():
        fig = Figure(figsize=(7.4, 0.36 * len(table) + 1.2))
        ax = fig.subplots()
        total = table[fates].sum(axis=1)
        left = np.zeros(len(table))
        for name in fates:
            share = 100 * table[name] / total
            ax.barh(table["method"], share, left=left, color=ERROR_COLOURS[name], label=name)
            left += share.to_numpy()
        extra = 100 * table["extra"] / total
        ax.barh(table["method"], extra, left=left + 3, color=ERROR_COLOURS["extra"], label="extra")
        ax.axvline(100, color="white", linewidth=1)
        ax.invert_yaxis()
        ax.set_xlabel("share of annotated nuclei / %")
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        fig.legend(loc="outside upper center", ncols=5)
    return fig


def _explain(fig: Figure) -> None:
    handles = [Patch(color=colour, label=name) for name, colour in _LEGEND.items()]
    fig.legend(handles=handles, loc="outside lower center", ncols=3)


def _bare(axes: npt.NDArray[Any]) -> None:
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
        for spine in ax.spines.values():
            spine.set_visible(True)
            spine.set_color("#DDDDDD")
