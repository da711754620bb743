"""A user's own pictures: from files to label images and outlines drawn on the picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage.segmentation import find_boundaries

from ngat.data.picture import read_picture
from ngat.errors import InputError
from ngat.inference import Method, instances, predict, thresholds_from
from ngat.instances import Labels
from ngat.system.files import replacing
from ngat.system.progress import track
from ngat.training.weights import Weights

OUTLINE = (230, 159, 0)  # orange of the Okabe-Ito palette: seen on dark, violet and grey


def predict_files(
    weights: Weights,
    images: Sequence[Path],
    out: Path,
    method: Method = "split",
    *,
    tta: bool = False,
    progress: bool = True,
) -> Iterator[tuple[Path, int]]:
    """Predict picture files one by one.

    ``out/<name>.png`` is a label image of 16 bits, as `ngat score` reads it;
    ``out/outlines/<name>.png`` is the picture with every nucleus outlined.

    Yields:
        each label image's path and its number of nuclei.

    Raises:
        InputError: a file is no picture, or ``out`` cannot be written.
    """
    thresholds = thresholds_from(weights.provenance, tta)[method]
    for path in track(images, "Predict", progress=progress):
        picture = read_picture(path)
        labels = instances(predict(weights.model, picture, tta=tta), method, thresholds)
        target = out / f"{path.stem}.png"
        if labels.max(initial=0) > np.iinfo(np.uint16).max:
            raise InputError(f"{path}: more nuclei than 16 bits can number; cut it into tiles.")
        _write(target, labels.astype(np.uint16))
        _write(out / "outlines" / f"{path.stem}.png", outlined(picture, labels))
        yield target, int(labels.max(initial=0))


def outlined(picture: npt.NDArray[np.uint8], labels: Labels) -> npt.NDArray[np.uint8]:
    """The picture ``[H, W, 3]`` with the innermost pixels of every nucleus' edge in colour."""
    drawn = picture.copy()
    drawn[find_boundaries(labels, mode="inner")] = OUTLINE
    return drawn


def _write(path: Path, pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> None:
    with replacing(path) as beside:
        Image.fromarray(pixels).save(beside, "PNG")
