"""Figure 4 from its configuration, the order of updates, and results on the ring test bed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from ngat.config import ModelConfig
from ngat.data import Sample
from ngat.graph import RELATIONS, SOURCE_STEP, TAP_COUNT, Relation, sources_of
from ngat.model import NGAT, schedule
from ngat.paper.figures.graph import RELATION_COLOURS
from ngat.paper.style import BLACK, GREY, ORANGE, PURPLE, bare, method_styles, style

OUTPUTS = ("nucleus", "core", "size")

NAMES: dict[Relation, str] = {"king": "king", "child": "children", "parent": "parent"}

Box = tuple[float, float, float, float]  # left, bottom, width, height

Floats = npt.NDArray[np.floating[Any]]


def blocks(config: ModelConfig) -> Figure:
    """The network from picture to nuclei (above), and one update of a node (below)."""
    with style():
        fig = Figure()
        fig.set_layout_engine("none")
        axes = fig.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        _pipeline(axes, config)
        lowest = _update(axes, config)
        axes.set(xlim=(0, 90), ylim=(lowest - 1, 53))
        fig.set_size_inches(9.0, (54 - lowest) / 10)
    return fig


def _pipeline(axes: Axes, config: ModelConfig) -> None:
    """The row of stages, each with its widths."""
    cycle = config.schedule == "vcycle"
    steps = len(schedule(config))
    heads = config.levels if cycle else 1
    order = f"{config.depth} V-cycles,\n{steps} updates of\na level" if cycle else (
        f"{config.depth} synchronous\nlayers, all levels\nat once"
    )  # fmt: skip
    moved = {
        "xi": f"dense 19 → {config.plasticity_width} →\n{config.plasticity_width} → 3, sigmoid,\n"
        f"{config.plasticity_steps} times",
        "table": "one move per place,\na free table",
        "fixed": "none: nodes stay\nat home",
    }[config.plasticity]
    stages = [
        ("picture", "3 × H × W", GREY),
        ("pyramid graph",
         f"{config.levels} levels, at most\n14 edges into a\nnode (eq. 1–4)", GREY),
        ("plasticity ξ", f"{moved};\nproject (eq. 5–12)", PURPLE),
        ("embed", f"colour and level\n4 → {config.channels}", GREY),
        ("updates", f"{order}\n(below)", ORANGE),
        ("logits", f"{config.norm} norm,\n{config.channels} → {config.outputs}, "
         f"{heads} map{'s' if heads > 1 else ''}:\n{', '.join(OUTPUTS[: config.outputs])}", GREY),
        ("reconstruction", "Σ over levels,\nlevel m weighs\n"
         f"{config.reconstruction:g} to the m,\nthen a threshold", GREY),
    ]  # fmt: skip
    width, gap = 11.2, 1.6
    for k, (title, text, colour) in enumerate(stages):
        left = 1 + k * (width + gap)
        _box(axes, (left, 38.5, width, 11), title, text, colour)
        if k:
            _arrow(axes, (left - gap, 44), (left, 44))
    parameters = sum(p.numel() for p in NGAT(config).parameters())
    axes.text(
        1, 51.3, f"{parameters:,} parameters; loss on the logits of every level (eq. 22–25)", size=8
    )


def _update(axes: Axes, config: ModelConfig) -> float:
    """One residual update, from norm to residual; gives the lower edge of its frame."""
    typed = config.relations == "typed"
    width, heads = config.channels // config.heads, config.heads
    own = "own maps and softmax per relation" if typed else "one map and one softmax for all"
    axes.text(2, 32.6, f"one update of node i: {own} (eq. 13–21)", size=9, va="center")
    _box(axes, (2.5, 11, 10, 8), "hᵢ, hⱼ", f"{config.channels} channels", GREY)
    _box(axes, (15.5, 11, 9, 8), f"{config.norm} norm", "a channel over\nnodes", GREY)
    _arrow(axes, (12.5, 15), (15.5, 15))
    scored = (
        r"$\alpha = \mathrm{softmax}\,\mathrm{LeakyReLU}(a_s z_j + a_d z_i + b\,\Delta\zeta)$, "
        f"{heads} heads of {width} channels"
    )
    if config.aggregator != "gat":
        scored = f"aggregator {config.aggregator}, no attention"
    if typed:
        rows: list[tuple[str, str, str]] = [
            ("itself", f"W {config.channels} → {config.channels}", BLACK)
        ] * config.self_map
        for relation in RELATIONS:
            taps = TAP_COUNT[relation]
            how = "weight 1" if taps == 1 else f"α over {taps} taps"
            rows.append((NAMES[relation], f"z = W h, {how}", RELATION_COLOURS[relation]))
    else:
        rows = [
            (NAMES[r], f"{TAP_COUNT[r]} of the 14 taps", RELATION_COLOURS[r]) for r in RELATIONS
        ]
    height, apart = 4.4, 5.5
    lowest = 15 - (apart * (len(rows) - 1) + height) / 2
    bottoms = [lowest + apart * k for k in range(len(rows))][::-1]
    edge = lowest - 2.5
    axes.add_patch(
        FancyBboxPatch(
            (1, edge), 88, 35 - edge, boxstyle="round,pad=0,rounding_size=1", fc="#FFF8EA",
            ec=ORANGE, lw=1, zorder=0,
        )
    )  # fmt: skip
    for (title, text, colour), bottom in zip(rows, bottoms, strict=True):
        _box(axes, (30, bottom, 20, height), title, text, colour, across=True)
        _arrow(axes, (24.5, 15), (30, bottom + height / 2))
        _arrow(axes, (50, bottom + height / 2), (55.5, 15))
    axes.text(40, 29.7, scored, size=8.5, ha="center", va="center")
    axes.text(57, 15, "Σ", size=15, ha="center", va="center")
    _arrow(axes, (58.5, 15), (60.5, 15))
    mixed = f"ReLU, then\nU {config.channels} → {config.channels}" if typed else "+ bias, ReLU"
    _box(axes, (60.5, 11, 9.5, 8), "σ" if not typed else "σ, U", mixed, GREY)
    _arrow(axes, (70, 15), (72, 15))
    _box(axes, (72, 11, 6.5, 8), "dropout", f"p = {config.dropout:g}", GREY)
    _arrow(axes, (78.5, 15), (80.5, 15))
    axes.text(82, 15, "+" if config.residual else "", size=15, ha="center", va="center")
    _arrow(axes, (83.2, 15), (85, 15))
    axes.text(86.8, 15, "hᵢ′", size=10, ha="center", va="center")
    if config.residual:
        axes.plot([7.5, 7.5, 82, 82], [19, 27.2, 27.2, 17], color=BLACK, lw=1.1)
        _arrow(axes, (82, 17.8), (82, 16.7))
        axes.text(70, 28.0, "residual: hᵢ itself", size=7.5, ha="center")
    return edge


def _box(axes: Axes, box: Box, title: str, text: str, colour: str, *, across: bool = False) -> None:
    """A block with a bold title and what is inside it, below or (``across``) beside it."""
    left, bottom, width, height = box
    axes.add_patch(
        FancyBboxPatch(
            (left, bottom), width, height, boxstyle="round,pad=0,rounding_size=0.7", fc="white",
            ec=colour, lw=1.5,
        )
    )  # fmt: skip
    middle = bottom + height / 2
    if across:
        axes.text(left + 0.7, middle, title, size=8, weight="bold", va="center", color=colour)
        axes.text(left + width - 0.7, middle, text, size=7.5, va="center", ha="right")
        return
    axes.text(left + width / 2, bottom + height - 1.7, title, size=8, weight="bold", ha="center",
              va="center")  # fmt: skip
    axes.text(left + width / 2, middle - 1.2, text, size=7, ha="center", va="center")


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(
        FancyArrowPatch(
            (start[0], start[1]), (end[0], end[1]), arrowstyle="-|>", mutation_scale=7,
            color=BLACK, lw=1.1, shrinkA=0, shrinkB=0,
        )
    )  # fmt: skip


def updates(configs: Mapping[str, ModelConfig]) -> Figure:
    """Figure 4: which levels are updated in which order, and from which sources.

    A dot is an update of a level; an arrow comes from each source.

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
                    present = [r for r, _ in sources_of(m, config.levels)]
                    for relation in relations if level is not None else present:
                        source = m + SOURCE_STEP[relation]
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
            xlabel="optimiser steps of four pictures", ylabel="Dice on validation", ylim=(None, 1)
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
            bare(line)
        for axes, title in zip(panels[0], ("picture", "truth", *found), strict=True):
            axes.set_title(title)
    return fig
