"""Image types, and the paper's split (section 4.3).

``data/image_types.csv`` says, for each image, its type and its group: crops of one parent share a
group, and a group never straddles a split. The challenge publishes neither; the table is a
reconstruction (types as counted by Caicedo et al. 2019, Nature Methods 16:1247).

*test* is stage 2, the images that the published rows were measured on. *val* is the 65 images of
stage 1's test set, which come from other laboratories, and a tenth of stage 1's training images;
what remains of those is *train*.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ngat.data import SPLITS, TYPES, Sample, check_split
from ngat.data.store import Masks, Store
from ngat.errors import InputError
from ngat.system.process import track
from ngat.system.tables import read_text_table, write_table

TYPES_COLUMNS = ["split", "image_id", "height", "width", "type", "group"]
SPLIT_COLUMNS = ["split", "image_id", "source", "type", "group", "image_sha256", "published_sha256"]

# Images per type, in the order of TYPES, counted in the published table of types.
PUBLISHED = {
    "stage1_train": (455, 104, 4, 91, 16),
    "stage1_test": (53, 8, 4, 0, 0),
    "stage2_test_final": (72, 16, 5, 12, 1),
}
TRAIN, VAL, TEST = PUBLISHED

VAL_SHARE = 0.1
# All 4 pink-and-purple training images come from one parent: they are needed for training.
ONLY_TRAIN = ("pink_and_purple_tissue",)


def read_types(path: Path | str) -> pd.DataFrame:
    """Read and validate a table of types.

    Raises:
        InputError: unreadable, wrong columns, values or counts, a picture twice, or a group of
            several types or sources.
    """
    table = read_text_table(path, TYPES_COLUMNS, "get it from the project's repository")

    def demand(good: pd.Series, what: str) -> None:
        if not good.all():
            line = int((~good).to_numpy().argmax()) + 2
            raise InputError(f"{path}: line {line}: {what}; get the file again.")

    demand(table.split.isin(PUBLISHED), "unknown split")
    demand(table.image_id.str.fullmatch("[0-9a-f]{64}"), "not an image id of 64 hex digits")
    demand(~table.image_id.duplicated(), "the picture is there twice")
    demand(table.type.isin(TYPES), f"the type is none of {', '.join(TYPES)}")
    demand(table.group.str.len() > 0, "no group")
    for column in ("height", "width"):
        demand(table[column].str.fullmatch("[1-9][0-9]{0,4}"), f"{column} is no size in pixels")
        table[column] = table[column].astype(int)
    for column in ("split", "type"):
        several = table.groupby("group")[column].transform("nunique")
        demand(several == 1, f"the group has more than one {column}")
    for part, counts in PUBLISHED.items():
        of_type = table[table.split == part].type.value_counts()
        for kind, count in zip(TYPES, counts, strict=True):
            if of_type.get(kind, 0) != count:
                raise InputError(
                    f"{path}: {of_type.get(kind, 0)} pictures of {part} are {kind} where {count} "
                    "are published; get the file again."
                )
    return table


def write_types(source_csv: Path | str, out_csv: Path | str = Path("data/image_types.csv")) -> int:
    """Copy a validated table of types, sorted; give back the number of pictures."""
    table = read_types(source_csv).sort_values(["split", "image_id"])
    write_table(out_csv, table[TYPES_COLUMNS])
    return len(table)


def assign(types: pd.DataFrame, *, seed: int = 0) -> pd.Series:
    """Which split every image belongs to; index and values by image id.

    Of stage 1's training images a tenth of each type becomes *val*, in whole groups drawn in an
    order shuffled by ``seed``. The same seed gives the same split on every platform.
    """
    names = types.split.map({TRAIN: "train", VAL: "val", TEST: "test"})
    chosen = pd.Series(names.to_numpy(), index=pd.Index(types.image_id), name="split")
    for kind in TYPES:
        pool = types[(types.split == TRAIN) & (types.type == kind)]
        share = 0 if kind in ONLY_TRAIN else round(VAL_SHARE * len(pool))
        val = draw(pool.group.value_counts().to_dict(), share, seed)
        chosen[pool.image_id[pool.group.isin(val)]] = "val"
    return chosen


def draw(sizes: dict[str, int], target: int, seed: int) -> set[str]:
    """Groups whose sizes sum to ``target`` exactly, the first such set in a shuffled order.

    Raises:
        InputError: no set of groups sums to ``target``.
    """
    # Random generators may change their streams between versions; a hash does not.
    order = sorted(sizes, key=lambda group: hashlib.sha256(f"{seed} {group}".encode()).hexdigest())
    # reachable[i]: the sums that groups i, i + 1, … can still make.
    reachable = [{0}]
    for group in reversed(order):
        reachable.append(reachable[-1] | {s + sizes[group] for s in reachable[-1]})
    reachable.reverse()
    if target not in reachable[0]:
        raise InputError(f"no choice of whole groups holds exactly {target} pictures.")
    taken = set()
    for place, group in enumerate(order):
        if target - sizes[group] in reachable[place + 1]:
            taken.add(group)
            target -= sizes[group]
    return taken


def write_split(
    types_csv: Path | str = Path("data/image_types.csv"),
    store_folder: Path | str = Path("data/dsb2018"),
    out_csv: Path | str = Path("data/split.csv"),
    *,
    seed: int = 0,
) -> dict[str, int]:
    """Write the split with content hashes; give back the number of pictures per split.

    Raises:
        InputError: the types are invalid, the store is missing or holds other pictures.
    """
    types = read_types(types_csv)
    chosen = assign(types, seed=seed)
    table = types.rename(columns={"split": "source"})
    table["split"] = chosen.loc[table.image_id].to_numpy()
    with Store(Path(store_folder)) as store:
        for row in table.itertuples():
            held = store.rows.get(str(row.image_id))
            if held is None or (held.height, held.width) != (row.height, row.width):
                raise InputError(
                    f"{store.path}: {row.image_id} is missing or of another size than in "
                    f"{types_csv}; prepare the store again."
                )
        for column in ("image_sha256", "published_sha256"):
            table[column] = [getattr(store.rows[str(i)], column) for i in table.image_id]
    table = table.sort_values(["split", "image_id"])
    write_table(out_csv, table[SPLIT_COLUMNS])
    return {split: int((table.split == split).sum()) for split in SPLITS}


def read_split(path: Path | str) -> pd.DataFrame:
    """Read the manifest of the split.

    Raises:
        InputError: missing, unreadable or with unknown values.
    """
    table = read_text_table(path, SPLIT_COLUMNS, "write it: ngat data split")
    good = table.split.isin(SPLITS) & table.type.isin(TYPES) & ~table.image_id.duplicated()
    if not good.all():
        line = int((~good).to_numpy().argmax()) + 2
        raise InputError(f"{path}: line {line} is no line of a split; write it: ngat data split")
    return table


def in_turns(kinds: Iterable[str]) -> list[int]:
    """Places of the pictures, the types in turn: the first of each type, the second, …

    A list in this order shows every type early, so that its first few are a fair sample.
    """
    listed = pd.Series(list(kinds), dtype=object)
    turns = listed.groupby(listed).cumcount()
    return [int(place) for place in turns.sort_values(kind="stable").index]


def load_dsb2018(
    split: str,
    root: Path,
    *,
    limit: int | None = None,
    masks: Masks = "published",
    progress: bool = True,
) -> list[Sample]:
    """Load one split, the types in turn; see :func:`ngat.data.load`.

    Raises:
        InputError: unknown split; the store or the manifest is missing, damaged, or one does not
            belong to the other.
    """
    check_split(split)
    path = root / "split.csv"
    with Store(root / "dsb2018") as store:
        table = read_split(path)
        table = table[table.split == split].sort_values("image_id")
        table = table.iloc[in_turns(table.type)[:limit]]
        for line in table.itertuples():
            row = store.rows.get(str(line.image_id))
            held = row and (row.image_sha256, row.published_sha256)
            if held != (line.image_sha256, line.published_sha256):
                raise InputError(
                    f"{store.path}: {line.image_id} of {line.source} is missing or not the image "
                    f"of {path}; put all published files into the source folder and prepare the "
                    "store again."
                )
        lines = table[["image_id", "type", "group", "split"]].itertuples(index=False, name=None)
        shown = track(lines, f"Loading {split}", total=len(table), progress=progress)
        return [Sample(i, store.image(i), store.labels(i, masks), *rest) for i, *rest in shown]
