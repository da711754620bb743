"""Data sets: :func:`load` gives the pictures of any of them with their annotated nuclei."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from ngat.data.store import Masks
from ngat.errors import InputError

__all__ = [
    "DATA",
    "SPLITS",
    "TYPES",
    "Masks",
    "Sample",
    "data_name",
    "fingerprint",
    "leave_out",
    "load",
]

DATA = ("synthetic", "dsb2018", "rings")
# The five experimental types of Caicedo et al. 2019, in the order of the paper's table 2.
TYPES = (
    "small_fluorescent",
    "purple_tissue",
    "pink_and_purple_tissue",
    "large_fluorescent",
    "grayscale_tissue",
)
SPLITS = ("train", "val", "test")


def check_split(split: str) -> None:
    """Raise :class:`InputError` where there is no such split."""
    if split not in SPLITS:
        raise InputError(f"split {split!r} is unknown; choose one of {', '.join(SPLITS)}.")


@dataclass(frozen=True)
class Sample:
    """A picture, its instances and where it belongs.

    Attributes:
        image_id: unique name within the data set.
        image: ``uint8 [H, W, 3]``.
        labels: ``int32 [H, W]``, 0 is background, 1 … n are nuclei.
        type: one of :data:`TYPES`, or ``own`` of one's own pictures (:mod:`ngat.data.own`).
        group: pictures of one group come from one parent picture and never straddle a split.
        split: ``train``, ``val`` or ``test``.
    """

    image_id: str
    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]
    type: str
    group: str
    split: str


def leave_out(samples: Sequence[Sample], kind: str) -> list[Sample]:
    """The samples that are not of one type (leave-one-type-out); all of them for no type.

    Raises:
        InputError: the type is unknown, or nothing remains.
    """
    if kind and kind not in TYPES:
        raise InputError(f"Unknown type {kind!r} to leave out; known: {', '.join(TYPES)}.")
    left = [sample for sample in samples if sample.type != kind]
    if samples and not left:
        raise InputError(f"Without the type {kind} no picture is left; choose more pictures.")
    return left


def is_own(data: str) -> bool:
    """Whether it is a folder of one's own pictures."""
    return data not in ("", *DATA) and Path(data).is_dir()


def data_name(data: str) -> str:
    """A data set as results name it: a folder by its last part, not by where it lies."""
    return Path(os.path.abspath(data)).name if is_own(data) else data


def fingerprint(samples: Iterable[Sample]) -> str:
    """SHA-256 over ids, pixels and labels, in the order given: what a result was measured on."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.image_id} {sample.image.shape}\n".encode())
        digest.update(np.ascontiguousarray(sample.image).tobytes())
        digest.update(np.ascontiguousarray(sample.labels, dtype="<i4").tobytes())
    return digest.hexdigest()


def load(
    data: str,
    split: str,
    *,
    root: Path | str = Path("data"),
    seed: int = 0,
    limit: int | None = None,
    masks: Masks = "published",
    progress: bool = True,
) -> list[Sample]:
    """Load one split of a data set.

    Args:
        data: ``synthetic`` or ``rings``, drawn by ``seed``; ``dsb2018``, read from ``root``; or a
            folder of one's own pairs (:mod:`ngat.data.own`).
        split: ``train``, ``val`` or ``test``.
        root: folder with ``split.csv``, ``image_types.csv`` and ``dsb2018/store.zip``.
        limit: only the first so many pictures; small limits show every type.
        masks: ``corrected`` takes the community's corrections where dsb2018 has them.
        progress: show a bar on a terminal.

    Raises:
        InputError: unknown name, a bad limit, or files that are missing or damaged.
    """
    if not isinstance(data, str | Path) or not str(data):
        raise InputError(f"data are named by a word or a folder; got {data!r}.")
    for name, value in (("seed", seed), ("limit", 1 if limit is None else limit)):
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise InputError(f"{name} is a whole number; got {value!r}.")
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit} is too small; take at least one picture.")
    if masks not in get_args(Masks):
        raise InputError(f"masks {masks!r} are unknown; choose {' or '.join(get_args(Masks))}.")
    if data in ("synthetic", "rings"):
        from ngat.data.synthetic import load_rings, load_synthetic

        return (load_rings if data == "rings" else load_synthetic)(split, seed=seed, limit=limit)
    if data == "dsb2018":
        from ngat.data.split import load_dsb2018

        return load_dsb2018(split, Path(root), limit=limit, masks=masks, progress=progress)
    if is_own(data):
        from ngat.data.own import load_folder

        return load_folder(Path(data), split, limit=limit, progress=progress)
    raise InputError(
        f"data {data!r} are unknown; choose one of {', '.join(DATA)}, or a folder that holds "
        "images/ and masks/."
    )
