"""Rows of the benchmarks' result files: one measured number each, with what it was measured on.

A benchmark that goes on where it was stopped takes its earlier rows from :func:`kept`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ngat.errors import InputError
from ngat.system.files import earlier_json, write_json
from ngat.system.provenance import provenance
from ngat.system.tables import read_table, write_table

# quantity   what was measured and its unit: time_ms, peak_bytes_per_node, floor_ms, ...
# scope      layer (joint relations), typed layer, or network
# pass       forward, forward+backward; of a network inference, training step
# part       of a training step
# engine     a key of layers.LABELS, or what of the machine was measured
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
        write_table(path, frame)
    return frame


def read(path: Path | str) -> pd.DataFrame:
    """Read what :func:`write` wrote.

    Raises:
        InputError: the file is absent or another one.
    """
    return read_table(path, COLUMNS, "measured times", "ngat benchmark").astype(_COUNTS)


def select(frame: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The rows whose columns have these values (``pass_`` for ``pass``)."""
    mask = pd.Series(True, index=frame.index)
    for column, value in where.items():
        mask &= frame[column.rstrip("_")] == value
    return frame[mask]


def record(
    out: Path | str,
    command: str | Sequence[str],
    began: float,
    *,
    seed: int | None = 0,
    data: str | None = None,
    device: str = "cpu",
    **about: Any,
) -> None:
    """Write where a file's rows come from beside it, with the suffix ``.json``.

    Args:
        began: by ``time.perf_counter``.
        seed, data, device, about: as in :func:`ngat.system.provenance.provenance`.
    """
    minutes = (time.perf_counter() - began) / 60
    found = provenance(command, seed, data, minutes, device=device, **about)
    write_json(Path(out).with_suffix(".json"), found)


def kept(
    out: Path | str, columns: Sequence[str], made_by: str, weights: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Rows of an earlier run that a benchmark goes on with; none where there is no file.

    Args:
        out: the CSV file. What :func:`record` wrote beside it names the network that was measured,
            as ``weights``.
        columns, made_by: as in :func:`ngat.system.tables.read_table`.
        weights: name and hash of those that are measured now; None where rows depend on none.

    Raises:
        InputError: the rows are of other weights, or nothing says of which; or another table.
    """
    out = Path(out)
    if not out.exists():
        return []
    table = read_table(out, columns, "this benchmark", made_by)
    if weights is not None:
        _check_weights(out, weights)
    return [dict(row) for row in table.to_dict("records")]


def _check_weights(out: Path, weights: Mapping[str, str]) -> None:
    beside = out.with_suffix(".json")
    remedy = "move it away, or choose another --out"
    measured = earlier_json(beside).get("weights")
    if measured is None:
        raise InputError(
            f"{out}: {beside.name} beside it is missing or does not say which weights were "
            f"measured; {remedy}."
        )
    if measured != weights:
        raise InputError(f"{out}: holds rows of other weights; {remedy}.")
