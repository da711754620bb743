"""``ngat benchmark tiles``: whether tiles find what the whole picture shows, on real pictures.

Rows are written picture by picture; a run that was stopped goes on with the same command.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ngat.benchmark.rows import kept, record
from ngat.data import TYPES, Sample, fingerprint
from ngat.data.split import in_turns
from ngat.errors import InputError
from ngat.io.picture import Picture, array_picture
from ngat.segmentation.find import FoundNuclei, search, tiled
from ngat.segmentation.job import PictureJob
from ngat.segmentation.network import Segmenter, trained
from ngat.system.tables import write_table

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
    about: dict[str, Any] = {"weights": network.identity, "halo": network.halo}
    about |= {"seed": None, "data": fingerprint(samples)}
    rows = kept(out, TILES, "ngat benchmark tiles", network.identity)
    done = {str(row["image_id"]) for row in rows}  # a name of digits reads as a number
    began = time.perf_counter()
    record(out, command, began, **about)  # a run that is stopped tells whose rows it leaves
    for sample in samples:
        if sample.image_id not in done:
            progress(sample.image_id)
            rows += _compared(sample, network, tiles)
            write_table(out, pd.DataFrame(rows, columns=list(TILES)))
    record(out, command, began, **about)
    return pd.DataFrame(rows, columns=list(TILES))


def _compared(sample: Sample, network: Segmenter, tiles: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of a picture, one for each side of tiles."""
    picture = array_picture(sample.image)
    whole_job, whole = _found(picture, network, 8 * max(picture.shape))
    rows = []
    for tile in tiles:
        job, found = _found(picture, network, tile)
        row = {
            "image_id": sample.image_id,
            "type": sample.type,
            "magnification": round(found.magnification, 4),
            "tile": tile,
            "tiles": len(job.grid),
            "nuclei": len(found.table),
            "nuclei_whole": len(whole.table),
            "pixels_differing": int((job.labels.whole() != whole_job.labels.whole()).sum()),
        }
        probability = job.probability.whole() - whole_job.probability.whole()
        core = job.core.whole() - whole_job.core.whole()
        largest = max(float(np.abs(probability).max()), float(np.abs(core).max()))
        rows.append({**row, "largest_difference": float(f"{largest:.3g}")})
    return rows


def _found(picture: Picture, network: Segmenter, tile: int) -> tuple[PictureJob, FoundNuclei]:
    """The nuclei, and the job that holds the maps."""
    cut = tiled(picture, network, SEEN / max(picture.shape), tile)
    job = PictureJob(picture, network, cut, "split", network.thresholds("split"))
    return job, search(job)


def suitable(samples: Sequence[Sample], count: int) -> list[Sample]:
    """So many pictures that are large enough, of all types in turn, small ones first.

    Raises:
        InputError: there are fewer.
    """
    large = [sample for sample in samples if max(sample.image.shape[:2]) >= LONGER]
    by_type = [s for t in TYPES for s in sorted(large, key=lambda s: s.image.size) if s.type == t]
    if len(by_type) < count:
        raise InputError(
            f"only {len(by_type)} pictures have a side of {LONGER} pixels; ask for fewer."
        )
    return [by_type[place] for place in in_turns(s.type for s in by_type)[:count]]


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
