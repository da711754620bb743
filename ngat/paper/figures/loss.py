"""The loss: curves over p_t, the field, the gradient by level; training by it (figure 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from torch import Tensor

from ngat.data import Sample
from ngat.paper.figures.pictures import over_picture
from ngat.paper.study.loss import Array
from ngat.paper.study.training import KINDS, Curves, relative, seen
from ngat.paper.style import (
    BLUE,
    GREEN,
    GREY,
    LEVEL_COLOURS,
    YELLOW,
    grid_lines,
    image_grid,
    method_styles,
    stacked,
    style,
)


@style()
def curves(table: pd.DataFrame) -> Figure:
    """Loss over p_t, and its gradient at the node's logit.

    Args:
        table: from :func:`ngat.paper.study.loss.curves`.
    """
    looks = method_styles(table["curve"])
    fig = Figure(figsize=(7.2, 2.8))
    left, right = fig.subplots(1, 2)
    for axes, column in ((left, "loss"), (right, "gradient")):
        for name, rows in table.groupby("curve", sort=False):
            axes.plot(rows["p"], rows[column], label=name, **looks[str(name)])
        axes.set(xlabel="p of the true class", xlim=(0, 1))
    left.set(ylabel="loss of a node", ylim=(0, 4))
    right.set(ylabel="|gradient| at its logit", ylim=(0, 1.3))
    left.legend()
    return fig


@style()
def fields(maps: Mapping[str, Sequence[Array]], heights: Sequence[float]) -> Figure:
    """Readings of the field as heat maps: a row per reading, a column per height z.

    Args:
        maps: by reading, one map per height from :func:`ngat.paper.study.loss.field_map`.
    """
    shades = CenteredNorm(0, np.abs(list(maps.values())).max())
    fig = Figure(figsize=(7.2, 0.5 + 2.05 * len(maps)))
    panels = fig.subplots(len(maps), len(heights), squeeze=False)
    for line, (reading, found) in zip(panels, maps.items(), strict=True):
        for axes, values, z in zip(line, found, heights, strict=True):
            image = axes.imshow(values, extent=(0, 1, 1, 0), cmap="PuOr", norm=shades)
            at = np.linspace(0, 1, values.shape[0])
            if values.min() < 0:
                axes.contour(at, at, values, levels=[0], colors="black", linewidths=0.8)
            axes.set(xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], title=f"{reading}, z = {z:g}")
            axes.set(xlabel="x", ylabel="y")
            axes.label_outer()
    fig.colorbar(image, ax=panels, shrink=0.8, aspect=30, label="weight of a node's loss")
    return fig


def node_losses(sample: Sample, losses: Sequence[Array], weights: Sequence[float]) -> Figure:
    """The loss of every node's nucleus output over a picture, level by level, in two rows.

    Args:
        losses: from :func:`ngat.paper.study.loss.node_losses`.
        weights: of the levels, in sum one.
    """
    parts = np.array(weights) * [values.mean() for values in losses]
    captions = [f"{100 * part:.0f} % of this output's loss" for part in parts / parts.sum()]
    titles = [f"level {m}: weight {weight:.2f}" for m, weight in enumerate(weights)]
    maps = dict(zip(titles, losses, strict=True))
    label = "loss of a node, before its level's weight"
    return over_picture(sample, maps, label, captions=captions, outlines="white", clip=99)


@style()
def gradient_shares(table: pd.DataFrame) -> Figure:
    """Bars of the gradient's share per level, a group per loss.

    Args:
        table: from :func:`ngat.paper.study.loss.gradient_shares`.
    """
    names = {
        "nodes": "nodes",
        "base_only": "base only\n(eq. 23)",
        "alike": "alike: one mean\nover all nodes",
        "equal": "equal: one mean\nper level",
        "balanced": "balanced\n(eq. 25)",
    }
    by_loss = table.set_index("level")[list(names)].rename(columns=names).T
    by_loss.columns = [f"level {m}" for m in by_loss.columns]
    fig = Figure(figsize=(7.2, 2.8))
    axes = fig.subplots()
    stacked(axes, by_loss, dict(zip(by_loss.columns, LEVEL_COLOURS, strict=False)), width=0.6)
    axes.set(ylabel="share", ylim=(0, 1))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)
    return fig


# The paper's colours: blue and green.
LOSS_COLOURS = {"bce": BLUE, "balanced": GREEN}
# Columns of the log: line styles and names.
METRICS = {"accuracy": (":", "accuracy"), "jaccard": ("--", "Jaccard"), "dice": ("-", "Dice")}


@style()
def losses_and_metrics(runs: Mapping[str, Sequence[Curves]]) -> Figure:
    """Figure 8: the loss over its first value; accuracy, Jaccard and Dice; average F1.

    Lines are means over seeds, bands reach from the lowest to the highest seed. Metrics are those
    of whole pictures that were not trained on.

    Args:
        runs: logs by loss, ``bce`` and ``balanced``, a run per seed.
    """
    fig = Figure(figsize=(8.2, 3.0))
    left, middle, right = fig.subplots(1, 3)
    for kind, of_seeds in runs.items():
        colour = LOSS_COLOURS[kind]
        losses = pd.concat([relative(run) for run in of_seeds], axis=1)
        smooth = losses.rolling(5, min_periods=1, center=True).mean()
        _band(left, smooth, colour, label=KINDS[kind])
        for metric, (dashes, _) in METRICS.items():
            _band(middle, seen(of_seeds, metric), colour, linestyle=dashes)
        _band(right, seen(of_seeds, "average_f1"), colour, marker="o", markersize=3)
    for dashes, name in METRICS.values():
        left.plot([], [], color=GREY, linestyle=dashes, label=name)
    left.set(title="training loss", ylabel="loss / its first value", ylim=(0, None))
    middle.set(title="pixels of validation pictures", ylabel="score", ylim=(None, 1))
    right.set(title="nuclei of validation pictures", ylabel="average F1")
    right.set_ylim(0, 1.08 * right.dataLim.y1)  # room for the highest marker
    for ax in (left, middle, right):
        ax.set_xlabel("step")
        grid_lines(ax)
    fig.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return fig


def _band(ax: Axes, runs: pd.DataFrame, colour: str, **look: Any) -> None:
    """The mean of some runs by step, over a band from the lowest to the highest of them."""
    ax.fill_between(runs.index, runs.min(axis=1), runs.max(axis=1), color=colour, alpha=0.2, lw=0)
    ax.plot(runs.index, runs.mean(axis=1), color=colour, **look)


@style()
def batches(rows: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Training patches as the network is shown them, their annotated nuclei outlined.

    Args:
        rows: by name, patches ``[B, 3, h, w]`` in [0, 1] and targets ``[B, K, h, w]``, of which
            the first channel is nucleus; a row each.
    """
    images = {name: list(p.movedim(1, 3).clamp(0, 1).numpy()) for name, (p, _) in rows.items()}
    count = max(len(patches) for patches in images.values())
    fig, panels = image_grid(images, (), (1.75 * count + 0.3, 1.8 * len(rows) + 0.1), frame=True)
    for line, (_, targets) in zip(panels, rows.values(), strict=True):
        for axes, mask in zip(line, targets[:, 0].numpy(), strict=False):
            if (mask > 0.5).any():
                lines = axes.contour(mask, levels=[0.5], colors=YELLOW, linewidths=0.8)
                lines.set_path_effects([withStroke(linewidth=1.8, foreground="black")])
            axes.spines[:].set(color=GREY, zorder=5)  # seen where a patch ends in white
    return fig


@style()
def per_level(curves: Curves) -> Figure:
    """The loss of every level over the steps, and the learning rate below it."""
    log = curves.log.set_index("step")
    losses = log.filter(like="loss_").dropna(axis=1, how="all").rolling(5, min_periods=1).mean()
    fig = Figure(figsize=(6.0, 3.4))
    above, below = fig.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for m, (name, colour) in enumerate(zip(losses, LEVEL_COLOURS, strict=False)):
        above.plot(losses[name], color=colour, label=f"level {m}")
    above.set(ylabel="mean loss of a node", ylim=(0, None))
    above.legend(ncols=losses.shape[1], loc="upper right")
    below.plot(1e3 * log["learning_rate"], color=GREY)
    below.set(xlabel="step", ylabel="rate · 1000", ylim=(0, None))
    for ax in (above, below):
        grid_lines(ax)
    return fig
