"""Leave one type out: each type as seen and as never seen, network beside network."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ngat.paper.style import GREY, TYPE_NAMES, method_styles, style


def seen_and_unseen(pairs: pd.DataFrame, label: str = "average F1") -> Figure:
    """A line per type and network from what is reached with the type to what is without.

    Args:
        pairs: from :func:`ngat.paper.study.generalisation.pairs`.
        label: what the numbers are.
    """
    networks = list(dict.fromkeys(pairs["network"]))
    colours = method_styles(networks)
    kinds = list(dict.fromkeys(pairs["type"]))
    step = 0.8 / max(len(networks), 1)
    with style():
        fig = Figure(figsize=(6.2, 0.55 * len(kinds) + 1.0))
        ax: Any = fig.subplots()
        for row in pairs.itertuples():
            y = kinds.index(row.type) + step * (
                networks.index(row.network) - (len(networks) - 1) / 2
            )
            colour = colours[row.network]["color"]
            ax.hlines(y, row.unseen, row.seen, color=colour, linewidth=1.6, zorder=2)
            ax.plot(row.seen, y, "o", color=colour, markersize=6, zorder=3)
            ax.plot(row.unseen, y, "o", color=colour, markersize=6, mfc="white", zorder=3)
        images = pairs.drop_duplicates("type").set_index("type")["images"]
        ax.set_yticks(
            range(len(kinds)), [f"{TYPE_NAMES[kind]}\n({images[kind]} pictures)" for kind in kinds]
        )
        ax.set_ylim(len(kinds) - 0.5, -0.5)
        ax.set_xlim(0, 1.05 * max(pairs["seen"].max(), pairs["unseen"].max(), 0.1))
        ax.set_xlabel(label)
        ax.grid(axis="x", color="#E4E4E4", linewidth=0.6)
        ax.set_axisbelow(True)
        handles = [Line2D([], [], color=colours[n]["color"], label=n) for n in networks]
        marker: dict[str, Any] = {"color": GREY, "marker": "o", "linestyle": "", "markersize": 6}
        handles += [
            Line2D([], [], **marker, label="type seen in training"),
            Line2D([], [], **marker, markerfacecolor="white", label="type never seen"),
        ]
        fig.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return fig
