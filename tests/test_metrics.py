"""The protocol against hand counts, a brute-force second implementation and published rows."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ngat import metrics
from ngat.errors import InputError
from ngat.metrics import Counts

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)


@st.composite
def pairs(draw):
    shape = draw(SHAPES)
    one = hnp.arrays(np.int32, shape, elements=st.integers(0, 4))
    return draw(one), draw(one)


def brute_match(pred, true, t: Fraction):
    """Second implementation: every pair of masks, in fractions, greedy one-to-one."""
    masks_p = [pred == k for k in np.unique(pred) if k]
    masks_t = [true == k for k in np.unique(true) if k]
    free = set(range(len(masks_p)))
    tp = 0
    for a in masks_t:
        for j in sorted(free):
            b = masks_p[j]
            if Fraction(int((a & b).sum()), int((a | b).sum())) > t:
                free.discard(j)
                tp += 1
                break
    return tp, len(masks_p) - tp, len(masks_t) - tp


def stripes(*cells):
    """One-row label image: stripes(1, 1, 0, 2)."""
    return np.array([cells], dtype=np.int32)


def test_hand_counted_image():
    true = np.zeros((10, 20), np.int32)
    true[0:4, 0:5] = 1  # 20 pixels
    true[5:9, 0:5] = 2  # 20 pixels
    true[0:4, 10:15] = 3  # 20 pixels, missed
    pred = np.zeros_like(true)
    pred[0:4, 0:5] = 7  # equal to object 1: IoU 1
    pred[5:8, 0:5] = 9  # 15 of 20 pixels of object 2: IoU 0.75
    pred[8:10, 15:20] = 4  # extra
    iou = metrics.iou_matrix(pred, true)
    # Predicted objects in the order of their labels: 4, 7, 9.
    np.testing.assert_array_equal(iou, [[0, 1, 0], [0, 0, 0.75], [0, 0, 0]])
    counts = metrics.match(pred, true)
    assert [c.threshold for c in counts] == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    assert [c.tp for c in counts] == [2, 2, 2, 2, 2, 1, 1, 1, 1, 1]
    assert all(c.fp == 3 - c.tp and c.fn == 3 - c.tp for c in counts)
    assert counts[0].f1 == pytest.approx(2 / 3)
    assert counts[0].s == pytest.approx(2 / 4)
    score = metrics.image_score(counts)
    assert score.average_f1 == pytest.approx((5 * 2 / 3 + 5 * 1 / 3) / 10)
    assert score.score == pytest.approx((5 * 2 / 4 + 5 * 1 / 5) / 10)


@pytest.mark.parametrize("twentieths", range(10, 20))
def test_iou_equal_to_the_threshold_is_no_match(twentieths):
    """k of 20 pixels: IoU = k/20 exactly, a match at every threshold below and at none above."""
    true = stripes(*[1] * 20)
    pred = stripes(*[1] * twentieths + [0] * (20 - twentieths))
    tp = [c.tp for c in metrics.match(pred, true)]
    assert tp == [int(twentieths > k) for k in range(10, 20)]


@pytest.mark.parametrize("t", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("scale", [1, 3, 7, 97, 99991])
def test_no_float_error_at_any_size(t, scale):
    """The same IoU from larger counts; one pixel more tips it."""
    k = round(20 * t)
    true = np.ones((1, 20 * scale), np.int32)
    pred = np.zeros_like(true)
    pred[0, : k * scale] = 1
    assert metrics.match(pred, true, [t])[0].tp == 0
    pred[0, k * scale] = 1
    assert metrics.match(pred, true, [t])[0].tp == 1


@settings(deadline=None, max_examples=300)
@given(pairs(), st.sampled_from(range(10, 20)))
def test_equals_brute_force(pair, k):
    pred, true = pair
    (c,) = metrics.match(pred, true, [k / 20])
    assert (c.tp, c.fp, c.fn) == brute_match(pred, true, Fraction(k, 20))


@settings(deadline=None, max_examples=100)
@given(pairs())
def test_iou_matrix_equals_brute_force(pair):
    pred, true = pair
    expected = [
        [((true == i) & (pred == j)).sum() / ((true == i) | (pred == j)).sum()
         for j in np.unique(pred) if j]
        for i in np.unique(true) if i
    ]  # fmt: skip
    got = metrics.iou_matrix(pred, true)
    np.testing.assert_array_equal(got, np.reshape(expected, got.shape))


@settings(deadline=None, max_examples=100)
@given(pairs(), st.randoms(use_true_random=False))
def test_invariant_to_relabelling(pair, random):
    pred, true = pair
    for scattered in (5, 2**31 - 1):
        names = np.array([0, *random.sample(range(1, scattered + 1), 4)], dtype=np.int64)
        assert metrics.match(names[pred], true) == metrics.match(pred, true)
        assert metrics.match(pred, names[true]) == metrics.match(pred, true)


@settings(deadline=None, max_examples=100)
@given(pairs())
def test_scores_are_bounded_monotone_and_f1_symmetric(pair):
    pred, true = pair
    counts, swapped = metrics.match(pred, true), metrics.match(true, pred)
    assert [c.f1 for c in counts] == [c.f1 for c in swapped]
    assert [c.s for c in counts] == [c.s for c in swapped]
    assert [c.precision for c in counts] == [c.recall for c in swapped]
    for c in counts:
        assert 0 <= c.s <= c.f1 <= 1
        assert c.s == pytest.approx(c.f1 / (2 - c.f1))  # the two are one curve
        assert c.n_true == len(set(true.flat) - {0})
        assert c.n_pred == len(set(pred.flat) - {0})
    tps = [c.tp for c in counts]
    assert tps == sorted(tps, reverse=True)


@settings(deadline=None, max_examples=50)
@given(pairs())
def test_a_perfect_prediction_scores_exactly_one(pair):
    _, true = pair
    assert metrics.image_score(metrics.match(true, true)) == (1.0, 1.0)


def test_empty_images():
    nothing, something = stripes(0, 0, 0, 0), stripes(0, 3, 3, 0)
    (c,) = metrics.match(nothing, nothing, [0.5])
    assert (c.f1, c.s, c.precision, c.recall) == (1, 1, 1, 1)
    (c,) = metrics.match(something, nothing, [0.5])
    assert c == Counts(0.5, 0, 1, 0)
    assert (c.f1, c.s, c.precision, c.recall) == (0, 0, 0, 0)
    (c,) = metrics.match(nothing, something, [0.5])
    assert c == Counts(0.5, 0, 0, 1)
    assert (c.f1, c.s, c.precision, c.recall) == (0, 0, 0, 0)
    assert metrics.iou_matrix(nothing, something).shape == (1, 0)
    assert np.isnan(metrics.pooled(0, 3, 0)).all()


def test_means_over_images_but_recall_over_objects():
    """An image with one object weighs as much as one with 99 in the score, not in recall."""
    easy = [Counts(0.7, 1, 0, 0)]
    hard = [Counts(0.7, 33, 11, 66)]
    row = metrics.summarise([easy, hard])
    assert (row.images, row.objects) == (2, 100)
    assert row.score == pytest.approx((1 + 33 / 110) / 2)
    assert row.average_f1 == pytest.approx((1 + 66 / 143) / 2)
    assert (row.recall, row.missed, row.extra) == pytest.approx((0.34, 0.66, 0.11))


def test_thousands_of_objects_in_reasonable_time():
    rows, columns = np.divmod(np.arange(1000 * 1000).reshape(1000, 1000), 1000)
    true = (rows // 10) * 100 + columns // 10 + 1  # 10,000 squares of 10 x 10
    pred = np.roll(true, 2, axis=1)  # each two columns off, cyclically: IoU 80/120
    counts = {c.threshold: c for c in metrics.match(pred, true)}
    assert counts[0.65].tp == 10_000
    assert counts[0.7].tp == 0


def test_pixel_iou_and_dice_by_hand():
    true, pred = np.array([[1, 1, 1, 0]]), np.array([[0, 1, 1, 1]])
    assert metrics.pixel_iou(pred, true) == pytest.approx((2 + 1) / (4 + 1))
    assert metrics.pixel_dice(pred, true) == pytest.approx(4 / 6)
    soft = np.array([[0.5, 0.5, 0.0, 0.0]])  # eq. 29 squares the values, eq. 28 does not
    assert metrics.pixel_dice(soft, true) == pytest.approx(2 * 1.0 / (3 + 0.5))
    assert metrics.pixel_iou(soft, true) == pytest.approx((1 + 1) / (3 + 1 - 1 + 1))
    nothing = np.zeros((1, 4))
    assert metrics.pixel_iou(nothing, nothing) == metrics.pixel_dice(nothing, nothing) == 1
    assert metrics.pixel_dice(nothing, true) == 0
    assert metrics.pixel_iou(true, true) == 1


@pytest.mark.parametrize(
    ("pred", "true", "says"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), "2 x 3.*3 x 2"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), "float64.*whole numbers"),
        (np.full((2, 2), np.nan), np.zeros((2, 2), int), "NaN"),
        (np.zeros((2, 2, 3), int), np.zeros((2, 2), int), "3 dimensions"),
        (np.full((2, 2), -1), np.zeros((2, 2), int), "negative"),
    ],
)
def test_bad_label_images_are_told(pred, true, says):
    with pytest.raises(InputError, match=says):
        metrics.match(pred, true)


@pytest.mark.parametrize("t", [0.1, 0.49, 1.0])
def test_thresholds_where_matches_are_not_unique_are_refused(t):
    with pytest.raises(InputError, match="unique"):
        metrics.match(stripes(1), stripes(1), [t])


def test_missing_threshold_is_told():
    with pytest.raises(InputError, match=r"0\.7"):
        metrics.summarise([[Counts(0.5, 1, 0, 0)]])


def test_lists_are_label_images_if_their_rows_are_of_one_length():
    assert metrics.match([[0, 1]], [[0, 1]], [0.5])[0].tp == 1
    with pytest.raises(InputError, match="the prediction: its rows differ in length"):
        metrics.match([[0, 1], [1]], np.zeros((2, 2), int))


def test_masks_are_measured_as_they_are():
    """As booleans they give the very numbers that they give as floats, in a fraction of memory."""
    pred, true = np.random.default_rng(0).random((2, 30, 40)) > 0.6
    for measure in (metrics.pixel_iou, metrics.pixel_dice):
        assert measure(pred, true) == measure(pred.astype(float), true.astype(float))
