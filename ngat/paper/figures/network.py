"""Figure 4 from its configuration, the order of updates, and results on the ring test bed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from ngat.config import ModelConfig
from ngat.graph import RELATIONS, TAP_COUNT, Relation, sources_of
from ngat.model import NGAT, schedule
from ngat.paper.style import (
    BLACK,
    GREY,
    ORANGE,
    PURPLE,
    RELATION_COLOURS,
    method_styles,
    style,
)

OUTPUTS = ("nucleus", "core", "size")
NAMES: dict[Relation, str] = {"king": "king", "child": "children", "parent": "parent"}

Box = tuple[float, float, float, float]  # left, bottom, width, height
Point = tuple[float, float]


@style()
def blocks(config: ModelConfig) -> Figure:
    """The network from picture to nuclei (above), and one update of a node (below)."""
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
    steps = len(schedule(config))
    if config.schedule == "vcycle":
        order, heads = f"{config.depth} V-cycles,\n{steps} updates of\na level", config.levels
    else:
        order, heads = f"{config.depth} synchronous\nlayers, all levels\nat once", 1
    outputs = ", ".join(OUTPUTS[: config.outputs])
    stages = [
        ("picture", "3 × H × W", GREY),
        ("pyramid graph",
         f"{config.levels} levels, at most\n14 edges into a\nnode (eq. 1–4)", GREY),
        ("plasticity ξ", f"dense 19 → {config.plasticity_width} →\n{config.plasticity_width} → 3, "
         f"sigmoid,\n{config.plasticity_steps} times;\nproject (eq. 5–11)", PURPLE),
        ("embed", f"colour and level\n4 → {config.channels}", GREY),
        ("updates", f"{order}\n(below)", ORANGE),
        ("logits", f"{config.norm} norm,\n{config.channels} → {config.outputs}, "
         f"{heads} map{'s' if heads > 1 else ''}:\n{outputs}", GREY),
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
    said = f"{parameters:,} parameters; balanced loss (eq. 25) on the logits of every level"
    axes.text(1, 51.3, said, size=8)


def _update(axes: Axes, config: ModelConfig) -> float:
    """One residual update, from norm to residual; gives the lower edge of its frame."""
    typed = config.relations == "typed"
    channels, heads = config.channels, config.heads
    if typed:
        own, sigma, mixed = (
            "own maps and softmax per relation", "σ, U", f"ReLU, then\nU {channels} → {channels}"
        )  # fmt: skip
        one = {r: "weight 1" if n == 1 else f"α over {n} taps" for r, n in TAP_COUNT.items()}
        rows = [("itself", f"W {channels} → {channels}", BLACK)]
        rows += [(NAMES[r], f"z = W h, {one[r]}", RELATION_COLOURS[r]) for r in RELATIONS]
    else:
        own, sigma, mixed = "one map and one softmax for all", "σ", "+ bias, ReLU"
        rows = [
            (NAMES[r], f"{TAP_COUNT[r]} of the 14 taps", RELATION_COLOURS[r]) for r in RELATIONS
        ]
    position = {
        "none": "",
        "linear": r" + b\,\Delta\zeta",
        "table": r" + t_\mathrm{tap} + b\,\Delta\mathrm{move}",
    }[config.position]
    scored = (
        rf"$\alpha = \mathrm{{softmax}}\,\mathrm{{LeakyReLU}}(a_s z_j + a_d z_i{position})$, "
        f"{heads} heads of {channels // heads} channels"
    )
    height, apart, middle = 4.4, 5.5, 15.0
    lowest = middle - (apart * (len(rows) - 1) + height) / 2
    edge = lowest - 2.5
    _frame(axes, (1, edge, 88, 35 - edge), 1, fc="#FFF8EA", ec=ORANGE, lw=1, zorder=0)
    axes.text(2, 32.6, f"one update of node i: {own} (eq. 13–21)", size=9, va="center")
    axes.text(40, 29.7, scored, size=8.5, ha="center", va="center")
    for k, (title, text, colour) in enumerate(reversed(rows)):
        bottom = lowest + apart * k
        _box(axes, (30, bottom, 20, height), title, text, colour, across=True)
        _arrow(axes, (24.5, middle), (30, bottom + height / 2))
        _arrow(axes, (50, bottom + height / 2), (55.5, middle))
    over = f"{'channels' if config.norm == 'group' else 'a channel'} over\nnodes"
    for left, width, title, text in (
        (2.5, 10, "hᵢ, hⱼ", f"{channels} channels"),
        (15.5, 9, f"{config.norm} norm", over),
        (60.5, 9.5, sigma, mixed),
        (72, 6.5, "dropout", f"p = {config.dropout:g}"),
    ):
        _box(axes, (left, 11, width, 8), title, text, GREY)
    for start, end in ((12.5, 15.5), (58.5, 60.5), (70, 72), (78.5, 80.5), (83.2, 85)):
        _arrow(axes, (start, middle), (end, middle))
    for x, sign, size in ((57, "Σ", 15), (82, "+", 15), (86.8, "hᵢ′", 10)):
        axes.text(x, middle, sign, size=size, ha="center", va="center")
    axes.plot([7.5, 7.5, 82, 82], [19, 27.2, 27.2, 17], color=BLACK, lw=1.1)
    _arrow(axes, (82, 17.8), (82, 16.7))
    axes.text(70, 28.0, "residual: hᵢ itself", size=7.5, ha="center")
    return edge


def _box(axes: Axes, box: Box, title: str, text: str, colour: str, *, across: bool = False) -> None:
    """A block with a bold title and what is inside it, below or (``across``) beside it."""
    left, bottom, width, height = box
    _frame(axes, box, 0.7, fc="white", ec=colour, lw=1.5)
    centre, middle = left + width / 2, bottom + height / 2
    bold: dict[str, Any] = {"size": 8, "weight": "bold", "va": "center"}
    if across:
        axes.text(left + 0.7, middle, title, color=colour, **bold)
        axes.text(left + width - 0.7, middle, text, size=7.5, va="center", ha="right")
    else:
        axes.text(centre, bottom + height - 1.7, title, ha="center", **bold)
        axes.text(centre, middle - 1.2, text, size=7, ha="center", va="center")


def _frame(axes: Axes, box: Box, radius: float, **look: Any) -> None:
    left, bottom, width, height = box
    round_corners = f"round,pad=0,rounding_size={radius}"
    corner = (left, bottom)
    axes.add_patch(FancyBboxPatch(corner, width, height, boxstyle=round_corners, **look))


def _arrow(
    axes: Axes, start: Point, end: Point, colour: str = BLACK, *, shrink: float = 0, **look: Any
) -> None:
    props = {"arrowstyle": "-|>", "color": colour, "shrinkA": shrink, "shrinkB": shrink}
    axes.annotate("", end, start, arrowprops=props | {"mutation_scale": 7, "lw": 1.1} | look)


@style()
def updates(configs: Mapping[str, ModelConfig]) -> Figure:
    """Figure 4: which levels are updated in which order, and from which sources.

    A dot is an update of a level; an arrow comes from each source. A step to the right is a layer
    of all levels in synchronous networks, an update of one level in V-cycles.

    Args:
        configs: by title, one panel each.
    """
    steps = [len(schedule(config)) for config in configs.values()]
    fig = Figure(figsize=(7.2, 2.7))
    panels = fig.subplots(1, len(configs), width_ratios=[n + 2 for n in steps], squeeze=False)[0]
    for axes, (title, config) in zip(panels, configs.items(), strict=True):
        levels = range(config.levels)
        last = dict.fromkeys(levels, 0)  # when a level was updated last
        axes.plot([0] * len(levels), levels, "o", color="white", mec=GREY)
        for step, (level, relations) in enumerate(schedule(config), start=1):
            before = dict(last)
            for m in levels if level is None else (level,):
                for relation, source in sources_of(m, len(levels)):
                    if relation in relations:
                        ends = (before[source], source), (step, m)
                        colour = RELATION_COLOURS[relation]
                        _arrow(axes, *ends, colour, shrink=3, lw=1, mutation_scale=6)
                axes.plot([step], [m], "o", color=GREY, markersize=4)
                last[m] = step
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        unit = "layer: all levels" if config.schedule == "synchronous" else "update of one level"
        axes.set(title=title, xlabel=unit, ylabel="level", yticks=levels)
        axes.set(ylim=(-0.4, len(levels) - 0.6), xlim=(-0.6, max(last.values()) + 0.6))
    names = {"king": "from its own level", "child": "from children", "parent": "from parents"}
    for relation in RELATIONS:
        panels[0].plot([], [], color=RELATION_COLOURS[relation], label=names[relation])
    fig.legend(loc="outside lower center", ncols=3)
    return fig


@style()
def dice_by_step(curves: Mapping[str, Mapping[int, float]]) -> Figure:
    """Dice on validation pictures during training, a line per network."""
    fig = Figure(figsize=(4.6, 2.8))
    axes = fig.subplots()
    looks = method_styles(curves)
    for name, curve in curves.items():
        axes.plot(list(curve), list(curve.values()), marker="o", ms=3, label=name, **looks[name])
    axes.set(xlabel="optimiser steps of four pictures", ylabel="Dice on validation")
    axes.set_ylim(top=1)
    axes.legend(loc="lower right")
    return fig
