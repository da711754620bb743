"""Nuclei from scores: what must hold for any map, and drawings whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from ngat import metrics
from ngat.baselines.thresholding import otsu, otsu_watershed
from ngat.errors import InputError
from ngat.h_maxima import h_maxima
from ngat.instances import (
    SMOOTHING,
    components,
    confidences,
    core_of,
    in_reading_order,
    margin,
    split,
)

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=16)


@st.composite
def maps(draw):
    shape = draw(SHAPES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    smooth = draw(st.floats(0, 2))
    probability = ndimage.gaussian_filter(rng.random(shape), smooth)
    core = probability * rng.random(shape) ** 0.3
    return probability, core


def disks(shape, *circles):
    """Label image of disks (row, column, radius); each pixel goes to the nearest centre."""
    rows, columns = np.indices(shape)
    away = np.stack([np.hypot(rows - r, columns - c) - 0.0 for r, c, _ in circles])
    radii = np.array([radius for *_, radius in circles])[:, None, None]
    nearest = np.argmin(np.where(away <= radii, away, np.inf), axis=0) + 1
    return np.where((away <= radii).any(axis=0), nearest, 0).astype(np.int32)


def brute_depth(labels):
    """Each pixel's distance to the nearest outermost pixel of its own nucleus, plus one half."""
    height, width = labels.shape
    depth = np.zeros(labels.shape)
    for k in set(np.unique(labels)) - {0}:
        own = np.argwhere(labels == k)
        rim = [
            (r, c)
            for r, c in own
            if any(
                0 <= y < height and 0 <= x < width and labels[y, x] != k
                for y, x in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1))
            )
        ]
        for r, c in own:
            depth[r, c] = min((np.hypot(r - y, c - x) for y, x in rim), default=0.5) + 0.5
    return depth


def test_components_are_those_of_the_mask():
    probability = np.array(
        [
            [0.9, 0.9, 0.0, 0.0, 0.6],
            [0.9, 0.0, 0.6, 0.0, 0.6],
            [0.0, 0.0, 0.6, 0.5, 0.0],
        ]
    )
    labels = components(probability, min_area=1)
    # 0.5 is not above the threshold, and corners do not connect.
    np.testing.assert_array_equal(labels, [[1, 1, 0, 0, 2], [1, 0, 3, 0, 2], [0, 0, 3, 0, 0]])
    assert labels.dtype == np.int32
    assert components(probability, min_area=3).max() == 1
    assert components(probability, threshold=0.8, min_area=1).max() == 1


def test_otsu_fills_holes_of_sixteen_pixels_and_no_larger_ones(monkeypatch):
    mask = np.ones((20, 20), bool)
    mask[3:7, 3:7] = False
    mask[10:14, 10:14] = mask[14, 10] = False
    monkeypatch.setattr("ngat.baselines.thresholding.otsu_mask", lambda image: mask)
    labels = otsu(np.zeros((20, 20, 3), np.uint8))
    assert (labels[:9] == 1).all()
    assert (labels == 0).sum() == 17
    assert (components(mask.astype(float)) == 0).sum() == 16 + 17


def test_the_smallest_nucleus_and_the_smallest_seed() -> None:
    """Of sixteen pixels, and not of fifteen; of four pixels of core, and not of three."""
    probability = np.zeros((12, 40))
    probability[1:5, 1:5] = probability[1:4, 8:13] = 1.0
    assert (components(probability) > 0).sum() == 16
    probability[6:12, 1:31] = 1.0
    core = np.zeros_like(probability)
    core[8:10, 3:5] = core[8:10, 25:27] = 1.0
    assert split(probability, core).max() == 3
    core[8, 3] = 0.0
    assert split(probability, core).max() == 2


def test_touching_disks_are_split_and_components_merge_them():
    true = disks((40, 60), (20, 18, 12), (20, 40, 12))
    mask = (true > 0).astype(float)
    assert components(mask).max() == 1
    labels = split(mask, core_of(true).astype(float))
    assert labels.max() == 2
    assert metrics.iou_matrix(labels, true).max(axis=1).min() > 0.95


def h_maxima_by_flood(heights: np.ndarray, prominence: float) -> np.ndarray:
    """Pixels are uncovered from the top; where two hills meet, the lower one's rise is known."""
    top: dict[int, int] = {}  # hill of every pixel seen, by union-find
    height = {i: float(h) for i, h in enumerate(heights.ravel())}
    rows, columns = heights.shape
    rise = {}

    def root(i: int) -> int:
        while top[i] != i:
            i = top[i]
        return i

    for i in sorted(height, key=lambda i: -height[i]):
        top[i] = i
        y, x = divmod(i, columns)
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < rows and 0 <= u < columns and v * columns + u in top:
                a, b = root(i), root(v * columns + u)
                if a == b:
                    continue
                low, high = sorted((a, b), key=lambda k: height[k])
                rise[low] = height[low] - height[i]
                top[low] = high
    rise[root(0)] = np.inf
    peaks = np.zeros(heights.size, dtype=bool)
    peaks[[i for i, r in rise.items() if r > prominence]] = True
    return peaks.reshape(heights.shape)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("prominence", [0.01, 0.05, 0.2])
def test_h_maxima_rise_above_every_saddle(seed: int, prominence: float) -> None:
    """Against hills that are counted as they come out of a falling flood."""
    core = np.random.default_rng(seed).random((23, 31))
    core = ndimage.gaussian_filter(core, SMOOTHING)
    expected = h_maxima_by_flood(core, prominence)
    patches, n = ndimage.label(h_maxima(core, prominence))
    assert n == expected.sum()
    assert sorted(patches[expected]) == list(range(1, n + 1))


def test_h_maxima_part_cores_that_no_threshold_parts() -> None:
    """A bright and a dim nucleus: the pass between the bright pair is above the dim one's top."""
    x = np.arange(60)
    hills = np.zeros((20, 60))
    for centre, top in ((10, 0.9), (20, 0.9), (40, 0.5), (50, 0.5)):
        hills = np.maximum(hills, top * np.exp(-(((x - centre) / 8.5) ** 2))[None])
    mask = np.ones_like(hills)
    assert all(split(mask, hills, core_threshold=t).max() < 4 for t in (0.3, 0.4, 0.6, 0.8))
    assert split(mask, hills, core_threshold=0.3, prominence=0.1).max() == 4
    assert split(mask, hills, core_threshold=0.3, prominence=0.6).max() == 1
    assert split(mask, hills, core_threshold=0.95, prominence=0.1).max() == 1
    # The dim hills rise as far, but not above the threshold.
    assert split(mask, hills, core_threshold=0.6, prominence=0.1).max() == 2
    flat = np.full_like(hills, 0.7)
    assert split(mask, flat, prominence=0.1).max() == 1


@pytest.mark.parametrize("landscape", ["distance", "core"])
@settings(deadline=None, max_examples=150)
@given(
    scores=maps(),
    threshold=st.floats(0.2, 0.8),
    core_threshold=st.floats(0.2, 0.8),
    min_area=st.integers(0, 12),
    min_seed=st.integers(0, 6),
)
def test_split_loses_no_nucleus(landscape, scores, threshold, core_threshold, min_area, min_seed):
    probability, core = scores
    whole = components(probability, threshold, min_area)
    parts = split(
        probability, core, threshold, core_threshold, min_area, min_seed, landscape=landscape
    )
    np.testing.assert_array_equal(parts > 0, whole > 0)  # every pixel stays
    assert set(np.unique(parts)) - {0} == set(range(1, parts.max() + 1))
    for k in range(1, parts.max() + 1):
        part = parts == k
        assert len(np.unique(whole[part])) == 1  # a part lies within one component
        assert ndimage.label(part)[1] == 1  # and is in one piece
        assert part.sum() >= min_area
    seeds, n = ndimage.label((core > core_threshold) & (whole > 0))
    big = [k for k in range(1, n + 1) if (seeds == k).sum() >= max(min_seed, 1)]
    expected = sum(max(1, len(set(seeds[whole == k]) & set(big))) for k in np.unique(whole) if k)
    if min_area <= 1:
        assert parts.max() == expected
    else:
        assert whole.max() <= parts.max() <= expected


def test_borders_follow_the_passes_of_the_core_map():
    """A bar has no waist that its edge could show, but the core map dips at column 13."""
    core = np.abs(np.arange(41) - 13.0)[None].repeat(9, 0) / 30
    bar = np.pad(np.ones((7, 39)), 1)
    parts = split(bar, core, core_threshold=0.3, landscape="core")
    assert parts.max() == 2
    for row in parts[1:-1]:
        assert abs((row == 1).sum() - 12) <= 1  # columns 1 to 12, and the pass to either side
    # The core's shape counts, not its height; flooding by distance ends somewhere else.
    lower = split(bar, core / 2, core_threshold=0.15, landscape="core")
    np.testing.assert_array_equal(parts, lower)
    assert ((split(bar, core, core_threshold=0.3)[1:-1] == 1).sum(axis=1) < 8).all()


def test_a_ripple_of_the_core_map_is_no_pass() -> None:
    """One dark column is deeper than the pass at column 13, but not once it is smoothed."""
    core = np.abs(np.arange(41) - 13.0)[None].repeat(9, 0) / 30
    core[:, 20] -= 0.35
    bar = np.pad(np.ones((7, 39)), 1)
    for smoothing, border in ((1.0, 13), (0.1, 20)):
        parts = split(bar, core, core_threshold=0.3, landscape="core", smoothing=smoothing)
        assert parts.max() == 2
        assert (abs((parts[1:-1] == 1).sum(axis=1) - (border - 1)) <= 1).all()


def test_a_seed_too_poor_to_live_gives_its_pixels_to_its_neighbour():
    probability = np.ones((5, 30))
    core = np.zeros((5, 30))
    core[2, 10:20] = 1
    core[2, 0] = 1  # wins 5 columns or so
    assert split(probability, core, min_area=5, min_seed=1).max() == 2
    assert split(probability, core, min_area=5, min_seed=2).max() == 1
    assert (split(probability, core, min_area=40, min_seed=1) == 1).all()
    # Both too poor: the component stays one nucleus.
    assert (split(probability, core, min_area=149, min_seed=1) == 1).all()


@pytest.mark.parametrize("cores", [False, True])
def test_a_nucleus_is_as_sure_as_its_pixels_are_on_average(cores):
    probability = np.zeros((12, 40))
    probability[2:8, 2:8] = 0.6
    probability[2:8, 12:18] = 0.6
    probability[3:7, 13:17] = 0.9  # a mean of (20 · .6 + 16 · .9) / 36 = .7333
    probability[2:8, 22:28] = 0.8
    maps = (probability, probability) if cores else (probability,)
    find = split if cores else components
    for confidence, left in ((0.0, 3), (0.59, 3), (0.61, 2), (0.733, 2), (0.734, 1), (0.81, 0)):
        labels = find(*maps, min_area=1, confidence=confidence)
        assert labels.max() == left
        assert sorted(set(np.unique(labels)) - {0}) == list(range(1, left + 1))
    assert labels.dtype == np.int32
    assert labels.shape == probability.shape


def test_a_nucleus_as_sure_as_was_asked_stays() -> None:
    probability = np.zeros((6, 9))
    probability[1:5, 1:5], probability[1:5, 3:5] = 0.625, 0.875  # 0.75 on average, exactly
    assert components(probability, confidence=0.75).max() == 1
    assert split(probability, probability, confidence=0.75).max() == 1
    # A number that no pixel has is no nucleus, and none at all.
    found = confidences(np.array([[0, 3], [3, 1]]), np.array([[0.5, 0.25], [0.75, 1.0]]))
    np.testing.assert_array_equal(found, [0.5, 1.0, 0.0, 0.5])


def test_each_of_two_touching_nuclei_has_a_confidence_of_its_own():
    probability = np.full((10, 21), 0.9)
    probability[:, 11:] = 0.6
    core = np.zeros_like(probability)
    core[3:7, 3:7] = core[3:7, 14:18] = 1.0
    assert split(probability, core).max() == 2
    sure = split(probability, core, confidence=0.7)
    np.testing.assert_array_equal(sure > 0, np.arange(21)[None, :].repeat(10, 0) < 11)
    assert components(probability, confidence=0.7).astype(bool).all()  # .76 together


def test_nothing_above_threshold():
    assert not split(np.zeros((4, 5)), np.ones((4, 5))).any()
    assert not components(np.zeros((4, 5))).any()
    assert not core_of(np.zeros((4, 5), int)).any()


def test_core_of_a_square_by_hand():
    labels = np.zeros((12, 12), int)
    labels[1:11, 1:11] = 1
    # Depths of a 10 x 10 square run 0.5, 1.5 ... 4.5 inwards; 0.4 * 4.5 = 1.8.
    expected = np.zeros((12, 12), bool)
    expected[3:9, 3:9] = True
    np.testing.assert_array_equal(core_of(labels), expected)


def test_core_sees_the_edge_between_touching_nuclei():
    labels = np.ones((10, 20), int)
    labels[:, 10:] = 2
    core = core_of(labels)
    # The picture's border is no edge; the crack between the two is the only one.
    # Deepest 9.5; 0.4 * 9.5 = 3.8: the columns 6 ... 13 are outside the cores.
    expected = np.ones((10, 20), bool)
    expected[:, 6:14] = False
    np.testing.assert_array_equal(core, expected)


def test_core_of_a_nucleus_that_fills_the_picture_is_everything():
    assert core_of(np.ones((5, 7), int)).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_core_equals_brute_force_per_nucleus(seed):
    rng = np.random.default_rng(seed)
    circles = [(rng.integers(0, 30), rng.integers(0, 40), rng.integers(2, 9)) for _ in range(6)]
    labels = disks((30, 40), *circles)
    depth = brute_depth(labels)
    expected = np.zeros(labels.shape, bool)
    for k in set(np.unique(labels)) - {0}:
        expected |= (labels == k) & (depth > 0.4 * depth[labels == k].max())
    np.testing.assert_array_equal(core_of(labels), expected)


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.int32, SHAPES, elements=st.sampled_from([0, 0, 1, 2, 70])))
def test_every_nucleus_keeps_a_core_inside_itself(labels):
    core = core_of(labels)
    assert not core[labels == 0].any()
    assert set(np.unique(labels[core])) == set(np.unique(labels)) - {0}


def test_bad_maps_are_told():
    with pytest.raises(InputError, match="NaN"):
        components(np.full((3, 3), np.nan))
    with pytest.raises(InputError, match="dimensions"):
        components(np.zeros((1, 3, 3)))
    with pytest.raises(InputError, match="sizes differ"):
        split(np.zeros((3, 3)), np.zeros((3, 4)))
    with pytest.raises(InputError, match="landscape"):
        split(np.ones((9, 9)), np.ones((9, 9)), landscape="sea")


def picture(labels, nucleus, background):
    image = np.where(labels[..., None] > 0, nucleus, background)
    return (image + np.random.default_rng(0).integers(-8, 9, image.shape)).astype(np.uint8)


@pytest.mark.parametrize(
    ("nucleus", "background"),
    [((200, 200, 200), (20, 20, 20)), ((90, 40, 120), (240, 225, 240)), ((60,) * 3, (150,) * 3)],
)
def test_otsu_finds_nuclei_whether_bright_or_dark(nucleus, background):
    true = disks((80, 100), (20, 20, 9), (50, 70, 11), (60, 20, 8), (60, 34, 8))
    image = picture(true, nucleus, background)
    assert otsu(image).max() == 3  # the two that touch are one
    counts = metrics.match(otsu_watershed(image), true, [0.8])[0]
    assert (counts.tp, counts.fp, counts.fn) == (4, 0, 0)


def test_otsu_on_a_picture_of_one_colour():
    assert not otsu(np.full((20, 30, 3), 77, np.uint8)).any()
    assert not otsu_watershed(np.full((20, 30, 3), 77, np.uint8)).any()
    with pytest.raises(InputError, match="three colours"):
        otsu(np.zeros((20, 30), np.uint8))


@pytest.mark.parametrize("landscape", ["distance", "core"])
@pytest.mark.parametrize("prominence", [0.0, 0.05])
@pytest.mark.parametrize(("smoothing", "confidence"), [(0.7, 0.0), (1.0, 0.56), (2.5, 0.0)])
def test_nuclei_of_a_component_depend_on_it_alone(
    landscape: str, prominence: float, smoothing: float, confidence: float
) -> None:
    """What lies further than the margin may change at will: tiles rely on it."""
    rng = np.random.default_rng(5)
    probability = ndimage.gaussian_filter(rng.random((120, 140)), 4)
    probability = (probability - probability.min()) / np.ptp(probability)
    core = ndimage.gaussian_filter(rng.random((120, 140)), 1.5)
    core = (core - core.min()) / np.ptp(core)
    options = {"core_threshold": 0.4, "landscape": landscape, "prominence": prominence}
    options |= {"smoothing": smoothing, "confidence": confidence}
    reach = margin(smoothing)
    labels = split(probability, core, **options)
    if confidence:
        assert 0 < labels.max() < split(probability, core, **{**options, "confidence": 0.0}).max()
    whole = components(probability)
    divided = 0
    for number, window in enumerate(ndimage.find_objects(whole), start=1):
        rows, columns = (slice(max(0, s.start - reach), s.stop + reach) for s in window)
        inside = whole[rows, columns] == number
        alone = split(
            np.where(inside, probability[rows, columns], 0), core[rows, columns], **options
        )
        expected = in_reading_order(np.where(inside, labels[rows, columns], 0))
        np.testing.assert_array_equal(alone, expected)
        divided += int(alone.max() > 1)
    assert divided > (0 if confidence else 3)


@pytest.mark.parametrize("seed", range(4))
def test_h_maxima_of_components_are_those_of_each_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    core = ndimage.gaussian_filter(rng.random((60, 70)), 2)
    core = (core - core.min()) / np.ptp(core)
    whole = components(ndimage.gaussian_filter(rng.random((60, 70)), 3) > 0.5)
    seeds = split((whole > 0).astype(float), core, core_threshold=0, min_area=1, prominence=0.1)
    for number in range(1, whole.max() + 1):
        inside = whole == number
        expected = h_maxima_by_flood(np.where(inside, ndimage.gaussian_filter(core, 1), -9), 0.1)
        assert len(np.unique(seeds[inside])) == max(1, (expected & inside).sum())
