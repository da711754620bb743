"""Notebook 13: nuclei of one's own picture as a table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ngat.errors import InputError
from ngat.inference import Thresholds, thresholds_from
from ngat.instances import Labels
from ngat.paper.study.dataset import touching
from ngat.segmentation.measure import measure
from ngat.training.weights import Weights


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
    found = measure(labels, np.zeros((*labels.shape, 0)), ())
    return pd.DataFrame(
        {
            "nucleus": found["nucleus"],
            "row": found["y"].round(1),
            "column": found["x"].round(1),
            "area": found["area"],
            "diameter": np.sqrt(4 / np.pi * found["area"]).round(1),
            "elongation": (found["major_axis"] / found["minor_axis"].clip(lower=1)).round(2),
            "touches": touching(labels)[found["nucleus"].to_numpy(dtype=int) - 1],
        }
    )
