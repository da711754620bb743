"""One nucleus followed through magnifications, and from its pixels to its share of table 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ngat.baselines.networks import Network
from ngat.data import Sample
from ngat.inference import look
from ngat.metrics import THRESHOLDS, f1, match
from ngat.paper.study.pictures import centre_of, part, resized

Labels = npt.NDArray[np.integer]


class Magnified(NamedTuple):
    """A nucleus and its surroundings at one magnification, all of the same ``[h, w]``.

    Attributes:
        magnification: of the picture.
        image: ``uint8 [h, w, 3]``, as many pixels as the network sees.
        probability: of nucleus.
        mask: the annotated nucleus.
        iou: of that mask with the component of probability above one half that covers most of it;
            0 where none does.
    """

    magnification: float
    image: npt.NDArray[np.uint8]
    probability: npt.NDArray[np.floating]
    mask: npt.NDArray[np.bool_]
    iou: float


def magnified(
    model: Network, sample: Sample, number: int, factors: Sequence[float], side: int
) -> list[Magnified]:
    """What a network makes of one nucleus at several magnifications.

    Args:
        sample: the picture; the network sees all of it.
        number: of the nucleus in ``sample.labels``.
        side: of the square around the nucleus that is kept, in pixels of the picture.
    """
    found = []
    for factor in factors:
        probability = look(model, sample.image, factor)[0, 0].numpy()
        seen = resized(sample, factor)
        mask = seen.labels == number
        centre = centre_of(sample.labels, number)
        window = part(seen, (round(centre[0] * factor), round(centre[1] * factor)),
                      max(2, round(side * factor)))  # fmt: skip
        found.append(
            Magnified(
                factor, seen.image[window], probability[window], mask[window],
                _best_iou(probability > 0.5, mask),
            )
        )  # fmt: skip
    return found


def _best_iou(found: npt.NDArray[np.bool_], mask: npt.NDArray[np.bool_]) -> float:
    labels, _ = ndimage.label(found)
    inside = np.bincount(labels[mask], minlength=1)
    inside[0] = 0
    if not inside.any():
        return 0.0
    mine = labels == inside.argmax()
    return float((mine & mask).sum() / (mine | mask).sum())


def best_match(pred: Labels, true: Labels, number: int) -> tuple[int, float]:
    """The predicted object that overlaps a nucleus most, and their IoU; 0 and 0 for none."""
    mask = true == number
    inside = np.bincount(pred[mask], minlength=1)
    inside[0] = 0
    if not inside.any():
        return 0, 0.0
    mine = pred == int(inside.argmax())
    return int(inside.argmax()), float((mine & mask).sum() / (mine | mask).sum())


def without(pred: Labels, true: Labels, number: int) -> float:
    """How much the picture's average F1 falls if an annotated nucleus' object is taken away."""
    taken, _ = best_match(pred, true, number)
    left = np.where(pred == taken, 0, pred) if taken else pred
    return average_f1(pred, true) - average_f1(left, true)


def average_f1(pred: Labels, true: Labels) -> float:
    """Mean F1 of a picture over the thresholds of table 1."""
    counts = match(pred, true, THRESHOLDS)
    return float(np.mean([f1(c.tp, c.fp, c.fn) for c in counts]))
