"""Figures 5 and 6: from a picture to nuclei, and differences from the annotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy import ndimage

from ngat.data import TYPES, Sample
from ngat.inference import Prediction
from ngat.magnification import size_of
from ngat.paper.figures.pictures import outline, outlined
from ngat.paper.study.pictures import fullest, visible
from ngat.paper.study.segmentation import NUCLEI_WIDE, Crop, Errors, Labels, by_outcome, difference
from ngat.paper.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    TYPE_NAMES,
    VERMILION,
    YELLOW,
    bare,
    grid_lines,
    method_styles,
    style,
)

# Figure 5's colours, on white: right, extra, missing.
RIGHT, EXTRA, MISSING = "#C9C9C9", VERMILION, BLUE
_LEGEND = {"right": RIGHT, "extra": EXTRA, "missing": MISSING}
ERROR_COLOURS = dict(zip(Errors._fields, (GREEN, PURPLE, ORANGE, BLUE, VERMILION), strict=True))
MARKERS = "osD^vP"  # methods differ in black and white too
# Of a larger picture a square is shown, so many pixels wide at least and at most.
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
    """Figure 6, a row per case: nuclei are outlined over the picture, annotated and found.

    Args:
        cases: a row each.
        threshold: a pixel is nucleus above it.
    """
    columns = ("annotated", "probability", f"mask, p > {threshold:g}", "found", "difference")
    with style():
        fig = Figure(figsize=(9.8, 2.05 * len(cases) + 0.55))
        axes = fig.subplots(len(cases), len(columns), squeeze=False)
        for row, case in zip(axes, cases, strict=True):
            part = window(case.sample.labels)
            image, true = case.sample.image[part], case.sample.labels[part]
            pred, raw = case.labels[part], case.prediction.probability[part]
            extent = (-0.5, true.shape[1] - 0.5, true.shape[0] - 0.5, -0.5)
            shown, factor = visible(image)
            brighter = f"; {factor:.1f} × brighter" if factor > 1 else ""
            for ax, labels in (row[0], true), (row[3], pred):
                ax.imshow(shown)
                outline(ax, labels, extent, YELLOW)
                said = _number_of_nuclei(_count(labels)) + (brighter if ax is row[0] else "")
                ax.set_xlabel(said, fontsize=8, labelpad=2)
            row[1].imshow(raw, cmap="gray", vmin=0, vmax=1)
            row[2].imshow(raw > threshold, cmap="gray", vmin=0, vmax=1)
            row[4].imshow(difference_map(pred, true))
            row[0].set_ylabel(case.heading, fontsize=8)
        for ax, name in zip(axes[0], columns, strict=True):
            ax.set_title(name)
        bare(axes.flat, frame=True)
        _explain(fig, _LEGEND)
    return fig


def comparison(crops: Sequence[Crop], found: Mapping[str, Mapping[str, Labels]]) -> Figure:
    """Figure 5: crops through every method, each nucleus outlined by its outcome, in two rows each.

    Annotated nuclei are found, merged, split or missed (:func:`by_outcome`); of the predicted
    objects those are drawn too that lie mostly on background. How many of the nuclei in the crop
    were found, and how many objects are extra, stands below each panel.

    Args:
        crops: parts of pictures.
        found: labels by method and image id, a panel each; of a network with both rows, *split*
            alone, since its components are the same mask.
    """
    found = {
        method: labels
        for method, labels in found.items()
        if "(components)" not in method or method.replace("(components)", "(split)") not in found
    }
    columns = -(-(2 + len(found)) // 2)
    with style():
        fig = Figure(figsize=(1.7 * columns, 2 * 2.2 * len(crops) + 0.5))
        grid = fig.subplots(2 * len(crops), columns, squeeze=False)
        for crop, axes in zip(crops, grid.reshape(len(crops), -1), strict=True):
            sample, part = crop
            true = sample.labels[part]
            wide = len(true) > 160  # a line of one pixel would be lost in a large crop
            shown = _picture(axes[0], sample.image[part])
            axes[1].imshow(outlined(shown, true, wide=wide))
            axes[0].set_title("picture", fontsize=8)
            axes[1].set_title("annotated", fontsize=8)
            axes[1].set_xlabel(_number_of_nuclei(_count(true)), fontsize=7, labelpad=2)
            for ax, (method, labels) in zip(axes[2:], found.items(), strict=False):
                _by_outcome(ax, crop, shown, labels[sample.image_id], wide)
                ax.set_title(method.replace(" (", "\n(").replace(" + ", " +\n"), fontsize=8)
            for ax in axes[2 + len(found) :]:
                ax.set_visible(False)
        bare(grid.flat, frame=True)
        _explain(fig, ERROR_COLOURS)
    return fig


def examples(crops: Mapping[str, Crop], found: Mapping[str, Labels] | None = None) -> Figure:
    """Crops in a row, annotated nuclei outlined; below each nucleus outlined by its outcome.

    Args:
        crops: by what they are examples of.
        found: labels by image id; without them there is no second row.
    """
    rows = 1 if found is None else 2
    with style():
        fig = Figure(figsize=(1.85 * len(crops), 2.1 * rows + 0.3 * (rows - 1)))
        grid = fig.subplots(rows, len(crops), squeeze=False)
        for (name, crop), axes in zip(crops.items(), grid.T, strict=True):
            sample, part = crop
            wide = len(sample.labels[part]) > 160
            shown = _picture(axes[0], sample.image[part])
            axes[0].imshow(outlined(shown, sample.labels[part], wide=wide))
            axes[0].set_title(name, fontsize=8)
            if found is not None:
                _by_outcome(axes[1], crop, shown, found[sample.image_id], wide)
        bare(grid.flat, frame=True)
        if found is not None:
            grid[0, 0].set_ylabel("annotated")
            grid[1, 0].set_ylabel("outcome")
            _explain(fig, ERROR_COLOURS)
    return fig


def _by_outcome(
    ax: Axes, crop: Crop, shown: npt.NDArray[np.uint8], labels: Labels, wide: bool
) -> None:
    """Outline the nuclei of a crop by their outcome, and extra objects; say below how many."""
    counts = {}
    for name, mine in by_outcome(labels, crop.sample.labels).items():
        shown = outlined(shown, mine[crop.part], ERROR_COLOURS[name], wide=wide)
        counts[name] = _count(mine[crop.part])
    ax.imshow(shown)
    true = _count(crop.sample.labels[crop.part])
    caption = f"{counts['found']} of {true} found, {counts['extra']} extra"
    ax.set_xlabel(caption, fontsize=7, labelpad=2)


def _count(labels: Labels) -> int:
    return len(np.unique(labels[labels > 0]))


def _number_of_nuclei(count: int) -> str:
    return "1 nucleus" if count == 1 else f"{count} nuclei"


def levels(
    sample: Sample, by_level: Sequence[npt.NDArray[np.float32]], whole: npt.NDArray[np.float32]
) -> Figure:
    """Probability of nucleus at each level, their weighted reconstruction, and the annotation.

    Two rows; all panels show the same part of the picture, in which most of nuclei were found.
    """
    columns = -(-(3 + len(by_level)) // 2)
    height, width = whole.shape
    found, _ = ndimage.label(whole > 0.5)
    rows, places = window(found)
    extent = (0, width, height, 0)
    square = (rows.stop - rows.start) / (places.stop - places.start)
    with style():
        fig = Figure(figsize=(2.1 * columns + 0.6, 2 * (2.1 * square + 0.35)))
        axes = fig.subplots(2, columns)
        first, *middle = axes.flat[: 1 + len(by_level)]
        last, annotated, *unused = axes.flat[1 + len(by_level) :]
        shown, _ = visible(sample.image)
        first.imshow(shown, extent=extent)
        first.set_title("picture")
        for m, (ax, probability) in enumerate(zip(middle, by_level, strict=True)):
            ax.imshow(probability, cmap="gray", vmin=0, vmax=1, extent=extent)
            ax.set_title(f"level {m}")
        drawn = last.imshow(whole, cmap="gray", vmin=0, vmax=1, extent=extent)
        last.set_title("all levels")
        annotated.imshow(outlined(shown, sample.labels), extent=extent)
        annotated.set_title("annotated")
        fig.colorbar(drawn, ax=axes, label="probability", shrink=0.6, pad=0.01)
        bare(axes.flat, frame=True)
        for ax in axes.flat:
            ax.set(xlim=(places.start, places.stop), ylim=(rows.stop, rows.start))
        for ax in unused:
            ax.set_axis_off()
    return fig


def scores(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Average F1 of every picture, a row of dots per type and method; black bars are medians.

    Args:
        tables: from :func:`ngat.paper.study.segmentation.per_picture`, by method: a few.
    """
    looks = method_styles(tables)
    known = set(pd.concat(tables.values())["type"])
    kinds = [kind for kind in TYPES if kind in known]
    step = 0.8 / len(tables)
    counts = {}
    with style():
        fig = Figure(figsize=(7.2, 0.7 + len(kinds) * max(0.5, 0.24 * len(tables))))
        ax = fig.subplots()
        for n, (method, table) in enumerate(tables.items()):
            for row, kind in enumerate(kinds):
                values = table.loc[table["type"] == kind, "average_f1"].to_numpy()
                counts[kind] = len(values)
                at = row + step * (n - (len(tables) - 1) / 2)
                spread = np.random.default_rng(row).uniform(-0.3 * step, 0.3 * step, len(values))
                ax.scatter(
                    values, at + spread, s=12, marker=MARKERS[n % len(MARKERS)], linewidths=0,
                    color=looks[method]["color"], alpha=0.6, label="" if row else method,
                )  # fmt: skip
                if len(values) > 1:
                    ax.vlines(np.median(values), at - 0.42 * step, at + 0.42 * step, color=BLACK)
        pictures = {k: "1 picture" if n == 1 else f"{n} pictures" for k, n in counts.items()}
        ax.set_yticks(range(len(kinds)), [f"{TYPE_NAMES[k]}\n({pictures[k]})" for k in kinds])
        ax.set(xlabel="average F1 of a picture", xlim=(-0.02, 1.02), ylim=(len(kinds) - 0.5, -0.5))
        grid_lines(ax, "x")
        for row in range(1, len(kinds)):
            ax.axhline(row - 0.5, color="#E4E4E4", linewidth=0.6, zorder=0)
        fig.legend(loc="outside upper center", ncols=min(4, len(tables)), markerscale=1.6)
    return fig


def error_bars(table: pd.DataFrame) -> Figure:
    """Outcomes of annotated nuclei, a bar per method, and the number of extra objects.

    Args:
        table: from :func:`ngat.paper.study.segmentation.error_table`.
    """
    outcomes = [name for name in Errors._fields if name != "extra"]
    with style():
        fig = Figure(figsize=(7.4, 0.36 * len(table) + 1.2))
        ax, beside = fig.subplots(1, 2, sharey=True, width_ratios=(100, 28))
        total = table[outcomes].sum(axis=1)
        left = np.zeros(len(table))
        for name in outcomes:
            share = 100 * table[name] / total
            ax.barh(table["method"], share, left=left, color=ERROR_COLOURS[name], label=name)
            left += share.to_numpy()
        extra = 100 * table["extra"] / total
        beside.barh(table["method"], extra, color=ERROR_COLOURS["extra"], label="extra")
        ax.invert_yaxis()
        ax.set(xlim=(0, 100), xlabel="share of annotated nuclei / %")
        beside.set_xlabel("extra for 100 nuclei")
        for panel in (ax, beside):
            panel.spines["left"].set_visible(False)
            panel.tick_params(axis="y", length=0)
        fig.legend(loc="outside upper center", ncols=5)
    return fig


def _explain(fig: Figure, colours: Mapping[str, str]) -> None:
    handles = [Patch(color=colour, label=name) for name, colour in colours.items()]
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles))
