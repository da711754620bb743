"""Programs that a user would pick instead: pictures go out, label images come in.

A peer runs in an environment of its own and knows nothing of this package's data sets. What it may
see is written as plain files, by :func:`export`::

    FOLDER/train/images/ID.png   FOLDER/train/masks/ID.png   (16 bits, 0 is background)
    FOLDER/val/images/ID.png     FOLDER/val/masks/ID.png
    FOLDER/test/images/ID.png
    FOLDER/pictures.csv          split, image_id, and the type of training and validation pictures
    FOLDER/export.json           data set, fingerprints of its parts

What it finds comes back as a folder of label images with a file that tells how they came about, and
:func:`score` counts them like any other method's.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from ngat.data import Sample, data_name, fingerprint
from ngat.errors import InputError
from ngat.evaluation.results import measure, of_training, run_name, write_run
from ngat.evaluation.scoring import read_labels
from ngat.system.files import held, read_json, write_json
from ngat.system.process import track
from ngat.system.provenance import provenance
from ngat.system.tables import write_table

LISTED = ("split", "image_id", "type")
# What a peer has to tell about its run, beside its label images.
TOLD = ("label", "peer", "parameters", "minutes", "hardware", "versions", "thresholds")


def export(
    parts: Mapping[str, Sequence[Sample]],
    folder: Path | str,
    *,
    data: str,
    progress: bool = True,
) -> bool:
    """Write the pictures that a peer trains on and predicts; the test goes without its labels.

    Args:
        parts: pictures by split: ``train``, ``val`` and ``test``.
        folder: replaced as a whole, unless it holds these very pictures already.
        data: the data set's name.
        progress: show a bar on a terminal.

    Returns:
        Whether anything was written.

    Raises:
        InputError: a part without pictures, an unwritable folder, a folder that is no export.
    """
    folder = Path(folder)
    empty = next((split for split in ("train", "val", "test") if not parts.get(split)), "")
    if empty:
        raise InputError(f"{data}: its part {empty} has no picture; a peer needs all three.")
    about = {
        "data": data_name(data),
        "fingerprints": {split: fingerprint(samples) for split, samples in parts.items()},
    }
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; choose a folder for the pictures.")
    described = folder / "export.json"
    if described.exists() and read_json(described, "remove it") == about:
        return False
    if folder.exists() and any(folder.iterdir()) and not described.exists():
        raise InputError(f"{folder}: holds other files; choose an empty folder for the pictures.")
    beside = folder.with_name(f".{folder.name}.part")
    with held(folder, "an export", folder=False):
        shutil.rmtree(beside, ignore_errors=True)
        try:
            _write(parts, beside, progress)
            write_json(beside / "export.json", about)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(beside, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return True


def score(
    found: Path | str,
    samples: Sequence[Sample],
    out: Path | str,
    *,
    data: str,
    command: str | Sequence[str] = "ngat.evaluation.peers.score",
    progress: bool = True,
) -> list[Path]:
    """Count a peer's label images against the annotation; write result files as for any method.

    Args:
        found: folder with ``labels/<split>/ID.png`` (or another form that
            :func:`ngat.evaluation.scoring.read_labels` reads) and ``told.json``.
        samples: the pictures of one split.
        out: folder of the result files, ``<data>-<split>-<peer>.*``.
        data: the data set's name.
        command, progress: as in :func:`ngat.evaluation.evaluator.evaluate`.

    Raises:
        InputError: no picture, no label image for one of them or one of another size, or no word on
            how they were made; nothing is written then.
    """
    found = Path(found)
    if not samples:
        raise InputError(f"{data}: there is no picture to score.")
    told = _told(found / "told.json")
    split = samples[0].split
    labels = read_labels(found / "labels" / split)
    missing = sorted({sample.image_id for sample in samples} - set(labels))
    if missing:
        raise InputError(
            f"{found / 'labels' / split}: lacks image {missing[0]} ({len(missing)} of "
            f"{len(samples)}); let the peer predict all of them."
        )
    began = time.monotonic()
    measured = [
        measure(sample, labels[sample.image_id])
        for sample in track(samples, f"Score {told['label']}", progress=progress)
    ]
    minutes = (time.monotonic() - began) / 60
    history = provenance(
        command,
        told.get("seed"),
        fingerprint(samples),
        minutes,
        peer=told["peer"],
        parameters=told["parameters"],
        thresholds=told["thresholds"],
        training={key: value for key, value in told.items() if key != "label"},
    )
    return write_run(
        out,
        run_name(data_name(data), split, told["peer"]),
        measured,
        method=str(told["label"]),
        data=data_name(data),
        provenance=of_training(history, told),
    )


def _write(parts: Mapping[str, Sequence[Sample]], folder: Path, progress: bool) -> None:
    rows = []
    for split, samples in parts.items():
        kinds = ("images",) if split == "test" else ("images", "masks")
        for kind in kinds:
            (folder / split / kind).mkdir(parents=True)
        for sample in track(samples, f"Write {split}", progress=progress):
            name = f"{sample.image_id}.png"
            Image.fromarray(sample.image).save(folder / split / "images" / name, compress_level=1)
            rows.append((split, sample.image_id, "" if split == "test" else sample.type))
            if split != "test":
                masks = folder / split / "masks" / name
                labels = _sixteen_bits(sample)
                Image.fromarray(labels).save(masks, compress_level=1)
    write_table(folder / "pictures.csv", pd.DataFrame(rows, columns=list(LISTED)))


def _sixteen_bits(sample: Sample) -> np.ndarray[Any, np.dtype[np.uint16]]:
    if sample.labels.max(initial=0) > np.iinfo(np.uint16).max:
        raise InputError(f"image {sample.image_id}: has more nuclei than a 16-bit image can hold.")
    return sample.labels.astype(np.uint16)


def _told(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise InputError(f"{path}: is missing; `make peers` runs the peer, which writes it.")
    told = read_json(path, "remove it")
    lacking = [key for key in TOLD if key not in told]
    if lacking:
        raise InputError(f"{path}: says nothing of {lacking[0]}; run the peer again.")
    return told
