"""Evaluation: a method's nuclei in every picture of a split, counted and written to result files.

The network is measured twice, by *components* and by *split*; baselines come through the same
door, so that every row of a table is made alike.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from ngat.baselines.networks import build, finds_nuclei
from ngat.baselines.thresholding import otsu, otsu_watershed
from ngat.config import preset as preset_of
from ngat.data import Masks, Sample, data_name, fingerprint
from ngat.data.own import seen_in_training
from ngat.errors import InputError
from ngat.evaluation.results import (
    Measured,
    check_name,
    measure,
    of_training,
    run_name,
    write_run,
)
from ngat.inference import Floats, instances, predict
from ngat.instances import Labels
from ngat.system.process import track
from ngat.system.provenance import provenance
from ngat.thresholds import METHODS as INSTANCE_METHODS
from ngat.thresholds import thresholds_from, thresholds_to_dict
from ngat.training.distributed import find_device
from ngat.training.step import seeded
from ngat.training.weights import Weights, load_weights

Method = Literal[
    "ngat", "otsu", "otsu_watershed", "untrained", "classical_one", "classical_per_type"
]
METHODS: tuple[Method, ...] = get_args(Method)
CLASSICAL = ("classical_one", "classical_per_type")
# What a row of a table is called.
LABELS = {
    "otsu": "Otsu",
    "otsu_watershed": "Otsu + watershed",
    "classical_one": "classical, one setting",
    "classical_per_type": "classical, per type (type known)",
}


class Found(NamedTuple):
    """A picture's nuclei, and the probability map that they come from, where there is one."""

    labels: Labels
    probability: Floats | None = None


# A predictor gives one picture's nuclei under one or more names of rows.
Predictor = Callable[[Sample], dict[str, Found]]


def evaluate(
    samples: Sequence[Sample],
    out: Path | str,
    *,
    data: str,
    masks: Masks = "published",
    method: Method = "ngat",
    weights: Path | str | None = None,
    tuned: Path | str | None = None,
    preset: str = "companion",
    name: str = "",
    label: str = "",
    tta: bool = False,
    device: str = "auto",
    seed: int = 0,
    command: str | Sequence[str] = "ngat.evaluation.evaluator.evaluate",
    progress: bool = True,
) -> list[Path]:
    """Measure a method on annotated pictures and write its result files.

    The files are described in :mod:`ngat.evaluation.results`.

    Args:
        samples: the pictures of one split, of any sizes.
        out: folder of the result files.
        data: the data set's name, for the files; of a folder its last part is kept.
        masks: the annotation that ``samples`` have; other than published is told with ``data``.
        method: ``ngat`` (needs ``weights``), ``untrained`` (the network of ``preset`` as it
            starts), ``otsu``, ``otsu_watershed``, ``classical_one`` (needs ``tuned``), or
            ``classical_per_type`` (too, and is told each picture's type).
        weights: a file that training wrote; its thresholds are used.
        tuned: a file that :func:`ngat.baselines.classical_tuning.tune` wrote.
        preset: of the untrained network.
        name: the files' common beginning; ``<data>-<split>-<method>`` by default.
        label: the method's name in tables; the preset's or the method's name by default.
        tta: with test-time augmentation (:func:`ngat.inference.predict`) and its own thresholds.
        device, seed, command, progress: as in :func:`ngat.training.trainer.train`; ``seed``
            draws the untrained network.

    Returns:
        the paths written.

    Raises:
        InputError: no picture, an unknown method, weights or settings missing, given for nothing
            or damaged, a type that was not tuned for, or an unwritable folder.
    """
    if not samples:
        raise InputError(f"{data}: there is no picture to evaluate.")
    if method not in METHODS:
        raise InputError(f"Unknown method {method!r}; known: {', '.join(METHODS)}.")
    if (method == "ngat") != (weights is not None):
        raise InputError("Weights belong to the method ngat: give --weights for it, and only then.")
    if (method in CLASSICAL) != (tuned is not None):
        raise InputError("Tuned settings belong to the classical methods: give --tuned for them.")
    where = find_device(device)
    history: Mapping[str, Any] = {}
    loaded: Weights | None = None
    if weights is not None:
        loaded = load_weights(weights, where)
        label, history = label or loaded.preset.name, loaded.provenance
        if seen := seen_in_training(data, samples[0].split, history):
            print(seen, file=sys.stderr, flush=True)
    elif method == "untrained":
        chosen = preset_of(preset)
        with seeded(where, seed):
            loaded = Weights(build(chosen.model).to(where), chosen, {})
        label = label or f"untrained {preset}"
    label = label or LABELS[method]
    called = loaded.preset.name if loaded and method == "ngat" else method
    # Other truth is another measurement: no figure may take it for the protocol's.
    data = data_name(data) + ("" if masks == "published" else f", {masks} masks")
    stem = check_name(name or run_name(data, samples[0].split, called))

    rows = {"": (stem, label)}
    if loaded is not None and not finds_nuclei(loaded.model):
        find, settings = network(loaded, tta)
        rows = {kind: (f"{stem}-{kind}", f"{label} ({kind})") for kind in INSTANCE_METHODS}
    elif loaded is not None:
        if tta:
            raise InputError(f"{label} finds boxes, which are not averaged over flips; no --tta.")
        find, settings = detector(loaded)
    elif tuned is not None:
        find, settings, history = classical(tuned, method)
    else:
        threshold = {"otsu": otsu, "otsu_watershed": otsu_watershed}[method]
        find, settings = (lambda sample: {"": Found(threshold(sample.image))}), {}

    began = time.monotonic()
    measured: dict[str, list[Measured]] = {kind: [] for kind in rows}
    for sample in track(samples, f"Evaluate {label}", progress=progress):
        for kind, found in find(sample).items():
            measured[kind].append(measure(sample, *found))
    minutes = (time.monotonic() - began) / 60

    written = []
    for kind, (file_name, row) in rows.items():
        told = provenance(
            command,
            history.get("seed", seed),
            fingerprint(samples),
            minutes,
            device=str(where) if loaded else "cpu",
            **settings,
        )
        if loaded is not None:
            told["parameters"] = sum(p.numel() for p in loaded.model.parameters())
        if history:
            told["training"] = dict(history)
        told = of_training(told, history)
        written += write_run(out, file_name, measured[kind], method=row, data=data, provenance=told)
    return written


def network(weights: Weights, tta: bool) -> tuple[Predictor, dict[str, Any]]:
    """A predictor by components and by split, and its settings for the provenance."""
    thresholds = thresholds_from(weights.provenance, tta)

    def find(sample: Sample) -> dict[str, Found]:
        prediction = predict(weights.model, sample.image, tta=tta)
        return {
            kind: Found(instances(prediction, kind), prediction.probability) for kind in thresholds
        }

    settings = {
        "preset": weights.preset.name,
        "tta": tta,
        "thresholds": thresholds_to_dict(thresholds),
    }
    return find, settings


def detector(weights: Weights) -> tuple[Predictor, dict[str, Any]]:
    """A predictor by a network that finds nuclei itself, and its settings for the provenance."""
    chosen = dict(weights.provenance.get("thresholds", {}))

    def find(sample: Sample) -> dict[str, Found]:
        return {"": Found(weights.model.nuclei(sample.image, **chosen))}  # type: ignore[operator]

    return find, {"preset": weights.preset.name, "thresholds": chosen}


def classical(
    tuned: Path | str, method: Method
) -> tuple[Predictor, dict[str, Any], Mapping[str, Any]]:
    """:func:`ngat.baselines.classical.classical` as a predictor; its settings, how they were tuned.

    Per type, a picture is worked on with the settings of its known type, as users of such pipelines
    choose them by looking at a picture.
    """
    from ngat.baselines.classical import classical as run
    from ngat.baselines.classical_tuning import read_tuned

    found = read_tuned(tuned)
    one = method == "classical_one"
    of_types = {kind: asdict(of_type) for kind, of_type in found.per_type.items()}

    def find(sample: Sample) -> dict[str, Found]:
        return {"": Found(run(sample.image, found.one if one else found.of(sample.type)))}

    return find, {"settings": asdict(found.one) if one else of_types}, found.history
