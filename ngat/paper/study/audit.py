"""What the published tables can carry: recomputed, bounded, and held against their own text.

Everything follows from :mod:`ngat.evaluation.published`; no picture is needed.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from ngat import metrics
from ngat.data import TYPES
from ngat.data.split import PUBLISHED
from ngat.evaluation import published

# The published tables with a row per system, and stage 2 with a row per type.
TABLE_1 = pd.DataFrame(published.TABLE_1).set_index("system")
TABLE_2 = pd.DataFrame(published.TABLE_2).T.rename_axis("system")
STAGE_2 = pd.DataFrame(published.STAGE_2, index=published.Stratum._fields).T.rename_axis("type")
IMAGES, OBJECTS = (int(STAGE_2[name].sum()) for name in ("images", "objects"))

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
    counts = pd.DataFrame(published.COUNTS_AT_07, index=published.Pool._fields).T
    found = pd.DataFrame([metrics.pooled(*row) for row in counts.to_numpy()], counts.index)
    printed = TABLE_1.loc[found.index, found.columns]
    difference = (found - printed).abs().max(axis=1).rename("difference")
    table = pd.concat([counts, found, printed.add_suffix(" printed"), difference], axis=1)
    return table.rename_axis("system").reset_index()


def implied() -> pd.DataFrame:
    """Counts at IoU > 0.7 that table 1's recall and extra imply, and precision and F1 of the pool.

    The paper prints no counts. Four digits of a share of 3,717 objects leave at most one whole
    number; where they leave none, as of the paper's extra, the nearest one stands here.
    """
    tp, fp = ((TABLE_1[name] * OBJECTS).round().astype(int) for name in ("recall", "extra"))
    table = pd.DataFrame({"tp": tp, "fp": fp, "fn": OBJECTS - tp, "precision": tp / (tp + fp)})
    table["pooled f1"] = metrics.f1(tp, fp, OBJECTS - tp)
    return table.reset_index()


def score_bounds(average_f1: Any) -> tuple[Any, Any]:
    """Between what bounds the competition score lies, given the average F1 (a number or several).

    For each image and threshold S = F1 / (2 − F1), a convex function with S ≤ F1. By Jensen the
    mean of S is least when every F1 is the same, m / (2 − m), and largest, m, when each is 0 or 1.
    """
    return average_f1 / (2 - average_f1), average_f1


def place_between(score: pd.Series, average_f1: pd.Series) -> pd.Series:
    """Where a score lies between :func:`score_bounds`: 0 if all F1 are the same, 1 if 0 or 1."""
    low, high = score_bounds(average_f1)
    return (score - low) / (high - low)


def ratios() -> pd.DataFrame:
    """Competition score over average F1, and where between its bounds the score lies (0 to 1)."""
    score, average_f1 = TABLE_1["score"], TABLE_1["average_f1"]
    low, high = score_bounds(average_f1)
    return pd.DataFrame(
        {
            "score": score,
            "average f1": average_f1,
            "ratio": score / average_f1,
            "lowest score": low,
            "highest score": high,
            "place between": place_between(score, average_f1),
        }
    ).reset_index()


def weights() -> pd.DataFrame:
    """How much of stage 2 each column of table 2 stands for, and how fine it can be.

    ``one nucleus`` is what one nucleus found instead of missed (where another was claimed) moves
    the column by: 1 / objects, if images hold equally many.
    """
    shares = {
        "share of images": STAGE_2["images"] / IMAGES,
        "share of objects": STAGE_2["objects"] / OBJECTS,
        "share of table 2": 1 / len(TYPES),
        "one nucleus": 1 / STAGE_2["objects"],
    }
    return STAGE_2.assign(**shares).reset_index()


def by_images() -> pd.DataFrame:
    """Table 2 summed up by images, beside the F1 at 0.7 that Caicedo et al. publish.

    Both are means over the same images, so they should agree. Columns ``table 2``, ``published``
    (missing for the paper), ``difference``, and ``unweighted`` (what the radar shows).
    """
    table = pd.DataFrame({"table 2": TABLE_2 @ STAGE_2["images"] / IMAGES})
    table["published"] = pd.Series(published.F1_AT_07)
    table["difference"] = table["table 2"] - table["published"]
    return table.assign(unweighted=TABLE_2.mean(axis=1)).reset_index()


def left_out() -> pd.DataFrame:
    """The unweighted mean of table 2 with one type left out: what one column decides.

    Returns:
        One row per system; columns ``none`` and each type, by what is left out.
    """
    without = {kind: TABLE_2.drop(columns=kind).mean(axis=1) for kind in TYPES}
    return pd.DataFrame({"none": TABLE_2.mean(axis=1), **without}).reset_index()


def areas() -> pd.DataFrame:
    """Figure 7's polygons: their area in the paper's order of types, and in every other order.

    The area depends on which types are neighbours. Of five spokes there are twelve orders that
    differ by more than turning and reflecting.

    Returns:
        One row per system: ``as_drawn``, ``least`` and ``largest`` area as shares of the full
        pentagon; ``first_in`` how many of the ``orders`` its polygon is the largest.
    """
    first, *rest = range(len(TYPES))
    orders = [(first, *order) for order in permutations(rest) if order[0] < order[-1]]
    found = _area(TABLE_2.to_numpy()[:, orders])
    largest = np.bincount(found.argmax(axis=0), minlength=len(found))
    return pd.DataFrame(
        {
            "system": TABLE_2.index,
            "as_drawn": found[:, orders.index(tuple(range(len(TYPES))))],
            "least": found.min(axis=1),
            "largest": found.max(axis=1),
            "first_in": largest,
            "orders": len(orders),
        }
    )


def _area(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Area of polygons ``[..., n]`` over that of the regular one with radius 1.

    Each is a sum of n triangles, half of a · b · sin(2π / n): the sines cancel.
    """
    values = np.asarray(values, dtype=np.float64)
    area: npt.NDArray[np.float64] = (values * np.roll(values, -1, axis=-1)).mean(axis=-1)
    return area


class Claim(NamedTuple):
    """A sentence of the paper, whether its own tables and the data bear it out, and the numbers."""

    claim: str
    holds: bool
    numbers: str


def claims() -> list[Claim]:
    """What the paper says of its tables, recomputed."""
    ours, others = TABLE_1.loc[published.PAPER], TABLE_1.drop(published.PAPER)

    def beside(measure: str, least: bool = False) -> tuple[bool, str]:
        rival = others[measure].idxmin() if least else others[measure].idxmax()
        a, b = ours[measure], others.loc[rival, measure]
        return bool(a < b if least else a > b), f"{a:.4f}; next {rival} {b:.4f}"

    extra = TABLE_1["extra"].sort_values()
    drawn = areas().set_index("system")["as_drawn"]
    area, rivals = drawn[published.PAPER], drawn.drop(published.PAPER)
    won = [kind for kind in TYPES if TABLE_2.loc[published.PAPER, kind] >= TABLE_2[kind].max()]
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
            list(extra.index[:2]) == ["Deep Retina", published.PAPER],
            f"{ours['extra']:.4f}; Mask R-CNN {extra['Deep Retina']:.4f}",
        ),
        Claim(
            "covers the largest area in figure 7",
            bool(area > rivals.max()),
            f"{area:.3f} of the pentagon; next {rivals.idxmax()} {rivals.max():.3f}",
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
