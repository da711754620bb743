"""One nucleus through magnifications and through the metrics, against values by hand."""

import numpy as np
import pytest

from ngat.config import ModelConfig
from ngat.data import Sample
from ngat.inference import Prediction
from ngat.model import NGAT
from ngat.paper.figures import dataset as figures
from ngat.paper.study import pictures


@pytest.fixture(scope="module")
def sample() -> Sample:
    labels = np.zeros((40, 40), np.int32)
    labels[10:20, 10:20], labels[28:36, 28:36] = 1, 2
    image = np.repeat(np.where(labels > 0, 220, 20).astype(np.uint8)[:, :, None], 3, axis=2)
    return Sample("drawn", image, labels, "small_fluorescent", "g", "val")


def test_best_match_is_the_object_with_most_of_the_nucleus(sample) -> None:
    pred = np.zeros((40, 40), int)
    pred[10:20, 12:22], pred[10:20, 10:12] = 5, 6  # 80 and 20 of 100 pixels
    assert pictures.best_match(pred, sample.labels, 1) == (5, pytest.approx(80 / 120))
    assert pictures.best_match(pred, sample.labels, 2) == (0, 0.0)


def test_a_nucleus_that_is_lost_costs_its_share_of_f1(sample) -> None:
    # Both found exactly: F1 is 1 everywhere; one lost: 2 · 1 / (2 · 1 + 1).
    fall = pictures.without(sample.labels.astype(int), sample.labels, 1)
    assert fall == pytest.approx(1 - 2 / 3)
    nothing = np.zeros_like(sample.labels)
    assert pictures.without(nothing, sample.labels, 1) == 0


def test_every_magnification_shows_the_same_window(sample) -> None:
    model = NGAT(ModelConfig(levels=2, channels=8, heads=4, depth=1, outputs=3))
    looks = pictures.magnified(model, sample, 1, (0.5, 1.0, 2.0), side=20)
    assert [seen.mask.shape for seen in looks] == [(10, 10), (20, 20), (40, 40)]
    assert [int(seen.mask.sum()) for seen in looks] == [25, 100, 400]
    assert all(seen.probability.shape == seen.mask.shape for seen in looks)
    assert all(0 <= seen.iou <= 1 for seen in looks)
    fig = figures.magnified(looks, 10)
    assert [axes.get_title() for axes in fig.axes[:3]] == ["× ½", "× 1", "× 2"]
    assert fig.axes[2].get_xlabel() == "20 px wide"


def test_the_figure_of_overlap_has_its_four_panels(sample) -> None:
    plane = (sample.labels > 0).astype(np.float32)
    part = slice(5, 25), slice(5, 25)
    fig = figures.counted(
        sample.image, Prediction(plane, plane), sample.labels, sample.labels, part
    )
    assert [axes.get_title() for axes in fig.axes] == [
        "annotated", "probability of nucleus", "found", "overlap",
    ]  # fmt: skip
