"""What the published tables can carry: recomputed, bounded, and held against their own text.

Everything follows from :mod:`ngat.evaluation.published`; no picture is needed.
"""

from __future__ import annotations

from itertools import permutations
from math import pi, sin
from typing import NamedTuple

import pandas as pd

from ngat import metrics
from ngat.data import TYPES
from ngat.data.split import PUBLISHED
from ngat.evaluation import published

OBJECTS = sum(stratum.objects for stratum in published.STAGE_2.values())
IMAGES = sum(stratum.images for stratum in published.STAGE_2.values())

# Section 4.3 counts 37,333 annotated cells; these are the masks in the published files. Stage 2 has
# one fewer than objects in Caicedo et al. 2019: they count connected parts, and one mask has two.
STATED_CELLS = 37_333
COUNTED_CELLS = {"stage1_train": 29_461, "stage1_test": 4_152, "stage2": 3_716}


def pooled() -> pd.DataFrame:
    """Recall, missed and extra from the published counts, beside what table 1 prints.

    Returns:
        One row per system whose counts are published: tp, fp, fn, the three by formula, the three
        as printed (``<name> printed``), and the largest difference.
    """
    rows = []
    for line in published.TABLE_1:
        counts = published.COUNTS_AT_07.get(line.system)
        if counts is None:
            continue
        found = metrics.pooled(*counts)
        printed = {name: getattr(line, name) for name in found._fields}
        rows.append(
            {
                "system": line.system,
                **counts._asdict(),
                **found._asdict(),
                **{f"{name} printed": value for name, value in printed.items()},
                "difference": max(abs(getattr(found, n) - v) for n, v in printed.items()),
            }
        )
    return pd.DataFrame(rows)


def implied() -> pd.DataFrame:
    """Counts at IoU > 0.7 that table 1's recall and extra imply, and precision and F1 of the pool.

    The paper prints no counts; four digits of a share of 3,717 objects give them back exactly.
    """
    rows = []
    for line in published.TABLE_1:
        tp, fp = round(line.recall * OBJECTS), round(line.extra * OBJECTS)
        fn = OBJECTS - tp
        rows.append(
            {
                "system": line.system,
                "tp": tp,
                "fp": fp,
                "fn": fn,
                "precision": tp / (tp + fp),
                "pooled f1": float(metrics.f1(tp, fp, fn)),
            }
        )
    return pd.DataFrame(rows)


def score_bounds(average_f1: float) -> tuple[float, float]:
    """Between what bounds the competition score lies, given the average F1.

    For each image and threshold S = F1 / (2 − F1), a convex function with S ≤ F1. By Jensen the
    mean of S is least when every F1 is the same, m / (2 − m), and largest, m, when each is 0 or 1.
    """
    return average_f1 / (2 - average_f1), average_f1


def ratios() -> pd.DataFrame:
    """Competition score over average F1, and where between its bounds the score lies (0 to 1)."""
    rows = []
    for line in published.TABLE_1:
        low, high = score_bounds(line.average_f1)
        rows.append(
            {
                "system": line.system,
                "score": line.score,
                "average f1": line.average_f1,
                "ratio": line.score / line.average_f1,
                "lowest score": low,
                "highest score": high,
                "place between": (line.score - low) / (high - low),
            }
        )
    return pd.DataFrame(rows)


def weights() -> pd.DataFrame:
    """How much of stage 2 each column of table 2 stands for, and how fine it can be.

    ``one nucleus`` is what one nucleus found instead of missed (where another was claimed) moves
    the column by: 1 / objects, if images hold equally many.
    """
    rows = []
    for kind in TYPES:
        stratum = published.STAGE_2[kind]
        rows.append(
            {
                "type": kind,
                "images": stratum.images,
                "objects": stratum.objects,
                "share of images": stratum.images / IMAGES,
                "share of objects": stratum.objects / OBJECTS,
                "share of table 2": 1 / len(TYPES),
                "one nucleus": 1 / stratum.objects,
            }
        )
    return pd.DataFrame(rows)


def by_images() -> pd.DataFrame:
    """Table 2 summed up by images, beside the F1 at 0.7 that Caicedo et al. publish.

    Both are means over the same images, so they should agree. Columns ``table 2``, ``published``
    (missing for the paper), ``difference``, and ``unweighted`` (what the radar shows).
    """
    rows = []
    for system, values in published.TABLE_2.items():
        mean = sum(published.STAGE_2[kind].images * f1 for kind, f1 in values.items()) / IMAGES
        theirs = published.F1_AT_07.get(system, float("nan"))
        rows.append(
            {
                "system": system,
                "table 2": mean,
                "published": theirs,
                "difference": mean - theirs,
                "unweighted": sum(values.values()) / len(values),
            }
        )
    return pd.DataFrame(rows)


def left_out() -> pd.DataFrame:
    """The unweighted mean of table 2 with one type left out: what one column decides.

    Returns:
        One row per system; columns ``none`` and each type, by what is left out.
    """
    rows = []
    for system, values in published.TABLE_2.items():
        total = sum(values.values())
        row: dict[str, object] = {"system": system, "none": total / len(values)}
        row |= {kind: (total - values[kind]) / (len(values) - 1) for kind in TYPES}
        rows.append(row)
    return pd.DataFrame(rows)


class Area(NamedTuple):
    """Area of a radar polygon as a share of the full pentagon, over all orders of the spokes."""

    system: str
    as_drawn: float
    least: float
    largest: float
    first_in: int
    orders: int


def areas() -> pd.DataFrame:
    """Figure 7's polygons: their area in the paper's order of types, and in every other order.

    The area depends on which types are neighbours. Of five spokes there are twelve orders that
    differ by more than turning and reflecting; ``first_in`` counts those where a system's polygon
    is the largest.
    """
    first, *rest = range(len(TYPES))
    orders = [(first, *order) for order in permutations(rest) if order[0] < order[-1]]
    table = {
        system: [_area([values[TYPES[k]] for k in order]) for order in orders]
        for system, values in published.TABLE_2.items()
    }
    drawn = orders.index(tuple(range(len(TYPES))))
    best = [max(table, key=lambda system: table[system][k]) for k in range(len(orders))]
    rows = [
        Area(system, found[drawn], min(found), max(found), best.count(system), len(orders))
        for system, found in table.items()
    ]
    return pd.DataFrame(rows)


def _area(values: list[float]) -> float:
    """Area of the polygon over that of the regular one with radius 1 (the sines cancel)."""
    n = len(values)
    triangle = sin(2 * pi / n) / 2
    area = sum(triangle * a * b for a, b in zip(values, values[1:] + values[:1], strict=True))
    return area / (n * triangle)


class Claim(NamedTuple):
    """A sentence of the paper, whether its own tables and the data bear it out, and the numbers."""

    claim: str
    holds: bool
    numbers: str


def claims() -> list[Claim]:
    """What the paper says of its tables, recomputed."""
    rows = {line.system: line for line in published.TABLE_1}
    ours = rows.pop(published.PAPER)

    def beside(measure: str, least: bool = False) -> tuple[bool, str]:
        pick = min if least else max
        rival = pick(rows.values(), key=lambda line: getattr(line, measure))
        a, b = getattr(ours, measure), getattr(rival, measure)
        return (a < b if least else a > b), f"{a:.4f}; next {rival.system} {b:.4f}"

    extras = sorted(line.extra for line in (*rows.values(), ours))
    polygons = areas().set_index("system")
    drawn = polygons["as_drawn"].drop(published.PAPER)
    mine = published.TABLE_2[published.PAPER]
    won = [
        kind
        for kind in TYPES
        if all(mine[kind] >= other[kind] for other in published.TABLE_2.values())
    ]
    train = dict(zip(TYPES, PUBLISHED["stage1_train"], strict=True))
    rarer = [kind for kind in TYPES if train[kind] < train["grayscale_tissue"]]
    counted = sum(COUNTED_CELLS.values())
    return [
        Claim("best competition score", *beside("score")),
        Claim("best average F1", *beside("average_f1")),
        Claim("best recall at 0.7", *beside("recall")),
        Claim("fewest missed at 0.7", *beside("missed", least=True)),
        Claim(
            "second in extra, behind Mask R-CNN only",
            extras.index(ours.extra) == 1 and extras[0] == rows["Deep Retina"].extra,
            f"{ours.extra:.4f}; Mask R-CNN {rows['Deep Retina'].extra:.4f}",
        ),
        Claim(
            "covers the largest area in figure 7",
            bool(polygons["as_drawn"][published.PAPER] > drawn.max()),
            f"{polygons['as_drawn'][published.PAPER]:.3f} of the pentagon; "
            f"next {drawn.idxmax()} {drawn.max():.3f}",
        ),
        Claim(
            "best on every type (which the paper does not say)",
            len(won) == len(TYPES),
            f"best on {len(won)} of {len(TYPES)}: {', '.join(won)}",
        ),
        Claim(
            "only purple tissue is rarer in training than grayscale",
            rarer == ["purple_tissue"],
            f"rarer is {', '.join(rarer)} ({train[rarer[0]]} images); purple has "
            f"{train['purple_tissue']}, grayscale {train['grayscale_tissue']}",
        ),
        Claim(
            f"{STATED_CELLS:,} cells were annotated",
            counted == STATED_CELLS,
            f"{counted:,} masks in the files",
        ),
    ]
