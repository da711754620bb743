"""Figures of the network: the order of its updates, and what it does on the ring test bed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ngat.aggregate import STEP, heard_by
from ngat.config import ModelConfig
from ngat.data import Sample
from ngat.graph import RELATIONS
from ngat.model import schedule
from ngat.paper.figures.graph import RELATION_COLOURS
from ngat.paper.style import GREY, method_styles, style

Floats = npt.NDArray[np.floating[Any]]


def updates(configs: Mapping[str, ModelConfig]) -> Figure:
    """Figure 4: which levels are updated in which order, and what they hear.

    A dot is an update of a level; an arrow runs from what it hears.

    Args:
        configs: by title, one panel each.
    """
    with style():
        steps = [len(schedule(config)) for config in configs.values()]
        fig = Figure(figsize=(7.2, 2.7))
        panels = fig.subplots(1, len(configs), width_ratios=[n + 2 for n in steps], squeeze=False)
        for axes, (title, config) in zip(panels[0], configs.items(), strict=True):
            last = dict.fromkeys(range(config.levels), 0)  # when a level was updated last
            axes.plot([0] * config.levels, range(config.levels), "o", color="white", mec=GREY)
            for step, (level, relations) in enumerate(schedule(config), start=1):
                before = dict(last)
                for m in range(config.levels) if level is None else (level,):
                    heard = [r for r, _ in heard_by(m, config.levels)]
                    for relation in relations if level is not None else heard:
                        source = m + STEP[relation]
                        colour = RELATION_COLOURS[relation]
                        axes.annotate(
                            "", (step, m), (before[source], source),
                            arrowprops={
                                "arrowstyle": "-|>", "color": colour,
                                "shrinkA": 3, "shrinkB": 3, "lw": 1, "mutation_scale": 6,
                            },
                        )  # fmt: skip
                    axes.plot([step], [m], "o", color=GREY, markersize=4)
                    last[m] = step
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.set(
                title=title, xlabel="update", ylabel="level", yticks=range(config.levels),
                ylim=(-0.4, config.levels - 0.6), xlim=(-0.6, len(schedule(config)) + 0.6),
            )  # fmt: skip
        names = {"king": "from its own level", "child": "from children", "parent": "from parents"}
        handles = [
            Line2D([], [], color=RELATION_COLOURS[relation], label=names[relation])
            for relation in RELATIONS
        ]
        fig.legend(handles=handles, loc="outside lower center", ncols=3)
    return fig


def dice_by_step(curves: Mapping[str, Mapping[int, float]]) -> Figure:
    """Dice on validation pictures during training, a line per network."""
    with style():
        fig = Figure(figsize=(4.6, 2.8))
        axes = fig.add_subplot()
        looks = method_styles(curves)
        for name, curve in curves.items():
            axes.plot(
                list(curve), list(curve.values()), marker="o", ms=3, label=name, **looks[name]
            )
        axes.set(
            xlabel="optimiser steps of four pictures", ylabel="Dice on validation", ylim=(0, 1)
        )
        axes.legend(loc="lower right")
    return fig


def predictions(samples: Sequence[Sample], found: Mapping[str, Sequence[Floats]]) -> Figure:
    """Pictures, truth and every network's probability side by side, a row per picture.

    Args:
        found: by network, one ``[H, W]`` in [0, 1] per sample.
    """
    with style():
        fig = Figure(figsize=(7.2, 0.25 + 1.75 * len(samples)))
        panels = fig.subplots(len(samples), 2 + len(found), squeeze=False)
        for line, sample, *probabilities in zip(panels, samples, *found.values(), strict=True):
            line[0].imshow(sample.image)
            line[1].imshow(sample.labels > 0, cmap="gray", vmin=0, vmax=1)
            for axes, probability in zip(line[2:], probabilities, strict=True):
                axes.imshow(probability, cmap="gray", vmin=0, vmax=1)
            for axes in line:
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
        for axes, title in zip(panels[0], ("picture", "truth", *found), strict=True):
            axes.set_title(title)
    return fig
