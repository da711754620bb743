"""Figures 5 and 6: from a picture to nuclei, and differences from the annotation."""

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
from scipy import ndimage

from ngat.data.sample import TYPES, Sample
from ngat.evaluation.error_types import OUTCOMES, outcomes
from ngat.inference import Prediction
from ngat.magnification import size_of
from ngat.paper.figures.dataset import fullest, numbered_colours, outlined, visible
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

# Figure 5's colours, on white: right, extra, missing.
RIGHT, EXTRA, MISSING = "#C9C9C9", VERMILION, BLUE
_LEGEND = {"right": RIGHT, "extra": EXTRA, "missing": MISSING}
ERROR_COLOURS = dict(zip(Errors._fields, (GREEN, PURPLE, ORANGE, BLUE, VERMILION), strict=True))
# Of a larger picture a square is shown, the one with most of nuclei: so many median nuclei wide,
# and so many pixels at least and at most.
NUCLEI_WIDE = 8
SIDES = (96, 256)


class Example(NamedTuple):
    """A picture, the network's prediction and the resulting nuclei."""

    heading: str
    sample: Sample
    prediction: Prediction
    labels: Labels


def window(labels: Labels, side: int = 0) -> tuple[slice, slice]:
    """The ``side × side`` pixels that hold most of nuclei; all of a smaller picture.

    Without a side it follows from the size of the nuclei, so that small ones are seen.
    """
    side = side or int(np.clip(NUCLEI_WIDE * size_of(labels), *SIDES))
    return fullest(labels, side)


def difference_map(pred: Labels, true: Labels) -> npt.NDArray[np.float64]:
    """:func:`ngat.paper.study.segmentation.difference` in colours, ``[H, W, 3]``."""
    colours = np.array([(1, 1, 1), to_rgb(RIGHT), to_rgb(EXTRA), to_rgb(MISSING)])
    return colours[difference(pred, true)]


def _picture(ax: Axes, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Show a picture, and say below it if it was brightened; gives what is shown."""
    shown, factor = visible(image)
    ax.imshow(shown)
    if factor > 1:
        ax.set_xlabel(f"{factor:.1f} × brighter", fontsize=7, labelpad=2)
    return shown


def from_score_to_nuclei(cases: Sequence[Example], threshold: float = 0.5) -> Figure:
    """Figure 6, a row per case; the mask and the nuclei that it is parted into stand apart.

    Args:
        cases: a row each.
        threshold: a pixel is nucleus above it.
    """
    columns = (
        "picture", "annotation", "probability", f"mask, p > {threshold:g}", "nuclei", "outlines",
        "difference",
    )  # fmt: skip
    with style():
        fig = Figure(figsize=(9.8, 1.42 * len(cases) + 0.55))
        axes = fig.subplots(len(cases), len(columns), squeeze=False)
        for row, case in zip(axes, cases, strict=True):
            part = window(case.sample.labels)
            image, true = case.sample.image[part], case.sample.labels[part]
            pred, raw = case.labels[part], case.prediction.probability[part]
            shown = _picture(row[0], image)
            row[1].imshow(numbered_colours(true))
            row[2].imshow(raw, cmap="gray", vmin=0, vmax=1)
            row[3].imshow(raw > threshold, cmap="gray", vmin=0, vmax=1)
            row[4].imshow(numbered_colours(pred))
            row[5].imshow(outlined(shown, pred.astype(np.int32)))
            row[6].imshow(difference_map(pred, true))
            row[0].set_ylabel(case.heading, fontsize=8)
            for ax in row[1], row[4]:
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
    """Figure 5: the same pictures through every method, each nucleus outlined by its outcome.

    Annotated nuclei are found, merged, split or missed (:func:`outcomes`); of the predicted objects
    those are drawn too that lie mostly on background.

    Args:
        samples: a row each.
        found: labels by method and image id, a column each.
        f1: F1 at IoU > 0.7, index image ids, a column per method; printed below each map.
    """
    with style():
        fig = Figure(figsize=(1.75 * (1 + len(found)), 1.8 * len(samples) + 0.6))
        axes = fig.subplots(len(samples), 1 + len(found), squeeze=False)
        for row, sample in zip(axes, samples, strict=True):
            part = window(sample.labels)
            shown = _picture(row[0], sample.image[part])
            row[0].set_ylabel(TYPE_NAMES[sample.type], fontsize=8)
            for ax, (method, labels) in zip(row[1:], found.items(), strict=True):
                ax.imshow(by_outcome(shown, labels[sample.image_id], sample.labels, part))
                ax.set_xlabel(f"F1 {f1.loc[sample.image_id, method]:.2f}", fontsize=7, labelpad=2)
        axes[0, 0].set_title("picture")
        for ax, method in zip(axes[0, 1:], found, strict=True):
            ax.set_title(method.replace(" (", "\n(").replace(" + ", " +\n"), fontsize=8)
        _bare(axes)
        handles = [Patch(color=colour, label=name) for name, colour in ERROR_COLOURS.items()]
        fig.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return fig


def by_outcome(
    shown: npt.NDArray[np.uint8], pred: Labels, true: Labels, part: tuple[slice, slice]
) -> npt.NDArray[np.uint8]:
    """A part of a picture, annotated nuclei outlined by outcome and extra objects in theirs.

    Args:
        shown: the part's pixels, ``[h, w, 3]``.
        pred, true: label images of the whole picture, on which outcomes are decided.
        part: rows and columns of the part.
    """
    of_each = outcomes(pred, true).of_each
    number = np.searchsorted(np.unique(true[true > 0]), true)
    covered = np.bincount(pred.ravel(), true.ravel() > 0)
    extra = 2 * covered < np.bincount(pred.ravel())
    extra[0] = False
    drawn = outlined(shown, np.where(extra[pred], pred, 0)[part], ERROR_COLOURS["extra"])
    for k, name in enumerate(OUTCOMES):
        mine = np.where((true > 0) & (np.append(of_each, -1)[number] == k), true, 0)
        drawn = outlined(drawn, mine[part], ERROR_COLOURS[name])
    return drawn


def levels(
    image: npt.NDArray[np.uint8],
    by_level: Sequence[npt.NDArray[np.float32]],
    whole: npt.NDArray[np.float32],
) -> Figure:
    """Probability of nucleus at each level, and the weighted reconstruction, in two rows.

    All panels show the same part of the picture, in which most of nuclei were found.
    """
    columns = -(-(2 + len(by_level)) // 2)
    height, width = whole.shape
    found, _ = ndimage.label(whole > 0.5)
    rows, places = window(found)
    extent = (0, width, height, 0)
    square = (rows.stop - rows.start) / (places.stop - places.start)
    with style():
        fig = Figure(figsize=(2.1 * columns + 0.6, 2 * (2.1 * square + 0.35)))
        axes = fig.subplots(2, columns)
        first, *middle = axes.flat[: 1 + len(by_level)]
        last, *unused = axes.flat[1 + len(by_level) :]
        shown, _ = visible(image)
        first.imshow(shown, extent=extent)
        first.set_title("picture")
        for m, (ax, probability) in enumerate(zip(middle, by_level, strict=True)):
            ax.imshow(probability, cmap="gray", vmin=0, vmax=1, extent=extent)
            ax.set_title(f"level {m}")
        drawn = last.imshow(whole, cmap="gray", vmin=0, vmax=1, extent=extent)
        last.set_title("all levels")
        fig.colorbar(drawn, ax=axes, label="probability", shrink=0.6, pad=0.01)
        _bare(axes)
        for ax in axes.flat:
            ax.set(xlim=(places.start, places.stop), ylim=(rows.stop, rows.start))
        for ax in unused:
            ax.set_axis_off()
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
    """Outcomes of annotated nuclei, a bar per method, and the number of extra objects.

    Args:
        table: from :func:`ngat.paper.study.segmentation.error_table`.
    """
    outcomes = [name for name in Errors._fields if name != "extra"]
    with style():
        fig = Figure(figsize=(7.4, 0.36 * len(table) + 1.2))
        ax = fig.subplots()
        total = table[outcomes].sum(axis=1)
        left = np.zeros(len(table))
        for name in outcomes:
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
