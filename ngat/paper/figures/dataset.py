"""Figure 2 and what stands behind it: the five types, their make-up, and the split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ngat.data.sample import TYPES, Sample
from ngat.data.split import SPLITS
from ngat.paper.style import BLUE, GREY, ORANGE, SKY, TYPE_COLOURS, TYPE_NAMES, VERMILION, style

SPLIT_COLOURS = dict(zip(SPLITS, (SKY, ORANGE, VERMILION), strict=True))


def one_of_each(samples: Sequence[Sample]) -> list[Sample]:
    """The first picture of each type, in the order of :data:`~ngat.data.sample.TYPES`."""
    first = {sample.type: sample for sample in reversed(samples)}
    return [first[kind] for kind in TYPES if kind in first]


def numbered_colours(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Nuclei in colours that tell neighbours apart, on black: ``[H, W, 3]`` in [0, 1]."""
    count = int(labels.max(initial=0))
    # Golden-angle hues: nuclei with near numbers have far hues; brightness varies as well.
    hue = (np.arange(count) * 0.618034) % 1
    value = 0.65 + 0.35 * (np.arange(count) % 3) / 2
    lookup = np.zeros((count + 1, 3))
    if count:
        lookup[1:] = hsv_to_rgb(np.stack([hue, np.full(count, 0.6), value], axis=1))
    return lookup[labels]


def sheet(samples: Sequence[Sample]) -> Figure:
    """Figure 2: one picture of each type, above its annotated nuclei."""
    shown = one_of_each(samples)
    with style():
        fig = Figure(figsize=(1.75 * len(shown), 3.8))
        axes = fig.subplots(2, len(shown), squeeze=False)
        for (above, below), sample in zip(axes.T, shown, strict=True):
            above.imshow(sample.image)
            above.set_title(TYPE_NAMES[sample.type], color=TYPE_COLOURS[sample.type])
            below.imshow(numbered_colours(sample.labels))
            height, width = sample.labels.shape
            below.set_xlabel(f"{len(np.unique(sample.labels)) - 1} nuclei, {height} × {width} px")
        for ax in axes.flat:
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
        axes[0, 0].set_ylabel("picture")
        axes[1, 0].set_ylabel("annotation")
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


def sizes(nuclei: pd.DataFrame, pictures: pd.DataFrame, *, size: str) -> Figure:
    """Size of nuclei, and crowding of pictures, by type; black bars are medians.

    Args:
        nuclei: columns ``type`` and ``diameter``; from :func:`ngat.paper.study.dataset.nuclei`.
        pictures: from :func:`ngat.paper.study.dataset.pictures`.
        size: what a diameter in ``nuclei`` is, for the axis.
    """
    import seaborn

    kinds = [kind for kind in TYPES if kind in set(pictures["type"])]
    looks: dict[str, Any] = {"hue": "type", "palette": TYPE_COLOURS, "legend": False}
    with style():
        fig = Figure(figsize=(7.6, 3.1))
        left, middle, right = fig.subplots(1, 3, sharey=True)
        seaborn.boxenplot(
            nuclei, x="diameter", y="type", order=kinds, hue_order=kinds, ax=left, log_scale=True,
            linewidth=0.5, flier_kws={"s": 4, "linewidth": 0.3}, **looks,
        )  # fmt: skip
        left.set_xlabel(f"{size} / px")
        # Spread by a generator of our own: seaborn's jitter differs from one time to the next.
        spread = np.random.default_rng(0).uniform(-0.3, 0.3, len(pictures))
        rows = pictures["type"].map(kinds.index)
        for ax, column, name in (
            (middle, "nuclei", "nuclei per picture"),
            (right, "touching", "share that touches another / %"),
        ):
            values = pictures[column] * (100 if column == "touching" else 1)
            seaborn.scatterplot(
                x=values, y=rows + spread, hue=pictures["type"], palette=TYPE_COLOURS, ax=ax,
                legend=False, s=9, alpha=0.6, linewidth=0,
            )  # fmt: skip
            medians = values.groupby(pictures["type"]).median().reindex(kinds)
            ax.scatter(medians, range(len(kinds)), marker="|", s=320, color="black", zorder=5)
            ax.set_xlabel(name)
        middle.set_xscale("log")
        right.set_xlim(-3, 103)
        for ax in (left, middle):
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            ax.xaxis.set_minor_formatter(NullFormatter())
        for ax in (left, middle, right):
            ax.set_ylabel("")
            ax.grid(axis="x", color="#E4E4E4", linewidth=0.6)
            ax.set_axisbelow(True)
        left.set_yticks(range(len(kinds)), [TYPE_NAMES[kind] for kind in kinds])
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
    """How many test pictures random splits leak, beside the companion split.

    Args:
        shares: from :func:`ngat.paper.study.dataset.leaking`.
        ours: the companion split's share.
    """
    with style():
        fig = Figure(figsize=(5.0, 2.1))
        ax = fig.subplots()
        ax.hist(100 * shares, bins=np.arange(0, 101, 2.5).tolist(), color=SKY, edgecolor="white")
        ax.axvline(100 * ours, color=BLUE, linewidth=2)
        ax.set_xlim(-2, 100)
        middle, top = 100 * float(shares.mean()), ax.get_ylim()[1]
        ax.text(100 * ours + 1.5, top, "companion split", color=BLUE, size=8, va="top")
        ax.text(middle, 1.03 * top, f"dealt singly: {middle:.0f} %", ha="center", size=8)
        ax.set_xlabel("test pictures with a crop of the same parent in training / %")
        ax.set_ylabel("random deals")
    return fig
