"""The 2018 Data Science Bowl (BBBC038) as the Broad Institute publishes it: read, verified, stored.

Files, each zip or an unpacked folder of the same name:

- ``stage1_train.zip``: 670 pictures and 29,461 masks;
- ``stage1_test.zip`` with ``stage1_solution.csv``: 65 pictures and 4,152 masks;
- ``stage1_train_fixes.zip`` (optional): the community's corrected masks of 664 training pictures;
- ``stage2_test_final.zip`` with ``stage2_solution_final.csv`` (optional): about 3,000 pictures, of
  which the 106 are read whose ``Usage`` is not ``Ignored``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ngat.data import archive, rle, store
from ngat.data.archive import Archive, decode_mask, decode_picture
from ngat.data.rle import Merged, merge
from ngat.errors import InputError
from ngat.system.files import sha256
from ngat.system.process import track
from ngat.system.tables import read_text_table

TRAIN, FIXES = "stage1_train", "stage1_train_fixes"
# Pictures and the table that annotates them.
TABLES = {"stage1_test": "stage1_solution.csv", "stage2_test_final": "stage2_solution_final.csv"}

Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class PartCounts:
    """What a part holds; None where nothing is demanded."""

    images: int | None
    masks: int | None
    overlaps: int | None


# Counted in the published files. Six pairs of corrected masks share one or two pixels each; the
# community's file has no fixed version (the one counted held 664 and 28,986). Of stage 2 only the
# number of scored pictures is known here.
PUBLISHED: dict[str, PartCounts] = {
    TRAIN: PartCounts(670, 29461, 0),
    FIXES: PartCounts(None, None, 6),
    "stage1_test": PartCounts(65, 4152, 0),
    "stage2_test_final": PartCounts(106, None, None),
}


@dataclass(frozen=True)
class Report:
    """What :func:`prepare` found and wrote: counts per part, files and their SHA-256."""

    path: Path
    bytes: int
    seconds: float
    counts: dict[str, PartCounts]
    files: dict[str, str]

    def __str__(self) -> str:
        lines = [
            f"{part}: {c.images} images, {c.masks} masks, {c.overlaps} overlapping pairs"
            for part, c in self.counts.items()
        ]
        lines.append(f"{self.path}: {self.bytes / 1e6:.1f} MB in {self.seconds:.0f} s")
        return "\n".join(lines)


def prepare(
    source: Path | str,
    out: Path | str = Path("data/dsb2018"),
    *,
    expected: Mapping[str, PartCounts] = PUBLISHED,
    progress: bool = True,
) -> Report:
    """Read all published files in ``source``, verify them and write the compact store in ``out``.

    Args:
        expected: what each part must hold; a part that is not named is taken as it is.

    Raises:
        InputError: a file is missing, damaged, unsafe or not the published one; ``out`` cannot be
            written. Nothing is written then, and an older store stays as it was.
    """
    start = time.perf_counter()
    source, out = Path(source), Path(out)
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; name the one that holds {TRAIN}.zip.")
    tally = _Tally(expected)
    about: dict[str, Any] = {}
    path = store.write(out, _entries(source, tally, about, progress), about)
    return Report(
        path, path.stat().st_size, time.perf_counter() - start, tally.counts(), about["files"]
    )


def made_from(out: Path | str, source: Path | str) -> bool:
    """Whether the store in ``out`` is of the published files in ``source``, as they are now.

    Unpacked folders are not compared, file by file; a damaged store is of nothing.
    """
    source = Path(source)
    names = [*(f"{part}.zip" for part in (TRAIN, FIXES, *TABLES)), *TABLES.values()]
    try:
        with store.Store(Path(out)) as made:
            known = made.about.get("files", {})
    except InputError:
        return False
    unpacked = any((source / part).is_dir() for part in (TRAIN, FIXES, *TABLES))
    files = {name: sha256(source / name) for name in names if (source / name).is_file()}
    return bool(files or unpacked) and files.items() <= known.items()


def _entries(
    source: Path, tally: _Tally, about: dict[str, Any], progress: bool
) -> Iterator[store.Entry]:
    with ExitStack() as stack:
        parts: dict[str, Archive] = {}
        for part in (TRAIN, FIXES, *TABLES):
            path = archive.locate(source, part)
            if path is not None:
                parts[part] = stack.enter_context(archive.opened(path))
        if TRAIN not in parts:
            raise _missing(source, TRAIN)
        tables = {part: _table(source, name, part, parts) for part, name in TABLES.items()}
        fixes = parts.get(FIXES)
        unknown = sorted(set(fixes.masks) - set(parts[TRAIN].images)) if fixes else []
        if fixes and unknown:
            raise InputError(
                f"{fixes.name}: corrects {unknown[0]}, which {parts[TRAIN].name} does not "
                "hold; get both files again."
            )
        total = len(parts[TRAIN].images) + sum(len(t) for t in tables.values())
        tabled = [part for part in parts if part in TABLES]
        pictures = chain(
            _training(parts[TRAIN], fixes, tally),
            *(_tabled(parts[part], tables[part], part, tally) for part in tabled),
        )
        yield from track(pictures, "Preparing pictures", total=total, progress=progress)
        tally.check({part: a.name for part, a in parts.items()})
        files = [a.path for a in parts.values()] + [source / TABLES[part] for part in tabled]
        about["files"] = {p.name: sha256(p) for p in files if p.is_file()}
        about["masks_overlap"] = "a pixel of several masks belongs to the smallest of them"


class _Tally:
    """Counts what was read and compares it with what must be there."""

    def __init__(self, expected: Mapping[str, PartCounts]) -> None:
        self.expected = expected
        self.found: dict[str, npt.NDArray[np.int_]] = {}

    def add(self, part: str, masks: int, merged: Merged, name: str) -> Labels:
        """Note one annotated picture; give back its labels."""
        overlaps = getattr(self.expected.get(part), "overlaps", None)
        if merged.hidden and overlaps is not None:
            raise InputError(
                f"{name}: {merged.hidden} masks are covered by others; get the file again."
            )
        found = self.found.setdefault(part, np.zeros(3, int))
        found += 1, masks, merged.overlaps
        if overlaps is not None and found[2] > overlaps:
            raise InputError(
                f"{name}: masks overlap, in all {found[2]} pairs where {overlaps} are known; "
                "get the file again."
            )
        return merged.labels

    def counts(self) -> dict[str, PartCounts]:
        return {part: PartCounts(*found.tolist()) for part, found in self.found.items()}

    def check(self, names: Mapping[str, str]) -> None:
        for part, counts in self.counts().items():
            wanted = self.expected.get(part)
            if wanted is None:
                continue
            for what in ("images", "masks"):
                found, demanded = getattr(counts, what), getattr(wanted, what)
                if demanded is not None and found != demanded:
                    raise InputError(
                        f"{names[part]}: {found} {what} where {demanded} are published; "
                        "download it again."
                    )


def _training(train: Archive, fixes: Archive | None, tally: _Tally) -> Iterator[store.Entry]:
    for image_id in sorted(set(train.images) | set(train.masks)):
        file = train.image(image_id)
        image = decode_picture(train.read(file), f"{train.name}: {file}")
        published = _masks(train, image_id, image, TRAIN, tally)
        corrected = None
        if fixes and image_id in fixes.masks:
            corrected = _masks(fixes, image_id, image, FIXES, tally)
        yield store.Entry(image_id, TRAIN, image, published, corrected)


def _masks(
    source: Archive, image_id: str, image: npt.NDArray[np.uint8], part: str, tally: _Tally
) -> Labels:
    files = source.masks.get(image_id, [])
    if not files:
        raise InputError(
            f"{source.name}: {image_id}/masks is empty, but every picture has nuclei; "
            "get the archive again."
        )
    height, width = image.shape[:2]
    masks = []
    for file in files:
        size, pixels = decode_mask(source.read(file), f"{source.name}: {file}")
        if size != (height, width):
            raise InputError(
                f"{source.name}: {file} has {size[0]} x {size[1]} pixels, its picture "
                f"{height} x {width}; get the archive again."
            )
        masks.append(pixels)
    name = f"{source.name}: {image_id}/masks"
    return tally.add(part, len(masks), merge(masks, height, width), name)


def _tabled(
    pictures: Archive, table: dict[str, pd.DataFrame], part: str, tally: _Tally
) -> Iterator[store.Entry]:
    for image_id, rows in sorted(table.items()):
        file = pictures.image(image_id)
        image = decode_picture(pictures.read(file), f"{pictures.name}: {file}")
        height, width = image.shape[:2]
        masks = []
        for line, runs, *size in rows[["Line", "EncodedPixels", "Height", "Width"]].itertuples(
            index=False
        ):
            name = f"{TABLES[part]}: line {line}"
            if size != [str(height), str(width)]:
                raise InputError(
                    f"{name} says {size[0]} x {size[1]} pixels, {file} has {height} x {width}; "
                    "get both files again."
                )
            masks.append(rle.pixels(runs, height, width, name=name))
            if not masks[-1].size:
                raise InputError(f"{name}: the mask is empty; get the file again.")
        name = f"{TABLES[part]}: {image_id}"
        labels = tally.add(part, len(masks), merge(masks, height, width), name)
        yield store.Entry(image_id, part, image, labels)


def _table(
    source: Path, name: str, part: str, parts: Mapping[str, Archive]
) -> dict[str, pd.DataFrame]:
    """Scored rows by image id, with their line in the file; nothing for an absent optional part."""
    path = source / name
    if part not in parts and (part == "stage1_test" or path.exists()):
        raise _missing(source, part)
    if part not in parts:
        return {}
    columns = ["ImageId", "EncodedPixels", "Height", "Width", "Usage"]
    table = read_text_table(path, columns, f"download the masks of {part} from BBBC038")
    table["Line"] = np.arange(2, len(table) + 2)
    table = table[table["Usage"].str.strip().str.lower() != "ignored"]
    scored = {str(image_id): rows for image_id, rows in table.groupby("ImageId")}
    missing = sorted(set(scored) - set(parts[part].images))
    if missing:
        raise InputError(
            f"{parts[part].name}: the picture {missing[0]} of {name} is missing "
            f"({len(missing)} in all); download the archive again."
        )
    return scored


def _missing(source: Path, part: str) -> InputError:
    return InputError(
        f"{source}: {part}.zip is missing; download it from BBBC038 or run: "
        "ngat data prepare --download"
    )
