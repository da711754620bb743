"""Robustness: what a network makes of the same images, changed as other laboratories would.

Every change (:mod:`ngat.evaluation.changes`) is made to validation images and scored against their
own annotation, changed alike. The difference to the unchanged images is what the change
costs. The test is never looked at; the rules for blank background (:mod:`ngat.data.contrast`), for
magnification and for that of parts were chosen on validation images, these among them.

The network sees a changed image as one. ``panels`` asks instead for what ``ngat segment`` does: it
finds where images meet and searches each (:mod:`ngat.segmentation.panels`), and leaves out a scale
bar (:mod:`ngat.segmentation.scale_bar`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ngat.data import Sample
from ngat.evaluation.changes import CHANGES, LOOKED_FOR, Changed
from ngat.evaluation.tables import RESAMPLES, bootstrap_interval, resample
from ngat.inference import instances, predict
from ngat.metrics import average_f1
from ngat.segmentation.panels import Searched, searched
from ngat.segmentation.scale_bar import without_drawn
from ngat.system.files import earlier_json, held
from ngat.system.process import track
from ngat.system.provenance import write_with_provenance
from ngat.system.tables import read_table
from ngat.thresholds import Method
from ngat.training.weights import Weights

COLUMNS = ["change", "images", "unchanged", "changed", "difference", "low", "high", "magnification"]


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
        changes: keys of :data:`ngat.evaluation.changes.CHANGES`.
        method: how probabilities become nuclei.
        panels: whether images side by side are looked for, and searched one by one, and scale bars
            left out.
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
        panels: look for images side by side and scale bars, and make only the changes that put one
            there.
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
        changes = LOOKED_FOR if panels else tuple(CHANGES)
        return robustness(weights, samples, changes=changes, panels=panels, progress=progress,
                          before=before, keep=keep)  # fmt: skip


def _same(sample: Sample) -> Changed:
    return Changed(sample.image, sample.labels)


def _score(weights: Weights, changed: Changed, method: Method, panels: bool) -> tuple[float, float]:
    """Average F1 of one image, and the magnification that was found for its first panel."""
    whole = Searched(changed.image, [(slice(None), slice(None))], None)
    image, windows, drawn = searched(changed.image) if panels else whole
    labels = np.zeros_like(changed.labels)
    found = []
    for window in windows:
        prediction = predict(weights.model, image[window])
        nuclei = instances(prediction, method)
        labels[window] = np.where(nuclei > 0, nuclei + labels.max(), 0)
        found.append(prediction.magnification)
    if drawn is not None:
        labels = without_drawn(labels, drawn)
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
