"""The challenge's protocol: counted objects, F1 and the competition score, on label images.

A label image is ``int [H, W]``: 0 is background, every other value names one object. Only the
partition matters, not the numbers. Source: Caicedo et al. 2019, Nature Methods 16:1247, which
the paper follows (section 4.4, eq. 26-29).

Conventions where the protocol is silent:

* No annotated and no predicted object: precision, recall, F1 and S are 1. Objects on one side
  only: F1 and S are 0, by the formula; so are precision with nothing predicted and recall with
  nothing annotated.
* Recall, missed and extra pooled over images without any annotated object are NaN.
* Eq. 27 prints T = {0.1, 0.15, ... 0.95}; the published rows follow from 0.50 to 0.95 (L17).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ngat.errors import InputError
from ngat.io.labels import as_labels

Labels = npt.NDArray[np.integer]
Array = npt.NDArray[np.float64]

# 10/20, 11/20 ... 19/20, as floats that print as 0.5, 0.55 ... 0.95.
THRESHOLDS: tuple[float, ...] = tuple(k / 20 for k in range(10, 20))


def f1(tp: npt.ArrayLike, fp: npt.ArrayLike, fn: npt.ArrayLike) -> Array:
    """F1 = 2 TP / (2 TP + FP + FN), elementwise; 1 where nothing was there to count."""
    tp, fp, fn = (np.asarray(count, dtype=np.float64) for count in (tp, fp, fn))
    return _ratio(2 * tp, 2 * tp + fp + fn)


def s(tp: npt.ArrayLike, fp: npt.ArrayLike, fn: npt.ArrayLike) -> Array:
    """S = TP / (TP + FP + FN), the summand of eq. 27, elementwise; 1 where nothing was there."""
    tp, fp, fn = (np.asarray(count, dtype=np.float64) for count in (tp, fp, fn))
    return _ratio(tp, tp + fp + fn)


def _ratio(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.ones(np.shape(below)), where=np.asarray(below > 0))


class Counts(NamedTuple):
    """Matched (tp), extra (fp) and missed (fn) objects of one image at one IoU threshold."""

    threshold: float
    tp: int
    fp: int
    fn: int

    @property
    def n_true(self) -> int:
        return self.tp + self.fn

    @property
    def n_pred(self) -> int:
        return self.tp + self.fp

    @property
    def f1(self) -> float:
        return float(f1(self.tp, self.fp, self.fn))

    @property
    def s(self) -> float:
        return float(s(self.tp, self.fp, self.fn))

    @property
    def precision(self) -> float:
        """Eq. 26, left: TP / (TP + FP)."""
        return self.tp / self.n_pred if self.n_pred else float(self.n_true == 0)

    @property
    def recall(self) -> float:
        """Eq. 26, right: TP / (TP + FN)."""
        return self.tp / self.n_true if self.n_true else float(self.n_pred == 0)


class Overlaps(NamedTuple):
    """The contingency table of two label images: one entry per pair of objects that meet.

    ``true`` and ``pred`` number objects from 0 in the order of their labels; ``intersection`` and
    ``union`` are whole numbers of pixels.
    """

    n_true: int
    n_pred: int
    true: npt.NDArray[np.int64]
    pred: npt.NDArray[np.int64]
    intersection: npt.NDArray[np.int64]
    union: npt.NDArray[np.int64]


def overlaps(pred: Labels, true: Labels) -> Overlaps:
    """Intersections and unions of all pairs that share a pixel; linear in pixels.

    Raises:
        InputError: the sizes differ, or a label image is not 2-D whole numbers >= 0.
    """
    pred, true = as_labels(pred, "the prediction"), as_labels(true, "the annotation")
    if pred.shape != true.shape:
        raise InputError(
            f"the prediction is {_size(pred)} and the annotation {_size(true)} (height x width): "
            "both must have the size of the image."
        )
    pred, n_pred = _number(pred)
    true, n_true = _number(true)
    none = np.zeros(0, dtype=np.int64)
    if not (n_true and n_pred):
        return Overlaps(n_true, n_pred, none, none, none, none)
    area_true, area_pred = (np.bincount(side.ravel())[1:] for side in (true, pred))
    both = (true > 0) & (pred > 0)
    i, j = true[both] - 1, pred[both] - 1
    shared = sparse.coo_array((np.ones(i.size, dtype=np.int64), (i, j)), shape=(n_true, n_pred))
    pairs = shared.tocsr().tocoo()  # those of one pair are added up
    i, j = pairs.row, pairs.col
    return Overlaps(
        n_true,
        n_pred,
        i.astype(np.int64),
        j.astype(np.int64),
        pairs.data,
        area_true[i] + area_pred[j] - pairs.data,
    )


def iou_matrix(pred: Labels, true: Labels) -> Array:
    """Intersection over union of every annotated with every predicted object.

    Returns:
        ``float64 [n_true, n_pred]``, rows and columns in the order of the labels.
    """
    meet = overlaps(pred, true)
    iou = np.zeros((meet.n_true, meet.n_pred))
    iou[meet.true, meet.pred] = meet.intersection / meet.union
    return iou


def match(
    pred: Labels, true: Labels, thresholds: Sequence[float | Fraction] = THRESHOLDS
) -> list[Counts]:
    """Count matched, extra and missed objects at each threshold; a match needs IoU > t.

    No assignment problem arises for t >= 1/2: if P matched both A and B, it would share more than
    |P|/2 pixels with each, yet A and B are disjoint parts of a label image, so more than |P| in P.

    The comparison is exact: intersection * denominator > numerator * union in whole numbers, so
    that an IoU of exactly 1/2 or 7/10 does not match whatever the rounding.

    Raises:
        InputError: as :func:`overlaps`; or a threshold lies outside [0.5, 1).
    """
    meet = overlaps(pred, true)
    counts = []
    for threshold in thresholds:
        t = _exact(threshold)
        tp = int(np.sum(meet.intersection * t.denominator > t.numerator * meet.union))
        counts.append(Counts(float(t), tp, meet.n_pred - tp, meet.n_true - tp))
    return counts


class ImageScore(NamedTuple):
    """Eq. 27 and the same mean of F1, for one image: means over the thresholds."""

    score: float
    average_f1: float


def image_score(counts: Sequence[Counts]) -> ImageScore:
    """Mean S (eq. 27) and mean F1 over one image's thresholds T.

    Raises:
        InputError: there is no threshold.
    """
    if not counts:
        raise InputError("no thresholds were counted; give at least one.")
    n = len(counts)
    return ImageScore(sum(c.s for c in counts) / n, sum(c.f1 for c in counts) / n)


def average_f1(pred: Labels, true: Labels) -> float:
    """Mean F1 of one image over the thresholds of table 1."""
    return image_score(match(pred, true)).average_f1


class Pooled(NamedTuple):
    """Objects of all images pooled: TP, FN and FP over the number annotated."""

    recall: float
    missed: float
    extra: float


def pooled(tp: int, fp: int, fn: int) -> Pooled:
    """Table 1's last three columns from total counts; NaN if nothing was annotated."""
    n = tp + fn
    return Pooled(tp / n, fn / n, fp / n) if n else Pooled(np.nan, np.nan, np.nan)


class Summary(NamedTuple):
    """One row of table 1. Score and average F1 are means over images, the rest is pooled."""

    images: int
    objects: int
    score: float
    average_f1: float
    recall: float
    missed: float
    extra: float


def summarise(images: Iterable[Sequence[Counts]]) -> Summary:
    """Table 1's row from every image's counts; pooled at IoU > 0.7.

    Raises:
        InputError: there is no image, or one was not counted at 0.7.
    """
    images = list(images)
    if not images:
        raise InputError("no image to summarise; score at least one.")
    scores = [image_score(counts) for counts in images]
    chosen = [counts_at(counts, 0.7) for counts in images]
    tp, fp, fn = (sum(getattr(c, name) for c in chosen) for name in ("tp", "fp", "fn"))
    return Summary(
        len(images),
        tp + fn,
        sum(score.score for score in scores) / len(images),
        sum(score.average_f1 for score in scores) / len(images),
        *pooled(tp, fp, fn),
    )


def counts_at(counts: Sequence[Counts], threshold: float) -> Counts:
    """The counts at one threshold. Raises InputError where it was not counted."""
    for c in counts:
        if _exact(c.threshold) == _exact(threshold):
            return c
    raise InputError(f"objects were not counted at IoU {threshold}; add it to the thresholds.")


def pixel_iou(pred: npt.ArrayLike, true: npt.ArrayLike) -> float:
    """Eq. 28: (sum y y' + 1) / (sum y + sum y' - sum y y' + 1), for masks or values in [0, 1].

    The paper prints the denominator without "- sum y y'"; a perfect prediction would then score
    one half, which is no IoU. It is read as the union (L18). The smoothing ones make two empty
    masks score 1.
    """
    y_pred, y = _pixels(pred, true)
    both = float(np.sum(y * y_pred))
    union = float(np.sum(y) + np.sum(y_pred)) - both
    return (both + 1) / (union + 1)


def pixel_dice(pred: npt.ArrayLike, true: npt.ArrayLike) -> float:
    """Eq. 29: 2 sum y y' / (sum y^2 + sum y'^2 + epsilon), for masks or values in [0, 1].

    The paper does not give its epsilon; 1e-7 changes no digit that is reported. Two empty masks,
    where the equation would say 0, score 1 as they do in eq. 28.
    """
    y_pred, y = _pixels(pred, true)
    squares = float(np.sum(y * y) + np.sum(y_pred * y_pred))
    return 2 * float(np.sum(y * y_pred)) / (squares + 1e-7) if squares else 1.0


def _number(labels: Labels) -> tuple[Labels, int]:
    """Objects renumbered 1 ... n in the order of their labels, and n."""
    if not labels.any():
        return labels, 0
    # Sorting is only needed for scattered labels; a look-up table does for compact ones.
    if int(labels.max()) > 4 * labels.size:
        values, numbers = np.unique(labels, return_inverse=True)
        numbers = numbers.reshape(labels.shape) + (0 if values[0] == 0 else 1)
        return numbers, int(np.sum(values > 0))
    index = labels.astype(np.int64)
    present = np.bincount(index.ravel(), minlength=1).astype(bool)
    present[0] = False
    numbers = np.cumsum(present)
    return numbers[index], int(numbers[-1])


def _exact(threshold: float | Fraction) -> Fraction:
    # 0.7 means seven tenths, not the nearest binary fraction: go by its decimal digits.
    t = threshold if isinstance(threshold, Fraction) else Fraction(repr(float(threshold)))
    t = t.limit_denominator(10_000)
    if not Fraction(1, 2) <= t < 1:
        raise InputError(
            f"IoU threshold {threshold} lies outside [0.5, 1), where matches are unique."
        )
    return t


def _pixels(pred: npt.ArrayLike, true: npt.ArrayLike) -> tuple[Array, Array]:
    y_pred, y = np.asarray(pred), np.asarray(true)
    if not y_pred.dtype == y.dtype == bool:  # masks are counted as they are
        y_pred, y = y_pred.astype(np.float64), y.astype(np.float64)
    if y_pred.shape != y.shape:
        raise InputError(f"masks of different size: {y_pred.shape} and {y.shape}.")
    return y_pred, y


def _size(labels: Labels) -> str:
    return f"{labels.shape[0]} x {labels.shape[1]}"
