"""Figure 2 and its data: the five types, the split, and one nucleus from pixels to overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from ngat.data import SPLITS, TYPES, Sample
from ngat.inference import Prediction
from ngat.magnification import size_of
from ngat.paper.figures.pictures import crowded, one_of_each, outline, outlined
from ngat.paper.figures.segmentation import EXTRA, MISSING, RIGHT, difference_map
from ngat.paper.study.dataset import image_sizes
from ngat.paper.study.pictures import Labels, Magnified, visible
from ngat.paper.style import (
    BLUE,
    GREY,
    ORANGE,
    SKY,
    TYPE_COLOURS,
    TYPE_NAMES,
    VERMILION,
    YELLOW,
    bare,
    colour_legend,
    image_grid,
    rows_below_another,
    stacked,
    style,
)

SPLIT_COLOURS = dict(zip(SPLITS, (SKY, ORANGE, VERMILION), strict=True))
FRACTIONS = {0.125: "⅛", 0.25: "¼", 0.5: "½"}


@style()
def sheet(rows: Mapping[str, Sequence[Sample]], side: int = 256) -> Figure:
    """Figure 2: a picture of each type in each row, its nuclei outlined, all at one scale.

    Args:
        rows: name of a row and its pictures, of which the first of each type is shown.
        side: of the square shown, in pixels, from the picture's most crowded part; what a smaller
            picture lacks stays white. Dark pictures are brightened (:func:`visible`).
    """
    known = {sample.type for samples in rows.values() for sample in samples}
    kinds = [kind for kind in TYPES if kind in known]
    fig = Figure(figsize=(1.75 * len(kinds), 1.95 * len(rows) + 0.2))
    grid = fig.subplots(len(rows), len(kinds), squeeze=False)
    for axes, (name, samples) in zip(grid, rows.items(), strict=True):
        axes[0].set_ylabel(name)
        for sample in one_of_each(samples):
            ax, crop = axes[kinds.index(sample.type)], crowded(sample, side)
            ax.imshow(outlined(visible(crop.image)[0], crop.labels))
            ax.set_xlabel(f"median nucleus {size_of(sample.labels):.0f} px", size=8)
    for ax, kind in zip(grid[0], kinds, strict=True):
        ax.set_title(TYPE_NAMES[kind], color=TYPE_COLOURS[kind])
    for ax in grid.flat:
        ax.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
    bare(grid.flat)
    return fig


@style()
def magnifications(facts: pd.DataFrame, best: float) -> Figure:
    """Size of each picture's median nucleus, by type: trained on above, tested on below.

    Args:
        facts: from :func:`ngat.paper.study.dataset.pictures`.
        best: √area in pixels to which training resizes patches.
    """
    sized = facts.assign(size=image_sizes(facts))
    # Spread by a generator of our own, so that the figure is the same each time.
    spread = np.random.default_rng(0).uniform(-0.12, 0.12, len(sized))
    sized["row"] = sized["type"].map(TYPES.index) + spread
    fig = Figure(figsize=(7.0, 0.5 * len(TYPES) + 1.1))
    ax = fig.subplots()
    seen = sized.loc[sized["split"] == "train", "size"]
    ax.axvspan(seen.min(), seen.max(), color="#EFEFEF")
    ax.axvline(best, color=GREY, linewidth=0.8, linestyle="--")
    ax.text(best, -0.62, f"{best:g} px", ha="center", va="bottom", size=8, color=GREY)
    for part, offset in zip(SPLITS, (-0.2, -0.2, 0.2), strict=True):
        of_part = sized[sized["split"] == part]
        ax.scatter(
            of_part["size"], of_part["row"] + offset, s=11, alpha=0.7, linewidth=0,
            color=SPLIT_COLOURS[part], label=f"{part} ({len(of_part)} pictures)",
        )  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_xlabel("√area of the picture's median nucleus / px; grey: the range of training")
    ax.set_yticks(range(len(TYPES)), [TYPE_NAMES[kind] for kind in TYPES])
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    fig.legend(loc="outside upper center", ncols=3)
    return fig


@style()
def composition(counts: pd.DataFrame) -> Figure:
    """How many pictures and nuclei of each type each part has, as shares of the part.

    Args:
        counts: from :func:`ngat.paper.study.dataset.composition`.
    """
    fig = Figure(figsize=(7.6, 0.42 * len(SPLITS) + 1.3))
    panels = {"images": "pictures", "objects": "annotated nuclei"}
    looks = {"edgecolor": "white", "linewidth": 0.6}
    for ax, (what, name) in zip(fig.subplots(1, 2, sharey=True), panels.items(), strict=True):
        table = counts.pivot(index="part", columns="type", values=what).loc[list(SPLITS)]
        share = 100 * table.div(table.sum(axis=1), axis=0)
        stacked(ax, share, TYPE_COLOURS, across=True, **looks)
        for bars, kind in zip(ax.containers, TYPES, strict=True):
            numbers = table[kind].map("{:,}".format).where(share[kind] > 7.5, "")
            colour = "black" if kind == "purple_tissue" else "white"
            ax.bar_label(bars, numbers, label_type="center", size=7, color=colour)
        ax.set(xlim=(0, 100), xlabel=f"share of {name} / %")
    handles, _ = fig.axes[0].get_legend_handles_labels()
    names = list(TYPE_NAMES.values())
    fig.legend(handles, names, loc="outside upper center", ncols=5, columnspacing=1.2)
    return fig


@style()
def mosaic(groups: pd.DataFrame) -> Figure:
    """The split, group by group: a block is all pictures of one parent, as wide as their number.

    Args:
        groups: from :func:`ngat.paper.study.dataset.groups`.
    """
    kinds = [kind for kind in TYPES if kind in set(groups["type"])]
    fig = Figure(figsize=(7.6, 0.4 * len(kinds) + 1.2))
    ax = fig.subplots()
    order = groups.assign(part=groups["split"].map(SPLITS.index))
    order = order.sort_values(["part", "pictures"], ascending=[True, False])
    for row, kind in enumerate(kinds):
        of_kind = order[order["type"] == kind]
        total = of_kind["pictures"].sum()
        width = 100 * of_kind["pictures"] / total
        ax.barh(
            np.full(len(width), row), width, 0.7, left=width.cumsum() - width,
            color=of_kind["split"].map(SPLIT_COLOURS), edgecolor="white",
            linewidth=min(0.6, 40 / len(width)),
        )  # fmt: skip
        ax.text(101, row, f"{total} in {len(of_kind)} groups", va="center", size=8, color=GREY)
    ax.set_yticks(range(len(kinds)), [TYPE_NAMES[kind] for kind in kinds])
    rows_below_another(ax)
    ax.set_xlim(0, 100)
    ax.set_xlabel("share of the type's pictures / %; a block is one group, in test one picture")
    colour_legend(fig, SPLIT_COLOURS, "outside upper center")
    return fig


@style()
def leakage(shares: pd.Series, ours: float) -> Figure:
    """How many test pictures random splits leak, beside this split.

    Args:
        shares: from :func:`ngat.paper.study.dataset.leaking`.
        ours: the share of this split.
    """
    fig = Figure(figsize=(5.0, 2.1))
    ax = fig.subplots()
    ax.hist(100 * shares, bins=np.arange(0, 101, 2.5).tolist(), color=SKY, edgecolor="white")
    ax.axvline(100 * ours, color=BLUE, linewidth=2)
    ax.set_xlim(-2, min(100, 120 * float(shares.max())))
    middle, top = 100 * float(shares.mean()), ax.get_ylim()[1]
    told = "this split (every\nstage-2 picture is a\ngroup of its own)"
    ax.text(100 * ours + 1.2, top, told, color=BLUE, size=7.5, va="top")
    ax.text(middle, 1.03 * top, f"sampled singly: {middle:.0f} %", ha="center", size=8)
    ax.set_xlabel("test pictures with a crop of the same parent in training / %")
    ax.set_ylabel("random splits")
    return fig


@style()
def magnified(looks: Sequence[Magnified], size: float) -> Figure:
    """What the network is shown of a nucleus (above) and the probability that it gives (below).

    Args:
        looks: a column each.
        size: √area of the nucleus at magnification 1, in pixels.
    """
    fig = Figure(figsize=(1.75 * len(looks) + 0.7, 4.0))
    panels = fig.subplots(2, len(looks), squeeze=False)
    _, factor = visible(max(looks, key=lambda seen: seen.magnification).image)
    for (above, below), seen in zip(panels.T, looks, strict=True):
        height, width = seen.mask.shape
        extent = (0, width, height, 0)
        above.imshow(np.minimum(seen.image * factor, 255).astype(np.uint8), extent=extent)
        image = below.imshow(seen.probability, cmap="gray", vmin=0, vmax=1, extent=extent)
        outline(above, seen.mask.astype(int), extent, YELLOW)
        outline(below, seen.mask.astype(int), extent, VERMILION)
        m = seen.magnification
        above.set_title(f"× {FRACTIONS.get(m, f'{m:g}')}")
        above.set_xlabel(f"{m * size:.0f} px wide", size=8, labelpad=2)
        below.set_xlabel(f"IoU {seen.iou:.2f}", size=8, labelpad=2)
    bare(panels.flat)
    for line, name in zip(panels, ("shown", "probability"), strict=True):
        line[0].set_ylabel(name)
        bar = fig.colorbar(image, ax=line, shrink=0.9, aspect=12)
        bar.ax.set_visible(name == "probability")  # the other keeps the columns in line
    return fig


@style()
def counted(
    image: npt.NDArray[np.uint8], prediction: Prediction, pred: Labels, true: Labels,
    part: tuple[slice, slice],
) -> Figure:  # fmt: skip
    """From pixels to overlap: picture, annotation, probability, found nuclei, their difference.

    Args:
        pred, true: label images in which the nucleus in question is kept alone.
        part: rows and columns that are shown.
    """
    pred, true, (shown, _) = pred[part], true[part], visible(image[part])
    images = [shown, prediction.probability[part], shown, difference_map(pred, true)]
    titles = ("annotated", "probability of nucleus", "found", "overlap")
    fig, panels = image_grid({"": images}, titles, (8.4, 2.35), frame=True)
    extent = (-0.5, true.shape[1] - 0.5, true.shape[0] - 0.5, -0.5)
    outline(panels[0, 0], true, extent, YELLOW)
    outline(panels[0, 2], pred, extent, YELLOW)
    shades = panels[0, 1].images[0]
    fig.colorbar(shades, ax=panels[0, 1], location="bottom", aspect=15, shrink=0.7, ticks=[0, 1])
    names = {"in both": RIGHT, "found only": EXTRA, "annotated only": MISSING}
    colour_legend(fig, names, "outside lower right")
    return fig
