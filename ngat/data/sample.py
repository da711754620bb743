"""One picture with its annotated nuclei: the value that every data set yields."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ngat.errors import InputError

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
        type: one of :data:`TYPES`.
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


def fingerprint(samples: Iterable[Sample]) -> str:
    """SHA-256 over ids, pixels and labels, in the order given: what a result was measured on."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.image_id} {sample.image.shape}\n".encode())
        digest.update(np.ascontiguousarray(sample.image).tobytes())
        digest.update(np.ascontiguousarray(sample.labels, dtype="<i4").tobytes())
    return digest.hexdigest()
