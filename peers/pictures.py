"""The exported pictures as a peer reads them, and patches with nuclei of one size.

Of this project's package only parts are used that need no more than numpy, scipy, scikit-image and
Pillow: a peer's environment has no torch, or another one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ngat.errors import InputError
from ngat.magnification import LIMITS, SIZE, size_of

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]

# Nuclei in patches have √area SIZE, times a factor with this standard deviation in octaves; a share
# of them any size within TAIL. As in the training of this project's networks.
OCTAVES, SHARE, TAIL = 0.45, 0.15, (-2.3, 3.0)
# How far a picture is resized in training and in validation at its annotated size.
FACTORS = (1 / 16, 4.0)


@dataclass(frozen=True)
class Picture:
    """A picture ``uint8 [H, W, 3]``; ``labels`` ``int32 [H, W]`` are absent in the test."""

    image_id: str
    image: Pixels
    labels: Labels | None
    type: str

    @property
    def known_size(self) -> float:
        """Median √area of the annotated nuclei in pixels."""
        assert self.labels is not None
        return size_of(self.labels)

    @property
    def known_factor(self) -> float:
        """The magnification at which the annotated nuclei have the size :data:`SIZE`."""
        return float(np.clip(SIZE / self.known_size, *FACTORS))


def read(folder: Path, split: str, limit: int | None = None) -> list[Picture]:
    """Pictures of one split, in the order in which they were exported (the types in turn).

    Raises:
        InputError: the folder is no export, or a file of it is missing or damaged.
    """
    listed = folder / "pictures.csv"
    if not listed.exists():
        raise InputError(f"{listed}: is missing; write the pictures with `ngat peers export`.")
    with listed.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split][:limit]
    if not rows:
        raise InputError(f"{listed}: names no picture of {split}; export the pictures again.")
    pictures = []
    for row in rows:
        name = f"{row['image_id']}.png"
        image = _open(folder / split / "images" / name)
        masks = folder / split / "masks" / name
        labels = None if split == "test" else _open(masks).astype(np.int32)
        if image.ndim != 3 or (labels is not None and labels.shape != image.shape[:2]):
            raise InputError(f"{masks}: does not fit its picture; export the pictures again.")
        pictures.append(Picture(row["image_id"], image, labels, row["type"]))
    return pictures


def _open(path: Path) -> npt.NDArray[Any]:
    try:
        return np.asarray(Image.open(path))
    except (OSError, SyntaxError) as error:
        raise InputError(f"{path}: cannot be read ({error}); export the pictures again.") from error


def stretched(image: Pixels, low: float, high: float) -> Pixels:
    """Every channel from its percentile ``low`` to ``high``, as 0 to 255.

    A channel with a twentieth of the widest range, or less, shows noise: it stays dark.
    """
    bottom, top = np.percentile(image, (low, high), axis=(0, 1))
    spread = np.maximum(top - bottom, max(0.05 * float((top - bottom).max()), 1.0))
    return np.rint(255 * np.clip((image - bottom) / spread, 0, 1)).astype(np.uint8)


def resized(image: Pixels, factor: float) -> Pixels:
    """A picture at another magnification, averaged where it is reduced."""
    height, width = image.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    if size == (width, height):
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def resized_labels(labels: Labels, shape: tuple[int, int]) -> Labels:
    """Labels on another grid: each pixel takes the nearest."""
    if labels.shape == shape:
        return labels
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * old / n).astype(int), old - 1)
        for n, old in zip(shape, labels.shape, strict=True)
    )
    return labels[rows[:, None], columns]


def draw(
    pictures: list[Picture], step: int, batch: int, seed: int, balance: float = 0.5
) -> Iterator[tuple[int, float, np.random.Generator]]:
    """What a batch is made of: index of a picture, size factor, and chance for the rest.

    A type of n pictures gets a share ∝ n^(1 − ``balance``), as in the training of this project's
    networks. It depends on ``step`` and ``seed`` alone, so that a run that was killed goes on with
    the batches that it would have seen.
    """
    _, which, counts = np.unique(
        [p.type for p in pictures], return_inverse=True, return_counts=True
    )
    of_kind = counts ** (1.0 - balance)
    shares = (of_kind / of_kind.sum() / counts)[which]
    for place in range(batch):
        rng = np.random.default_rng([seed, step, place])
        index = int(rng.choice(len(pictures), p=shares))
        if rng.random() < SHARE:
            octaves = rng.uniform(*TAIL)
        else:
            octaves = OCTAVES * rng.standard_normal()
        yield index, float(2.0**octaves), rng


def bounded(factor: float, image: Pixels, most: float = 6e6) -> float:
    """The magnification within the limits of this project's, and of a picture's size."""
    height, width = image.shape[:2]
    return float(np.clip(factor, LIMITS[0], min(LIMITS[1], (most / (height * width)) ** 0.5)))
