"""Images of the 2018 Data Science Bowl by the paper's split, from the compact store."""

from __future__ import annotations

from pathlib import Path

from ngat.data.sample import Sample
from ngat.data.split import SPLITS, dealt, read_split
from ngat.data.store import Masks, Store
from ngat.errors import InputError
from ngat.system.progress import track


def load_dsb2018(
    split: str,
    root: Path,
    *,
    limit: int | None = None,
    masks: Masks = "published",
    progress: bool = True,
) -> list[Sample]:
    """Load one split, dealt round the types; see :func:`ngat.data.load`.

    Raises:
        InputError: unknown split; the store or the manifest is missing, damaged, or one does not
            belong to the other.
    """
    if split not in SPLITS:
        raise InputError(f"split {split!r} is unknown; choose one of {', '.join(SPLITS)}.")
    path = root / "split.csv"
    table = read_split(path)
    table = table[table.split == split].sort_values("image_id")
    table = table.iloc[dealt(table.type)[:limit]]
    with Store(root / "dsb2018") as store:
        for line in table.itertuples():
            row = store.rows.get(str(line.image_id))
            held = row and (row.image_sha256, row.published_sha256)
            if held != (line.image_sha256, line.published_sha256):
                raise InputError(
                    f"{store.path}: {line.image_id} of {line.source} is missing or not the image "
                    f"of {path}; put all published files into the source folder and prepare the "
                    "store again."
                )
        lines = list(table[["image_id", "type", "group"]].itertuples(index=False, name=None))
        return [
            Sample(
                image_id=image_id,
                image=store.image(image_id),
                labels=store.labels(image_id, masks),
                type=kind,
                group=group,
                split=split,
            )
            for image_id, kind, group in track(
                lines, f"Loading {split}", total=len(lines), progress=progress
            )
        ]
