"""After training: thresholds and magnification chosen on validation, then label images."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ngat.metrics import average_f1
from ngat.system.files import earlier_json, replacing, write_json
from peers.peer import Peer, Thresholds
from peers.pictures import Labels, Picture, Pixels, bounded, read, resized, resized_labels
from peers.training import say

# Validation pictures by which thresholds are chosen, and those (the types in turn) by which the
# way to the magnification is, each shown at these factors.
FOR_THRESHOLDS, FOR_MAGNIFICATION, FACTORS = 66, 24, (0.5, 1.0, 2.0)

Way = Callable[[Pixels], float]


def choose(
    peer: Peer, train: list[Picture], val: list[Picture], out: Path, step: int
) -> dict[str, Any]:
    """Thresholds and the way to find the magnification; read again if chosen before.

    What was chosen and predicted before further training is removed.

    Args:
        step: of the network, so many steps of training.

    Returns:
        ``step``, ``thresholds``, ``magnification`` (the name of the way) and the average F1 of
        every way on validation.
    """
    path = out / "chosen.json"
    chosen = earlier_json(path)
    if chosen.get("step") == step:
        return chosen
    (out / "told.json").unlink(missing_ok=True)
    shutil.rmtree(out / "labels", ignore_errors=True)
    say(f"{peer.label}: choosing thresholds on validation")
    thresholds = peer.choose([at_known_size(peer, p) for p in val[:FOR_THRESHOLDS]])
    ways = peer.magnifications(train)
    scores = {}
    for name, way in ways.items():
        say(f"{peer.label}: magnification {name!r} on validation")
        scores[name] = round(float(np.mean(_enlarged(peer, val, way, thresholds))), 4)
    best = max(scores, key=lambda name: scores[name])
    chosen = {
        "step": step,
        "thresholds": dict(thresholds),
        "magnification": best,
        "average_f1": scores,
    }
    write_json(path, chosen)
    return chosen


def at_known_size(peer: Peer, picture: Picture) -> tuple[Pixels, Labels]:
    """A picture as the peer sees it, and its labels, both at the annotated size."""
    assert picture.labels is not None
    seen = resized(peer.seen(picture.image), picture.known_factor)
    height, width = seen.shape[:2]
    return seen, resized_labels(picture.labels, (height, width))


def find(peer: Peer, image: Pixels, way: Way, thresholds: Thresholds) -> Labels:
    """Nuclei of one picture, without labels."""
    seen = peer.seen(image)
    factor = bounded(way(seen), image)
    height, width = image.shape[:2]
    return peer.nuclei(peer.outputs(resized(seen, factor)), (height, width), thresholds)


def predict(
    peer: Peer,
    folder: Path,
    splits: Sequence[str],
    out: Path,
    way: Way,
    thresholds: Thresholds,
    limit: int | None = None,
) -> None:
    """Write ``out/labels/<split>/ID.png``; a split is there as a whole or not at all."""
    for split in splits:
        done, part = out / "labels" / split, out / "labels" / f".{split}"
        if done.exists():
            continue
        part.mkdir(parents=True, exist_ok=True)
        pictures = read(folder, split, limit)
        said = time.monotonic()
        for number, picture in enumerate(pictures):
            path = part / f"{picture.image_id}.png"
            if not path.exists():
                write_labels(path, find(peer, picture.image, way, thresholds))
            if time.monotonic() - said > 10:
                say(f"{peer.label}: {split}, {number + 1} of {len(pictures)} pictures")
                said = time.monotonic()
        part.rename(done)


def write_labels(path: Path, labels: Labels) -> None:
    """A 16-bit label image. Labels begin at 2: an image of 0 and 1 could be a mask."""
    _, numbers = np.unique(np.append(labels.ravel(), 0), return_inverse=True)
    numbers = numbers[:-1].reshape(labels.shape)
    image = Image.fromarray((numbers + (numbers > 0)).astype(np.uint16))
    with replacing(path) as beside:
        image.save(beside, format="PNG", compress_level=1)


def _enlarged(peer: Peer, val: list[Picture], way: Way, thresholds: Thresholds) -> list[float]:
    scores = []
    for picture in val[:FOR_MAGNIFICATION]:
        assert picture.labels is not None
        for factor in FACTORS:
            image = resized(picture.image, factor)
            height, width = image.shape[:2]
            truth = resized_labels(picture.labels, (height, width))
            found = find(peer, image, way, thresholds)
            scores.append(average_f1(found, truth))
    return scores
