"""Notebook 11: nuclei of one's own picture as a table, and how far a network can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from skimage.filters import gaussian
from skimage.measure import regionprops_table
from skimage.transform import rescale

from ngat.data.sample import Sample
from ngat.errors import InputError
from ngat.inference import Method, Thresholds, instances, predict, thresholds_from
from ngat.instances import Labels
from ngat.metrics import image_score, match, pixel_dice
from ngat.model import NGAT
from ngat.paper.study.dataset import touching
from ngat.training.weights import Weights

Picture = npt.NDArray[np.uint8]
Change = Callable[[Picture, Labels], tuple[Picture, Labels]]


def thresholds(trained: Weights, method: str) -> Thresholds:
    """The thresholds that were chosen with a network for a method of finding nuclei.

    Raises:
        InputError: there is no such method.
    """
    found = {str(name): value for name, value in thresholds_from(trained.provenance).items()}
    if method not in found:
        raise InputError(f"method {method!r} is unknown; choose {' or '.join(found)}.")
    return found[method]


def table(labels: Labels) -> pd.DataFrame:
    """One line per nucleus of a label image that numbers them 1 … n.

    Returns:
        nucleus, row and column of its centre, area, diameter of the disc of that area, elongation
        (long over short axis of the ellipse of equal moments), and whether it touches another;
        lengths in pixels.
    """
    names = ("label", "centroid", "area", "axis_major_length", "axis_minor_length")
    found = pd.DataFrame(regionprops_table(labels, properties=names))
    return pd.DataFrame(
        {
            "nucleus": found["label"],
            "row": found["centroid-0"].round(1),
            "column": found["centroid-1"].round(1),
            "area": found["area"].astype(int),
            "diameter": np.sqrt(4 / np.pi * found["area"]).round(1),
            "elongation": (
                found["axis_major_length"] / found["axis_minor_length"].clip(lower=1)
            ).round(2),
            "touches": touching(labels)[found["label"].to_numpy(dtype=int) - 1],
        }
    )


def _scaled(factor: float) -> Change:
    def change(image: Picture, labels: Labels) -> tuple[Picture, Labels]:
        larger = rescale(image, factor, channel_axis=2, anti_aliasing=factor < 1)
        # Nearest pixels, on the same grid of the same size.
        shape = larger.shape[:2]
        rows, columns = (
            np.minimum(((np.arange(n) + 0.5) / factor).astype(int), side - 1)
            for n, side in zip(shape, labels.shape, strict=True)
        )
        return (255 * larger + 0.5).astype(np.uint8), labels[rows[:, None], columns]

    return change


def _seen(alter: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]) -> Change:
    def change(image: Picture, labels: Labels) -> tuple[Picture, Labels]:
        altered = np.clip(alter(image / 255), 0, 1)
        return (255 * altered + 0.5).astype(np.uint8), labels

    return change


def _noise(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return image + np.random.default_rng(0).normal(0, 0.1, image.shape[:2])[..., None]


# What may differ from what a network was trained on.
# A megapixel enlarged four times is sixteen: minutes for what a part of it shows as well.
SIDE = 256

CHANGES: dict[str, Change] = {
    "as it is": _seen(lambda image: image),
    "half the size": _scaled(0.5),
    "twice the size": _scaled(2.0),
    "four times the size": _scaled(4.0),
    "inverted": _seen(lambda image: 1 - image),
    "half the contrast": _seen(lambda image: 0.5 * image + 0.25),
    "blurred (2 px)": _seen(lambda image: gaussian(image, 2, channel_axis=2)),
    "noisy (10 %)": _seen(_noise),
    "grey": _seen(lambda image: image.mean(axis=2, keepdims=True).repeat(3, axis=2)),
}


def middle(
    image: npt.NDArray[np.uint8], labels: Labels, side: int = SIDE
) -> tuple[npt.NDArray[np.uint8], Labels]:
    """The middle ``side × side`` pixels of a picture and its nuclei; all of a smaller one."""
    first = [max(0, (length - side) // 2) for length in labels.shape]
    part = tuple(slice(start, start + side) for start in first)
    return image[part], labels[part]


def limits(
    model: NGAT,
    samples: Sequence[Sample],
    method: Method = "split",
    thresholds: Thresholds | None = None,
) -> pd.DataFrame:
    """Mean Dice and average F1 of the same pictures, changed as :data:`CHANGES` says.

    Of a larger picture the middle :data:`SIDE` × :data:`SIDE` pixels are taken. Nuclei that a
    change leaves with less than one pixel are not counted.
    """
    rows = []
    for name, change in CHANGES.items():
        dice, f1 = [], []
        for sample in samples:
            image, labels = change(*middle(sample.image, sample.labels))
            found = instances(predict(model, image), method, thresholds)
            dice.append(pixel_dice(found > 0, labels > 0))
            f1.append(image_score(match(found, labels)).average_f1)
        rows.append({"change": name, "Dice": np.mean(dice), "average F1": np.mean(f1)})
    return pd.DataFrame(rows)
