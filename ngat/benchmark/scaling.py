"""``ngat benchmark scaling``: time and memory of ``ngat segment`` and of ``split`` by picture size.

Each picture is measured in a process of its own, and its row is written at once: a run that was
stopped goes on with the same command.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ngat.benchmark import worker
from ngat.benchmark.rows import kept
from ngat.errors import InputError
from ngat.segmentation.network import trained
from ngat.system.files import replacing, write_json
from ngat.system.provenance import provenance

MADE_BY = "ngat benchmark scaling"
# One row for each picture: its side, the share of it that is tissue, threads of Dask, tiles that
# were searched, nuclei; seconds by the clock and of all processors; peak memory.
PICTURE = ("side", "tissue", "workers")
COLUMNS = (*PICTURE, "tiles", "nuclei", "seconds", "cpu_seconds", "peak_mib")
# One row for each pair of maps and what was done with it.
SPLIT_COLUMNS = ("side", "what", "found", "cpu_seconds", "peak_mib")


@dataclass(frozen=True)
class ScalingPlan:
    """What is measured.

    Attributes:
        pictures: sides in pixels, and the share of tissue in each.
        workers: numbers of threads that do tiles at once.
        split_sides: sides of the maps that ``split`` divides.
        reconstruction_up_to: largest side for scikit-image's reconstruction, which takes minutes.
        diameter: of a typical nucleus as ``--diameter`` is told; the magnification is not searched.
    """

    pictures: tuple[tuple[int, float], ...] = ()
    workers: tuple[int, ...] = (1,)
    split_sides: tuple[int, ...] = ()
    reconstruction_up_to: int = 2500
    diameter: float = 32.0

    def __post_init__(self) -> None:
        sides = [side for side, _ in self.pictures] + list(self.split_sides)
        if any(side < 64 for side in sides):
            raise InputError("A picture needs at least 64 pixels a side.")
        if any(not 0 < tissue <= 1 for _, tissue in self.pictures):
            raise InputError("The share of tissue lies between 0 and 1, for example 20000:0.1.")
        if any(count < 1 for count in self.workers):
            raise InputError("--workers: at least one thread is needed.")


def benchmark_scaling(
    plan: ScalingPlan,
    out: Path | str,
    *,
    command: str | Sequence[str] = "ngat.benchmark.benchmark_scaling",
    quiet: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure what of a plan is not in the result files yet.

    Args:
        out: CSV file of the pictures; beside it lies that of ``split`` (``NAME_split.csv``), and
            the provenance with the suffix ``.json``.

    Returns:
        both tables.

    Raises:
        BenchmarkFailed: a process ended with an error.
        InputError: ``out`` is another table, or holds rows of other weights.
    """
    out = Path(out)
    beside = out.with_name(f"{out.stem}_split{out.suffix}")
    measured = trained(None, "cpu", False).identity
    pictures = kept(out, COLUMNS, "scaling", MADE_BY, measured)
    maps = kept(beside, SPLIT_COLUMNS, "scaling", MADE_BY)  # drawn, whatever the weights
    began = time.perf_counter()

    def record() -> None:
        minutes = (time.perf_counter() - began) / 60
        found = provenance(command, 0, None, minutes, plan=asdict(plan), weights=measured)
        write_json(out.with_suffix(".json"), found)

    record()  # a run that is stopped tells whose rows it leaves
    for side, tissue in plan.pictures:
        for workers in plan.workers:
            if any(
                tuple(row[name] for name in PICTURE) == (side, tissue, workers) for row in pictures
            ):
                continue
            arguments = {
                "side": side,
                "tissue": tissue,
                "workers": workers,
                "diameter": plan.diameter,
            }
            pictures += _measured("segment", arguments, quiet)
            _write(out, pictures, COLUMNS)
    for side in plan.split_sides:
        if all(row["side"] != side for row in maps):
            arguments = {"side": side, "by_reconstruction": side <= plan.reconstruction_up_to}
            maps += _measured("split", arguments, quiet)
            _write(beside, maps, SPLIT_COLUMNS)
    record()
    return _write(out, pictures, COLUMNS), _write(beside, maps, SPLIT_COLUMNS)


def scaling_report(pictures: pd.DataFrame, maps: pd.DataFrame) -> list[str]:
    """Both tables in words, with megapixels a minute and the growth from size to size."""
    lines = []
    if len(pictures):
        shown = pictures.copy()
        megapixels = shown["side"] ** 2 / 1e6
        shown["MP/min"] = (60 * megapixels / shown["seconds"]).round(1)
        shown["MP/CPU min"] = (60 * megapixels / shown["cpu_seconds"]).round(1)
        lines += [shown.to_string(index=False), ""]
    if len(maps):
        lines.append(maps.to_string(index=False))
    return lines


def _measured(kind: str, arguments: dict[str, Any], quiet: bool) -> list[dict[str, Any]]:
    setting = worker.Setting(1, "default")
    return worker.run(kind, arguments, setting, quiet=quiet).rows


def _write(path: Path, rows: list[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(columns)).sort_values(list(columns[:3]))
    if rows:
        with replacing(path) as beside:
            table.to_csv(beside, index=False, lineterminator="\n")
    return table
