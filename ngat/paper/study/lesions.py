"""Parts of a trained network switched off: what its prediction loses, without training anew.

An ablation trains a network without a part; here the part is taken from one that has learned to
rely on it. The first says whether the part is needed, the second what it is used for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import pandas as pd
import torch
from torch import Tensor, nn

from ngat.data import Sample
from ngat.inference import Thresholds, instances, predict
from ngat.metrics import pixel_dice
from ngat.model import NGAT, Maps, PyramidGATConv
from ngat.paper.study.one_nucleus import average_f1


def _home(model: NGAT) -> None:
    """ξ becomes the identity."""
    if model.plasticity.xi is not None:
        _silence(model.plasticity.xi.layers[-1])


def _no_positions(model: NGAT) -> None:
    for update in _updates(model):
        _silence(update.terms)


def _alike(model: NGAT) -> None:
    """All scores become zero, so that every softmax is a mean."""
    _no_positions(model)
    for update in _updates(model):
        maps = [
            update.own,
            *cast(nn.ModuleDict, getattr(update, "other", nn.ModuleDict())).values(),
        ]
        for module in maps:
            first = 0
            for width in cast(Maps, module).parts:
                if width == model.config.heads:  # el and er; all other parts are wider
                    _silence(module, slice(first, first + width))
                first += width


def _deaf(relation: str) -> Callable[[NGAT], None]:
    def cut(model: NGAT) -> None:
        for update in _updates(model):
            if relation in update.other:
                _silence(update.other[relation])

    return cut


LESIONS: Mapping[str, Callable[[NGAT], None]] = {
    "whole network": lambda model: None,
    "nodes at home": _home,
    "no position term": _no_positions,
    "attention alike": _alike,
    "nothing from children": _deaf("child"),
    "nothing from parents": _deaf("parent"),
}


def lesioned(model: NGAT, name: str) -> NGAT:
    """A copy of a network of typed relations with a part of :data:`LESIONS` switched off."""
    changed = copy.deepcopy(model).eval()
    with torch.no_grad():
        LESIONS[name](changed)
    return changed


def scores(model: NGAT, samples: Sequence[Sample], thresholds: Thresholds) -> pd.DataFrame:
    """Dice and average F1 of every lesion, means over pictures shown at magnification 1.

    Returns:
        one row per lesion: ``lesion``, ``dice`` and ``average_f1``.
    """
    rows = []
    for name in LESIONS:
        changed, dice, f1 = lesioned(model, name), [], []
        for sample in samples:
            prediction = predict(changed, sample.image, magnification=1.0)
            found = instances(prediction, "split", thresholds)
            dice.append(pixel_dice(prediction.probability > 0.5, sample.labels > 0))
            f1.append(average_f1(found, sample.labels))
        rows.append(
            {"lesion": name, "dice": sum(dice) / len(dice), "average_f1": sum(f1) / len(f1)}
        )
    return pd.DataFrame(rows)


def _updates(model: NGAT) -> list[PyramidGATConv]:
    return [cast(PyramidGATConv, update) for update in model.updates]


def _silence(module: nn.Module, rows: slice = slice(None)) -> None:
    for parameter in module.parameters():
        cast(Tensor, parameter)[rows] = 0.0
