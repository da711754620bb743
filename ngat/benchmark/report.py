"""What the benchmarks print: their result files as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from ngat.benchmark.layers import BASELINE, LABELS, PASSES
from ngat.benchmark.measure import in_words
from ngat.benchmark.network import NETWORK_LABELS
from ngat.benchmark.rows import select

# Scopes of whole layers.
LAYERS = {"typed layer": "layer with typed relations", "layer": "layer with joint relations"}


def attention_report(frame: pd.DataFrame) -> Iterator[str]:
    """Tables in milliseconds with ratios to DGL; then memory, compilation, first calls."""
    for where in sorted(set(frame["hardware"].dropna())):
        yield f"on {where}"
    keys = ["scope", "allocator", "dtype", "threads"]
    for setting, part in frame[frame["scope"].isin(LAYERS)].groupby(keys, sort=False):
        scope, allocator, dtype, threads = setting
        for which in PASSES:
            times = select(part, quantity="time_ms", pass_=which)
            if len(times):
                yield (
                    f"\n{which}, {LAYERS[scope]}, {dtype}, {in_words(threads)}, "
                    f"allocator {allocator}: median ms (times faster than DGL)"
                )
                floors = select(part, quantity="floor_ms", pass_=which)
                yield time_table(times, floors).to_string()
    peaks = select(frame, quantity="peak_bytes_per_node")
    for scope, part in peaks.groupby("scope", sort=False):
        side = part["side"].iloc[0]
        yield f"\npeak memory, {LAYERS[scope]}, bytes a node, {side} × {side} (× DGL)"
        yield memory_table(part).to_string()
    for quantity, what in (
        ("compile_s", "compilation, seconds"),
        ("first_call", "first call in a fresh process, forward and backward, seconds"),
    ):
        part = frame[frame["quantity"].str.startswith(quantity)]
        if len(part):
            yield f"\n{what}"
            labelled = part.assign(engine=part["engine"].map(LABELS))
            columns = ["quantity", "engine", "scope", "side", "threads", "value"]
            yield labelled[columns].to_string(index=False)


def network_report(frame: pd.DataFrame) -> Iterator[str]:
    """Medians with ratios to DGL, the parts of a training step, parameters."""
    for which, part in select(frame, quantity="time_ms").groupby("pass", sort=False):
        first = part.iloc[0]
        size = f"{first['batch']} × {first['side']} × {first['side']}"
        yield f"\n{which}, {size} pixels, {first['dtype']}: median ms (times faster than DGL)"
        yield network_table(part).to_string()
    parts = select(frame, quantity="part_ms")
    if len(parts):
        yield f"\na training step on {NETWORK_LABELS[parts['engine'].iloc[0]]} by part, ms"
        yield parts_table(parts).to_string()
    for r in select(frame, quantity="parameters").itertuples():
        work = select(frame, quantity="multiply_adds_per_pixel", engine=r.engine)["value"].iloc[0]
        yield (
            f"\n{NETWORK_LABELS[r.engine]}: {r.value:,.0f} parameters; inference takes "
            f"{work:,.0f} multiply-adds a pixel"
        )


def ratios(found: pd.DataFrame, baseline: str = BASELINE) -> pd.DataFrame:
    """``found`` with a column ``ratio``: the baseline's value over the engine's, same setting.

    NaN where the baseline was not measured.
    """
    where = ["scope", "pass", "side", "batch", "threads", "allocator", "dtype"]
    base = found[found["engine"] == baseline].set_index(where)["value"]
    of_row = [base.get(tuple(key)) for key in found[where].itertuples(index=False)]
    return found.assign(ratio=pd.Series(of_row, index=found.index, dtype=float) / found["value"])


def time_table(times: pd.DataFrame, floors: pd.DataFrame) -> pd.DataFrame:
    """Sizes down, engines across: ``median (ratio)``; the floor in front."""
    size = ["side", "batch"]
    table = _table(ratios(times), size, "engine", lambda r: f"{r.value:.3g}{_faster(r.ratio)}")
    table = table[[name for name in LABELS if name in table]].rename(columns=LABELS)
    table.insert(0, "floor", floors.set_index(size)["value"].map("{:.3g}".format))
    return table.fillna("")


def network_table(times: pd.DataFrame) -> pd.DataFrame:
    """Networks down, threads across: ``median (ratio)``."""
    beside = ratios(times, "dgl")
    table = _table(beside, "engine", "threads", lambda r: f"{r.value:.4g}{_faster(r.ratio)}")
    return table.rename(index=NETWORK_LABELS, columns=in_words).rename_axis(index=None)


def memory_table(peaks: pd.DataFrame) -> pd.DataFrame:
    """Engines down, passes across: ``bytes (share of the baseline's)``."""

    def cell(r: Any) -> str:
        return f"{r.value:.0f}" + (f" ({1 / r.ratio:.2f})" if r.ratio > 0 else "")

    table = _table(ratios(peaks), "engine", "pass", cell)
    return table.rename(index=LABELS).rename_axis(index=None)


def _faster(ratio: float) -> str:
    return f" ({ratio:.2g}×)" if ratio > 0 else ""


def _table(
    found: pd.DataFrame, down: str | list[str], across: str, cell: Callable[[Any], str]
) -> pd.DataFrame:
    """A text for every row, by two of its columns, in the order of the rows."""
    texts = found.assign(text=[cell(r) for r in found.itertuples()])
    table = texts.pivot_table("text", down, across, aggfunc="first", sort=False).fillna("")
    return table.rename_axis(columns=None)


def parts_table(parts: pd.DataFrame) -> pd.DataFrame:
    """Parts down, the longest first; threads across, milliseconds and per cent."""
    table = parts.pivot_table("value", "part", "threads", sort=False)
    table = table.sort_values(table.columns[0], ascending=False)
    percent = 100 * table / table.sum()
    table.columns = [f"{in_words(threads)}, ms" for threads in table]
    percent.columns = [f"{in_words(threads)}, %" for threads in percent]
    return table.join(percent).round(1)
