"""``ngat benchmark scaling``: time and memory of ``ngat segment`` and of ``split`` by picture size.

Pictures are drawn, and each is worked on in a process of its own. Rows are written as they are
measured; a run that was stopped goes on with the same command.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import tifffile
from scipy import ndimage

from ngat.benchmark import worker
from ngat.benchmark.measure import peak, reset_peak
from ngat.benchmark.rows import kept, record
from ngat.benchmark.worker import Found, Row, Setting
from ngat.data.nuclei import generator
from ngat.data.stains import PAINTERS
from ngat.errors import InputError
from ngat.instances import core_of, split
from ngat.segmentation.batch import Options, segment_file
from ngat.segmentation.files import Input
from ngat.segmentation.network import trained
from ngat.segmentation.tasks import Tasks
from ngat.system.tables import write_table
from ngat.thresholds import Thresholds

# One row for each picture: its side, the share of it that is tissue, threads of Dask, tiles that
# were searched, nuclei; seconds by the clock and of all processors; peak memory.
SCALING = ("side", "tissue", "workers", "tiles", "nuclei", "seconds", "cpu_seconds", "peak_mib")
# One row for each pair of maps and what was done with it: split.
SPLIT = ("side", "what", "found", "cpu_seconds", "peak_mib")
# Pictures are mosaics of this many drawn squares of stained tissue, each turned and mirrored at
# random. They are drawn at half the resolution: nuclei are then as large as at 40 times.
SQUARES, SIDE, TYPE = 4, 512, "pink_and_purple_tissue"
DIAMETER = 32.0  # of a typical nucleus in them, in pixels
GLASS = 240  # all of one value, as scanners paint what they did not scan
MEBIBYTE = 1 << 20

Bytes = npt.NDArray[np.uint8]


def benchmark_scaling(
    out: Path | str,
    pictures: Sequence[tuple[int, float]] = (),
    workers: Sequence[int] = (1,),
    split_sides: Sequence[int] = (),
    *,
    command: str | Sequence[str] = "ngat.benchmark.scaling.benchmark_scaling",
    quiet: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure what is not in the result files yet.

    Args:
        out: CSV file of the pictures; beside it lies that of ``split`` (``NAME_split.csv``), and
            the provenance with the suffix ``.json``.
        pictures: sides in pixels, and the share of tissue in each.
        workers: numbers of threads that do tiles at once.
        split_sides: sides of the maps that ``split`` divides.

    Returns:
        both tables.

    Raises:
        BenchmarkFailed: a process ended with an error.
        InputError: a number makes no sense; ``out`` is another table, or holds rows of other
            weights.
    """
    if any(side < 64 for side in (*(side for side, _ in pictures), *split_sides)):
        raise InputError("A picture needs at least 64 pixels a side.")
    if any(not 0 < tissue <= 1 for _, tissue in pictures):
        raise InputError("The share of tissue lies between 0 and 1, for example 20000:0.1.")
    if any(count < 1 for count in workers):
        raise InputError("--workers: at least one thread is needed.")
    out = Path(out)
    beside = out.with_name(f"{out.stem}_split{out.suffix}")
    weights = trained(None, "cpu", False).identity
    plan = {"pictures": pictures, "workers": workers, "split_sides": split_sides}
    found = kept(out, SCALING, "ngat benchmark scaling", weights)
    maps = kept(beside, SPLIT, "ngat benchmark scaling")  # drawn, whatever the weights
    began, setting = time.perf_counter(), Setting(allocator="default")
    # At once, so that a run that is stopped tells whose rows it leaves.
    record(out, command, began, plan=plan, weights=weights)
    for side, tissue in pictures:
        for count in workers:
            which = {"side": side, "tissue": tissue, "workers": count}
            if not any(which.items() <= row.items() for row in found):
                found += worker.run(segment_picture, setting, which, quiet=quiet)[0]
                _write(out, found, SCALING)
    for side in split_sides:
        if all(row["side"] != side for row in maps):
            maps += worker.run(split_maps, setting, {"side": side}, quiet=quiet)[0]
            _write(beside, maps, SPLIT)
    record(out, command, began, plan=plan, weights=weights)
    return _write(out, found, SCALING), _write(beside, maps, SPLIT)


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


def _write(path: Path, rows: list[Row], columns: Sequence[str]) -> pd.DataFrame:
    """The rows so far, sorted; no file where there are none."""
    table = pd.DataFrame(rows, columns=list(columns)).sort_values(list(columns[:3]))
    if rows:
        write_table(path, table)
    return table


def draw(path: Path, side: int, tissue: float) -> None:
    """Write a square picture, RGB: tissue on the left, glass on the right.

    Args:
        path: a TIFF file, in which pixels lie plainly.
        side: in pixels.
        tissue: its share of the width.
    """
    squares, _ = _squares()
    rng = generator(0, 1)
    columns = -(-side // SIDE)
    edge = round(tissue * side)

    def rows() -> Iterator[Bytes]:
        left = side
        while left > 0:
            chosen = [squares[int(len(squares) * float(rng.random()))] for _ in range(columns)]
            band = np.concatenate([_turned(s, int(8 * float(rng.random()))) for s in chosen], 1)
            band[:, edge:] = GLASS
            band = band[:left, :side]
            left -= SIDE
            yield from band

    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(rows(), shape=(side, side, 3), dtype=np.uint8, photometric="rgb", rowsperstrip=1)


def segment_picture(setting: Setting, side: int, tissue: float, workers: int) -> Found:
    """``ngat segment`` of one drawn picture, with its default formats.

    The diameter of nuclei is told, so that the magnification is not searched.

    Args:
        workers: threads of Dask, each with one thread of torch.

    Returns:
        one row: seconds by the clock and of all processors, peak memory.
    """
    with tempfile.TemporaryDirectory(prefix="ngat-benchmark-") as folder:
        path = Path(folder) / "picture.tif"
        draw(path, side, tissue)
        options = Options(diameter=DIAMETER, device="cpu")
        options.network()  # what is loaded and compiled once does not grow with a picture
        reset_peak()
        searched: list[int] = []
        began, cpu = time.perf_counter(), time.process_time()
        [outcome] = segment_file(
            Input(path, "picture"),
            Path(folder) / "out",
            options,
            tasks=Tasks(workers),
            progress=lambda done, total: searched.append(total // 2),
        )
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        peak_mib = round(peak() / MEBIBYTE)
    if outcome.status != "done":
        raise RuntimeError(outcome.remark)
    yield {
        "side": side,
        "tissue": tissue,
        "workers": workers,
        "tiles": searched[0],
        "nuclei": outcome.nuclei,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "peak_mib": peak_mib,
    }


def split_maps(setting: Setting, side: int) -> Found:
    """``split`` of drawn maps: nuclei, seconds of the processor, peak memory beyond the maps."""
    probability, core = _maps(side)
    chosen = Thresholds(core=0.2, prominence=0.1, landscape="core")
    before, began = reset_peak(), time.process_time()
    labels = split(
        probability,
        core,
        chosen.probability,
        chosen.core,
        landscape=chosen.landscape,
        prominence=chosen.prominence,
    )
    yield {
        "side": side,
        "what": "split",
        "found": int(labels.max()),
        "cpu_seconds": round(time.process_time() - began, 2),
        "peak_mib": round((peak() - before) / MEBIBYTE),
    }


def _squares() -> tuple[list[Bytes], list[npt.NDArray[np.int32]]]:
    """Drawn squares of tissue, and their labels."""
    drawn = [PAINTERS[TYPE](generator(0, 0, k), SIDE // 2, SIDE // 2) for k in range(SQUARES)]
    larger = [ndimage.zoom(picture, (2, 2, 1), order=1) for picture, _ in drawn]
    pictures = [np.clip(np.rint(picture), 0, 255).astype(np.uint8) for picture in larger]
    return pictures, [np.kron(labels, np.ones((2, 2), np.int32)) for _, labels in drawn]


def _maps(side: int) -> npt.NDArray[np.float32]:
    """Nuclei and cores, ``[2, side, side]``, as a good network draws them: blurred, some ripple."""
    rng = np.random.default_rng(0)
    squares = []
    for labels in _squares()[1]:
        ripple = 0.56 * ndimage.gaussian_filter(rng.standard_normal(labels.shape), 2.0)
        masks = np.stack([labels > 0, core_of(labels)]).astype(float)
        squares.append(np.clip(ndimage.gaussian_filter(masks, (0, 2.0, 2.0)) + ripple, 0, 1))
    columns = -(-side // SIDE)
    order = rng.integers(0, len(squares), (columns, columns))
    mosaic = np.block([[squares[k] for k in row] for row in order])
    return mosaic[:, :side, :side].astype(np.float32)


def _turned(square: Bytes, way: int) -> Bytes:
    turned = np.rot90(square, way % 4)
    return turned[::-1] if way >= 4 else turned
