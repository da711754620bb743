"""Data for a rehearsal: generated images in the files that a real run reads, in a few kilobytes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ngat.data.pack import MASKS, image_forms, label_forms, smallest
from ngat.data.split import SPLIT_COLUMNS
from ngat.data.store import NAME, PACK, Row, content_hash, write_archive
from ngat.data.synthetic import load_synthetic
from ngat.system.files import replacing

COUNTS = {"train": 2, "val": 1}  # images of each split


def write_data(root: Path) -> None:
    """Write ``split.csv`` and ``dsb2018/pack.zip`` with a few generated images into ``root``."""
    lines, contents = [], []
    for part, count in COUNTS.items():
        for sample in load_synthetic(part, seed=0, limit=count):
            image, labels = sample.image[:64, :64], sample.labels[:64, :64]
            hashes = content_hash(image), content_hash(labels)
            nuclei = int(labels.max())
            image_id = content_hash(image)
            # As if all had been corrected for training: here both masks are the same.
            corrected = hashes[1] if MASKS[part] == "corrected" else ""
            height, width = labels.shape
            row = Row(image_id, part, height, width, nuclei, nuclei, *hashes, corrected)
            # A pack tells images apart by the first digits of their ids.
            short, files = image_id[:NAME], {}
            for folder, forms in (
                ("images", image_forms(image)),
                (MASKS[part], label_forms(labels)),
            ):
                ending, data = smallest(forms)
                files[f"{folder}/{short}{ending}"] = data
            contents.append((row, files))
            lines.append([part, image_id, part, sample.type, sample.group, *hashes])
    write_archive(root / "dsb2018" / PACK, contents, {"masks": MASKS})
    with replacing(root / "split.csv") as beside:
        pd.DataFrame(lines, columns=SPLIT_COLUMNS).to_csv(beside, index=False, lineterminator="\n")
