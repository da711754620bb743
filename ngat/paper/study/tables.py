"""Measured results by type and by size of nuclei, and beside the published tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ngat import metrics
from ngat.data import TYPES
from ngat.errors import InputError
from ngat.evaluation import confidence, published, tables
from ngat.evaluation.results import Run, read_instances
from ngat.magnification import size_of
from ngat.paper.session import Session
from ngat.paper.study import audit
from ngat.paper.study.dataset import image_sizes

# Octaves of √area in pixels, round the size that patches are resized to in training.
SIZES = (0, 10, 20, 40, 80, np.inf)

SIZE_NAMES = ("below 10", "10 to 20", "20 to 40", "40 to 80", "above 80")


def _named(sizes: pd.Series) -> pd.Series:
    """Which of :data:`SIZE_NAMES` each size in pixels has."""
    return pd.cut(sizes, SIZES, right=False, labels=SIZE_NAMES)


def columns(table2: pd.DataFrame) -> pd.DataFrame:
    """Table 2 with a column per type, ``<type>``, and its bounds ``<type> low``, ``<type> high``.

    Args:
        table2: from :func:`ngat.evaluation.tables.table2`.
    """
    index = ["method", "measured on"]
    table = table2.pivot(index=index, columns="type", values=["f1", "low", "high"])
    table.columns = [f"{kind} {value}".removesuffix(" f1") for value, kind in table.columns]
    return table2[index].drop_duplicates().merge(table.reset_index(), on=index)


def by_confidence(session: Session, runs: Sequence[Run], method: str) -> pd.DataFrame:
    """:func:`ngat.evaluation.confidence.precision_recall` of a method, by its result files.

    Without a line where its confidences are not known.
    """
    path = _beside(session, runs, method, ".confidence.csv.gz")
    if path is None:
        return pd.DataFrame(columns=["type", "confidence", "recall", "precision"])
    return confidence.precision_recall(confidence.read(path))


def _beside(session: Session, runs: Sequence[Run], method: str, ending: str) -> Path | None:
    """The file of a method that lies beside its result file, if there is one."""
    names = [run.name for run in runs if run.method == method]
    for folder in (session.results, session.top / "data" / "results"):
        for path in (folder / f"{name}{ending}" for name in names):
            if path.is_file():
                return path
    return None


def found_widths(
    session: Session, runs: Sequence[Run], methods: Sequence[str], facts: pd.DataFrame
) -> pd.DataFrame:
    """How wide the nuclei that methods find are, over how wide they are.

    A method that sees a picture at the wrong magnification takes parts of nuclei, or groups of
    them, for nuclei.

    Args:
        methods: names of runs; those without a file of nuclei are left out.
        facts: as in :func:`by_size`.

    Returns:
        Columns method, size (as in :func:`by_size`), images, ratio: median width (√area) of the
        objects found in a picture over that of its annotated nuclei, the median over pictures. A
        picture in which nothing was found counts 0.
    """
    facts = facts.set_index("image_id")
    wide = image_sizes(facts)
    sizes = _named(wide)
    rows = []
    for method in methods:
        path = _beside(session, runs, method, ".rle.csv.gz")
        labels = read_instances(path) if path else {}
        for image_id in wide.index.intersection(list(labels)):
            found = size_of(labels[image_id]) if labels[image_id].any() else 0.0
            rows.append([method, sizes[image_id], found / wide[image_id]])
    table = pd.DataFrame(rows, columns=["method", "size", "ratio"])
    for name, order in (("method", list(dict.fromkeys(methods))), ("size", SIZE_NAMES)):
        table[name] = pd.Categorical(table[name], order)
    each = table.groupby(["method", "size"], observed=True)["ratio"]
    return each.agg(images="size", ratio="median").reset_index()


def by_size(counts: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Average F1 of each method over pictures whose median nucleus is about as large.

    Args:
        counts: lines of result files (:data:`ngat.evaluation.results.COUNT_COLUMNS`).
        facts: from :func:`ngat.paper.study.dataset.read_pictures`; pictures that it lacks are left
            out.

    Returns:
        Columns method, size (one of :data:`SIZE_NAMES`), images, average_f1 with the bounds low and
        high of its 95 % bootstrap interval over pictures (missing of a single picture); methods in
        their order, no line where there is no picture.
    """
    sized = facts.assign(size=image_sizes(facts)).set_index("image_id")["size"]
    rows = counts.assign(
        f1=metrics.f1(counts["tp"], counts["fp"], counts["fn"]),
        size=_named(counts["image_id"].map(sized)),
    )
    each = (
        rows.dropna(subset="size")
        .groupby(["method", "size", "image_id"], observed=True)["f1"]
        .mean()
        .groupby(["method", "size"], observed=True)
    )
    table = each.agg(images="size", average_f1="mean").reset_index()
    bounds = [
        tables.bootstrap_interval(
            tables.resample(len(f1), 0, tables.RESAMPLES) @ f1.to_numpy() / len(f1)
        )
        for _, f1 in each
    ]
    table[["low", "high"]] = np.array(bounds).reshape(-1, 2)
    order = list(dict.fromkeys(counts["method"]))
    return table.sort_values("method", key=lambda m: m.map(order.index), kind="stable")


SIDES = ("ahead of", "on the edge with", "not told apart from", "behind")


def beside_published(runs: Sequence[Run], seeds: int = 50) -> pd.DataFrame:
    """On which side of every published average F1 each run's bootstrap interval lies.

    A bound of a bootstrap moves with its seed, by some thousandths for the intervals of tables. So
    it is repeated: *ahead of* and *behind* hold with every seed, *on the edge with* with some.

    Args:
        runs: of the same images all.
        seeds: bootstraps, each of :data:`ngat.evaluation.tables.RESAMPLES`.

    Returns:
        Columns method, average_f1, system, side (one of :data:`SIDES`); runs in their order.
    """
    each = [tables.per_image(run.counts)["average_f1"].to_numpy() for run in runs]
    scores = np.stack(each, axis=1)
    drawn = (tables.resample(len(scores), seed, tables.RESAMPLES) for seed in range(seeds))
    means = (weights @ scores / len(scores) for weights in drawn)
    low, high = np.stack([np.percentile(m, [2.5, 97.5], axis=0) for m in means], axis=1)
    rows = []
    for k, run in enumerate(runs):
        for row in published.TABLE_1:
            above, below = low[:, k] > row.average_f1, high[:, k] < row.average_f1
            side = SIDES[1] if (above | below).any() else SIDES[2]
            side = SIDES[0] if above.all() else SIDES[3] if below.all() else side
            rows.append([run.method, scores[:, k].mean(), row.system, side])
    return pd.DataFrame(rows, columns=["method", "average_f1", "system", "side"])


def by_threshold(counts: pd.DataFrame, method: str) -> pd.DataFrame:
    """Means over a type's images, as in table 2, at each threshold.

    Args:
        counts: lines of result files (:data:`ngat.evaluation.results.COUNT_COLUMNS`).
        method: whose.

    Returns:
        Columns type, threshold, images, f1, precision, recall; types in the order of
        :data:`~ngat.data.TYPES`. Conventions for images without nuclei as in
        :mod:`ngat.metrics`.

    Raises:
        InputError: the method is not there.
    """
    rows = _of(counts, method)
    tp, fp, fn = (rows[name] for name in ("tp", "fp", "fn"))
    empty = tp + fp + fn == 0
    rows = rows.assign(
        type=pd.Categorical(rows["type"], [kind for kind in TYPES if kind in set(rows["type"])]),
        f1=metrics.f1(tp, fp, fn),
        precision=np.where(empty, 1.0, tp / np.maximum(tp + fp, 1)),
        recall=np.where(empty, 1.0, tp / np.maximum(tp + fn, 1)),
    )
    by_threshold = rows.groupby(["type", "threshold"], observed=True)
    means = by_threshold[["f1", "precision", "recall"]].mean()
    means.insert(0, "images", by_threshold["image_id"].nunique())
    return means.reset_index()


def _of(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """A method's rows.

    Raises:
        InputError: there are none.
    """
    rows = table[table["method"] == method]
    if rows.empty:
        known = ", ".join(dict.fromkeys(table["method"]))
        raise InputError(f"{method!r} is not among the results; there are {known}.")
    return rows


def composition(facts: pd.DataFrame) -> pd.DataFrame:
    """Pictures and annotated nuclei of stage 2 by type, in the files and as published.

    Args:
        facts: from :func:`ngat.paper.study.dataset.read_pictures`.

    Returns:
        One row per type: ``type``, ``images``, ``images published``, ``objects``,
        ``objects published``.
    """
    nuclei = facts[facts["split"] == "test"].groupby("type")["nuclei"]
    found = nuclei.agg(images="size", objects="sum").reindex(list(TYPES), fill_value=0)
    both = found.join(audit.STAGE_2.add_suffix(" published"))
    return both[["images", "images published", "objects", "objects published"]].reset_index()


def places(table1: pd.DataFrame) -> pd.DataFrame:
    """Where each method's competition score lies between the bounds that its average F1 sets.

    Args:
        table1: measured rows of :func:`ngat.evaluation.tables.table1`.

    Returns:
        ``method``, ``measured on``, ``ratio`` (score over average F1) and ``place between`` the
        bounds (:func:`ngat.paper.study.audit.place_between`); published rows first.
    """
    theirs = audit.ratios().rename(columns={"system": "method"})
    theirs["measured on"] = published.MEASURED_ON
    score, average_f1 = table1["score"], table1["average_f1"]
    ours = table1[["method", "measured on"]].assign(ratio=score / average_f1)
    ours["place between"] = audit.place_between(score, average_f1)
    return pd.concat([theirs[ours.columns], ours], ignore_index=True)


def leads(table2: pd.DataFrame, method: str) -> pd.DataFrame:
    """The paper's lead in each column of table 2 beside the width of a measured interval.

    Args:
        table2: measured rows of :func:`ngat.evaluation.tables.table2`.
        method: whose interval it is.

    Returns:
        One row per type: ``type``, ``images``, ``rival`` (the best other published system),
        ``lead`` (the paper's F1 less the rival's; negative where it is behind), ``half width`` of
        the method's 95 % interval (missing where one picture gives none).

    Raises:
        InputError: the method is not there.
    """
    measured = _of(table2, method).set_index("type")
    others = audit.TABLE_2.drop(published.PAPER)
    return pd.DataFrame(
        {
            "images": audit.STAGE_2["images"],
            "rival": others.idxmax(),
            "lead": audit.TABLE_2.loc[published.PAPER] - others.max(),
            "half width": (measured["high"] - measured["low"]) / 2,
        },
        index=pd.Index(TYPES, name="type"),
    ).reset_index()
