"""Speed, memory and the lower bound on time, from the benchmarks' result files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ngat.benchmark.layers import BASELINE, LABELS, PASSES
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


@style()
def scaling(frame: pd.DataFrame, threads: int) -> Figure:
    """Time over the number of nodes, and below it how many times the floor that is."""
    times = layer_times(frame, threads=threads, batch=1)
    fig = Figure(figsize=(8.4, 6.0))
    axes: Any = fig.subplots(2, 2, sharex=True, sharey="row")
    for (above, below), which in zip(axes.T, PASSES, strict=True):
        part = select(times, pass_=which).sort_values("nodes")
        for engine, label in LABELS.items():
            line = select(part, engine=engine)
            if line.empty:
                continue
            look = {"color": COLOURS[engine], "marker": MARKERS[engine], "markersize": 4.5}
            above.plot(line["nodes"], line["value"], label=label, **look)
            below.plot(line["nodes"], line["value"] / line["floor"], **look)
        sizes = part.drop_duplicates("nodes")
        above.plot(sizes["nodes"], sizes["floor"], "--", color=BLACK, label="the floor")
        below.axhline(1, linestyle="--", color=BLACK)
        above.set_title(f"{which}, {in_words(threads)}")
        below.set_xlabel("side of the base / pixels")
        below.set_xscale("log")
        below.set_xticks(sizes["nodes"].astype(float), sizes["side"].astype(str))
        below.minorticks_off()
        for ax in (above, below):
            ax.set_yscale("log")
            grid_lines(ax)
    axes[0, 0].set_ylabel("median time / ms")
    axes[1, 0].set_ylabel("times the floor")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig


@style()
def speedups(frame: pd.DataFrame) -> Figure:
    """Times faster than DGL at 256 × 256, by number of threads; DGL itself as a line at 1."""
    times = layer_times(frame, side=256, batch=1)
    fig = Figure(figsize=(8.4, 2.9))
    panels: Any = fig.subplots(1, 2)
    for ax, which in zip(panels, PASSES, strict=True):
        part = select(times, pass_=which)
        _bars(ax, part.pivot(index="engine", columns="threads", values="ratio"))
        ax.axvline(1, color=GREY, linewidth=0.8, zorder=0)
        ax.set_title(f"{which}, 256 × 256 pixels")
        ax.set_xlabel("times faster than DGL")
    panels[1].set_yticklabels([])
    return fig


@style()
def memory(frame: pd.DataFrame) -> Figure:
    """Peak memory per node, by engine."""
    peaks = select(frame, quantity="peak_bytes_per_node", scope="layer")
    fig = Figure(figsize=(8.4, 2.4))
    panels: Any = fig.subplots(1, 2)
    for ax, which in zip(panels, PASSES, strict=True):
        peak = select(peaks, pass_=which).set_index("engine")[["value"]]
        _bars(ax, peak, lambda value, _: f"{value:,.0f}", size=8)
        ax.set_title(which)
        ax.set_xlabel("peak memory / bytes per node")
    panels[1].set_yticklabels([])
    return fig


@style()
def allocators(frame: pd.DataFrame) -> Figure:
    """Cost of the system's allocator: time with its defaults over time with pages kept."""
    where = ["engine", "pass", "side", "batch", "threads", "dtype"]
    times = select(frame, quantity="time_ms", scope="layer")
    default = select(times, allocator="default").set_index(where)["value"]
    kept = select(times, allocator="kept").set_index(where)["value"]
    ratio = (default / kept).dropna().reset_index(name="ratio")
    table = ratio.pivot(index="engine", columns="pass", values="ratio")[list(PASSES)]
    fig = Figure(figsize=(6.0, 2.3))
    ax = fig.subplots()
    _bars(ax, table, lambda value, which: f"{value:.2f}  {which}", size=7)
    ax.axvline(1, color=BLACK, linewidth=0.8, zorder=0)
    ax.set_xlim(0, 1.45 * ratio["ratio"].max())
    ax.set_xlabel("time with the default allocator / time with pages kept")
    return fig


@style()
def networks(frame: pd.DataFrame) -> Figure:
    """Medians of a training step and of inference, by network and threads."""
    times = select(frame, quantity="time_ms")
    fig = Figure(figsize=(8.4, 2.6))
    panels: Any = np.atleast_1d(fig.subplots(1, times["pass"].nunique()))
    for ax, which in zip(panels, times["pass"].unique(), strict=True):
        part = select(times, pass_=which)
        table = part.pivot(index="engine", columns="threads", values="value")
        _bars(ax, table, labels=NETWORK_LABELS)
        batch, side = part[["batch", "side"]].iloc[0]
        ax.set_title(f"{which}, {batch} × {side} × {side} pixels")
        ax.set_xlabel("median time / ms")
    for ax in panels[1:]:
        ax.set_yticklabels([])
    return fig


@style()
def parts(frame: pd.DataFrame) -> Figure:
    """A training step's time by part, the longest first."""
    found = select(frame, quantity="part_ms")
    table = found.pivot_table("value", "part", "threads", sort=False)
    table = table.sort_values(table.columns[0], ascending=False)
    fig = Figure(figsize=(7.2, 0.27 * len(table) + 0.8))
    ax = fig.subplots()
    names = {name: name for name in table.index}
    total = table.sum()
    _bars(ax, table, lambda ms, threads: f"{100 * ms / total[threads]:.0f} %", labels=names)
    ax.set_xlabel("time in a training step / ms")
    ax.legend(ax.containers, [in_words(threads) for threads in table], loc="lower right")
    return fig


def _with_threads(value: float, threads: int) -> str:
    digits = max(0, 2 - int(np.log10(max(value, 1))))  # three with those before the point
    return f"{value:,.{digits}f}  ({in_words(threads)})"


def _bars(
    ax: Axes,
    table: pd.DataFrame,
    text: Callable[[float, Any], str] = _with_threads,
    *,
    labels: Mapping[str, str] = LABELS,
    size: float = 6.5,
) -> None:
    """A group of bars for every row of a table, one bar for every column.

    Args:
        text: of a value and its column, behind the bar's end.
        labels: names of the rows, in the order in which they stand.
        size: of that text.
    """
    table = table.reindex([name for name in labels if name in table.index])
    height = 0.8 / len(table.columns)
    shades = np.linspace(1, 0.6, len(table.columns))[::-1]
    # Readable where a line runs through it.
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    for n, (column, values) in enumerate(table.items()):
        y = np.arange(len(table)) + (n - (len(table.columns) - 1) / 2) * height
        colours = [COLOURS.get(str(name), BLUE) for name in table.index]
        bars = ax.barh(y, values, 0.94 * height, color=colours, alpha=float(shades[n]))
        texts = ["" if np.isnan(value) else text(value, column) for value in values]
        ax.bar_label(bars, texts, padding=3, size=size, bbox=box)
    ax.set_yticks(range(len(table)), [labels[name] for name in table.index])
    ax.invert_yaxis()
    ax.set_xlim(0, 1.3 * float(np.nanmax(table)))
