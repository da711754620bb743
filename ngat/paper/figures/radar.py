"""Figure 7: F1 by image type as a radar."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.projections.polar import PolarAxes

from ngat.data.sample import TYPES
from ngat.errors import InputError
from ngat.evaluation import published
from ngat.paper.style import GREY, TYPE_NAMES, method_styles, style


def radar(table2: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """Figure 7: F1 at IoU > 0.7 by image type, one polygon per method.

    Published methods are thin, measured ones thicker; none is filled. The area misleads: a type
    with one image weighs as much as one with 72, so the numbers of images stand at the spokes (in
    the order of the sets, published first).

    Args:
        table2: from :func:`ngat.evaluation.tables.table2`.
        methods: those to draw, in this order; all by default.

    Raises:
        InputError: a method is not in the table, or there is nothing to draw.
    """
    known = list(dict.fromkeys(table2["method"]))
    methods = known if methods is None else list(methods)
    unknown = [method for method in methods if method not in known]
    if unknown or not methods:
        raise InputError(
            f"{unknown[0] if unknown else 'nothing'!r} is not in table 2; "
            f"it has {', '.join(known) or 'no method'}."
        )
    drawn = table2[table2["method"].isin(methods)]
    types = [name for name in TYPES if name in set(drawn["type"])]
    angles = 2 * np.pi * np.arange(len(types)) / len(types)
    with style():
        fig = Figure(figsize=(7.6, 4.0))
        axes = fig.add_subplot(projection="polar")
        assert isinstance(axes, PolarAxes)
        axes.set_theta_zero_location("N")
        axes.set_theta_direction(-1)
        looks = method_styles(methods)
        sets: dict[str, list[Line2D]] = {}
        groups = drawn.groupby(["method", "measured on"], sort=False)
        for (method, where), rows in sorted(groups, key=lambda group: methods.index(group[0][0])):
            f1 = rows.set_index("type")["f1"].reindex(types).to_numpy(np.float64)
            theirs = where == published.MEASURED_ON
            closed = np.append(np.arange(len(types)), 0)
            (line,) = axes.plot(
                angles[closed],
                f1[closed],
                label=method,
                linewidth=0.9 if theirs else 1.8,
                marker="o",
                markersize=2.5 if theirs else 3.5,
                **looks[method],
            )
            sets.setdefault(where, []).append(line)
        axes.set_ylim(0, 1)
        rings = [0.2, 0.4, 0.6, 0.8, 1.0]
        axes.set_yticks(rings, [""] * len(rings))
        between = np.pi / max(1, len(types))
        for ring in rings:
            # Above the polygons, which would hide an axis' own labels.
            axes.text(between, ring, f"{ring}", size=7, color=GREY, ha="center", va="center",
                      bbox={"color": "white", "alpha": 0.8, "pad": 0.8})  # fmt: skip
        axes.set_xticks(angles, [_spoke(name, drawn) for name in types])
        for label, angle in zip(axes.get_xticklabels(), angles, strict=True):
            # Words beside the circle grow away from it, words above and below stay centred.
            side = np.sin(angle)
            label.set_horizontalalignment(
                "center" if abs(side) < 0.1 else "left" if side > 0 else "right"
            )
        axes.grid(color="#CCCCCC", linewidth=0.6)
        axes.spines["polar"].set_color("#CCCCCC")
        axes.set_title("F1 at IoU > 0.7 by image type", pad=14)
        _legend(fig, sets)
    return fig


def _legend(fig: Figure, sets: dict[str, list[Line2D]]) -> None:
    """Methods under the heading of what they were measured on."""
    handles: list[Line2D] = []
    for where, lines in sets.items():
        handles += [Line2D([], [], linestyle="none", label=where), *lines]
    legend = fig.legend(handles=handles, loc="outside right center", borderaxespad=1)
    for text in legend.get_texts():
        if text.get_text() in sets:
            text.set_fontweight("bold")


def _spoke(name: str, drawn: pd.DataFrame) -> str:
    """A type's name, and its number of images; of each set measured on, where they differ."""
    sets = drawn[drawn["type"] == name].drop_duplicates("measured on")
    numbers = " / ".join(str(images) for images in dict.fromkeys(sets["images"]))
    return f"{TYPE_NAMES[name]}\nn = {numbers}"
