"""What each change does: ablations, parts switched off, types left out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
from scipy import stats

from ngat.data import TYPES, Sample
from ngat.errors import InputError
from ngat.inference import instances, predict
from ngat.metrics import average_f1, pixel_dice
from ngat.model import NGAT, Maps, PyramidGATConv
from ngat.thresholds import Thresholds
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
    order = pd.MultiIndex.from_tuples([(f, variant) for f in known for variant in known[f]])
    place = order.get_indexer(pd.MultiIndex.from_frame(table[["factor", "variant"]]))
    if (place < 0).any() or not (table["factor"] == BASE).any() or table["network"].nunique() > 1:
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
    others = table[table["factor"] != BASE]
    values = others[metric] - others["seed"].map(base).astype(float)
    others = others.assign(values=values).dropna(subset="values")
    groups = others.groupby(["factor", "variant"], sort=False)["values"]
    bounds = pd.DataFrame(
        [student_interval(values) for _, values in groups], columns=["low", "high"]
    )
    found = groups.agg(seeds="size", mean="mean", values=list).reset_index().join(bounds)
    return found[["factor", "variant", "seeds", "mean", "low", "high", "values"]]


def of_other_seeds(table: pd.DataFrame, metric: str) -> tuple[float, float]:
    """The range of differences to the base's first seed, of the base with each of its seeds.

    Where variants have one seed and no interval, an effect within this range is none that is known.
    """
    base = table[table["factor"] == BASE].sort_values("seed")[metric].to_numpy()
    return float((base - base[0]).min()), float((base - base[0]).max())


def student_interval(values: np.ndarray | pd.Series) -> tuple[float, float]:
    """Student's 95 % interval of the mean; NaN of fewer than two values."""
    if len(values) < 2:
        return (np.nan, np.nan)
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, a line per variant: parameters, seconds, metrics, and effects with bounds.

    Effects as text, ``-0.012 [-0.03, +0.01]``; empty for the base.
    """
    groups = table.groupby(["factor", "variant"], sort=False)
    found = groups.agg(seeds=("seed", "size"), parameters=("parameters", "first")).astype(int)
    for metric, name in METRICS.items():
        found[name] = groups[metric].mean().round(3)
        differences = effects(table, metric).set_index(["factor", "variant"])
        found[f"effect on {name}"] = differences.apply(_with_bounds, axis=1)
    return found.fillna("").reset_index()


def _with_bounds(effect: pd.Series) -> str:
    bounds = "" if np.isnan(effect["low"]) else f" [{effect['low']:+.3f}, {effect['high']:+.3f}]"
    return f"{effect['mean']:+.3f}{bounds}"


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
    seen = table[table["factor"] == BASE].set_index(key)[["images", "average_f1"]]
    unseen = table[table["variant"] == table["type"]].set_index(key)["average_f1"]
    both = seen.join(unseen.rename("unseen"), how="inner").reset_index()
    found = both.groupby(["network", "type"], sort=False, as_index=False).agg(
        images=("images", "first"),
        seeds=("seed", "nunique"),
        seen=("average_f1", "mean"),
        unseen=("unseen", "mean"),
    )
    found["kept"] = found["unseen"] / found["seen"].where(found["seen"] > 0)
    place = found["type"].map(TYPES.index)
    return found.iloc[np.lexsort([found["network"], place])].reset_index(drop=True)


# What is set to zero where a part is switched off.
Zeroed = Callable[[NGAT], Iterable[torch.Tensor]]


def _moves(model: NGAT) -> Iterable[torch.Tensor]:
    """ξ becomes the identity."""
    xi = model.plasticity.xi
    return [] if xi is None else xi.layers[-1].parameters()


def _position_terms(model: NGAT) -> Iterable[torch.Tensor]:
    return [p for update in _updates(model) for p in update.terms.parameters()]


def _scores(model: NGAT) -> Iterable[torch.Tensor]:
    """All scores become zero, so that every softmax is a mean."""
    yield from _position_terms(model)
    for update in _updates(model):
        for maps in (update.own, *update.other.values()):
            for parameter in maps.parameters():
                for part in parameter.split(cast(Maps, maps).parts):
                    if len(part) == model.config.heads:  # el and er; all other parts are wider
                        yield part


def _messages(relation: str) -> Zeroed:
    return lambda model: [
        parameter
        for update in _updates(model)
        if relation in update.other
        for parameter in update.other[relation].parameters()
    ]


def _updates(model: NGAT) -> list[PyramidGATConv]:
    return [cast(PyramidGATConv, update) for update in model.updates]


SWITCHED_OFF: Mapping[str, Zeroed] = {
    "whole network": lambda model: [],
    "nodes at home": _moves,
    "no position term": _position_terms,
    "attention alike": _scores,
    "nothing from children": _messages("child"),
    "nothing from parents": _messages("parent"),
}


def without(model: NGAT, name: str) -> NGAT:
    """A copy of a network of typed relations with a part of :data:`SWITCHED_OFF` switched off."""
    changed = copy.deepcopy(model).eval()
    with torch.no_grad():
        for parameter in SWITCHED_OFF[name](changed):
            parameter.zero_()
    return changed


def scores(model: NGAT, samples: Sequence[Sample], thresholds: Thresholds) -> pd.DataFrame:
    """Dice and average F1 with each part switched off: means, every picture at magnification 1.

    Returns:
        one row per part: ``network``, ``dice`` and ``average_f1``.
    """
    rows = []
    for name in SWITCHED_OFF:
        changed = without(model, name)
        for sample in samples:
            prediction = predict(changed, sample.image, magnification=1.0)
            dice = pixel_dice(prediction.probability > 0.5, sample.labels > 0)
            f1 = average_f1(instances(prediction, "split", thresholds), sample.labels)
            rows.append({"network": name, "dice": dice, "average_f1": f1})
    return pd.DataFrame(rows).groupby("network", sort=False, as_index=False).mean()
