"""Validation: what training looks at to keep the best weights, and to choose thresholds.

Measured by the challenge's protocol on whole pictures, as the test will be; never on the test.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ngat.baselines.networks import Network, finds_nuclei
from ngat.data import Sample
from ngat.inference import Prediction, instances, predict
from ngat.magnification import SIZE, size_of
from ngat.metrics import average_f1, pixel_dice, pixel_iou
from ngat.system.process import track
from ngat.thresholds import LARGEST, METHODS, Method, Thresholds, thresholds_to_dict
from ngat.training.distributed import Team
from ngat.training.weights import load_weights, save_weights

# How far an image is reduced or enlarged in validation at the annotated size.
FACTORS = (1 / 16, 3.0)

# Where thresholds are searched first, and then around what was best.
COARSE: dict[str, list[Any]] = {
    "probability": [0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8],
    "prominence": [0.0, 0.05, 0.1, 0.15, 0.2],
    "core": [0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8],
    "landscape": ["distance", "core"],
    "smoothing": [1.0, 1.5, 2.0, 2.5],
    "min_area": [16, 8, 32, 64],
    "confidence": [0.0, 0.5, 0.55, 0.6, 0.65, 0.7],
}


def around(name: str, value: Any) -> list[Any]:
    """A value and its neighbours, half a step of the coarse search away, as far as they can be."""
    if name == "min_area":
        return [value, value * 3 // 4, value * 3 // 2]
    if name == "landscape":
        return [value]
    step = {"smoothing": 0.25, "prominence": 0.02, "confidence": 0.02}.get(name, 0.05)
    largest = LARGEST.get(name, 1.0)
    return [value, max(0.0, round(value - step, 2)), min(largest, round(value + step, 2))]


class Validated(NamedTuple):
    """Means over pictures, each between 0 and 1.

    Attributes:
        dice: pixel Dice of the thresholded probability (eq. 29).
        jaccard: its pixel IoU (eq. 28).
        accuracy: share of pixels on the right side.
        average_f1: mean F1 over pictures and IoU thresholds 0.50 to 0.95, by ``split``.
        components_f1: the same by ``components``.
        per_type: ``average_f1`` by image type, of the types that occur.
    """

    dice: float
    jaccard: float
    accuracy: float
    average_f1: float
    components_f1: float
    per_type: dict[str, float]


class Scores(NamedTuple):
    """What :class:`Validated` means over, of one picture at the default thresholds."""

    dice: float = 0.0
    jaccard: float = 0.0
    accuracy: float = 0.0
    average_f1: float = 0.0
    components_f1: float = 0.0


def score_one(model: Network, sample: Sample, known_size: bool = True) -> Scores:
    """Predict and score one picture, at its annotated size or at the magnification found."""
    magnification = known_magnification(model, sample) if known_size else None
    if finds_nuclei(model):
        found = model.nuclei(sample.image, magnification=magnification)  # type: ignore[operator]
        mask, labels = found > 0, [found, found]
    else:
        prediction = predict(model, sample.image, magnification=magnification)
        mask = prediction.probability > Thresholds().probability
        methods: tuple[Method, ...] = ("split", "components")
        labels = [instances(prediction, method, Thresholds()) for method in methods]
    truth = sample.labels > 0
    return Scores(
        pixel_dice(mask, truth),
        pixel_iou(mask, truth),
        float(np.mean(mask == truth)),
        *(average_f1(one, sample.labels) for one in labels),
    )


def known_magnification(model: Network, sample: Sample) -> float | None:
    """The magnification that the annotation asks for, of a network that was trained for one size.

    Training validates with it, so that the network is judged apart from how it finds the size.
    """
    if model.config.outputs < 3:
        return None
    return float(np.clip(SIZE / size_of(sample.labels), *FACTORS))


def summary(samples: Sequence[Sample], scores: Sequence[Sequence[float]]) -> Validated:
    """Means of :func:`score_one` over pictures."""
    table = np.asarray(scores, dtype=np.float64)
    f1s = table[:, Scores._fields.index("average_f1")]
    types = np.array([sample.type for sample in samples])
    per_type = {kind: float(f1s[types == kind].mean()) for kind in np.unique(types).tolist()}
    return Validated(
        **dict(zip(Scores._fields, table.mean(axis=0).tolist(), strict=True)), per_type=per_type
    )


def validate(
    model: Network, samples: Sequence[Sample], *, members: Team | None = None
) -> Validated:
    """Score a network on whole pictures at the default thresholds, see :func:`score_one`.

    With ``members``, processes that train together share the pictures.
    """
    team = members or Team(0, 1, torch.device("cpu"))
    scores = [
        score_one(model, sample) if i % team.world == team.rank else Scores()
        for i, sample in enumerate(samples)
    ]
    flat = team.sum([value for row in scores for value in row])
    n = len(Scores._fields)
    return summary(samples, [flat[i : i + n] for i in range(0, len(flat), n)])


def choose_thresholds(
    model: Network,
    samples: Sequence[Sample],
    *,
    tta: bool = False,
    progress: bool = True,
) -> dict[Method, Thresholds]:
    """The thresholds with the best average F1 on validation pictures, for each instance method.

    On a tie the value nearest to the default, or to the coarse one, stays.
    """
    predictions = [
        predict(model, sample.image, tta=tta)
        for sample in track(samples, "Predict validation", progress=progress)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        @cache
        def mean_f1(method: Method, thresholds: Thresholds) -> float:
            def one(prediction: Prediction, sample: Sample) -> float:
                return average_f1(instances(prediction, method, thresholds), sample.labels)

            return round(float(np.mean(list(pool.map(one, predictions, samples)))), 9)

        return {
            method: search(
                partial(mean_f1, method),
                COARSE if method == "split" else ["probability", "min_area", "confidence"],
            )
            for method in track(METHODS, "Choose thresholds", progress=progress)
        }


def search(score: Callable[[Thresholds], float], names: Collection[str]) -> Thresholds:
    """The thresholds with the highest score, by one parameter at a time, coarsely and then finely.

    Both times round after round, until a round changes nothing: what is best for one parameter
    depends on the others, most of all between ``core`` and ``prominence``.
    """
    best = Thresholds()
    for fine in (False, True):
        before = None
        while best != before:
            before = best
            for name in names:
                now = best
                values = around(name, getattr(now, name)) if fine else COARSE[name]
                best = max((replace(now, **{name: value}) for value in values), key=score)
    return best


def store_thresholds(
    path: Path,
    samples: Sequence[Sample],
    device: torch.device | str = "cpu",
    *,
    tta: bool = False,
    again: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Choose a weights file's thresholds and store them there.

    Args:
        path: the file, which is replaced.
        samples: validation pictures.
        tta: choose those of averages over flips instead, which takes four times as long; the file
            keeps both.
        again: choose anew what the file already has.

    Returns:
        the file's provenance, the thresholds with it.

    Raises:
        InputError: the file cannot be read.
    """
    model, preset, history = load_weights(path, device)
    # A network that finds nuclei itself has one score, whatever it averages over.
    tta = tta and not finds_nuclei(model)
    name = "thresholds_tta" if tta else "thresholds"
    if name in history and not again:
        return history
    if finds_nuclei(model):
        found = model.choose(samples, progress=progress)  # type: ignore[operator]
    else:
        found = thresholds_to_dict(choose_thresholds(model, samples, tta=tta, progress=progress))
    history = {**history, name: found}
    save_weights(path, model, preset, history)
    return history
