"""Synthetic nuclei: the same bits everywhere, whole nuclei, five types that differ."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections import Counter
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from ngat.data import TYPES, Sample, fingerprint, load, nuclei, stains, synthetic
from ngat.data.nuclei import Law, Outline, generator, pack, place
from ngat.data.synthetic import load_synthetic
from ngat.errors import InputError

# Changes only with the drawing itself; a difference between two machines is a defect.
SMALL_SET = "0efc061d5fa3c5968fb2293895512c6efcddc209eb6bf39143e9100f63b14308"

EXACT = {
    *("abs", "any", "clip", "count_nonzero", "floor", "maximum", "minimum", "sqrt", "unique"),
    *("arange", "array", "empty", "full", "ones_like", "zeros", "moveaxis", "pad", "repeat", "s_"),
    *("bool_", "float64", "int32", "int64", "uint8"),
    *("random", "Generator", "PCG64", "SeedSequence"),
}


@pytest.fixture(scope="module")
def test_split() -> list[Sample]:
    return load_synthetic("test")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * float((a & b).sum()) / max(1, int(a.sum() + b.sum()))


def test_the_small_set_is_the_same_bit_for_bit() -> None:
    assert fingerprint(load_synthetic("val", seed=0, limit=10, size=96)) == SMALL_SET


@pytest.mark.parametrize(
    ("painter", "bounds", "expected"),
    [
        (stains.purple_tissue, (0.5, 0.78), "ebbe077d826547693adb84c0de23eba6"),
        (stains.small_fluorescent, (0.45, 0.75), "de59082af079b554eeef818aaaa1a543"),
    ],
)
def test_each_kind_of_a_type_is_the_same_bit_for_bit(
    painter: Callable, bounds: tuple[float, float], expected: str
) -> None:
    """The small set has not all three kinds of either type; the first number drawn decides."""
    digest = hashlib.sha256()
    for kind, key in enumerate((2, 0, 4)):
        assert sum(generator(key).random() >= bound for bound in bounds) == kind
        picture, labels = painter(generator(key), 64, 64)
        digest.update(nuclei.quantise(picture).tobytes() + labels.astype("<i4").tobytes())
    assert digest.hexdigest()[:32] == expected


@pytest.mark.parametrize("module", [nuclei, stains, synthetic])
def test_drawing_uses_exactly_rounded_operations_only(module: ModuleType) -> None:
    tree = ast.parse(inspect.getsource(module))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "np"
    }
    assert used <= EXACT
    drawn = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "rng"
    }
    assert drawn <= {"random", "integers"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.MatMult | ast.Pow)]
    reductions = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not reductions & {"sum", "mean", "std", "var", "dot", "cumsum", "prod"}


def test_seed_split_and_limit() -> None:
    few = load_synthetic("val", seed=3, limit=6, size=64)
    assert fingerprint(few) == fingerprint(load_synthetic("val", seed=3, size=64)[:6])
    assert {sample.type for sample in few[:5]} == set(TYPES)
    pictures = {
        sample.image.tobytes()
        for split, seed in (("val", 3), ("val", 4), ("train", 3), ("test", 3))
        for sample in load_synthetic(split, seed=seed, limit=6, size=64)
    }
    assert len(pictures) == 24
    assert load_synthetic("val", limit=0) == []


def test_counts_are_imbalanced_and_every_type_is_everywhere(test_split: list[Sample]) -> None:
    assert {split: sum(counts) for split, counts in synthetic.COUNTS.items()} == {
        "train": 120,
        "val": 24,
        "test": 40,
    }
    assert min(min(counts) for counts in synthetic.COUNTS.values()) >= 4
    for split, counts in synthetic.COUNTS.items():
        if split != "val":
            assert counts[0] > sum(counts) / 3
    found = Counter(sample.type for sample in test_split)
    assert tuple(found[type_] for type_ in TYPES) == synthetic.COUNTS["test"]
    assert len({sample.image_id for sample in test_split}) == 40


def test_mixture_is_even() -> None:
    counts = (58, 24, 8, 20, 10)
    order = synthetic.mixture(counts)
    assert sorted(order) == [(kind, i) for kind, n in enumerate(counts) for i in range(n)]
    for length in range(10, 121, 10):
        found = Counter(kind for kind, _ in order[:length])
        for kind, count in enumerate(counts):
            assert abs(found[kind] - count * length / 120) <= 1.5


def test_groups_are_halves_of_one_parent(test_split: list[Sample]) -> None:
    groups: dict[str, list[Sample]] = {}
    for sample in test_split:
        groups.setdefault(sample.group, []).append(sample)
    pairs = [members for members in groups.values() if len(members) > 1]
    assert len(pairs) == 5
    assert {len(members) for members in pairs} == {2}
    for left, right in pairs:
        assert left.type == right.type
        a, b = left.image.astype(float), right.image.astype(float)
        seam = np.abs(a[:, -1] - b[:, 0]).mean()
        inner = np.abs(np.diff(a, axis=1)).mean()
        strange = np.abs(a[:, 0] - b[:, -1]).mean()
        assert seam < 1.8 * inner
        assert seam < strange
        # A nucleus on the seam goes on in the other half.
        assert dice(left.labels[:, -1] > 0, right.labels[:, 0] > 0) > 0.75
    others = {sample.group for sample in load_synthetic("val", size=48)}
    assert not others & set(groups)


def test_labels_are_whole_numbered_nuclei(test_split: list[Sample]) -> None:
    for sample in test_split:
        assert sample.image.shape == (128, 128, 3)
        assert (sample.image.dtype, sample.labels.dtype) == (np.uint8, np.int32)
        count = int(sample.labels.max())
        assert count >= 1
        areas = np.bincount(sample.labels.ravel(), minlength=count + 1)[1:]
        assert (areas > 0).all()
        for label in range(1, count + 1):
            assert ndimage.label(sample.labels == label)[1] == 1
        alone = sum(other.group == sample.group for other in test_split) == 1
        if alone:
            assert areas.min() >= 15


def test_touching_nuclei_are_common_in_every_type(test_split: list[Sample]) -> None:
    for type_ in TYPES:
        merged = real = 0
        for sample in test_split:
            if sample.type == type_:
                merged += ndimage.label(sample.labels > 0)[1]
                real += int(sample.labels.max())
        assert merged < 0.8 * real, type_


def test_sizes_and_polarity_tell_the_types_apart(test_split: list[Sample]) -> None:
    diameter, contrast, colour = {}, {}, {}
    for type_ in TYPES:
        samples = [sample for sample in test_split if sample.type == type_]
        areas = np.concatenate([np.bincount(s.labels.ravel())[1:] for s in samples])
        diameter[type_] = 2 * np.sqrt(np.median(areas) / np.pi)
        grey = [sample.image.mean(axis=2) for sample in samples]
        contrast[type_] = [
            g[s.labels > 0].mean() - g[s.labels == 0].mean()
            for g, s in zip(grey, samples, strict=True)
        ]
        colour[type_] = np.mean([np.ptp(s.image.astype(int), axis=2).mean() for s in samples])
    assert diameter["large_fluorescent"] > 2 * diameter["small_fluorescent"]
    assert min(contrast["small_fluorescent"] + contrast["large_fluorescent"]) > 5
    for type_ in ("purple_tissue", "pink_and_purple_tissue", "grayscale_tissue"):
        assert max(contrast[type_]) < -15
    assert colour["pink_and_purple_tissue"] > colour["purple_tissue"] > 10
    assert colour["small_fluorescent"] == colour["grayscale_tissue"] == 0


def test_no_single_threshold_serves(test_split: list[Sample]) -> None:
    bright, dark, fewer = [], [], []
    for sample in test_split:
        grey = sample.image.mean(axis=2)
        mask, truth = grey > threshold_otsu(grey), sample.labels > 0
        bright.append(dice(mask, truth))
        dark.append(dice(~mask, truth))
        fewer.append(dice(mask if mask.mean() < 0.5 else ~mask, truth))
    assert max(np.mean(bright), np.mean(dark)) < 0.6
    assert 0.6 < np.mean(fewer) < 0.85  # even where the polarity is guessed


def test_depth_of_a_circle_is_the_distance_to_its_edge() -> None:
    circle = Outline(20.0, 22.0, 7.5, 7.5, 0.6, 0.8, 0.0, (0.0,) * 8)
    nucleus = place(circle, 64, 64)
    rows, columns = np.mgrid[nucleus.window]
    distance = np.hypot(rows - 20.0, columns - 22.0)
    np.testing.assert_allclose(nucleus.depth, 7.5 - distance, atol=1e-4)
    assert nucleus.coverage()[distance < 6.9].min() == 1.0
    assert nucleus.coverage()[distance > 8.1].max() == 0.0


def test_ripples_are_harmonics_two_to_five_of_the_turned_ellipse() -> None:
    ripples = (0.05, -0.03, 0.04, 0.02, -0.02, 0.03, 0.01, 0.02)
    angle = 0.7
    shape = Outline(30.0, 31.0, 12.0, 8.0, float(np.cos(angle)), float(np.sin(angle)), 0.0, ripples)
    nucleus = place(shape, 64, 64)
    rows, columns = np.mgrid[nucleus.window]
    turned = np.exp(-1j * angle) * ((columns - 31.0) + 1j * (rows - 30.0))
    z = turned.real / 12.0 + 1j * turned.imag / 8.0
    outline = 1.0 + sum(
        ripples[2 * k - 4] * np.cos(k * np.angle(z)) + ripples[2 * k - 3] * np.sin(k * np.angle(z))
        for k in range(2, 6)
    )
    np.testing.assert_array_equal(nucleus.depth > 0, np.abs(z) < outline)


def test_packing_honours_its_law() -> None:
    law = Law(25, (4.0, 6.0), touching=0.0, gap=3.0, min_area=20)
    labels, placed = pack(generator(1), 128, 128, law)
    assert len(placed) == labels.max() == 25
    for label in range(1, 26):
        away = ndimage.distance_transform_edt(labels != label)
        assert away[(labels > 0) & (labels != label)].min() > 2.5
    crowded, many = pack(generator(1), 128, 128, Law(25, (4.0, 6.0), touching=0.9))
    assert ndimage.label(crowded > 0)[1] < len(many) / 2
    huge, full = pack(generator(2), 48, 48, Law(500, (6.0, 8.0), touching=0.9))
    assert 1 <= len(full) < 500
    assert huge.max() == len(full)


def test_cut_parts_a_nucleus_into_several() -> None:
    labels = np.zeros((6, 9), dtype=np.int32)
    labels[0, :5] = labels[5, :5] = labels[:, 5:] = 7  # a bracket: two arms, one back
    labels[2:4, 1:3] = 9
    np.testing.assert_array_equal(np.unique(synthetic.cut(labels)), [0, 1, 2])
    parted = synthetic.cut(labels[:, :5])
    assert sorted(np.bincount(parted.ravel())[1:]) == [4, 5, 5]
    assert parted.dtype == np.int32


def test_blur_equals_a_uniform_filter_and_keeps_the_mean_of_flat_pictures() -> None:
    picture = np.random.default_rng(0).random((17, 23, 3))
    expected = picture
    for _ in range(2):
        expected = ndimage.uniform_filter(expected, (5, 5, 1), mode="nearest")
    np.testing.assert_allclose(nuclei.blur(picture, 2), expected, atol=1e-12)
    np.testing.assert_allclose(nuclei.blur(picture, 0), picture)


def test_grain_relief_and_rounding() -> None:
    noise = nuclei.grain(generator(5), 400, 400)
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1.0) < 0.01
    bumps = nuclei.relief(generator(6), 200, 200, 8.0, 5.0, (0.6, 0.8))
    assert 0.0 <= bumps.min() < 0.1 < 0.9 < bumps.max() < 1.0
    # Smooth, and smoother along the streaks (0.6 right, 0.8 down) than across them.
    along = np.abs(bumps[8:, 6:] - bumps[:-8, :-6]).mean()
    across = np.abs(bumps[6:, :-8] - bumps[:-6, 8:]).mean()
    assert along < 0.5 * across
    assert np.abs(np.diff(bumps, axis=0)).max() < 0.4
    levels = nuclei.quantise(np.array([-3.0, 0.49, 0.5, 1.5, 254.6, 300.0]))
    np.testing.assert_array_equal(levels, [0, 0, 1, 2, 255, 255])


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="split 'dev' is unknown"):
        load_synthetic("dev")
    for wrong in ({"seed": -1}, {"limit": -1}, {"size": 8}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            load_synthetic("val", **wrong)


@pytest.mark.parametrize(
    ("data", "options", "says"),
    [
        (None, {}, "data are named by a word or a folder; got None"),
        ("", {}, "data are named by a word or a folder; got ''"),
        ("rings", {"limit": "2"}, "limit is a whole number; got '2'"),
        ("rings", {"seed": 1.5}, "seed is a whole number; got 1.5"),
    ],
)
def test_what_load_is_given_is_checked(data, options, says):
    with pytest.raises(InputError, match=says):
        load(data, "train", **options)
