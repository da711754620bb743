"""Speed, memory and the lower bound on time, from the benchmarks' result files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ngat.benchmark.floor import PASSES
from ngat.benchmark.layers import BASELINE, LABELS
from ngat.benchmark.measure import in_words
from ngat.benchmark.network import NETWORK_LABELS, UNET
from ngat.benchmark.rows import select
from ngat.paper.study.performance import layer_times
from ngat.paper.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    grid_lines,
    style,
)

COLOURS = {
    "cpu": VERMILION,
    "cuda": VERMILION,
    "reference": ORANGE,
    "dgl": SKY,
    "compile": PURPLE,
    BASELINE: BLUE,
    "pyg_gatconv": GREEN,
    UNET: GREY,
}
# Beside the colour, so that engines stay apart in black and white.
MARKERS = dict(zip(COLOURS, "oosD^vPX", strict=True))


def scaling(frame: pd.DataFrame, threads: int) -> Figure:
    """Time over the number of nodes, and below it how many times the floor that is."""
    times = layer_times(frame, threads=threads, batch=1)
    with style():
        fig = Figure(figsize=(8.4, 6.0))
        axes: Any = fig.subplots(2, 2, sharex=True, sharey="row")
        for (above, below), which in zip(axes.T, PASSES, strict=True):
            part = select(times, pass_=which)
            for engine, label in LABELS.items():
                line = select(part, engine=engine).sort_values("nodes")
                if line.empty:
                    continue
                look = {"color": COLOURS[engine], "marker": MARKERS[engine], "markersize": 4.5}
                above.plot(line["nodes"], line["value"], label=label, **look)
                below.plot(line["nodes"], line["value"] / line["floor"], **look)
            floor = part.drop_duplicates("nodes").sort_values("nodes")
            above.plot(floor["nodes"], floor["floor"], "--", color=BLACK, label="the floor")
            below.axhline(1, linestyle="--", color=BLACK)
            above.set_title(f"{which}, {in_words(threads)}")
            below.set_xlabel("side of the base / pixels")
            sides = part.drop_duplicates("side")
            below.set_xscale("log")
            below.set_xticks(sides["nodes"].astype(float), [str(side) for side in sides["side"]])
            below.minorticks_off()
            for ax in (above, below):
                ax.set_yscale("log")
                grid_lines(ax)
        axes[0, 0].set_ylabel("median time / ms")
        axes[1, 0].set_ylabel("times the floor")
        fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig


def speedups(frame: pd.DataFrame, side: int = 256) -> Figure:
    """Times faster than DGL at one size, by number of threads; DGL itself as a line at 1."""
    times = layer_times(frame, side=side, batch=1)
    with style():
        fig = Figure(figsize=(8.4, 2.9))
        panels: Any = fig.subplots(1, 2)
        for ax, which in zip(panels, PASSES, strict=True):
            part = select(times, pass_=which)
            threads = sorted(part["threads"].unique())
            engines = [name for name in LABELS if name in set(part["engine"])]
            _bars(ax, part, engines, threads, "ratio")
            ax.axvline(1, color=BLACK, linestyle="--", linewidth=1, zorder=0)
            ax.set_title(f"{which}, {side} × {side} pixels")
            ax.set_xlabel("times faster than DGL")
        panels[1].set_yticklabels([])
    return fig


def memory(frame: pd.DataFrame) -> Figure:
    """Peak memory per node, by engine."""
    peaks = select(frame, quantity="peak_bytes_per_node", scope="layer")
    engines = [name for name in LABELS if name in set(peaks["engine"])]
    with style():
        fig = Figure(figsize=(8.4, 2.4))
        panels: Any = fig.subplots(1, 2, sharey=True)
        for ax, which in zip(panels, PASSES, strict=True):
            part = select(peaks, pass_=which).set_index("engine")["value"].reindex(engines)
            y = np.arange(len(engines))
            ax.barh(y, part, color=[COLOURS[name] for name in engines])
            for at, value in zip(y, part, strict=True):
                _note(ax, value, at, f"{value:,.0f}", size=8)
            ax.set_title(which)
            ax.set_xlabel("peak memory / bytes per node")
            ax.set_xlim(0, 1.18 * part.max())
        panels[0].set_yticks(np.arange(len(engines)), [LABELS[name] for name in engines])
        panels[0].invert_yaxis()
    return fig


def allocators(frame: pd.DataFrame) -> Figure:
    """Cost of the system's allocator: time with its defaults over time with pages kept."""
    where = ["engine", "pass", "side", "batch", "threads", "dtype"]
    times = select(frame, quantity="time_ms", scope="layer")
    default = select(times, allocator="default").set_index(where)["value"]
    kept = select(times, allocator="kept").set_index(where)["value"]
    ratio = (default / kept).dropna().reset_index(name="ratio")
    engines = [name for name in LABELS if name in set(ratio["engine"])]
    with style():
        fig = Figure(figsize=(6.0, 2.3))
        ax = fig.subplots()
        for offset, which, shade in ((-0.2, PASSES[0], 0.55), (0.2, PASSES[1], 1.0)):
            part = select(ratio, pass_=which).set_index("engine")["ratio"].reindex(engines)
            colours = [COLOURS[name] for name in engines]
            y = np.arange(len(engines)) + offset
            ax.barh(y, part, height=0.38, color=colours, alpha=shade)
            for at, value in zip(y, part, strict=True):
                _note(ax, value, at, f"{value:.2f}  {which}", size=7)
        ax.axvline(1, color=BLACK, linewidth=0.8, zorder=0)
        ax.set_xlim(0, 1.45 * ratio["ratio"].max())
        ax.set_yticks(np.arange(len(engines)), [LABELS[name] for name in engines])
        ax.invert_yaxis()
        ax.set_xlabel("time with the default allocator / time with pages kept")
    return fig


def networks(frame: pd.DataFrame) -> Figure:
    """Medians of a training step and of inference, by network and threads."""
    times = select(frame, quantity="time_ms")
    with style():
        fig = Figure(figsize=(8.4, 2.6))
        panels: Any = np.atleast_1d(fig.subplots(1, times["pass"].nunique()))
        for ax, which in zip(panels, times["pass"].unique(), strict=True):
            part = select(times, pass_=which)
            engines = [name for name in NETWORK_LABELS if name in set(part["engine"])]
            _bars(ax, part, engines, sorted(part["threads"].unique()), "value", NETWORK_LABELS)
            batch, side = part["batch"].iloc[0], part["side"].iloc[0]
            ax.set_title(f"{which}, {batch} × {side} × {side} pixels")
            ax.set_xlabel("median time / ms")
        for ax in panels[1:]:
            ax.set_yticklabels([])
    return fig


def parts(frame: pd.DataFrame) -> Figure:
    """A training step's time by part, the longest first."""
    found = select(frame, quantity="part_ms")
    table = found.pivot_table("value", "part", "threads", sort=False)
    table = table.sort_values(table.columns[0], ascending=False)
    shades = dict(zip(table, np.linspace(0.5, 1, len(table.columns)), strict=True))
    with style():
        fig = Figure(figsize=(7.2, 0.27 * len(table) + 0.8))
        ax = fig.subplots()
        height = 0.8 / len(shades)
        for n, (threads, shade) in enumerate(shades.items()):
            y = np.arange(len(table)) + (n - (len(shades) - 1) / 2) * height
            share = 100 * table[threads] / table[threads].sum()
            ax.barh(y, table[threads], height, color=BLUE, alpha=shade, label=in_words(threads))
            for at, value, percent in zip(y, table[threads], share, strict=True):
                _note(ax, value, at, f"{percent:.0f} %")
        ax.set_yticks(np.arange(len(table)), list(table.index))
        ax.invert_yaxis()
        ax.set_xlabel("time in a training step / ms")
        ax.legend(loc="lower right")
    return fig


def _note(ax: Axes, x: Any, y: Any, text: str, size: float = 6.5) -> None:
    """A number behind a bar's end, readable where a line runs through it."""
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    ax.annotate(text, (x, y), (3, 0), textcoords="offset points", va="center", size=size, bbox=box)


def _bars(
    ax: Axes,
    part: pd.DataFrame,
    engines: list[str],
    threads: list[int],
    column: str,
    labels: dict[str, str] = LABELS,
) -> None:
    """A group of bars for every engine, one bar for every number of threads."""
    height = 0.8 / len(threads)
    for n, count in enumerate(threads):
        values = select(part, threads=count).set_index("engine")[column].reindex(engines)
        y = np.arange(len(engines)) + (n - (len(threads) - 1) / 2) * height
        colours = [COLOURS[name] for name in engines]
        ax.barh(y, values, 0.94 * height, color=colours, alpha=1 if n else 0.6)
        for at, value in zip(y, values, strict=True):
            if value == value:
                text = f"{value:,.{max(0, 2 - int(np.log10(max(value, 1))))}f}"  # three digits
                _note(ax, value, at, f"{text}  ({in_words(count)})")
    ax.set_yticks(np.arange(len(engines)), [labels[name] for name in engines])
    ax.invert_yaxis()
    ax.set_xlim(0, 1.3 * float(part[column].max()))
