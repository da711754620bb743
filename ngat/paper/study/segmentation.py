"""Notebook 7: every method's nuclei in the same pictures, what went wrong, and typical cases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from ngat.config import PRESETS
from ngat.data import TYPES, Sample
from ngat.data.normalize import as_tensor
from ngat.errors import InputError
from ngat.evaluation import tables
from ngat.evaluation.error_types import OUTCOMES, outcomes
from ngat.evaluation.evaluator import Method, evaluate
from ngat.evaluation.results import Run, read_instances, read_run
from ngat.inference import evaluating
from ngat.magnification import areas_of, size_of
from ngat.model import NGAT
from ngat.paper import artifacts
from ngat.paper.session import Session
from ngat.paper.study.pictures import centre_of, fullest, part
from ngat.paper.study.training import results_of
from ngat.training.weights import load_weights

Labels = npt.NDArray[np.integer]

# Outcomes of annotated nuclei (:mod:`ngat.evaluation.error_types`), and objects on background.
ERRORS = (*OUTCOMES, "extra")
# A crop is so many median nuclei wide, within these limits in pixels.
NUCLEI_WIDE = 8
CROP_SIDES = (128, 256)
LITERAL = "paper"  # the preset that reads the paper literally


class MethodNuclei(NamedTuple):
    """One method's nuclei in all pictures.

    Attributes:
        run: its result files.
        labels: nuclei by image id.
        validated: its score for a choice (:func:`ngat.paper.artifacts.by_validation`).
    """

    run: Run
    labels: dict[str, Labels]
    validated: tuple[float, float] = (-1.0, -1.0)

    @property
    def method(self) -> str:
        return self.run.method

    @property
    def counts(self) -> pd.DataFrame:
        return self.run.counts

    @property
    def family(self) -> str:
        return artifacts.family(self.run)

    @property
    def tta(self) -> bool:
        """Whether test-time augmentation was used (:func:`ngat.inference.predict`)."""
        return artifacts.flips(self.run)


def everything(
    session: Session, samples: Sequence[Sample], weights: Path, *, in_run: bool
) -> dict[str, MethodNuclei]:
    """What all methods found in these pictures, best average F1 first.

    By hand, from the committed result files where they have these pictures. In a run, or where
    weights were asked for, ours, two floors and the untrained network are evaluated now into the
    session's results; of committed files those of other methods (a U-Net's, say) stand beside them.
    """
    others = read_found(results_of(session), session.data, samples)
    if not in_run and session.weights is None and others:
        return others
    preset = load_weights(weights).preset.name
    methods: list[Method] = ["ngat", "otsu", "otsu_watershed"]
    if preset == "smoke":
        # Larger untrained networks take as long as trained ones and find as little.
        methods.append("untrained")
    for method in methods:
        evaluate(
            samples,
            session.results,
            data=session.data,
            method=method,
            weights=weights if method == "ngat" else None,
            preset=preset,
            seed=session.seed,
            progress=False,
            command="notebook 07",
        )
    # What is committed of the same preset may come from other weights.
    others = {name: found for name, found in others.items() if sort_of(name) != preset}
    return _ranked(others | read_found(session.results, session.data, samples))


def committed_of(session: Session, samples: Sequence[Sample], method: str) -> MethodNuclei:
    """What one method found by its committed file; where it has none, that of :func:`headline`.

    Raises:
        InputError: no method has a file of these pictures.
    """
    for only in (method, ""):
        if found := read_found(results_of(session), session.data, samples, only):
            return headline(found)
    raise InputError(f"There are no result files of {session.data}; run notebook 07 first.")


def read_found(
    folder: Path, data: str, samples: Sequence[Sample], only: str = ""
) -> dict[str, MethodNuclei]:
    """Methods of the result files in a folder that were measured on these pictures of ``data``.

    What was counted against another annotation is of other data. By name, best average F1 first,
    and the untrained network last. Empty where there are none. With ``only`` one method is read.
    """
    wanted = {sample.image_id for sample in samples}
    # One alone is not chosen.
    validated = [] if only else artifacts.any_runs(folder / "validation")
    found = {}
    for path in sorted(folder.glob("*.counts.csv")):
        run = read_run(path.with_name(path.name.removesuffix(".counts.csv")))
        here = set(run.counts["data"]) == {data} and wanted <= set(run.counts["image_id"])
        if here and only in ("", run.method):
            labels = read_instances(path.with_name(f"{run.name}.rle.csv.gz"))
            score = artifacts.by_validation(run, validated)
            found[run.method] = MethodNuclei(run, labels, score)
    return _ranked(found)


def _ranked(found: Mapping[str, MethodNuclei]) -> dict[str, MethodNuclei]:
    """By name, best average F1 first; the untrained network comes last."""

    def place(method: str) -> tuple[bool, float]:
        of_method = found[method]
        return of_method.family == "untrained", -per_picture(of_method)["average_f1"].mean()

    return {method: found[method] for method in sorted(found, key=place)}


def sort_of(method: str) -> str:
    """What a method is a variant of: ``unet (split)`` of ``unet``, ``Otsu + watershed`` of Otsu."""
    return re.split(r" \(|, | \+ ", method)[0]


def headline(found: Mapping[str, MethodNuclei], preset: str = "") -> MethodNuclei:
    """The one of ours that is best on validation pictures; of any method, where none is ours.

    Of the ``preset`` alone if given, and without flips where there is one: test results never
    decide (:func:`ngat.paper.artifacts.headline`).
    """
    ours = [one for one in found.values() if one.family == "ngat"]
    ours = [one for one in ours if preset in ("", sort_of(one.method))]
    there = {one.method: one for one in ours or found.values()}
    shown = artifacts.without_flips([one.run for one in there.values()])
    scores = {run.method: there[run.method].validated for run in shown}
    return there[artifacts.best_validated(scores)]


def one_of_each(found: Mapping[str, MethodNuclei]) -> list[str]:
    """Ours first, another network, StarDist and Cellpose, one that learns nothing, the literal one.

    Of each sort the one that :func:`headline` takes.
    """
    sorts: dict[str, dict[str, MethodNuclei]] = {}
    order = ["ours", "network", "StarDist", "Cellpose", "rest", LITERAL, "untrained"]
    for method, nuclei in found.items():
        sorts.setdefault(_sort(nuclei), {})[method] = nuclei
    return [headline(sorts[sort]).method for sort in order if sort in sorts]


def _sort(nuclei: MethodNuclei) -> str:
    name = sort_of(nuclei.method)
    if nuclei.family == "ngat":
        return LITERAL if name == LITERAL else "ours"
    if nuclei.family == "untrained":
        return "untrained"
    for peer in ("StarDist", "Cellpose"):
        if name.startswith(peer):
            return peer
    return "network" if name.split("-")[0] in PRESETS else "rest"


def per_picture(found: MethodNuclei) -> pd.DataFrame:
    """A line per picture: image_id, type, average_f1; f1 and counts at IoU > 0.7; and more."""
    return tables.per_image(found.counts).reset_index()


def typical(table: pd.DataFrame) -> dict[str, str]:
    """The best, the median and the worst picture by average F1: image ids by what they are.

    Ties go to the first in the order of image ids; of an even number, the lower median.
    """
    order = table.sort_values(["average_f1", "image_id"], ascending=[False, True])
    ids = order["image_id"].tolist()
    return {"best": ids[0], "median": ids[len(ids) // 2], "worst": ids[-1]}


def one_per_type(table: pd.DataFrame) -> list[str]:
    """Image ids, one of each type: the picture with the type's median average F1."""
    by_type = dict(list(table.groupby("type")))
    return [typical(by_type[kind])["median"] for kind in TYPES if kind in by_type]


class Crop(NamedTuple):
    """A part of a picture: its rows and columns."""

    sample: Sample
    part: tuple[slice, slice]


def crowded(samples: Sequence[Sample], count: int = 3) -> list[Crop]:
    """The most crowded crops: those with most annotated nuclei for their area.

    Every picture has one, the square with most of nuclei; where there are fewer pictures than
    crops, the four quarters of each are taken. Annotations alone decide, no method's result.
    """
    found = []
    for sample in samples:
        if len(samples) < count:
            parts = quarters(sample.labels)
        else:
            side = int(np.clip(NUCLEI_WIDE * size_of(sample.labels), *CROP_SIDES))
            parts = [fullest(sample.labels, side)]
        found += [Crop(sample, part) for part in parts]

    def crowding(crop: Crop) -> float:
        inside = crop.sample.labels[crop.part]
        return float(np.count_nonzero(areas_of(inside)) / inside.size)

    return sorted(found, key=crowding, reverse=True)[:count]


def quarters(labels: Labels) -> list[tuple[slice, slice]]:
    """Rows and columns of a picture's four quarters."""
    halves = [(slice(0, n // 2), slice(n // 2, n)) for n in labels.shape]
    return [(rows, columns) for rows in halves[0] for columns in halves[1]]


def examples(found: MethodNuclei, samples: Sequence[Sample]) -> dict[str, Crop]:
    """A crop around one nucleus of each outcome, and around one extra object.

    Of all with that outcome the one of median area is taken; the crop is some five times as wide.
    Outcomes that do not occur are left out.
    """
    objects: dict[str, list[tuple[int, int, int]]] = {name: [] for name in ERRORS}
    for k, sample in enumerate(samples):
        for name, mine in by_outcome(found.labels[sample.image_id], sample.labels).items():
            areas = areas_of(mine)
            objects[name] += [(int(areas[n]), k, int(n)) for n in np.flatnonzero(areas)]
    crops = {}
    for name, known in objects.items():
        if known:
            area, k, number = sorted(known)[len(known) // 2]
            sample = samples[k]
            mine = by_outcome(found.labels[sample.image_id], sample.labels)[name]
            side = int(np.clip(5 * area**0.5, 48, CROP_SIDES[1]))
            crops[name] = Crop(sample, part(sample, centre_of(mine, number), side))
    return crops


def errors(pred: Labels, true: Labels) -> dict[str, int]:
    """Count the annotated nuclei of a picture by outcome, and extra objects: :data:`ERRORS`."""
    found = outcomes(pred, true)
    counts = np.bincount(found.of_each, minlength=len(OUTCOMES)).tolist()
    return {**dict(zip(OUTCOMES, counts, strict=True)), "extra": found.extra}


def by_outcome(pred: Labels, true: Labels) -> dict[str, Labels]:
    """Label images by outcome: annotated nuclei that were found, merged, split or missed; extra.

    Extra are the predicted objects that lie mostly on background.
    """
    of_each = np.append(outcomes(pred, true).of_each, -1)
    number = np.searchsorted(np.unique(true[true > 0]), true)
    kind = np.where(true > 0, of_each[number], -1)
    found = {name: np.where(kind == k, true, 0) for k, name in enumerate(OUTCOMES)}
    extra = 2 * np.bincount(pred.ravel(), true.ravel() > 0) < np.bincount(pred.ravel())
    extra[0] = False
    return {**found, "extra": np.where(extra[pred], pred, 0)}


def error_table(found: Mapping[str, MethodNuclei], samples: Sequence[Sample]) -> pd.DataFrame:
    """Sums of :func:`errors` over pictures, a line per method."""
    rows = []
    for method, run in found.items():
        of_each = pd.DataFrame([errors(run.labels[s.image_id], s.labels) for s in samples])
        rows.append({"method": method, **of_each.sum().to_dict()})
    return pd.DataFrame(rows)


def same_nuclei(one: Labels, other: Labels) -> bool:
    """Whether two label images have the same nuclei, whatever their numbers."""
    pairs = np.unique(np.stack([np.ravel(one), np.ravel(other)]), axis=1)
    background = ((pairs[0] == 0) == (pairs[1] == 0)).all()
    return bool(background) and len(np.unique(one)) == len(np.unique(other)) == pairs.shape[1]


def level_probabilities(
    model: NGAT, image: npt.NDArray[np.uint8], magnification: float = 1.0
) -> list[npt.NDArray[np.float32]]:
    """What each level says of nucleus, ``[H_m, W_m]``, before they are put together (fig. 6).

    Args:
        magnification: how much the image is resized first.
    """
    picture = as_tensor(image, model.config.contrast, magnification)
    with evaluating(model):
        logits = model(picture.to(next(model.parameters()).device)).logits
    return [torch.sigmoid(z[0, 0].float()).cpu().numpy() for z in logits]
