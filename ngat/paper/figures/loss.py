"""The loss: curves over p_t, the field, the gradient by level; training by it (figure 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from torch import Tensor

from ngat.data import Sample
from ngat.paper.figures.pictures import beside_picture, outline
from ngat.paper.study.loss import Array
from ngat.paper.study.pictures import visible
from ngat.paper.study.training import KINDS, Curves, relative, seen
from ngat.paper.style import (
    BLUE,
    GREEN,
    GREY,
    LEVEL_COLOURS,
    YELLOW,
    bare,
    grid_lines,
    method_styles,
    style,
)


def curves(table: pd.DataFrame) -> Figure:
    """Loss over p_t, and its gradient at the node's logit.

    Args:
        table: from :func:`ngat.paper.study.loss.curves`.
    """
    looks = method_styles(table["curve"])
    with style():
        fig = Figure(figsize=(7.2, 2.8))
        left, right = fig.subplots(1, 2)
        for name, rows in table.groupby("curve", sort=False):
            for axes, column in ((left, "loss"), (right, "gradient")):
                axes.plot(rows["p"], rows[column], label=name, **looks[str(name)])
        left.set(ylabel="loss of a node", ylim=(0, 4))
        right.set(ylabel="gradient at its logit", ylim=(0, 1.3))
        for axes in (left, right):
            axes.set(xlabel="p of the true class", xlim=(0, 1))
        left.legend()
    return fig


def fields(maps: Mapping[str, Sequence[Array]], heights: Sequence[float]) -> Figure:
    """Readings of the field as heat maps: a row per reading, a column per height z.

    Args:
        maps: by reading, one map per height from :func:`ngat.paper.study.loss.field_map`.
    """
    largest = max(float(np.abs(m).max()) for found in maps.values() for m in found)
    with style():
        fig = Figure(figsize=(7.2, 0.5 + 2.05 * len(maps)))
        panels = fig.subplots(len(maps), len(heights), squeeze=False)
        for line, (reading, found) in zip(panels, maps.items(), strict=True):
            for axes, values, z in zip(line, found, heights, strict=True):
                image = axes.imshow(
                    values, extent=(0, 1, 1, 0), cmap="PuOr", norm=CenteredNorm(0, largest)
                )
                at = np.linspace(0, 1, values.shape[0])
                if values.min() < 0:
                    axes.contour(at, at, values, levels=[0], colors="black", linewidths=0.8)
                axes.set(xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], title=f"{reading}, z = {z:g}")
                axes.set(xlabel="x", ylabel="y")
                axes.label_outer()
        fig.colorbar(image, ax=panels, shrink=0.8, aspect=30, label="weight of a node's loss")
    return fig


def on_nuclei(sample: Sample, maps: Mapping[str, Array]) -> Figure:
    """Weights of nodes over a picture and its annotated nuclei, a panel per reading.

    Args:
        maps: by reading, ``[H_m, W_m]`` of any level.
    """
    largest = max(float(np.abs(values).max()) for values in maps.values())
    height, width = sample.labels.shape
    extent = (0, width, height, 0)
    with style():
        columns = 1 + len(maps)
        fig = Figure(figsize=(2.15 * columns + 0.7, 2.15 * height / width + 0.5))
        first, *rest = fig.subplots(1, columns)
        first.imshow(visible(sample.image)[0], extent=extent)
        first.set_title("picture")
        outline(first, sample.labels, extent, YELLOW)
        for axes, (name, values) in zip(rest, maps.items(), strict=True):
            image = axes.imshow(values, extent=extent, cmap="PuOr", norm=CenteredNorm(0, largest))
            axes.set_title(name)
            outline(axes, sample.labels, extent, "black")
        bare((first, *rest))
        bar = fig.colorbar(image, ax=[first, *rest], shrink=0.8, aspect=25)
        bar.set_label("weight of a node's loss")
    return fig


def node_losses(sample: Sample, losses: Sequence[Array], weights: Sequence[float]) -> Figure:
    """The loss of every node over a picture, level by level, in two rows.

    Args:
        losses: from :func:`ngat.paper.study.loss.node_losses`.
        weights: of the levels, in sum one.
    """
    height, width = sample.labels.shape
    columns = -(-(1 + len(losses)) // 2)
    parts = [weight * values.mean() for weight, values in zip(weights, losses, strict=True)]
    largest = float(np.percentile(np.concatenate([v.ravel() for v in losses]), 99))
    with style():
        fig = Figure(figsize=(2.3 * columns + 0.7, 2 * (2.25 * height / width + 0.45)))
        rest, extent = beside_picture(fig, sample, columns)
        for m, (axes, values) in enumerate(zip(rest, losses, strict=False)):
            image = axes.imshow(values, extent=extent, cmap="viridis", vmin=0, vmax=largest)
            outline(axes, sample.labels, extent, "white")
            axes.set_title(f"level {m}: weight {weights[m]:.2f}")
            axes.set_xlabel(f"{100 * parts[m] / sum(parts):.0f} % of the loss", size=8, labelpad=2)
        bar = fig.colorbar(image, ax=fig.axes, shrink=0.8, aspect=30, extend="max")
        bar.set_label("loss of a node, before its level's weight")
    return fig


def gradient_shares(table: pd.DataFrame) -> Figure:
    """Bars of the gradient's share per level, a group per loss.

    Args:
        table: from :func:`ngat.paper.study.loss.gradient_shares`.
    """
    names = {
        "nodes": "nodes",
        "base_only": "base only\n(eq. 23)",
        "alike": "all nodes alike",
        "equal": "levels alike",
        "balanced": "balanced\n(eq. 25)",
    }
    with style():
        fig = Figure(figsize=(7.2, 2.8))
        axes = fig.add_subplot()
        bottom = np.zeros(len(names))
        for _, row in table.iterrows():
            heights = row[list(names)].to_numpy(float)
            level = int(row["level"])
            axes.bar(
                list(names.values()), heights, bottom=bottom, width=0.6,
                color=LEVEL_COLOURS[level % len(LEVEL_COLOURS)], label=f"level {level}",
            )  # fmt: skip
            bottom += heights
        axes.set(ylabel="share", ylim=(0, 1))
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)
    return fig


# The paper's colours: blue and green.
LOSS_COLOURS = {"bce": BLUE, "balanced": GREEN}
METRICS = {"accuracy": ":", "jaccard": "--", "dice": "-"}  # columns of the log: line styles
METRIC_NAMES = {"jaccard": "Jaccard", "dice": "Dice"}


def losses_and_metrics(runs: Mapping[str, Sequence[Curves]]) -> Figure:
    """Figure 8: the loss over its first value; accuracy, Jaccard and Dice; average F1.

    Lines are means over seeds, bands reach from the lowest to the highest seed. Metrics are those
    of whole pictures that were not trained on.

    Args:
        runs: logs by loss, ``bce`` and ``balanced``, a run per seed.
    """
    with style():
        fig = Figure(figsize=(8.2, 3.0))
        left, middle, right = fig.subplots(1, 3)
        for kind, curves in runs.items():
            colour = LOSS_COLOURS[kind]
            losses = pd.concat([relative(run) for run in curves], axis=1)
            smooth = losses.rolling(5, min_periods=1, center=True).mean()
            _band(left, smooth, colour, label=KINDS[kind])
            for metric, dashes in METRICS.items():
                _band(middle, seen(curves, metric), colour, linestyle=dashes)
            _band(right, seen(curves, "average_f1"), colour, marker="o", markersize=3)
        for metric, dashes in METRICS.items():
            left.plot([], [], color=GREY, linestyle=dashes, label=METRIC_NAMES.get(metric, metric))
        left.set(title="training loss", ylabel="loss / its first value")
        left.set_ylim(bottom=0)
        middle.set(title="pixels of validation pictures", ylabel="score", ylim=(None, 1))
        right.set(title="nuclei of validation pictures", ylabel="average F1")
        right.set_ylim(0, 1.08 * right.dataLim.y1)  # room for the highest marker
        for ax in (left, middle, right):
            ax.set_xlabel("step")
            grid_lines(ax)
        handles, names = left.get_legend_handles_labels()
        fig.legend(handles, names, loc="outside upper center", ncols=5)
    return fig


def _band(ax: Axes, runs: pd.DataFrame, colour: str, **look: Any) -> None:
    """The mean of some runs by step, over a band from the lowest to the highest of them."""
    ax.fill_between(runs.index, runs.min(axis=1), runs.max(axis=1), color=colour, alpha=0.2, lw=0)
    ax.plot(runs.index, runs.mean(axis=1), color=colour, **look)


def batches(rows: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Training patches as the network is shown them, their annotated nuclei outlined.

    Args:
        rows: by name, patches ``[B, 3, h, w]`` in [0, 1] and targets ``[B, K, h, w]``, of which
            the first channel is nucleus; a row each.
    """
    count = max(len(images) for images, _ in rows.values())
    with style():
        fig = Figure(figsize=(1.75 * count + 0.3, 1.8 * len(rows) + 0.1))
        panels = fig.subplots(len(rows), count, squeeze=False)
        for line, (name, (images, targets)) in zip(panels, rows.items(), strict=True):
            line[0].set_ylabel(name)
            for axes, image, target in zip(line, images, targets, strict=False):
                axes.imshow(image.permute(1, 2, 0).clamp(0, 1).float().numpy())
                mask = target[0].float().numpy()
                if (mask > 0.5).any():
                    axes.contour(mask, levels=[0.5], colors=YELLOW, linewidths=0.8)
            bare(line)
    return fig


def per_level(curves: Curves) -> Figure:
    """The loss of every level over the steps, and the learning rate below it."""
    log = curves.log
    levels = [name for name in log.columns if name.startswith("loss_") and log[name].notna().any()]
    with style():
        fig = Figure(figsize=(6.0, 3.4))
        above, below = fig.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        for m, name in enumerate(levels):
            colour = LEVEL_COLOURS[m % len(LEVEL_COLOURS)]
            smooth = log[name].rolling(5, min_periods=1).mean()
            above.plot(log["step"], smooth, color=colour, label=f"level {m}")
        above.set(ylabel="mean loss of a node", ylim=(0, None))
        above.legend(ncols=len(levels), loc="upper right")
        below.plot(log["step"], 1e3 * log["learning_rate"], color=GREY)
        below.set(xlabel="step", ylabel="rate · 1000", ylim=(0, None))
        for ax in (above, below):
            grid_lines(ax)
    return fig
