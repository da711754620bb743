"""What the benchmarks print: their result files as tables."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ngat.benchmark.floor import PASSES
from ngat.benchmark.layers import BASELINE, LABELS
from ngat.benchmark.measure import in_words
from ngat.benchmark.network import NETWORK_LABELS
from ngat.benchmark.rows import select

# Scopes of whole layers.
LAYERS = {"typed layer": "layer with typed relations", "layer": "layer with joint relations"}


def attention_report(frame: pd.DataFrame) -> Iterator[str]:
    """Tables in milliseconds with ratios to DGL; then memory, compilation, first calls."""
    for where in sorted(set(frame["hardware"].dropna())):
        yield f"on {where}"
    times = select(frame, quantity="time_ms")
    times = times[times["scope"].isin(LAYERS)]
    keys = ["scope", "allocator", "dtype", "threads"]
    for (scope, allocator, dtype, threads), part in times.groupby(keys, sort=False):
        for which in PASSES:
            yield (
                f"\n{which}, {LAYERS[scope]}, {dtype}, {in_words(threads)}, "
                f"allocator {allocator}: median ms (times faster than DGL)"
            )
            floors = select(frame, quantity="floor_ms", scope=scope, pass_=which)
            floors = select(floors, allocator=allocator, dtype=dtype, threads=threads)
            yield time_table(select(part, pass_=which), floors).to_string()
    alone = select(frame, quantity="time_ms", scope="attention")
    if len(alone):
        yield "\nattention alone: median ms, and the share of a copy's bandwidth"
        yield alone_table(frame).to_string(index=False)
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
    times = select(frame, quantity="time_ms")
    for which in times["pass"].unique():
        part = select(times, pass_=which)
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


def network_table(times: pd.DataFrame) -> pd.DataFrame:
    """Networks down, threads across: ``median (ratio)``."""
    base = times[times["engine"] == "dgl"].set_index("threads")["value"]
    cells: dict[str, dict[str, str]] = {}
    for r in times.itertuples():
        ratio = f" ({base[r.threads] / r.value:.2g}×)" if r.threads in base else ""
        column = cells.setdefault(in_words(r.threads), {})
        column[NETWORK_LABELS[r.engine]] = f"{r.value:.4g}{ratio}"
    return pd.DataFrame(cells).fillna("")


def parts_table(parts: pd.DataFrame) -> pd.DataFrame:
    """Parts down, the longest first; threads across, milliseconds and per cent."""
    table = parts.pivot_table("value", "part", "threads", sort=False)
    table = table.sort_values(table.columns[0], ascending=False)
    percent = 100 * table / table.sum()
    table.columns = [f"{in_words(threads)}, ms" for threads in table]
    percent.columns = [f"{in_words(threads)}, %" for threads in percent]
    return table.join(percent).round(1)


def ratios(times: pd.DataFrame) -> pd.DataFrame:
    """``times`` with a column ``ratio``: the baseline's median over the engine's, same setting.

    NaN where the baseline was not measured.
    """
    where = ["scope", "pass", "side", "batch", "threads", "allocator", "dtype"]
    baseline = times[times["engine"] == BASELINE].set_index(where)["value"]
    of_row = [baseline.get(tuple(key)) for key in times[where].itertuples(index=False)]
    return times.assign(ratio=pd.Series(of_row, index=times.index, dtype=float) / times["value"])


def time_table(times: pd.DataFrame, floors: pd.DataFrame) -> pd.DataFrame:
    """Sizes down, engines across: ``median (ratio)``; the floor in front."""
    times = ratios(times)
    table: dict[str, dict[tuple[int, int], str]] = {"floor": {}}
    for r in floors.itertuples():
        table["floor"][r.side, r.batch] = f"{r.value:.3g}"
    for engine, label in LABELS.items():
        part = times[times["engine"] == engine]
        cells = {
            (r.side, r.batch): f"{r.value:.3g}" + (f" ({r.ratio:.2g}×)" if r.ratio > 0 else "")
            for r in part.itertuples()
        }
        if cells:
            table[label] = cells
    found = pd.DataFrame(table).fillna("")
    found.index.names = ["side", "batch"]
    return found


def alone_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The attention alone: milliseconds, and bytes that must move over what a copy moves then.

    The backward pass is the difference of both passes and the forward pass.
    """
    where = ["side", "batch", "threads", "allocator", "dtype"]
    copy = select(frame, quantity="copy_gb_per_s")
    copy = copy[copy["scope"].isna()].set_index(where)["value"]
    alone = select(frame, scope="attention")
    bytes_of = select(alone, quantity="floor_bytes_per_node").set_index([*where, "pass"])["value"]
    found = []
    for (engine, *setting), part in select(alone, quantity="time_ms").groupby(
        ["engine", *where], sort=False
    ):
        ms = part.set_index("pass")["value"]
        moved = {which: bytes_of[(*setting, which)] * part["nodes"].iloc[0] for which in PASSES}
        for which in ("forward", "backward"):
            time, price = ms[PASSES[0]], moved[PASSES[0]]
            if which == "backward":
                time, price = ms[PASSES[1]] - time, moved[PASSES[1]] - price
            share = 1e-6 * price / time / copy[tuple(setting)]
            found.append([which, LABELS[engine], *setting, time, round(share, 3)])
    columns = ["pass", "engine", *where, "ms", "of copy bandwidth"]
    return pd.DataFrame(found, columns=columns)


def memory_table(peaks: pd.DataFrame) -> pd.DataFrame:
    """Engines down, passes across: ``bytes (share of the baseline's)``."""
    base = peaks[peaks["engine"] == BASELINE].set_index("pass")["value"]
    cells: dict[str, dict[str, str]] = {which: {} for which in PASSES}
    for r in peaks.rename(columns={"pass": "which"}).itertuples():
        share = f" ({r.value / base[r.which]:.2f})" if r.which in base else ""
        cells[r.which][LABELS[r.engine]] = f"{r.value:.0f}{share}"
    return pd.DataFrame(cells).fillna("")
