"""Robustness: what a network makes of the same images, changed as other laboratories would.

Every change is made to validation images and scored against their own annotation, changed alike:
other magnifications, fluorescence in other colours, inversion, surroundings that have nothing to do
with the image, other cameras and files. The difference to the unchanged images is what the change
costs. The test is never looked at; the rules for blank background (:mod:`ngat.data.contrast`), for
magnification and for that of parts were chosen on validation images, these among them.

The network sees a changed image as one. ``panels`` asks instead for what ``ngat segment`` does with
images side by side: it finds where they meet and searches each (:mod:`ngat.segmentation.panels`).
"""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from ngat.data import Sample
from ngat.data.resize import resized_sample
from ngat.evaluation.tables import RESAMPLES, bootstrap_interval, resample
from ngat.inference import instances, predict
from ngat.magnification import size_of
from ngat.metrics import average_f1
from ngat.segmentation.panels import panels_of
from ngat.system.files import earlier_json, held
from ngat.system.process import track
from ngat.system.provenance import write_with_provenance
from ngat.system.tables import read_table
from ngat.thresholds import Method
from ngat.training.appearance import textured
from ngat.training.weights import Weights

Pixels = npt.NDArray[Any]
Labels = npt.NDArray[np.int32]

COLUMNS = ["change", "images", "unchanged", "changed", "difference", "low", "high", "magnification"]
FLUORESCENT = ("small_fluorescent", "large_fluorescent")
# Smaller nuclei than this are no longer nuclei, larger images take too long for what they tell.
LEAST_SIZE = 6.0
MOST_PIXELS, MOST_TEXTURED = 6_000_000, 1_100_000


@dataclass(frozen=True)
class Changed:
    """A changed image, its annotation, and the part of both that counts."""

    image: Pixels
    labels: Labels
    part: tuple[slice, slice] = (slice(None), slice(None))


# From a sample and another of its type to a changed image; None where the change makes no sense.
Change = Callable[[Sample, Sample], Changed | None]


def resized(factor: float) -> Change:
    """The image at another magnification."""

    def change(sample: Sample, other: Sample) -> Changed | None:
        height, width = (round(side * factor) for side in sample.labels.shape)
        if size_of(sample.labels) * factor < LEAST_SIZE or height * width > MOST_PIXELS:
            return None
        found = resized_sample(sample, factor)
        return Changed(found.image, found.labels)

    return change


def tinted(*colour: float) -> Change:
    """A fluorescent image in one colour."""

    def change(sample: Sample, other: Sample) -> Changed | None:
        if sample.type not in FLUORESCENT:
            return None
        grey = sample.image.max(axis=2, keepdims=True)
        return Changed(np.rint(grey * np.array(colour)).astype(np.uint8), sample.labels)

    return change


def inverted(sample: Sample, other: Sample) -> Changed:
    """Light and dark exchanged."""
    return Changed(255 - sample.image, sample.labels)


def beside(fill: int | None) -> Change:
    """As much again to the right: one value, or another image of the same type."""

    def change(sample: Sample, other: Sample) -> Changed:
        height, width = sample.labels.shape
        neighbour = np.full_like(sample.image, fill or 0)
        if fill is None:
            rows, columns = np.arange(height), np.arange(width)
            neighbour = other.image[
                rows[:, None] % other.labels.shape[0], columns % other.labels.shape[1]
            ]
        image = np.concatenate([sample.image, neighbour], axis=1)
        labels = np.concatenate([sample.labels, np.zeros_like(sample.labels)], axis=1)
        return Changed(image, labels, (slice(None), slice(0, width)))

    return change


def camera(gain: float, offset: float) -> Change:
    """The values of another camera in a 16-bit file."""

    def change(sample: Sample, other: Sample) -> Changed:
        values = gain * sample.image.astype(np.float64) + offset
        return Changed(np.rint(values).astype(np.uint16), sample.labels)

    return change


def jpeg(quality: int) -> Change:
    """The image after compression as JPEG."""

    def change(sample: Sample, other: Sample) -> Changed:
        stream = io.BytesIO()
        Image.fromarray(sample.image).save(stream, "JPEG", quality=quality)
        return Changed(np.asarray(Image.open(stream)), sample.labels)

    return change


def exposed(counts: float) -> Change:
    """The image as a short exposure, a brightest pixel of which counts ``counts`` photons.

    Args:
        counts: mean number of photons of a pixel of value 255.
    """

    def change(sample: Sample, other: Sample) -> Changed | None:
        if sample.type not in FLUORESCENT:
            return None
        brightest = max(1, int(sample.image.max()))
        expected = sample.image.max(axis=2, keepdims=True) / brightest * counts
        photons = np.random.default_rng(0).poisson(expected)
        image = np.minimum(np.rint(255 * photons / counts), 255).astype(np.uint8)
        return Changed(np.repeat(image, 3, axis=2), sample.labels)

    return change


def with_texture(factor: float) -> Change:
    """The image at a higher magnification, which shows what is in its nuclei and between them."""

    def change(sample: Sample, other: Sample) -> Changed | None:
        changed = resized(factor)(sample, other)
        if changed is None or changed.labels.size > MOST_TEXTURED:
            return None
        rng = np.random.default_rng(zlib.crc32(sample.image_id.encode()))
        view, size = changed.image.astype(np.float32) / np.float32(255), size_of(changed.labels)
        view = textured(view, changed.labels > 0, size, rng).clip(0, 1)
        return Changed(np.rint(255 * view).astype(np.uint8), changed.labels)

    return change


CHANGES: dict[str, Change] = {
    "magnification x 1/4": resized(1 / 4),
    "magnification x 1/2": resized(1 / 2),
    "magnification x 2": resized(2.0),
    "magnification x 4": resized(4.0),
    "magnification x 4, with texture": with_texture(4.0),
    "fluorescence in blue": tinted(0, 0, 1),
    "fluorescence in green": tinted(0, 1, 0),
    "fluorescence in red": tinted(1, 0, 0),
    "fluorescence in cyan (1/8, 1/3, 1)": tinted(1 / 8, 1 / 3, 1),
    "inverted": inverted,
    "white beside it": beside(255),
    "black beside it": beside(0),
    "another image beside it": beside(None),
    "12-bit camera, values 100 to 1000": camera(900 / 255, 100),
    "16-bit camera, full range": camera(257, 0),
    "JPEG, quality 50": jpeg(50),
    "fluorescence, 8 photons": exposed(8),
}
BESIDE = tuple(name for name in CHANGES if name.endswith("beside it"))


def robustness(
    weights: Weights,
    samples: Sequence[Sample],
    *,
    changes: Sequence[str] = tuple(CHANGES),
    method: Method = "split",
    panels: bool = False,
    progress: bool = True,
    before: pd.DataFrame | None = None,
    keep: Callable[[pd.DataFrame], None] = lambda table: None,
) -> pd.DataFrame:
    """Average F1 of changed and unchanged images, one line per change, :data:`COLUMNS`.

    Low and high bound the difference: paired, by bootstrap over images.

    Args:
        weights: a network with its thresholds.
        samples: annotated images; each is compared with itself.
        changes: keys of :data:`CHANGES`.
        method: how probabilities become nuclei.
        panels: whether images side by side are looked for, and searched one by one.
        before: lines of a run that was stopped, which are taken as they are.
        keep: is given the table after each change.
    """
    table = pd.DataFrame(columns=COLUMNS) if before is None else before
    changes = [name for name in changes if name not in set(table["change"])]
    if not changes:
        return table
    found = {sample.image_id: _score(weights, _same(sample), method, panels)
             for sample in track(samples, "Unchanged", progress=progress)}  # fmt: skip
    partner = _partners(samples)
    for name in changes:
        pairs = []
        for sample in track(samples, name, progress=progress):
            changed = CHANGES[name](sample, partner[sample.image_id])
            if changed is not None:
                unchanged, was = found[sample.image_id]
                score, magnification = _score(weights, changed, method, panels)
                pairs.append((unchanged, score, np.log2(magnification / was)))
        if not pairs:
            continue
        unchanged, score, octaves = np.mean(pairs, axis=0)
        differences = np.array([score - unchanged for unchanged, score, _ in pairs])
        bounds = (score - unchanged,) * 2
        if np.ptp(differences) > 0:
            drawn = resample(len(pairs), 0, RESAMPLES) / len(pairs)
            bounds = bootstrap_interval(drawn @ differences)
        line = [name, len(pairs), unchanged, score, score - unchanged, *bounds, 2.0**octaves]
        lines = [*table.to_numpy(object).tolist(), line]
        table = pd.DataFrame(lines, columns=COLUMNS).infer_objects().round(4)
        keep(table)
    return table


def fill(
    out: Path,
    weights: Weights,
    samples: Sequence[Sample],
    told: dict[str, Any],
    *,
    began: float,
    panels: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """Write :func:`robustness` as a table, and where it comes from beside it.

    Lines that an earlier call has left are taken as they are if code, images, weights and hardware
    are the same; otherwise it starts anew.

    Args:
        out: the CSV file.
        weights: a network with its thresholds and its provenance.
        samples: validation images.
        told: the provenance, with ``weights_sha256``; the minutes and that of training are added.
        began: by ``time.monotonic``.
        panels: look for images side by side, and make only the changes that put one there.
        progress: show bars.

    Raises:
        InputError: another process works on the table, or it is another one.
    """
    with held(out, "a robustness table", folder=False):
        earlier = earlier_json(out.with_suffix(".json"))
        same = ("commit", "data_fingerprint", "weights_sha256", "hardware", "panels")
        goes_on = out.is_file() and all(earlier.get(key) == told[key] for key in same)
        minutes = float(earlier["minutes"]) if goes_on else 0.0

        def keep(table: pd.DataFrame) -> None:
            spent = round(minutes + (time.monotonic() - began) / 60, 2)
            made = {**told, "minutes": spent, "training": weights.provenance}
            write_with_provenance(out, table, made)

        before = read_table(out, COLUMNS, "changes", "ngat robustness") if goes_on else None
        changes = BESIDE if panels else tuple(CHANGES)
        return robustness(weights, samples, changes=changes, panels=panels, progress=progress,
                          before=before, keep=keep)  # fmt: skip


def _same(sample: Sample) -> Changed:
    return Changed(sample.image, sample.labels)


def _score(weights: Weights, changed: Changed, method: Method, panels: bool) -> tuple[float, float]:
    """Average F1 of one image, and the magnification that was found for its first panel."""
    windows = panels_of(changed.image) if panels else [(slice(None), slice(None))]
    labels = np.zeros_like(changed.labels)
    found = []
    for window in windows:
        prediction = predict(weights.model, changed.image[window])
        nuclei = instances(prediction, method)
        labels[window] = np.where(nuclei > 0, nuclei + labels.max(), 0)
        found.append(prediction.magnification)
    score = average_f1(labels[changed.part], changed.labels[changed.part])
    return score, found[0]


def _partners(samples: Sequence[Sample]) -> dict[str, Sample]:
    """The next image of the same type for each; itself where there is no other."""
    partner = {}
    for kind in {sample.type for sample in samples}:
        same = [sample for sample in samples if sample.type == kind]
        for i, sample in enumerate(same):
            partner[sample.image_id] = same[(i + 1) % len(same)]
    return partner
