"""``ngat segment``, measured: ``ngat benchmark scaling`` and ``ngat benchmark tiles``.

The first tells time and memory of ``ngat segment`` and of ``split`` by picture size, each picture
in a process of its own. The second tells whether tiles find what the whole picture shows, on real
pictures. Rows are written as they are measured; a run that was stopped goes on with the same
command.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ngat.benchmark import worker
from ngat.benchmark.rows import kept
from ngat.data.sample import TYPES, Sample, fingerprint
from ngat.errors import InputError
from ngat.io.picture import Picture, array_picture
from ngat.segmentation.find import FoundNuclei, find, in_turn
from ngat.segmentation.job import PictureJob
from ngat.segmentation.network import Network, trained
from ngat.system.files import replacing, write_json
from ngat.system.provenance import provenance

# One row for each picture: its side, the share of it that is tissue, threads of Dask, tiles that
# were searched, nuclei; seconds by the clock and of all processors; peak memory.
PICTURE = ("side", "tissue", "workers")
SCALING = (*PICTURE, "tiles", "nuclei", "seconds", "cpu_seconds", "peak_mib")
# One row for each pair of maps and what was done with it.
SPLIT = ("side", "what", "found", "cpu_seconds", "peak_mib")
# A picture counts only if tiles with their halos are smaller than it: its longer side is at least
# so many pixels, of which the network sees nearly as many.
LONGER, SEEN = 500, 480
# By picture and side of the tiles: their number, nuclei found, pixels whose nucleus differs from
# the whole picture's, and the largest difference of a probability.
TILES = (
    "image_id",
    "type",
    "magnification",
    "tile",
    "tiles",
    "nuclei",
    "nuclei_whole",
    "pixels_differing",
    "largest_difference",
)


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
    pictures = kept(out, SCALING, "scaling", "ngat benchmark scaling", measured)
    maps = kept(beside, SPLIT, "scaling", "ngat benchmark scaling")  # drawn, whatever the weights
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
            _write(out, pictures, SCALING, sort=True)
    for side in plan.split_sides:
        if all(row["side"] != side for row in maps):
            arguments = {"side": side, "by_reconstruction": side <= plan.reconstruction_up_to}
            maps += _measured("split", arguments, quiet)
            _write(beside, maps, SPLIT, sort=True)
    record()
    return _write(out, pictures, SCALING, sort=True), _write(beside, maps, SPLIT, sort=True)


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


def benchmark_tiles(
    samples: Sequence[Sample],
    tiles: Sequence[int],
    out: Path | str,
    *,
    weights: Path | None = None,
    command: str | Sequence[str] = "ngat.benchmark.benchmark_tiles",
    progress: Callable[[str], None] = lambda name: None,
) -> pd.DataFrame:
    """Find the nuclei of each picture as a whole and by tiles of each side, and compare.

    The network sees the longer side of each picture with ``SEEN`` pixels; the halo is its own. Rows
    are written picture by picture, and a run that was stopped goes on.

    Args:
        tiles: sides, as the network sees them.
        out: CSV file; its provenance goes beside it with the suffix ``.json``.
        weights: None takes those that are shipped.
    """
    network = trained(weights, "cpu", False)
    measured, told = network.identity, Path(out).with_suffix(".json")
    rows = kept(out, TILES, "tiles beside the whole", "ngat benchmark tiles", measured)
    for row in rows:
        row["image_id"] = str(row["image_id"])  # a name of digits reads as a number
    began, of_data = time.perf_counter(), fingerprint(list(samples))

    def record() -> None:
        minutes = (time.perf_counter() - began) / 60
        found = provenance(command, None, of_data, minutes, weights=measured, halo=network.halo)
        write_json(told, found)

    record()  # a run that is stopped tells whose rows it leaves
    for sample in samples:
        if any(row["image_id"] == sample.image_id for row in rows):
            continue
        progress(sample.image_id)
        picture = array_picture(sample.image)
        wanted = SEEN / max(picture.shape)
        whole_job, whole = _found(picture, network, wanted, 8 * max(picture.shape))
        everything = (slice(0, picture.shape[0]), slice(0, picture.shape[1]))
        for tile in tiles:
            job, cut = _found(picture, network, wanted, tile)
            differing = cut.labels.read(everything) != whole.labels.read(everything)
            largest = max(
                float(np.abs(one.read(everything) - other.read(everything)).max())
                for one, other in (
                    (job.probability, whole_job.probability),
                    (job.core, whole_job.core),
                )
            )
            numbers = (len(job.grid), len(cut.table), len(whole.table), int(differing.sum()))
            named = (sample.image_id, sample.type, round(cut.magnification, 4), tile)
            rows.append(dict(zip(TILES, (*named, *numbers, float(f"{largest:.3g}")), strict=True)))
        _write(out, rows, TILES)
    record()
    return _write(out, rows, TILES)


def _found(
    picture: Picture, network: Network, magnification: float, tile: int
) -> tuple[PictureJob, FoundNuclei]:
    """The nuclei, and the job that holds the maps."""
    jobs: list[PictureJob] = []

    def noted(work: Callable[[PictureJob, int], Any], job: PictureJob, *rest: Any) -> None:
        jobs.append(job)
        in_turn(work, job, *rest)

    found = find(picture, network, magnification=magnification, tile=tile, whole=0, tiles=noted)
    return jobs[0], found


def suitable(samples: Sequence[Sample], count: int) -> list[Sample]:
    """So many pictures that are large enough, of all types in turn, small ones first.

    Raises:
        InputError: there are fewer.
    """
    large = [sample for sample in samples if max(sample.image.shape[:2]) >= LONGER]
    by_type = [sorted((s for s in large if s.type == t), key=lambda s: s.image.size) for t in TYPES]
    in_turns = [group[rank] for rank in range(len(large)) for group in by_type if rank < len(group)]
    if len(in_turns) < count:
        raise InputError(
            f"only {len(in_turns)} pictures have a side of {LONGER} pixels; ask for fewer."
        )
    return in_turns[:count]


def tiles_report(table: pd.DataFrame) -> list[str]:
    """What was found, by side of the tiles."""
    lines = []
    for tile, rows in table.groupby("tile"):
        same = int((rows["pixels_differing"] == 0).sum())
        lines.append(
            f"tiles of {tile}: nuclei of {same} of {len(rows)} pictures are those of the whole; "
            f"probabilities differ by at most {rows['largest_difference'].max():.1e}"
        )
    return lines


def _write(
    path: Path | str, rows: list[dict[str, Any]], columns: Sequence[str], sort: bool = False
) -> pd.DataFrame:
    """The rows so far; no file where there are none."""
    table = pd.DataFrame(rows, columns=list(columns))
    if sort:
        table = table.sort_values(list(columns[:3]))
    if rows:
        with replacing(path) as beside:
            table.to_csv(beside, index=False, lineterminator="\n")
    return table
