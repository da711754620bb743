"""What each change does: ablations, parts switched off, types left out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor, nn

from ngat.data import TYPES, Sample
from ngat.errors import InputError
from ngat.inference import Thresholds, instances, predict
from ngat.metrics import pixel_dice
from ngat.model import NGAT, Maps, PyramidGATConv
from ngat.paper.study.pictures import average_f1
from ngat.training import sweep
from ngat.training.variants import BASE, FACTORS, HELD_OUT, OF_REAL, Variant

METRICS = {"dice": "Dice", "average_f1": "average F1"}


def read(path: Path) -> pd.DataFrame:
    """Read what `ngat ablate` wrote: means over all pictures, variants in the order of the plan.

    Raises:
        InputError: it is no such table, or holds unknown variants, no base, or several.
    """
    table = sweep.read(path)
    # Runs that did without a type of picture, and their bases, are of notebook 8's last section.
    changed = set(table.loc[~table["factor"].isin([BASE, HELD_OUT]), "network"])
    table = table[(table["type"] == sweep.ALL) & table["network"].isin(changed or table["network"])]
    known = {BASE: [BASE], **FACTORS, **OF_REAL}
    order = {pair: k for k, pair in enumerate((f, v) for f in known for v in known[f])}
    place = table[["factor", "variant"]].apply(tuple, axis=1).map(order)
    if place.isna().any() or not (table["factor"] == BASE).any() or table["network"].nunique() > 1:
        raise InputError(
            f"{path}: holds unknown variants, no base or several; run `ngat ablate` again."
        )
    return table.assign(place=place).sort_values(["place", "seed"]).drop(columns="place")


def effects(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Each variant's difference to the base of the same seed.

    Intervals are Student's, 95 %, over seeds: with three seeds they are wide, and honest about
    that. With one seed there is none.

    Args:
        table: from :func:`read`.
        metric: one of its columns.

    Returns:
        One row per variant, in order: factor, variant, seeds, mean, low, high, values (a list).
    """
    base = table[table["factor"] == BASE].set_index("seed")[metric]
    rows = []
    others = table[table["factor"] != BASE]
    for (factor, variant), runs in others.groupby(["factor", "variant"], sort=False):
        runs = runs.set_index("seed")[metric]
        values = (runs - base).dropna().to_numpy()
        if len(values):
            low, high = interval(values)
            rows.append([factor, variant, len(values), values.mean(), low, high, values.tolist()])
    return pd.DataFrame(
        rows, columns=["factor", "variant", "seeds", "mean", "low", "high", "values"]
    )


def of_other_seeds(table: pd.DataFrame, metric: str) -> tuple[float, float]:
    """The range of differences to the base's first seed, of the base with each of its seeds.

    Where variants have one seed and no interval, an effect within this range is none that is known.
    """
    base = table[table["factor"] == BASE].sort_values("seed")[metric].to_numpy()
    return float((base - base[0]).min()), float((base - base[0]).max())


def interval(values: np.ndarray) -> tuple[float, float]:
    """Student's 95 % interval of the mean; NaN of fewer than two values."""
    if len(values) < 2:
        return (np.nan, np.nan)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, a line per variant: parameters, seconds, metrics, and effects with bounds.

    Effects as text, ``-0.012 [-0.03, +0.01]``; empty for the base.
    """
    found = {m: effects(table, m).set_index(["factor", "variant"]) for m in METRICS}
    rows = []
    for (factor, variant), runs in table.groupby(["factor", "variant"], sort=False):
        row: dict[str, object] = {
            "factor": factor,
            "variant": variant,
            "seeds": len(runs),
            "parameters": int(runs["parameters"].iloc[0]),
        }
        for metric, name in METRICS.items():
            row[name] = round(float(runs[metric].mean()), 3)
            effect = ""
            if (factor, variant) in found[metric].index:
                line = found[metric].loc[(factor, variant)]
                effect = f"{line['mean']:+.3f}"
                if not np.isnan(line["low"]):
                    effect += f" [{line['low']:+.3f}, {line['high']:+.3f}]"
            row[f"effect on {name}"] = effect
        rows.append(row)
    return pd.DataFrame(rows)


def verdict(low: float, high: float) -> str:
    """``better``, ``worse``, or ``undecided`` where the interval holds zero or there is none."""
    if low > 0:
        return "better"
    return "worse" if high < 0 else "undecided"


def read_left_out(path: Path) -> pd.DataFrame:
    """Read what `ngat leave-out` wrote, type by type.

    Raises:
        InputError: it is no such table, or holds unknown types, or a measurement twice.
    """
    table = sweep.read(path)
    table = table[table["factor"].isin([BASE, HELD_OUT]) & (table["type"] != sweep.ALL)]
    strange = {*table["type"], *table["variant"]} - {*TYPES, BASE}
    if strange or table.duplicated([*Variant._fields, "type"]).any():
        raise InputError(f"{path}: holds unknown types, or runs twice; run `ngat leave-out` again.")
    return table


def pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Average F1 of each network on each type, learnt with that type and without.

    Args:
        table: from :func:`read_left_out`.

    Returns:
        One row per network and type of which both runs are there, means over the seeds that have
        both: network, type, images, seeds, seen, unseen, kept (unseen over seen); types in the
        order of :data:`~ngat.data.TYPES`.
    """
    key = ["network", "type", "seed"]
    seen = table.loc[table["factor"] == BASE, [*key, "images", "average_f1"]]
    unseen = table.loc[table["variant"] == table["type"], [*key, "average_f1"]]
    both = seen.rename(columns={"average_f1": "seen"}).merge(
        unseen.rename(columns={"average_f1": "unseen"})
    )
    found = both.groupby(["network", "type"], sort=False, as_index=False).agg(
        images=("images", "first"),
        seeds=("seed", "nunique"),
        seen=("seen", "mean"),
        unseen=("unseen", "mean"),
    )
    place = found["type"].map({kind: k for k, kind in enumerate(TYPES)})
    found = found.assign(kept=found["unseen"] / found["seen"].where(found["seen"] > 0), place=place)
    found = found.sort_values(["place", "network"], ignore_index=True)
    return found.drop(columns="place")


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


def _without(relation: str) -> Callable[[NGAT], None]:
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
    "nothing from children": _without("child"),
    "nothing from parents": _without("parent"),
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
