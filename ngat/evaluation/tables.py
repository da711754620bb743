"""Tables 1 and 2 and the data of figure 7, from result files, beside the published rows.

Measured rows say what they were measured on, published rows say ``published, stage 2``. The paper's
split tests on stage 2 as well (``dsb2018, test``), so the two compare; rows of other images do not.

Intervals are 95 % percentile bootstrap intervals over images: how far a number would move had other
images of the same kind been drawn. They say nothing of other seeds, and crops of one parent picture
are taken for independent, which makes them somewhat narrow. With fewer than two images
there is nothing to draw from, and no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ngat import metrics
from ngat.data import TYPES
from ngat.data.own import TYPE as OWN
from ngat.errors import InputError
from ngat.evaluation import published
from ngat.evaluation.results import Run
from ngat.system.files import write_text

Array = npt.NDArray[np.float64]

# Table 1's measures: what is summed over images, and divided by how many there are or by a total.
MEASURES = {
    "score": ("score", ""),
    "average_f1": ("average_f1", ""),
    "recall": ("tp", "n_true"),
    "missed": ("fn", "n_true"),
    "extra": ("fp", "n_true"),
    "dice": ("pixel_dice", ""),
}
RESAMPLES = 2000
AT = 0.7

# What a run's provenance may say about it, and under which heading it stands.
_HISTORY = {"parameters": "parameters", "minutes": "minutes", "hardware": "hardware"}


def table1(
    runs: Sequence[Run],
    *,
    with_published: bool = True,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Table 1: score, average F1, and recall, missed and extra at IoU > 0.7; and pixel Dice.

    The published table has no Dice (eq. 29); measured rows give its mean over images.

    Args:
        runs: result files read back; each method and data set is one row.
        with_published: put the published rows first.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        Columns ``method``, ``measured on``, ``images``, ``objects``, each measure with its bounds
        ``<measure> low`` and ``<measure> high``, and parameters, minutes and hardware.
    """
    rows: list[dict[str, object]] = []
    if with_published:
        stage = published.STAGE_2.values()
        for theirs in published.TABLE_1:
            rows.append(
                {
                    "method": f"{theirs.system}: {theirs.method}",
                    "measured on": published.MEASURED_ON,
                    "images": sum(stratum.images for stratum in stage),
                    "objects": sum(stratum.objects for stratum in stage),
                    **{measure: getattr(theirs, measure, np.nan) for measure in MEASURES},
                }
            )
    for run, method, where, counts in _methods(runs):
        images = per_image(counts).join(_dice(run, counts))
        weights = resample(len(images), seed, resamples)
        row: dict[str, object] = {
            "method": method,
            "measured on": where,
            "images": len(images),
            "objects": int(images["n_true"].sum()),
        }
        for measure in MEASURES:
            row[measure] = float(_measure(images, measure, np.ones((1, len(images))))[0])
            resampled = _measure(images, measure, weights)
            row[f"{measure} low"], row[f"{measure} high"] = bootstrap_interval(resampled)
        rows.append(row | _history(run))
    columns = ["method", "measured on", "images", "objects"]
    columns += [f"{m}{bound}" for m in MEASURES for bound in ("", " low", " high")]
    return pd.DataFrame(rows, columns=[*columns, *_HISTORY.values()])


def table2(
    runs: Sequence[Run],
    *,
    with_published: bool = True,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Table 2 in long form: F1 at IoU > 0.7, the mean over a type's images. Figure 7's data.

    One's own pictures are of none of the five types, and are left out.

    Returns:
        One row per method and type: ``method``, ``measured on``, ``type``, ``images``, ``objects``,
        ``f1``, ``low``, ``high``. Types in the order of :data:`~ngat.data.TYPES`; a type
        without images has no row.
    """
    rows: list[dict[str, object]] = []
    if with_published:
        for system, values in published.TABLE_2.items():
            for name, value in values.items():
                stratum = published.STAGE_2[name]
                rows.append(
                    {
                        "method": system,
                        "measured on": published.MEASURED_ON,
                        "type": name,
                        "images": stratum.images,
                        "objects": stratum.objects,
                        "f1": value,
                    }
                )
    for run, method, where, counts in _methods(runs):
        images = per_image(counts)
        unknown = set(images["type"]) - {*TYPES, OWN}
        if unknown:
            raise InputError(f"{run.name}: {min(unknown)!r} is none of the five image types.")
        for name in TYPES:
            of_type = images[images["type"] == name]
            if of_type.empty:
                continue
            f1 = of_type["f1"].to_numpy()
            weights = resample(len(f1), seed, resamples)
            low, high = bootstrap_interval(weights @ f1 / len(f1))
            rows.append(
                {
                    "method": method,
                    "measured on": where,
                    "type": name,
                    "images": len(f1),
                    "objects": int(of_type["n_true"].sum()),
                    "f1": float(f1.mean()),
                    "low": low,
                    "high": high,
                }
            )
    columns = ["method", "measured on", "type", "images", "objects", "f1", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def composition(runs: Sequence[Run]) -> pd.DataFrame:
    """How many images and annotated objects of each type a data set has, stage 2 first."""
    long = table2(runs, resamples=1)
    long = long.drop_duplicates(["measured on", "type"])
    return long[["measured on", "type", "images", "objects"]].reset_index(drop=True)


def wide(long: pd.DataFrame) -> pd.DataFrame:
    """Table 2 as the paper prints it: a row per method, in each type's column its F1."""
    text = long.assign(
        cell=[
            with_interval(f1, low, high, 2, 2)
            for f1, low, high in zip(long["f1"], long["low"], long["high"], strict=True)
        ]
    )
    index = ["method", "measured on"]
    order = long[index].drop_duplicates()
    table = text.pivot(index=index, columns="type", values="cell")
    table = table.reindex(columns=[name for name in TYPES if name in set(long["type"])])
    return table.loc[list(order.itertuples(index=False, name=None))].reset_index()


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Table 1 for reading: each measure with its interval, ``0.6762 [0.650, 0.702]``."""
    out = table[["method", "measured on", "images", "objects"]].copy()
    for measure in MEASURES:
        cells = zip(table[measure], table[f"{measure} low"], table[f"{measure} high"], strict=True)
        out[measure] = [with_interval(*cell, decimals=4, bounds=3) for cell in cells]
    for column in _HISTORY.values():
        if table[column].notna().any():
            out[column] = ["" if pd.isna(value) else _plain(value) for value in table[column]]
    return out


def with_interval(value: float, low: float, high: float, decimals: int, bounds: int) -> str:
    """The value to ``decimals`` digits and its interval to ``bounds``, if there is one."""
    if pd.isna(value):
        return "–"
    text = f"{value:.{decimals}f}"
    return text if pd.isna(low) else f"{text} [{low:.{bounds}f}, {high:.{bounds}f}]"


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown: numbers to the right, an empty cell for a missing value."""
    numeric = [pd.api.types.is_numeric_dtype(table[column]) for column in table]
    lines = [
        [_heading(column) for column in table],
        ["---:" if right else "---" for right in numeric],
        *([_cell(value) for value in row] for row in table.itertuples(index=False)),
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def write_tables(runs: Sequence[Run], folder: Path | str, *, seed: int = 0) -> list[Path]:
    """Write tables 1 and 2 and the composition, each as CSV (six digits) and Markdown.

    Returns:
        The files' paths, in the order written.
    """
    one, two, three = table1(runs, seed=seed), table2(runs, seed=seed), composition(runs)
    tables = {"table1": (one, printed(one)), "table2": (two, wide(two)), "types": (three, three)}
    written = []
    for name, (data, page) in tables.items():
        for suffix, text in (
            ("csv", data.to_csv(index=False, lineterminator="\n", float_format="%.6g")),
            ("md", markdown(page)),
        ):
            path = Path(folder) / f"{name}.{suffix}"
            write_text(path, text)
            written.append(path)
    return written


def _methods(runs: Sequence[Run]) -> list[tuple[Run, str, str, pd.DataFrame]]:
    """Each run's counts by method and by what it was measured on."""
    found = []
    for run in runs:
        groups = run.counts.groupby(["method", "data", "split"], sort=False)
        found += [(run, method, f"{d}, {split}", rows) for (method, d, split), rows in groups]
    names = [(method, where) for _, method, where, _ in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"two runs are called {twice[0][0]!r} on {twice[0][1]}; give each method its own name."
        )
    return found


def per_image(counts: pd.DataFrame) -> pd.DataFrame:
    """One line per image: mean S and F1 over thresholds, and the counts and F1 at 0.7."""
    counts = counts.assign(
        f1=metrics.f1(counts["tp"], counts["fp"], counts["fn"]),
        s=metrics.s(counts["tp"], counts["fp"], counts["fn"]),
    )
    at = counts[np.isclose(counts["threshold"], AT)].set_index("image_id")
    means = counts.groupby("image_id")[["s", "f1"]].mean()
    if len(at) != len(means):
        raise InputError(f"some images were not counted at IoU {AT}; rerun evaluate.")
    return at.join(means.rename(columns={"s": "score", "f1": "average_f1"})).sort_index()


def _dice(run: Run, counts: pd.DataFrame) -> pd.Series:
    """Pixel Dice of the images that ``counts`` is about, by image."""
    of_method = run.pixels[["method", "data", "split"]].eq(
        counts[["method", "data", "split"]].iloc[0]
    )
    return run.pixels[of_method.all(axis=1)].set_index("image_id")["pixel_dice"]


def _measure(images: pd.DataFrame, measure: str, drawn: Array) -> Array:
    """A measure of table 1 for how often each image was drawn, ``[resamples, images]``.

    Totals that are divided by are redrawn too; NaN where they are 0.
    """
    above, below = MEASURES[measure]
    total = drawn @ images[below].to_numpy(np.float64) if below else drawn.sum(axis=1)
    sums = drawn @ images[above].to_numpy(np.float64)
    return np.divide(sums, total, out=np.full(len(drawn), np.nan), where=total > 0)


def resample(images: int, seed: int, resamples: int) -> Array:
    """How often each image is drawn in each resample: ``[resamples, images]``, rows sum up to n."""
    rng = np.random.default_rng(seed)
    shares = np.full(images, 1 / images)
    return rng.multinomial(images, shares, size=resamples).astype(np.float64)


def bootstrap_interval(values: Array) -> tuple[float, float]:
    """Bounds of the middle 95 % of resampled values; NaN where all are one."""
    if np.ptp(values) == 0 or np.isnan(values).all():
        return (np.nan, np.nan)
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def _history(run: Run) -> dict[str, object]:
    return {heading: run.provenance.get(key) for key, heading in _HISTORY.items()}


def _heading(column: object) -> str:
    return str(column).replace("_", " ").replace("average f1", "average F1").replace("dice", "Dice")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else _plain(value)
    return "" if value is None else str(value).replace("|", "\\|")


def _plain(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
