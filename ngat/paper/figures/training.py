"""Figure 8: losses and metrics over the steps of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ngat.paper.study.training import KINDS, Curves, relative, seen
from ngat.paper.style import BLUE, GREEN, GREY, LEVEL_COLOURS, YELLOW, bare, grid_lines, style

# The paper's colours: blue and green.
COLOURS = {"bce": BLUE, "balanced": GREEN}
METRICS = {"accuracy": ":", "jaccard": "--", "dice": "-"}  # columns of the log: line styles
NAMES = {"jaccard": "Jaccard", "dice": "Dice"}


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
            colour = COLOURS[kind]
            losses = pd.concat([relative(run) for run in curves], axis=1)
            smooth = losses.rolling(5, min_periods=1, center=True).mean()
            _band(left, smooth, colour, label=KINDS[kind])
            for metric, dashes in METRICS.items():
                _band(middle, seen(curves, metric), colour, linestyle=dashes)
            _band(right, seen(curves, "average_f1"), colour, marker="o", markersize=3)
        for metric, dashes in METRICS.items():
            left.plot([], [], color=GREY, linestyle=dashes, label=NAMES.get(metric, metric))
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
