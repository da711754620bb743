"""``ngat benchmark tiles``: whether tiles find what the whole picture shows, on real pictures.

Rows are written picture by picture; a run that was stopped goes on with the same command.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ngat.benchmark.rows import kept
from ngat.data import TYPES, Sample, fingerprint
from ngat.errors import InputError
from ngat.io.picture import Picture, array_picture
from ngat.segmentation.find import FoundNuclei, search, tiled
from ngat.segmentation.job import PictureJob
from ngat.segmentation.network import Network, trained
from ngat.system.files import write_json, write_table
from ngat.system.provenance import provenance

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


def benchmark_tiles(
    samples: Sequence[Sample],
    tiles: Sequence[int],
    out: Path | str,
    *,
    weights: Path | None = None,
    command: str | Sequence[str] = "ngat.benchmark.tiles.benchmark_tiles",
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
        write_table(out, pd.DataFrame(rows, columns=list(TILES)))
    record()
    return pd.DataFrame(rows, columns=list(TILES))


def _found(
    picture: Picture, network: Network, magnification: float, tile: int
) -> tuple[PictureJob, FoundNuclei]:
    """The nuclei, and the job that holds the maps."""
    cut = tiled(picture, network, magnification, tile)
    job = PictureJob(picture, network, cut, "split", network.thresholds("split"))
    return job, search(job)


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
