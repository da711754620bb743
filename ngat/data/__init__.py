"""Data sets: :func:`load` gives the pictures of any of them with their annotated nuclei."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from ngat.data.sample import TYPES, Sample, fingerprint
from ngat.data.store import Masks
from ngat.errors import InputError

__all__ = ["DATA", "TYPES", "Masks", "Sample", "fingerprint", "load"]

DATA = ("synthetic", "dsb2018", "rings")


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
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit} is too small; take at least one picture.")
    if masks not in get_args(Masks):
        raise InputError(f"masks {masks!r} are unknown; choose {' or '.join(get_args(Masks))}.")
    if data == "synthetic":
        from ngat.data.synthetic import load_synthetic

        return load_synthetic(split, seed=seed, limit=limit)
    if data == "rings":
        from ngat.data.synthetic import load_rings

        return load_rings(split, seed=seed, limit=limit)
    if data == "dsb2018":
        from ngat.data.split import load_dsb2018

        return load_dsb2018(split, Path(root), limit=limit, masks=masks, progress=progress)
    if Path(data).is_dir():
        from ngat.data.own import load_folder

        return load_folder(Path(data), split, limit=limit, progress=progress)
    raise InputError(
        f"data {data!r} are unknown; choose one of {', '.join(DATA)}, or a folder that holds "
        "images/ and masks/."
    )
