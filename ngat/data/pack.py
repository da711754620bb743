"""The pack: what training and validation read, as one file under 45 MB that is easily carried.

A store (:mod:`ngat.data.store`) without the test: of every image one annotation only, corrected for
training and published for validation, and each file in whichever lossless form is smaller. Where
there is no store, :class:`ngat.data.store.Store` reads it in place of one, and the samples are the
same to the last bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import features

from ngat.data.split import read_split
from ngat.data.store import (
    FILE,
    NAME,
    PACK,
    Content,
    Masks,
    Store,
    encoded,
    encoded_in_threads,
    label_png,
    write_archive,
)
from ngat.errors import InputError, MissingDependency
from ngat.system.process import track

# Which annotation a split is read with.
MASKS: dict[str, Masks] = {"train": "corrected", "val": "published"}
# More than this does not fit beside the code where 64 MiB of files may be brought along.
MOST_BYTES = 45_000_000


def write_pack(
    root: Path | str = Path("data"), out: Path | str | None = None, *, progress: bool = True
) -> Path:
    """Write a pack of the prepared store, whole or not at all.

    Args:
        root: folder with ``split.csv`` and ``dsb2018/store.zip``.
        out: the file; ``pack.zip`` beside the store by default.
        progress: show a bar on a terminal.

    Raises:
        InputError: the store or the split is missing, damaged, or one does not belong to the other;
            or the pack would be larger than :data:`MOST_BYTES`.
        MissingDependency: Pillow was built without WebP or JPEG 2000.
    """
    root = Path(root)
    for codec, name in (("webp", "WebP"), ("jpg_2000", "JPEG 2000")):
        if not features.check(codec):
            raise MissingDependency(
                f"A pack needs {name}, without which Pillow was built here: pip install pillow."
            )
    if not (root / "dsb2018" / FILE).exists():
        raise InputError(
            f"{root / 'dsb2018' / FILE}: a pack is made of the store; run: "
            "ngat data prepare --source DIR"
        )
    table = read_split(root / "split.csv")
    chosen = table[table.split.isin(list(MASKS))]
    with Store(root / "dsb2018") as store:
        missing = [i for i in chosen.image_id if i not in store.rows]
        if missing:
            raise InputError(
                f"{store.path}: {missing[0]} of {root / 'split.csv'} is missing; prepare the store "
                "again: ngat data prepare --source DIR"
            )

        def packed(line: Any) -> Content:
            masks = store.held(line.image_id, MASKS[line.split])
            image, labels = store.image(line.image_id), store.labels(line.image_id, masks)
            return store.rows[line.image_id], files_of(line.image_id, image, labels, masks)

        lines = list(chosen.itertuples())
        path = Path(out) if out is not None else root / "dsb2018" / PACK
        about = {**store.about, "masks": MASKS}
        contents = encoded_in_threads(packed, lines)
        contents = track(contents, "Packing", total=len(lines), progress=progress)
        return write_archive(path, contents, about, most_bytes=MOST_BYTES)


def files_of(
    image_id: str, image: npt.NDArray[np.uint8], labels: npt.NDArray[np.int32], masks: Masks
) -> dict[str, bytes]:
    """The files of a picture and of its labels, each in its smallest form, by name."""
    files = {}
    for folder, forms in (("images", image_forms(image)), (masks, label_forms(labels))):
        ending = min(forms, key=lambda ending: len(forms[ending]))
        files[f"{folder}/{image_id[:NAME]}{ending}"] = forms[ending]
    return files


def image_forms(image: npt.NDArray[np.uint8]) -> dict[str, bytes]:
    """An image ``[H, W, 3]`` as lossless files, by their endings; grey ones have one channel."""
    grey = bool((image == image[:, :, :1]).all())
    plain = image[:, :, 0] if grey else image
    return {
        ".webp": encoded(image, "WEBP", lossless=True, quality=75, method=4),
        ".j2k": encoded(plain, "JPEG2000", irreversible=False, no_jp2=True),
    }


def label_forms(labels: npt.NDArray[np.int32]) -> dict[str, bytes]:
    """A label image ``[H, W]`` as lossless files, by their endings; WebP has two bytes."""
    planes = np.stack([labels & 255, labels >> 8, np.zeros_like(labels)], axis=2)
    return {
        ".webp": encoded(planes.astype(np.uint8), "WEBP", lossless=True, quality=75, method=4),
        ".png": label_png(labels),
    }
