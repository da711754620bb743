"""One's own pictures with their masks: a folder of pairs.

``FOLDER/images/cells.tif`` belongs to ``FOLDER/masks/cells.*``: a label image (PNG, TIFF, NPY), a
mask of separate nuclei, the challenge's run lengths (.csv), QuPath's outlines (.geojson) or
ImageJ's (.zip). With ``train``, ``val`` and ``test`` folders that hold such pairs each is a split.
Without them about every fifth picture is for validation and the others for training; as a *test*
all are taken, for nothing of them need have been seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.segmentation import relabel_sequential

from ngat.data import SPLITS, Sample, check_split, data_name, is_own, rle
from ngat.data.rle import merge
from ngat.errors import InputError
from ngat.io.kinds import is_picture, stem
from ngat.io.labels import LABEL_SUFFIXES, read_label_image
from ngat.io.outlines import read_outlines
from ngat.io.picture import open_picture
from ngat.system.process import track
from ngat.system.tables import read_text_table

MASK_SUFFIXES = (*LABEL_SUFFIXES, ".csv", ".geojson", ".zip")
# Not among the challenge's types: nothing is averaged with theirs.
TYPE = "own"
# Of a picture's values, percentiles that become 0 and 255 where it has more than 8 bits.
_RANGE = (0.02, 99.98)


def load_folder(
    folder: Path, split: str, *, limit: int | None = None, progress: bool = True
) -> list[Sample]:
    """Pairs of a folder, see above.

    Raises:
        InputError: an unknown split, a picture without a mask, sizes that differ, or files that
            cannot be read.
    """
    check_split(split)
    plain = is_plain(folder)
    pairs = _pairs(folder if plain else folder / split)
    if plain and split != "test":
        held_out = _held_out([stem(image) for image, _ in pairs])
        pairs = [pair for pair in pairs if (stem(pair[0]) in held_out) == (split == "val")]
        if not pairs:
            raise InputError(f"{folder}: holds too few pictures for a part of them to be {split}.")
    return [_sample(*pair, split) for pair in track(pairs[:limit], "Read", progress=progress)]


def is_plain(folder: Path) -> bool:
    """Does it hold pictures, and not a folder of them for each split?"""
    return not any((folder / split / "images").is_dir() for split in SPLITS)


def seen_in_training(data: str, split: str, provenance: Mapping[str, Any]) -> str:
    """A sentence where a network is tested on pictures that it was trained on; else none.

    Args:
        provenance: of the network's weights, which name the folder that it was trained on.
    """
    own = is_own(data) and is_plain(Path(data))
    if split != "test" or not own or provenance.get("data") != data_name(data):
        return ""
    return (
        f"{data}: the split test is all pictures, and these weights were trained on some of them; "
        "for pictures that training did not learn from, add --split val."
    )


def _held_out(names: list[str]) -> set[str]:
    """Names of the pictures for validation.

    The name alone decides, one in five: a picture keeps its part when others are added. Only where
    that leaves a part without a picture, one changes over.
    """
    drawn = {name: hashlib.sha256(name.encode()).digest() for name in names}
    order = sorted(names, key=lambda name: (drawn[name][0] % 5, drawn[name]))
    count = sum(digest[0] % 5 == 0 for digest in drawn.values())
    return set(order[: max(1, min(count, len(order) - 1))])


def _pairs(base: Path) -> list[tuple[Path, Path]]:
    images, masks = base / "images", base / "masks"
    for part in (images, masks):
        if not part.is_dir():
            raise InputError(f"{part}: there is no such folder; put pictures and masks there.")
    by_stem: dict[str, Path] = {}
    for path in sorted(masks.iterdir()):
        if path.suffix.lower() in MASK_SUFFIXES and not path.name.startswith("."):
            if stem(path) in by_stem:
                raise InputError(f"{path}: {by_stem[stem(path)].name} is of the same picture.")
            by_stem[stem(path)] = path
    pictures: dict[str, Path] = {}
    for path in sorted(images.iterdir()):
        if not is_picture(path):
            continue
        name = stem(path)
        if name in pictures:
            raise InputError(f"{path}: {pictures[name].name} has the same name; rename one.")
        if name not in by_stem:
            raise InputError(f"{path}: has no mask in {masks}; add one, or remove the picture.")
        pictures[name] = path
    if not pictures:
        raise InputError(f"{images}: holds no picture.")
    return [(path, by_stem[name]) for name, path in pictures.items()]


def read_rgb(path: Path | str) -> npt.NDArray[np.uint8]:
    """A picture of any kind (:func:`ngat.io.open_picture`) as ``uint8 [H, W, 3]``.

    What has more than 8 bits is shown over the range of its own values.

    Raises:
        InputError: as :func:`ngat.io.open_picture`.
    """
    pixels = open_picture(path).read()
    if pixels.dtype != np.uint8:
        low, high = np.percentile(pixels, _RANGE)
        share = (pixels - low) / max(float(high - low), 1e-12)
        pixels = np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels


def _sample(image: Path, mask: Path, split: str) -> Sample:
    pixels = read_rgb(image)
    height, width = pixels.shape[:2]
    labels = _labels(mask, height, width)
    if labels.shape != (height, width):
        raise InputError(
            f"{mask}: has {labels.shape[0]} x {labels.shape[1]} pixels, its picture "
            f"{height} x {width}; give masks the size of their pictures."
        )
    return Sample(stem(image), pixels, labels, TYPE, stem(image), split)


def _labels(path: Path, height: int, width: int) -> npt.NDArray[np.int32]:
    suffix = path.suffix.lower()
    if suffix in LABEL_SUFFIXES:
        values = read_label_image(path, masks="components")
        return np.asarray(relabel_sequential(values.astype(np.int64))[0], np.int32)
    if suffix == ".csv":
        runs = read_text_table(path, ["EncodedPixels"], "get it again")["EncodedPixels"]
        masks = [rle.pixels(text, height, width, name=str(path)) for text in runs]
    else:
        masks = read_outlines(path, height, width)
    return merge([mask for mask in masks if mask.size], height, width).labels
