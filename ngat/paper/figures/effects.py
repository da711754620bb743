"""Effects of ablations, parts switched off, and types left out of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ngat.data import Sample
from ngat.paper.figures.pictures import beside_picture, outline
from ngat.paper.study.effects import METRICS, effects, of_other_seeds
from ngat.paper.style import BLUE, GREY, TYPE_NAMES, VERMILION, grid_lines, method_styles, style
from ngat.training.variants import BASE, own_values

# Values of factors in words. What "instead of" need not name is empty: the base simply has it.
WORDS: dict[str, dict[str, str]] = {
    "levels": {str(n): f"{n} level{'s' if n > 1 else ''}" for n in range(1, 6)},
    "plasticity": {
        "xi": "moves by ξ",
        "fixed": "no moves of nodes",
        "table": "one learnt move for each place",
    },
    "aggregator": {
        "gat": "attention",
        "gcn": "weights fixed by the degree (GCN)",
        "mlp": "plain means and an MLP",
    },
    "position term": {
        "table": "one per tap",
        "none": "no position term",
        "linear": "position term linear in Δζ",
    },
    "loss": {"balanced": "balanced focal loss", "bce": "cross-entropy", "focal": "focal loss"},
    "loss field": {
        "norm": "its norm",
        "none": "no loss field",
        "sum": "sum of the loss field",
        "patch": "loss field over the patch",
    },
    "norm": {"none": "no norm", "batch": "batch norm", "group": "group norm"},
    "residual": {"on": "", "off": "no residual connection"},
    "dropout": {"0": "none", "0.1": "dropout of 0.1"},
    "relations": {"typed": "one for each relation", "joint": "one softmax for all taps"},
    "schedule": {
        "V-cycle": "V-cycles",
        "synchronous": "synchronous layers",
        "as published": "layers as published",
    },
    "channels": {"32": "32", "12": "12 channels"},
    "magnification": {"learnt": "", "not learnt": "magnification not learnt"},
    "contrast": {
        "plain": "pictures as they are",
        "percentile": "contrast of the whole picture",
        "local": "local contrast",
        "positive": "negatives shown as positives",
    },
}


@style()
def forest(table: pd.DataFrame, pictures: str = "") -> Figure:
    """Differences to the base of the same seed: a point per seed, the mean and its interval.

    Variants of one seed have no interval; a band shows how far the base's own seeds lie apart.

    Args:
        table: from :func:`ngat.paper.study.effects.read`.
        pictures: on which they were measured.
    """
    first = effects(table, "dice")
    seeds = int(first["seeds"].max())
    new_factor = first["factor"] != first["factor"].shift()
    y = np.arange(len(first)) + 0.5 * new_factor.cumsum().to_numpy()
    fig = Figure(figsize=(8.4, 0.23 * (y[-1] + 2) + 0.7))
    panels: Any = fig.subplots(1, len(METRICS), sharey=True)
    broken = False
    for ax, (metric, name) in zip(panels, METRICS.items(), strict=True):
        rows = effects(table, metric)
        if seeds > 1:
            each = rows["values"].explode().astype(float)
            ax.plot(each, y[each.index], "o", color=BLUE, ms=2.5, alpha=0.5)
        else:
            ax.axvspan(*of_other_seeds(table, metric), color="#E4E4E4", zorder=0)
        ax.hlines(y, rows["low"], rows["high"], color=BLUE, linewidth=1.4)
        ax.plot(rows["mean"], y, "|", color="black", markersize=9, markeredgewidth=1.8)
        ax.axvline(0, color=GREY, linewidth=0.8)
        broken |= _frame(ax, y, rows)
        ax.set_xlabel(f"difference in {name}")
        grid_lines(ax, "x")
    own = own_values(str(table["network"].iloc[0]))
    names = []
    for factor, variant in zip(first["factor"], first["variant"], strict=True):
        other = WORDS[factor][own[factor]]
        names.append(WORDS[factor][variant] + (f" instead of {other}" if other else ""))
    panels[0].set_yticks(y, names)
    panels[0].set_ylim(y[-1] + 0.8, y[0] - 0.8)
    bases = table.loc[table["factor"] == BASE, "seed"].nunique()
    drawn = (
        f"bars are one seed, the band is the range of the base's {bases} seeds"
        if seeds == 1
        else f"dots are {seeds} seeds, bars their mean, lines its 95 % interval"
    )
    where = f" on {pictures}" if pictures else ""
    arrows = "; arrows go on beyond the broken axis" if broken else ""
    fig.suptitle(f"change from the base{where}: {drawn}{arrows}", fontsize=8)
    return fig


def _frame(ax: Axes, y: npt.NDArray[Any], rows: pd.DataFrame) -> bool:
    """Cut an axis to zero and the means and seeds of all variants that did not fail altogether.

    A variant has failed whose mean is more than five times as far from zero as that of 85 % of all:
    its row would press all others together. Arrows stand where an interval leaves the frame,
    numbers for means outside, and the axis is broken there.

    Returns:
        Whether there are arrows.
    """
    mean = rows["mean"]
    usual = 5 * max(0.01, float(mean.abs().quantile(0.85)))
    kept = rows[mean.abs() <= usual]
    values = np.concatenate([*kept["values"].map(np.asarray), kept["mean"], [0.0]])
    # A seed far from the others of its row leaves the frame too.
    inner = values[np.abs(values) <= usual / 2]
    pad = 0.12 * max(float(np.ptp(inner)), 0.01)
    low, high = float(inner.min()) - pad, float(inner.max()) + pad
    ax.set_xlim(low, high)
    below, above = rows["low"] < low, rows["high"] > high
    for left, edge, beyond, outside in (
        (True, low, below, mean < low),
        (False, high, above, mean > high),
    ):
        ends = y[beyond]
        inwards = (1 if left else -1) * (high - low)
        for place, value in zip(y[outside], mean[outside], strict=True):
            ax.text(
                edge + 0.03 * inwards, place, f"{value:+.2f}".replace("-", "−"), size=7,
                va="center", ha="left" if left else "right", bbox={"color": "white", "pad": 1},
            )  # fmt: skip
        if len(ends):  # a line of no points would count as one in the figure's corner
            look: dict[str, Any] = {"color": BLUE, "ms": 5, "clip_on": False, "zorder": 4}
            ax.plot(np.full(len(ends), edge), ends, "<" if left else ">", **look)
            ax.plot(
                [0, 0.012] if left else [1, 0.988], [0, 0], color="black", ls="none", mew=1,
                marker=[(-0.3, -1), (0.3, 1)], ms=9, transform=ax.transAxes, clip_on=False,
            )  # fmt: skip
    return bool((below | above).any())


@style()
def lesions(sample: Sample, found: Mapping[str, npt.NDArray[np.floating]]) -> Figure:
    """Probability of nucleus with parts of a trained network switched off, over one picture.

    Args:
        found: by what was switched off, ``[H, W]``.
    """
    columns = -(-(1 + len(found)) // 2)
    height, width = sample.labels.shape
    fig = Figure(figsize=(2.1 * columns + 0.6, 2 * (2.1 * height / width + 0.3)))
    rest, extent = beside_picture(fig, sample, columns)
    for axes, (name, probability) in zip(rest, found.items(), strict=False):
        image = axes.imshow(probability, cmap="gray", vmin=0, vmax=1, extent=extent)
        outline(axes, sample.labels, extent, VERMILION)
        axes.set_title(name)
    fig.colorbar(image, ax=fig.axes, label="probability of nucleus", shrink=0.8, aspect=30)
    return fig


@style()
def seen_and_unseen(pairs: pd.DataFrame) -> Figure:
    """A line per type and network, from the score with the type in training to that without.

    Args:
        pairs: from :func:`ngat.paper.study.effects.pairs`.
    """
    images = pairs.drop_duplicates("type").set_index("type")["images"]
    kinds, networks = list(images.index), list(pairs["network"].unique())
    looks = method_styles(networks)
    shift = 0.8 / len(networks)
    fig = Figure(figsize=(6.2, 0.55 * len(kinds) + 1.0))
    ax = fig.subplots()
    for n, network in enumerate(networks):
        rows, colour = pairs[pairs["network"] == network], looks[network]["color"]
        y = rows["type"].map(kinds.index) + shift * (n - (len(networks) - 1) / 2)
        ax.hlines(y, rows["unseen"], rows["seen"], color=colour, zorder=2, label=network)
        ax.plot(rows["seen"], y, "o", color=colour, markersize=6, zorder=3)
        ax.plot(rows["unseen"], y, "o", color=colour, markersize=6, mfc="white", zorder=3)
    names = [f"{TYPE_NAMES[kind]}\n({images[kind]} pictures)" for kind in kinds]
    ax.set_yticks(range(len(kinds)), names)
    ax.set_ylim(len(kinds) - 0.5, -0.5)
    ax.set_xlim(0, 1.05 * max(pairs["seen"].max(), pairs["unseen"].max(), 0.1))
    ax.set_xlabel("average F1")
    grid_lines(ax, "x")
    marker: dict[str, Any] = {"color": GREY, "marker": "o", "linestyle": "", "markersize": 6}
    handles = [
        *ax.get_legend_handles_labels()[0],
        Line2D([], [], **marker, label="type seen in training"),
        Line2D([], [], **marker, markerfacecolor="white", label="type never seen"),
    ]
    fig.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return fig
