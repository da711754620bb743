"""Effects of ablations as a forest plot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ngat.paper.study.effects import METRICS, effects
from ngat.paper.style import BLUE, GREY, style
from ngat.training.ablation import OF_BASE


def forest(table: pd.DataFrame) -> Figure:
    """Differences to the base of the same seed: a point per seed, the mean and its interval.

    Args:
        table: from :func:`ngat.paper.study.effects.read`.
    """
    found = {metric: effects(table, metric) for metric in METRICS}
    first = found["dice"]
    new_factor = (first["factor"] != first["factor"].shift()).to_numpy()
    y = np.arange(len(first)) + 0.5 * np.cumsum(new_factor)
    with style():
        fig = Figure(figsize=(7.8, 0.23 * (y[-1] + 2) + 0.7))
        panels: Any = fig.subplots(1, len(METRICS), sharey=True)
        for ax, (metric, name) in zip(panels, METRICS.items(), strict=True):
            rows = found[metric]
            for place, row in zip(y, rows.itertuples(), strict=True):
                ax.plot(row.values, [place] * len(row.values), "o", color=BLUE, ms=2.5, alpha=0.5)
            ax.hlines(y, rows["low"], rows["high"], color=BLUE, linewidth=1.4)
            ax.plot(rows["mean"], y, "|", color="black", markersize=9, markeredgewidth=1.8)
            ax.axvline(0, color=GREY, linewidth=0.8)
            # What fails altogether would press all else together: the frame cuts it off.
            reach = 2.0 * max(0.01, float(rows["mean"].abs().quantile(0.85)))
            ax.set_xlim(-reach, reach)
            for place, mean in zip(y, rows["mean"], strict=True):
                if abs(mean) > reach:
                    side = np.sign(mean)
                    ax.text(
                        0.97 * side * reach, place,
                        f"{mean:+.2f} {'→' if side > 0 else '←'}".replace("-", "−"),
                        size=7, va="center", ha="right" if side > 0 else "left",
                        bbox={"color": "white", "pad": 1},
                    )  # fmt: skip
            ax.set_xlabel(f"difference in {name}")
            ax.grid(axis="x", color="#E4E4E4", linewidth=0.6)
            ax.set_axisbelow(True)
        # Another base than the one whose values these are has them as variants, or none.
        changed = set(zip(first["factor"], first["variant"], strict=True))
        others = {f: f" (not {v})" for f, v in OF_BASE.items() if (f, v) not in changed}
        names = [
            f"{row.factor}: {row.variant}{others.get(row.factor, '')}" for row in first.itertuples()
        ]
        panels[0].set_yticks(y, names)
        panels[0].set_ylim(y[-1] + 0.8, y[0] - 0.8)
        fig.suptitle(
            f"change from the base, mean of {int(first['seeds'].max())} seeds; "
            "95 % intervals; arrows: outside of the frame",
            fontsize=8,
        )
    return fig
