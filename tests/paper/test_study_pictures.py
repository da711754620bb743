"""Which nuclei notebooks look at: the picture's size, the part, the nucleus."""

import numpy as np
import pytest

from ngat.data import Sample
from ngat.errors import InputError
from ngat.magnification import SIZE, size_of
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
    smaller = pictures.resized(sample, 0.5)
    assert smaller.image.shape == (40, 60, 3)
    with pytest.raises(InputError, match="must be a positive number"):
        pictures.resized(sample, 0)


def test_a_part_stays_in_the_picture() -> None:
    sample = drawn((5, 5, 10))
    assert pictures.part(sample, (40, 60), 20) == (slice(30, 50), slice(50, 70))
    assert pictures.part(sample, (0, 119), 20) == (slice(0, 20), slice(100, 120))
    assert pictures.part(sample, (10, 10), 100) == (slice(0, 80), slice(0, 100))


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
    assert sample.labels[places["ground"]] == 0
    near = pictures.near_edges(sample.labels, 2)
    assert near[27:34, 45].tolist() == [False, True, True, True, True, True, False]
