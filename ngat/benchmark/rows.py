"""Rows of the benchmarks' result files: one measured number each, with what it was measured on.

A benchmark that goes on where it was stopped takes its earlier rows from :func:`kept`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ngat.errors import InputError
from ngat.system.files import read_table, replacing

# quantity   what was measured and its unit: time_ms, peak_bytes_per_node, floor_ms, ...
# scope      layer (joint relations), typed layer, attention alone, or network
# pass       forward, forward+backward; of a network inference, training step
# part       of a training step
# engine     a key of rivals.LABELS, or what of the machine was measured
# low, high  quartiles of the rounds
COLUMNS = [
    "quantity",
    "scope",
    "pass",
    "part",
    "engine",
    "side",
    "batch",
    "nodes",
    "threads",
    "allocator",
    "dtype",
    "value",
    "low",
    "high",
    "rounds",
    "hardware",
    "version",
]
_COUNTS = dict.fromkeys(("side", "batch", "nodes", "threads", "rounds"), "Int64")
_PACKAGES = {"cpu": "numba", "cuda": "triton", "dgl": "dgl", "dgl_gatconv": "dgl"} | {
    "pyg_gatconv": "torch-geometric",
    "basicunet": "monai",
}


def version_of(engine: str) -> str:
    """Versions of what an engine stands on: torch, and its own package."""
    found = f"torch {torch.__version__}"
    if engine in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found += f", {_PACKAGES[engine]} {metadata.version(_PACKAGES[engine])}"
    return found


def row(quantity: str, value: float, **where: Any) -> dict[str, Any]:
    """One row; a column that is not given stays empty."""
    unknown = set(where) - set(COLUMNS)
    assert not unknown, f"no such columns: {unknown}"
    for key in {"low", "high"} & set(where):
        where[key] = _rounded(where[key])
    return {"quantity": quantity, "value": _rounded(value), **where}


def _rounded(value: float) -> float:
    """Four digits are more than a stopwatch holds; counts stay whole."""
    return value if isinstance(value, int) else float(f"{value:.4g}")


def write(path: Path | str | None, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Write rows as CSV, whole or not at all (nowhere for None); gives the table."""
    frame = pd.DataFrame(rows).reindex(columns=COLUMNS).astype(_COUNTS)
    if path is not None:
        with replacing(path) as beside:
            frame.to_csv(beside, index=False, lineterminator="\n")
    return frame


def read(path: Path | str) -> pd.DataFrame:
    """Read what :func:`write` wrote.

    Raises:
        InputError: the file is absent or another one.
    """
    return read_table(path, COLUMNS, "measured times", "ngat benchmark").astype(_COUNTS)


def kept(
    out: Path | str,
    columns: Sequence[str],
    what: str,
    made_by: str,
    weights: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Rows of an earlier run that a benchmark goes on with; none where there is no file.

    Args:
        out: the CSV file. Beside it, with the suffix ``.json``, lies the provenance of its rows,
            whose entry ``weights`` names the network that was measured.
        columns, what, made_by: as in :func:`ngat.system.files.read_table`.
        weights: name and hash of those that are measured now; None where rows depend on none.

    Raises:
        InputError: the rows are of other weights, or nothing says of which; or another table.
    """
    if not Path(out).exists():
        return []
    table = read_table(out, columns, what, made_by)
    if weights is not None:
        _check_weights(Path(out), weights)
    return [dict(row) for row in table.to_dict("records")]


def _check_weights(out: Path, weights: Mapping[str, str]) -> None:
    beside = out.with_suffix(".json")
    remedy = "move it away, or choose another --out"
    try:
        measured = json.loads(beside.read_text(encoding="utf-8"))["weights"]
    except FileNotFoundError as error:
        raise InputError(f"{out}: {beside.name} is missing beside it; {remedy}.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{out}: {beside.name} beside it does not say which weights were measured; {remedy}."
        ) from error
    if measured != weights:
        raise InputError(f"{out}: holds rows of other weights; {remedy}.")


def select(frame: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The rows whose columns have these values (``pass_`` for ``pass``)."""
    wanted: Mapping[str, Any] = {key.rstrip("_"): value for key, value in where.items()}
    mask = pd.Series(True, index=frame.index)
    for column, value in wanted.items():
        mask &= frame[column] == value
    return frame[mask]
