"""Run lengths against hand-written cases, a second implementation and damaged input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ngat.data import rle
from ngat.errors import InputError

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def runs_by_walking(mask):
    """Walk down the columns, pixel by pixel, as one would on paper."""
    words, inside, number = [], False, 0
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            number += 1
            if mask[row, column] and not inside:
                words += [number, 0]
            inside = bool(mask[row, column])
            if inside:
                words[-1] += 1
    return " ".join(map(str, words))


def mask_of(runs, height, width, **name):
    mask = np.zeros(height * width, dtype=bool)
    mask[rle.pixels(runs, height, width, **name)] = True
    return mask.reshape(height, width)


def test_columns_first_counted_from_one():
    mask = np.array([[0, 1, 0], [1, 1, 0]], dtype=bool)
    assert rle.encode(mask) == "2 3"
    assert np.array_equal(mask_of("2 3", 2, 3), mask)
    assert rle.pixels("2 3", 2, 3).tolist() == [1, 3, 4]


def test_empty_and_full():
    assert rle.encode(np.zeros((3, 4), bool)) == ""
    assert not mask_of("", 3, 4).any()
    assert rle.encode(np.ones((3, 4), bool)) == "1 12"
    assert mask_of("1 12", 3, 4).all()


def test_runs_in_any_order_are_one_mask():
    assert np.array_equal(mask_of("5 2 1 1", 3, 2), mask_of("1 1 5 2", 3, 2))


@settings(deadline=None)
@given(MASKS)
def test_encoding_equals_a_walk_and_comes_back(mask):
    runs = rle.encode(mask)
    assert runs == runs_by_walking(mask)
    assert np.array_equal(mask_of(runs, *mask.shape), mask)


@settings(deadline=None)
@given(MASKS, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_a_box_has_the_runs_of_its_picture(mask, top, left, below):
    whole = np.pad(mask, ((top, below), (left, 1)))
    assert rle.encode(mask, top, left, len(whole)) == runs_by_walking(whole)


@settings(deadline=None)
@given(
    hnp.arrays(
        np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 4)
    )
)
def test_labels_equal_one_mask_each(labels):
    present = [label for label in np.unique(labels) if label]
    runs = rle.encode_labels(labels)
    assert runs == [rle.encode(labels == label) for label in present]
    for label, run in zip(present, runs, strict=True):
        assert np.array_equal(mask_of(run, *labels.shape), labels == label)


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ("1 2 3", "odd number"),
        ("1 2.5", "not a whole number"),
        ("1 -2", "not a whole number"),
        ("one 2", "not a whole number"),
        ("\u0661 2", "not a whole number"),
        ("1 99999999999999999999999", "not a whole number"),
        ("0 2", "leaves the picture"),
        ("11 3", "leaves the picture"),
        ("1 0", "leaves the picture"),
        ("1 3 3 2", "overlap at pixel 3"),
        ("3 2 1 3", "overlap at pixel 3"),
    ],
)
def test_damaged_runs_say_what_is_wrong(runs, says):
    with pytest.raises(InputError, match=says) as caught:
        rle.pixels(runs, 3, 4, name="solution.csv: line 7")
    assert str(caught.value).startswith("solution.csv: line 7: ")


@pytest.mark.parametrize(
    ("height", "width", "says"),
    [(30_000, 30_000, "are more than"), (20_000_000, 20, "have a side of more than")],
)
def test_no_size_is_believed(height, width, says):
    with pytest.raises(InputError, match=f"line 7: {height} x {width} pixels {says}"):
        rle.pixels("1 5", height, width, name="line 7")


def test_only_flat_masks_are_encoded():
    with pytest.raises(InputError, match="two axes"):
        rle.encode(np.zeros((2, 2, 2)))
    with pytest.raises(InputError, match="two axes"):
        rle.encode_labels(np.zeros(4))
