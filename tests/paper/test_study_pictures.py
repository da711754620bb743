"""Which nuclei notebooks show, and one nucleus through magnifications and metrics, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ngat.config import ModelConfig
from ngat.data import Sample
from ngat.errors import InputError
from ngat.inference import Prediction
from ngat.magnification import SIZE, size_of
from ngat.metrics import average_f1
from ngat.model import NGAT
from ngat.paper.figures import dataset as figures
from ngat.paper.study import pictures


def drawn(*squares: tuple[int, int, int]) -> Sample:
    """A grey picture of 80 × 120 pixels with square nuclei (top, left, side)."""
    labels = np.zeros((80, 120), np.int32)
    for number, (top, left, side) in enumerate(squares, start=1):
        labels[top : top + side, left : left + side] = number
    image = np.full((80, 120, 3), 50, np.uint8)
    image[labels > 0] = 200
    return Sample("drawn", image, labels, "large_fluorescent", "g", "val")


def test_a_picture_is_resized_such_that_its_median_nucleus_is_as_in_training() -> None:
    sample = drawn((5, 5, 10), (30, 40, 10), (60, 100, 10))
    larger = pictures.as_trained(sample)
    assert larger.labels.shape == (160, 240)
    assert size_of(larger.labels) == pytest.approx(SIZE)
    assert set(np.unique(larger.labels)) == {0, 1, 2, 3}
    assert larger.image[20, 20].tolist() == [200, 200, 200]


def test_a_part_stays_in_the_picture() -> None:
    sample = drawn((5, 5, 10))
    assert pictures.part(sample, (40, 60), 20) == (slice(30, 50), slice(50, 70))
    assert pictures.part(sample, (0, 119), 20) == (slice(0, 20), slice(100, 120))
    assert pictures.part(sample, (10, 10), 100) == (slice(0, 80), slice(0, 100))


@pytest.mark.parametrize("side", [4, 5])
def test_a_square_is_half_covered_by_nuclei(side) -> None:
    labels = np.zeros((20, 30), dtype=np.int32)
    labels[8:12, 20:23] = 3

    def uneven(row: int, column: int) -> float:
        return abs((labels[row : row + side, column : column + side] > 0).mean() - 0.5)

    rows, columns = pictures.half_covered(labels, side)
    assert labels[rows, columns].shape == (side, side)
    least = min(uneven(row, c) for row in range(21 - side) for c in range(31 - side))
    assert uneven(rows.start, columns.start) == least


def test_the_nucleus_of_median_area_away_from_the_edge_is_taken() -> None:
    sample = drawn((0, 0, 30), (30, 40, 6), (30, 60, 10), (50, 80, 14))
    assert pictures.middle_nucleus(sample.labels, margin=20) == 3
    assert pictures.centre_of(sample.labels, 3) == (34, 64)
    assert pictures.middle_nucleus(sample.labels, margin=1000) == 4, (
        "all count where none is inside"
    )
    with pytest.raises(InputError, match="no annotated nucleus"):
        pictures.middle_nucleus(np.zeros((5, 5), int))


def test_a_type_that_is_not_there_is_named() -> None:
    sample = drawn((5, 5, 10))
    assert pictures.of_type([sample], "large_fluorescent") is sample
    with pytest.raises(InputError, match="purple_tissue"):
        pictures.of_type([sample], "purple_tissue")


def test_three_places_and_pixels_near_edges() -> None:
    sample = drawn((30, 40, 11), (0, 0, 5))
    places = pictures.three_places(sample.labels)
    assert places["inside"] == (35, 45)
    assert sample.labels[places["edge"]] == 1
    assert places["edge"][0] in (30, 40) or places["edge"][1] in (40, 50)
    assert sample.labels[places["background"]] == 0
    near = pictures.near_edges(sample.labels, 2)
    assert near[27:34, 45].tolist() == [False, True, True, True, True, True, False]


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
    assert average_f1(sample.labels, sample.labels) == 1
    lost = np.where(sample.labels == 1, 0, sample.labels)
    assert average_f1(lost, sample.labels) == pytest.approx(2 / 3)


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
    *panels, bar = fig.axes
    assert [axes.get_title() for axes in panels] == [
        "annotated", "probability of nucleus", "found", "overlap",
    ]  # fmt: skip
    assert bar.get_ylim() == (0, 1)
