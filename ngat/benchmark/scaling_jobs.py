"""What ``ngat benchmark scaling`` does in a process of its own: a picture, or a pair of maps."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from scipy import ndimage

from ngat.benchmark.measure import resident
from ngat.benchmark.worker import Setting, WorkerResult
from ngat.data.nuclei import generator
from ngat.data.stains import PAINTERS
from ngat.h_maxima import h_maxima
from ngat.inference import Thresholds
from ngat.instances import core_of, split

# Pictures are mosaics of this many drawn squares of stained tissue, each turned and mirrored at
# random. They are drawn at half the resolution: nuclei are then as large as at 40 times.
SQUARES, SIDE, TYPE = 4, 512, "pink_and_purple_tissue"
DIAMETER = 32.0  # of a typical nucleus in them, in pixels
GLASS = 240  # all of one value, as scanners paint what they did not scan
MEBIBYTE = 1 << 20

Bytes = npt.NDArray[np.uint8]


def draw(path: Path, side: int, tissue: float, seed: int = 0) -> None:
    """Write a square picture, RGB: tissue on the left, glass on the right.

    Args:
        path: a TIFF file, in which pixels lie plainly.
        side: in pixels.
        tissue: its share of the width.
    """
    squares, _ = _squares(seed)
    rng = generator(seed, 1)
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


def segment_picture(
    setting: Setting, side: int, tissue: float, workers: int, diameter: float
) -> WorkerResult:
    """``ngat segment`` of one drawn picture, with its default formats.

    Args:
        workers: threads of Dask, each with one thread of torch.
        diameter: of a typical nucleus, as ``--diameter`` is told.

    Returns:
        one row: seconds by the clock and of all processors, peak memory.
    """
    from ngat.segmentation.batch import Options, segment_file
    from ngat.segmentation.inputs import Input
    from ngat.segmentation.tasks import Tasks

    with tempfile.TemporaryDirectory(prefix="ngat-benchmark-") as folder:
        path = Path(folder) / "picture.tif"
        draw(path, side, tissue)
        options = Options(diameter=diameter, device="cpu")
        options.network()  # what is loaded and compiled once does not grow with a picture
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM := VmRSS
        searched: list[int] = []
        began, cpu = time.perf_counter(), time.process_time()
        [outcome] = segment_file(
            Input(path, "picture"),
            Path(folder) / "out",
            options,
            tiles=Tasks(workers).tiles(),
            progress=lambda done, total: searched.append(total // 2),
        )
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        peak = resident("VmHWM")
    if outcome.status != "done":
        raise RuntimeError(outcome.remark)
    row = {
        "side": side,
        "tissue": tissue,
        "workers": workers,
        "tiles": searched[0],
        "nuclei": outcome.nuclei,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "peak_mib": round(peak / MEBIBYTE),
    }
    return WorkerResult([row], {})


def split_maps(setting: Setting, side: int, by_reconstruction: bool) -> WorkerResult:
    """``split`` of drawn maps, and its h-maxima alone beside scikit-image's reconstruction.

    Args:
        by_reconstruction: whether to measure the reconstruction too, which sorts all pixels.
    """
    probability, core = _maps(side)
    chosen = Thresholds(core=0.2, prominence=0.1, landscape="core")
    smooth = ndimage.gaussian_filter(core.astype(np.float64), 1.0)
    mask = probability > chosen.probability
    calls = {
        "split": lambda: split(
            probability,
            core,
            chosen.probability,
            chosen.core,
            landscape=chosen.landscape,
            prominence=chosen.prominence,
        ).max(),
        "h_maxima": lambda: _count(h_maxima(smooth, chosen.prominence, mask)),
    }
    if by_reconstruction:
        calls["reconstruction"] = lambda: _count(_reconstructed(smooth, chosen.prominence))
    rows = []
    for name, call in calls.items():
        Path("/proc/self/clear_refs").write_text("5")
        before, began = resident("VmHWM"), time.process_time()
        count = int(call())
        rows.append(
            {
                "side": side,
                "what": name,
                "found": count,
                "cpu_seconds": round(time.process_time() - began, 2),
                "peak_mib": round((resident("VmHWM") - before) / MEBIBYTE),
            }
        )
    return WorkerResult(rows, {})


def _reconstructed(heights: npt.NDArray[np.float64], h: float) -> npt.NDArray[np.bool_]:
    """h-maxima as they are defined, over the background as well: how ``split`` found them once."""
    from skimage.morphology import local_maxima, reconstruction

    cross = ndimage.generate_binary_structure(2, 1)
    grown = reconstruction(heights - h, heights, method="dilation", footprint=cross)
    return np.asarray(local_maxima(grown, connectivity=1), dtype=bool)


def _count(mask: npt.NDArray[np.bool_]) -> int:
    return int(ndimage.label(mask)[1])


def _squares(seed: int) -> tuple[list[Bytes], list[npt.NDArray[np.int32]]]:
    """Drawn squares of tissue, and their labels."""
    drawn = [PAINTERS[TYPE](generator(seed, 0, k), SIDE // 2, SIDE // 2) for k in range(SQUARES)]
    larger = [ndimage.zoom(picture, (2, 2, 1), order=1) for picture, _ in drawn]
    pictures = [np.clip(np.rint(picture), 0, 255).astype(np.uint8) for picture in larger]
    return pictures, [np.kron(labels, np.ones((2, 2), np.int32)) for _, labels in drawn]


def _maps(side: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Maps as a good network would draw them: blurred masks and cores, and some ripple."""
    rng = np.random.default_rng(0)
    maps = []
    for labels in _squares(0)[1]:
        ripple = 0.08 * ndimage.gaussian_filter(rng.standard_normal(labels.shape), 2.0) * 7
        maps.append(
            [
                np.clip(ndimage.gaussian_filter(plane.astype(float), 2.0) + ripple, 0, 1)
                for plane in (labels > 0, core_of(labels))
            ]
        )
    columns = -(-side // SIDE)
    order = rng.integers(0, len(maps), (columns, columns))
    both = (np.block([[maps[k][plane] for k in row] for row in order]) for plane in (0, 1))
    probability, core = (plane[:side, :side].astype(np.float32) for plane in both)
    return probability, core


def _turned(square: Bytes, way: int) -> Bytes:
    turned = np.rot90(square, way % 4)
    return turned[::-1] if way >= 4 else turned
