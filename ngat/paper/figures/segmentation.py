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
from scipy import ndimage

from ngat.data import TYPES, Sample
from ngat.evaluation.error_types import OUTCOMES
from ngat.inference import Prediction
from ngat.magnification import size_of
from ngat.paper.figures.pictures import cased, count, outline, outlined
from ngat.paper.study.pictures import fullest, visible
from ngat.paper.study.segmentation import ERRORS, NUCLEI_WIDE, Crop, Labels, by_outcome
from ngat.paper.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    TYPE_NAMES,
    VERMILION,
    WHITE,
    YELLOW,
    bare,
    colour_legend,
    grid_lines,
    method_styles,
    stacked,
    style,
)

# Figure 5's colours, on white: right, extra, missing.
RIGHT, EXTRA, MISSING = "#C9C9C9", VERMILION, BLUE
ERROR_COLOURS = dict(zip(ERRORS, (GREEN, YELLOW, ORANGE, BLUE, VERMILION), strict=True))
MARKERS = "osD^vP"  # methods differ in black and white too
# Of a larger picture a square is shown, so many pixels wide at least and at most.
SIDES = (96, 256)
SMALL: dict[str, Any] = {"fontsize": 7, "labelpad": 2}


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
    return fullest(labels, side or int(np.clip(NUCLEI_WIDE * size_of(labels), *SIDES)))


def difference_map(pred: Labels, true: Labels) -> npt.NDArray[np.float64]:
    """Figure 5's map: what is nucleus in both, found only or annotated only, ``[H, W, 3]``."""
    colours = np.array([(1, 1, 1), to_rgb(EXTRA), to_rgb(MISSING), to_rgb(RIGHT)])
    return colours[(pred > 0) + 2 * (true > 0)]


@style()
def from_score_to_nuclei(cases: Sequence[Example], threshold: float = 0.5) -> Figure:
    """Figure 6, a row per case: nuclei are outlined over the picture, annotated and found.

    Args:
        cases: a row each.
        threshold: a pixel is nucleus above it.
    """
    columns = ("annotated", "probability", f"mask, p > {threshold:g}", "found", "difference")
    fig = Figure(figsize=(9.8, 2.05 * len(cases) + 0.55))
    axes = fig.subplots(len(cases), len(columns), squeeze=False)
    for row, case in zip(axes, cases, strict=True):
        crop = Crop(case.sample, window(case.sample.labels))
        true, pred = case.sample.labels[crop.part], case.labels[crop.part]
        probability = case.prediction.probability[crop.part]
        extent = (-0.5, true.shape[1] - 0.5, true.shape[0] - 0.5, -0.5)
        for ax, labels in (row[0], true), (row[3], pred):
            brighter = _show(ax, crop, {})
            outline(ax, labels, extent, YELLOW, casing=BLACK)
            said = _number_of_nuclei(labels)
            if brighter and ax is row[0]:
                said += f"; {brighter}"
            ax.set_xlabel(said, fontsize=8, labelpad=2)
        for ax, values in (row[1], probability), (row[2], probability > threshold):
            ax.imshow(values, cmap="gray", vmin=0, vmax=1)
        row[4].imshow(difference_map(pred, true))
        row[0].set_ylabel(case.heading, fontsize=8)
    for ax, name in zip(axes[0], columns, strict=True):
        ax.set_title(name)
    bare(axes.flat, frame=True)
    legend = {"right": RIGHT, "extra": EXTRA, "missing": MISSING}
    colour_legend(fig, legend, "outside lower center")
    return fig


@style()
def comparison(crops: Sequence[Crop], found: Mapping[str, Mapping[str, Labels]]) -> Figure:
    """Figure 5: a row for each crop, a panel per method, each nucleus outlined by its outcome.

    Annotated nuclei are found, merged, split or missed (:func:`by_outcome`); of the predicted
    objects those are drawn too that lie mostly on background. How many of the nuclei in the crop
    were found, and how many objects are extra, stands below each panel.

    Args:
        crops: parts of pictures.
        found: labels by method and image id, a panel each: a few.
    """
    columns = 1 + len(found)
    fig = Figure(figsize=(2.1 * columns, 2.35 * len(crops) + 0.7))
    grid = fig.subplots(len(crops), columns, squeeze=False)
    for crop, (annotated, *rest) in zip(crops, grid, strict=True):
        true = crop.sample.labels
        brighter = _show(annotated, crop, {WHITE: true})
        said = _number_of_nuclei(true[crop.part]) + (f"; {brighter}" if brighter else "")
        annotated.set_xlabel(said, fontsize=9, labelpad=2)
        for ax, labels in zip(rest, found.values(), strict=True):
            _by_outcome(ax, crop, labels)
            ax.xaxis.label.set_size(9)
    for ax, name in zip(grid[0], ("annotated", *found), strict=True):
        ax.set_title(name.replace(" (", "\n(").replace(", ", ",\n"), fontsize=10)
    bare(grid.flat, frame=True)
    colour_legend(fig, ERROR_COLOURS, "outside lower center")
    return fig


@style()
def examples(crops: Mapping[str, Crop], found: Mapping[str, Labels] | None = None) -> Figure:
    """Crops in a row, annotated nuclei outlined; below each nucleus outlined by its outcome.

    Args:
        crops: by what they are examples of.
        found: labels by image id; without them there is no second row.
    """
    rows = 1 if found is None else 2
    fig = Figure(figsize=(1.85 * len(crops), 2.1 * rows + 0.3 * (rows - 1)))
    grid = fig.subplots(rows, len(crops), squeeze=False)
    for (name, crop), axes in zip(crops.items(), grid.T, strict=True):
        axes[0].set_xlabel(_show(axes[0], crop, {WHITE: crop.sample.labels}), **SMALL)
        axes[0].set_title(name, fontsize=8)
        if found is not None:
            _by_outcome(axes[1], crop, found)
    bare(grid.flat, frame=True)
    if found is not None:
        grid[0, 0].set_ylabel("annotated")
        grid[1, 0].set_ylabel("outcome")
        colour_legend(fig, ERROR_COLOURS, "outside lower center")
    return fig


def _show(ax: Axes, crop: Crop, outlines: Mapping[str, Labels]) -> str:
    """Show a part of a picture; gives in words by how much it was brightened, if it was.

    Args:
        outlines: label images of the whole picture, by colour.
    """
    shown, factor = visible(crop.sample.image[crop.part])
    if outlines:
        shown = cased(shown, {colour: labels[crop.part] for colour, labels in outlines.items()})
    ax.imshow(shown, interpolation="auto" if outlines else None)  # smooth where it is made smaller
    return f"{factor:.1f} × brighter" if factor > 1 else ""


def _by_outcome(ax: Axes, crop: Crop, found: Mapping[str, Labels]) -> None:
    """Outline the nuclei of a crop by their outcome, and extra objects; say below how many."""
    true = crop.sample.labels
    sorts = by_outcome(found[crop.sample.image_id], true)
    _show(ax, crop, {ERROR_COLOURS[name]: mine for name, mine in sorts.items()})
    nuclei, right, extra = (
        count(labels[crop.part]) for labels in (true, sorts["found"], sorts["extra"])
    )
    ax.set_xlabel(f"{right} of {nuclei} found, {extra} extra", **SMALL)


def _number_of_nuclei(labels: Labels) -> str:
    number = count(labels)
    return "1 nucleus" if number == 1 else f"{number} nuclei"


@style()
def levels(
    sample: Sample, by_level: Sequence[npt.NDArray[np.float32]], whole: npt.NDArray[np.float32]
) -> Figure:
    """Probability of nucleus at each level, their weighted reconstruction, and the annotation.

    Two rows; all panels show the same part of the picture, in which most of nuclei were found.
    """
    height, width = whole.shape
    shown, _ = visible(sample.image)
    panels = {
        "picture": shown,
        **{f"level {m}": probability for m, probability in enumerate(by_level)},
        "all levels": whole,
        "annotated": outlined(shown, sample.labels),
    }
    rows, places = window(ndimage.label(whole > 0.5)[0])
    columns = -(-len(panels) // 2)
    square = (rows.stop - rows.start) / (places.stop - places.start)
    fig = Figure(figsize=(2.1 * columns + 0.6, 2 * (2.1 * square + 0.35)))
    axes = fig.subplots(2, columns)
    for ax, (title, values) in zip(axes.flat, panels.items(), strict=False):
        ax.imshow(values, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0))
        ax.set(title=title, xlim=(places.start, places.stop), ylim=(rows.stop, rows.start))
    bare(axes.flat, frame=True)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    shades = axes.flat[1].images[0]
    fig.colorbar(shades, ax=axes, label="probability", shrink=0.6, pad=0.01)
    return fig


@style()
def scores(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Average F1 of every picture, a row of dots per type and method; black bars are medians.

    Args:
        tables: from :func:`ngat.paper.study.segmentation.per_picture`, by method: a few.
    """
    looks = method_styles(tables)
    counts = pd.concat(tables.values())["type"].value_counts() // len(tables)
    kinds = [kind for kind in TYPES if kind in counts]
    step = 0.8 / len(tables)
    fig = Figure(figsize=(7.2, 0.7 + len(kinds) * max(0.5, 0.24 * len(tables))))
    ax = fig.subplots()
    for n, (method, table) in enumerate(tables.items()):
        look = {"marker": MARKERS[n % len(MARKERS)], "color": looks[method]["color"]}
        for row, kind in enumerate(kinds):
            values = table.loc[table["type"] == kind, "average_f1"].to_numpy()
            at = row + step * (n - (len(tables) - 1) / 2)
            spread = np.random.default_rng(row).uniform(-0.3 * step, 0.3 * step, len(values))
            label = "" if row else method
            ax.scatter(values, at + spread, s=12, linewidths=0, alpha=0.6, label=label, **look)
            if len(values) > 1:
                ax.vlines(np.median(values), at - 0.42 * step, at + 0.42 * step, color=BLACK)
    pictures = {k: "1 picture" if counts[k] == 1 else f"{counts[k]} pictures" for k in kinds}
    names = [f"{TYPE_NAMES[k]}\n({pictures[k]})" for k in kinds]
    ax.set_yticks(range(len(kinds)), names)
    ax.set(xlabel="average F1 of a picture", xlim=(-0.02, 1.02), ylim=(len(kinds) - 0.5, -0.5))
    grid_lines(ax, "x")
    for row in range(1, len(kinds)):
        ax.axhline(row - 0.5, color="#E4E4E4", linewidth=0.6, zorder=0)
    fig.legend(loc="outside upper center", ncols=min(4, len(tables)), markerscale=1.6)
    return fig


@style()
def error_bars(table: pd.DataFrame) -> Figure:
    """Outcomes of annotated nuclei, a bar per method, and the number of extra objects.

    Args:
        table: from :func:`ngat.paper.study.segmentation.error_table`.
    """
    sums = table.set_index("method")
    shares = 100 * sums.div(sums[list(OUTCOMES)].sum(axis=1), axis=0)
    fig = Figure(figsize=(7.4, 0.36 * len(table) + 1.2))
    ax, beside = fig.subplots(1, 2, sharey=True, width_ratios=(100, 28))
    stacked(ax, shares, {name: ERROR_COLOURS[name] for name in OUTCOMES}, across=True)
    stacked(beside, shares, {"extra": ERROR_COLOURS["extra"]}, across=True)
    ax.set(xlim=(0, 100), xlabel="share of annotated nuclei / %")
    beside.set_xlabel("extra for 100 nuclei")
    fig.legend(loc="outside upper center", ncols=5)
    return fig
