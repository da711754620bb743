"""Figures of the loss: curves over p_t, the field, the gradient's share per level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure

from ngat.data import Sample
from ngat.paper.figures.pictures import beside_picture, outline
from ngat.paper.study.loss import Array
from ngat.paper.study.pictures import visible
from ngat.paper.style import LEVEL_COLOURS, YELLOW, bare, method_styles, style


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
