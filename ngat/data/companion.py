"""Pictures of the 2018 Data Science Bowl by the companion split, from the compact store."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ngat.data.sample import Sample
from ngat.data.split import SPLITS, STAGE2, dealt, read_split, read_types
from ngat.data.store import Masks, Store
from ngat.errors import InputError
from ngat.system.progress import track

# The paper's own test set, where the store holds it. It publishes no types; see read_types.
STAGE2_SPLIT = "stage2"
UNKNOWN_TYPE = "unknown"


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
    if split not in (*SPLITS, STAGE2_SPLIT):
        raise InputError(
            f"split {split!r} is unknown; choose one of {', '.join((*SPLITS, STAGE2_SPLIT))}."
        )
    with Store(root / "dsb2018") as store:
        table = _stage2(store, root) if split == STAGE2_SPLIT else _companion(store, root, split)
        table = table.iloc[dealt(table.type)[:limit]]
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


def _companion(store: Store, root: Path, split: str) -> pd.DataFrame:
    path = root / "split.csv"
    table = read_split(path)
    table = table[table.split == split].sort_values("image_id")
    for line in table.itertuples():
        row = store.rows.get(str(line.image_id))
        held = row and (row.image_sha256, row.published_sha256)
        if held != (line.image_sha256, line.published_sha256):
            raise InputError(
                f"{store.path}: {line.image_id} is missing or not the picture of {path}; "
                "prepare the store again from the published files."
            )
    return table


def _stage2(store: Store, root: Path) -> pd.DataFrame:
    ids = sorted(i for i, row in store.rows.items() if row.source == STAGE2)
    if not ids:
        raise InputError(
            f"{store.path}: holds no stage 2; put stage2_test_final.zip and "
            "stage2_solution_final.csv into the source folder and prepare it again."
        )
    table = pd.DataFrame({"image_id": ids})
    types = read_types(root / "image_types.csv")
    table = table.merge(types[["image_id", "type", "group"]], on="image_id", how="left")
    table["type"] = table["type"].fillna(UNKNOWN_TYPE)
    table["group"] = table["group"].fillna(table["image_id"])
    return table
