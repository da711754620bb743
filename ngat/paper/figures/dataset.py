"""Figure 2 and its data: the five types, the split, and one nucleus from pixels to overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from ngat.data import SPLITS, TYPES, Sample
from ngat.inference import Prediction
from ngat.magnification import size_of
from ngat.paper.figures.pictures import crowded, one_of_each, outline, outlined
from ngat.paper.figures.segmentation import EXTRA, MISSING, RIGHT, difference_map
from ngat.paper.study.dataset import image_sizes
from ngat.paper.study.pictures import Magnified, visible
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
    style,
)

SPLIT_COLOURS = dict(zip(SPLITS, (SKY, ORANGE, VERMILION), strict=True))

Labels = npt.NDArray[np.integer]

FRACTIONS = {0.125: "⅛", 0.25: "¼", 0.5: "½"}


def sheet(rows: Mapping[str, Sequence[Sample]], side: int = 256) -> Figure:
    """Figure 2: a picture of each type in each row, its nuclei outlined, all at one scale.

    Args:
        rows: name of a row and its pictures, of which the first of each type is shown.
        side: of the square shown, in pixels, from the picture's most crowded part; what a smaller
            picture lacks stays white. Dark pictures are brightened (:func:`visible`).
    """
    kinds = [kind for kind in TYPES if any(s.type == kind for row in rows.values() for s in row)]
    with style():
        fig = Figure(figsize=(1.75 * len(kinds), 1.95 * len(rows) + 0.2))
        grid = fig.subplots(len(rows), len(kinds), squeeze=False)
        for axes, (name, samples) in zip(grid, rows.items(), strict=True):
            shown = {sample.type: sample for sample in one_of_each(samples)}
            for ax, kind in zip(axes, kinds, strict=True):
                if kind in shown:
                    crop = crowded(shown[kind], side)
                    ax.imshow(outlined(visible(crop.image)[0], crop.labels))
                    size = size_of(shown[kind].labels)
                    ax.set_xlabel(f"median nucleus {size:.0f} px", size=8)
                ax.set_xlim(-0.5, side - 0.5)
                ax.set_ylim(side - 0.5, -0.5)
            bare(axes)
            axes[0].set_ylabel(name)
        for ax, kind in zip(grid[0], kinds, strict=True):
            ax.set_title(TYPE_NAMES[kind], color=TYPE_COLOURS[kind])
    return fig


def magnifications(facts: pd.DataFrame, best: float) -> Figure:
    """Size of each picture's median nucleus, by type: trained on above, tested on below.

    Args:
        facts: from :func:`ngat.paper.study.dataset.pictures`.
        best: √area in pixels to which training resizes patches.
    """
    sized = facts.assign(size=image_sizes(facts))
    seen = sized[sized["split"] == "train"]
    with style():
        fig = Figure(figsize=(7.0, 0.5 * len(TYPES) + 1.1))
        ax = fig.subplots()
        ax.axvspan(seen["size"].min(), seen["size"].max(), color="#EFEFEF")
        ax.axvline(best, color=GREY, linewidth=0.8, linestyle="--")
        # Spread by a generator of our own, so that the figure is the same each time.
        spread = np.random.default_rng(0).uniform(-0.12, 0.12, len(sized))
        height = sized["type"].map(TYPES.index) + spread
        for part, offset in zip(SPLITS, (-0.2, -0.2, 0.2), strict=True):
            there = (sized["split"] == part).to_numpy()
            ax.scatter(
                sized["size"][there], height[there] + offset, s=11, alpha=0.7, linewidth=0,
                color=SPLIT_COLOURS[part], label=f"{part} ({there.sum()} pictures)",
            )  # fmt: skip
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        ax.text(best, -0.62, f"{best:g} px", ha="center", va="bottom", size=8, color=GREY)
        ax.set_yticks(range(len(TYPES)), [TYPE_NAMES[kind] for kind in TYPES])
        ax.invert_yaxis()
        ax.set_xlabel("√area of the picture's median nucleus / px; grey: the range of training")
        ax.tick_params(axis="y", length=0)
        fig.legend(loc="outside upper center", ncols=3)
    return fig


def composition(counts: pd.DataFrame) -> Figure:
    """How many pictures and nuclei of each type each part has, as shares of the part.

    Args:
        counts: columns ``part``, ``type``, ``images``, ``objects``; parts in the order wanted.
    """
    parts = list(dict.fromkeys(counts["part"]))
    with style():
        fig = Figure(figsize=(7.6, 0.42 * len(parts) + 1.3))
        for ax, what in zip(fig.subplots(1, 2, sharey=True), ("images", "objects"), strict=True):
            table = counts.pivot_table(index="part", columns="type", values=what, aggfunc="sum")
            table = table.reindex(index=parts, columns=list(TYPES)).fillna(0)
            share = 100 * table.div(table.sum(axis=1), axis=0)
            left = np.zeros(len(parts))
            for kind in TYPES:
                looks = {"color": TYPE_COLOURS[kind], "edgecolor": "white", "linewidth": 0.6}
                ax.barh(parts, share[kind], left=left, label=TYPE_NAMES[kind], **looks)
                for row, (number, width) in enumerate(zip(table[kind], share[kind], strict=True)):
                    if width > 7.5:
                        place = (left[row] + width / 2, row)
                        ax.annotate(
                            f"{number:,.0f}", place, ha="center", va="center", size=7,
                            color="black" if kind == "purple_tissue" else "white",
                        )  # fmt: skip
                left += share[kind].to_numpy()
            ax.set_xlim(0, 100)
            ax.set_xlabel(f"share of {'pictures' if what == 'images' else 'annotated nuclei'} / %")
            ax.spines["left"].set_visible(False)
            ax.tick_params(axis="y", length=0)
        fig.axes[0].invert_yaxis()
        handles, names = fig.axes[0].get_legend_handles_labels()
        fig.legend(handles, names, loc="outside upper center", ncols=5, columnspacing=1.2)
    return fig


def mosaic(groups: pd.DataFrame) -> Figure:
    """The split, group by group: a block is all pictures of one parent, as wide as their number.

    Args:
        groups: from :func:`ngat.paper.study.dataset.groups`.
    """
    kinds = [kind for kind in TYPES if kind in set(groups["type"])]
    with style():
        fig = Figure(figsize=(7.6, 0.4 * len(kinds) + 1.2))
        ax = fig.subplots()
        for row, kind in enumerate(kinds):
            of_kind = groups[groups["type"] == kind].copy()
            of_kind["order"] = of_kind["split"].map(SPLITS.index)
            of_kind = of_kind.sort_values(["order", "pictures"], ascending=[True, False])
            _blocks(ax, row, of_kind)
            total = int(of_kind["pictures"].sum())
            ax.text(101, row, f"{total} in {len(of_kind)} groups", va="center", size=8, color=GREY)
        ax.set_yticks(range(len(kinds)), [TYPE_NAMES[kind] for kind in kinds])
        ax.invert_yaxis()
        ax.set_xlim(0, 100)
        ax.set_xlabel("share of the type's pictures / %; a block is one group")
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        handles = [Patch(color=colour, label=name) for name, colour in SPLIT_COLOURS.items()]
        fig.legend(handles=handles, loc="outside upper center", ncols=3)
    return fig


def _blocks(ax: Axes, row: int, groups: pd.DataFrame) -> None:
    width = 100 * groups["pictures"].to_numpy() / groups["pictures"].sum()
    left = np.concatenate([[0], np.cumsum(width)[:-1]])
    colours = [SPLIT_COLOURS[split] for split in groups["split"]]
    ax.barh(
        np.full(len(width), row),
        width,
        left=left,
        height=0.7,
        color=colours,
        edgecolor="white",
        linewidth=min(0.6, 40 / len(width)),
    )


def leakage(shares: pd.Series, ours: float) -> Figure:
    """How many test pictures random splits leak, beside the split by groups.

    Args:
        shares: from :func:`ngat.paper.study.dataset.leaking`.
        ours: the share of the split by groups.
    """
    with style():
        fig = Figure(figsize=(5.0, 2.1))
        ax = fig.subplots()
        ax.hist(100 * shares, bins=np.arange(0, 101, 2.5).tolist(), color=SKY, edgecolor="white")
        ax.axvline(100 * ours, color=BLUE, linewidth=2)
        ax.set_xlim(-2, min(100, 120 * float(shares.max())))
        middle, top = 100 * float(shares.mean()), ax.get_ylim()[1]
        ax.text(100 * ours + 1.5, top, "whole groups", color=BLUE, size=8, va="top")
        ax.text(middle, 1.03 * top, f"sampled singly: {middle:.0f} %", ha="center", size=8)
        ax.set_xlabel("test pictures with a crop of the same parent in training / %")
        ax.set_ylabel("random splits")
    return fig


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
            bare((above, below))
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
        for axes, labels, title in ((panels[0], true, "annotated"), (panels[2], pred, "found")):
            axes.imshow(shown, extent=extent)
            outline(axes, labels[part], extent, YELLOW)
            axes.set_title(title)
        panels[1].imshow(prediction.probability[part], cmap="gray", vmin=0, vmax=1, extent=extent)
        panels[1].set_title("probability of nucleus")
        panels[3].imshow(difference_map(pred[part], true[part]), extent=extent)
        panels[3].set_title("overlap")
        bare(panels, frame=True)
        names = {"in both": RIGHT, "found only": EXTRA, "annotated only": MISSING}
        handles = [Patch(color=colour, label=name) for name, colour in names.items()]
        fig.legend(handles=handles, loc="outside lower right", ncols=3)
    return fig
