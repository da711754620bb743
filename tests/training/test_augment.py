"""Augmentation: picture and labels stay together, chance is the generator's, bounds hold."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from ngat.errors import InputError
from ngat.training.appearance import coarse
from ngat.training.augment import AugmentConfig, augment, corner


def coded(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of smooth blocks and a picture whose red channel is ten times the label."""
    rows, columns = np.mgrid[:height, :width]
    labels = (1 + rows // 24 * 5 + columns // 24).astype(np.int32)
    labels[(rows % 24 < 4) | (columns % 24 < 4)] = 0
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[..., 0] = 10 * labels
    image[..., 1] = rows
    image[..., 2] = columns
    return image, labels


GEOMETRY = dataclasses.replace(AugmentConfig.none(48), flip=0.5, turn=0.75)


def test_crops_flips_and_turns_move_labels_with_the_picture() -> None:
    image, labels = coded(110, 120)
    rng = np.random.default_rng(0)
    orientations = set()
    for _ in range(60):
        view, truth = augment(image, labels, rng, GEOMETRY)
        np.testing.assert_array_equal(np.rint(view[0] * 255).astype(int), 10 * truth)
        down = np.rint((view[1, 1, 0] - view[1, 0, 0]) * 255)
        right = np.rint((view[1, 0, 1] - view[1, 0, 0]) * 255)
        column_down = np.rint((view[2, 1, 0] - view[2, 0, 0]) * 255)
        column_right = np.rint((view[2, 0, 1] - view[2, 0, 0]) * 255)
        orientations.add((down, right, column_down, column_right))
    assert len(orientations) == 8  # the whole group of the square, and nothing else


def test_free_rotation_and_scale_keep_labels_and_picture_aligned() -> None:
    image, labels = coded(110, 120)
    rng = np.random.default_rng(1)
    config = dataclasses.replace(GEOMETRY, affine=1.0, angle=30.0)
    for _ in range(30):
        view, truth = augment(image, labels, rng, config)
        # Two channels tell, to a fraction of a pixel, where each pixel was taken from.
        rows, columns = view[1] * 255, view[2] * 255
        sure = (np.abs(rows % 1 - 0.5) > 0.01) & (np.abs(columns % 1 - 0.5) > 0.01)
        taken = labels[np.rint(rows).astype(int), np.rint(columns).astype(int)]
        assert sure.mean() > 0.9
        np.testing.assert_array_equal(truth[sure], taken[sure])


@pytest.mark.parametrize("zoom", [0.7, 1.0, 1.4])
def test_scale_is_the_magnification(zoom: float) -> None:
    rows, columns = np.mgrid[:200, :200]
    labels = ((rows - 100) ** 2 + (columns - 100) ** 2 < 30**2).astype(np.int32)
    image = np.repeat((200 * labels).astype(np.uint8)[..., None], 3, axis=2)
    # A crop of 140 pixels always holds the whole disc when it lies near the picture's middle.
    config = dataclasses.replace(AugmentConfig.none(140), affine=1.0, scale=(zoom, zoom))
    areas = []
    for seed in range(40):
        truth = augment(image, labels, np.random.default_rng(seed), config)[1]
        edge = np.concatenate([truth[0], truth[-1], truth[:, 0], truth[:, -1]])
        if not edge.any():
            areas.append(truth.sum())
    assert len(areas) > 5
    np.testing.assert_allclose(areas, zoom**2 * labels.sum(), rtol=0.02)


def test_crops_reach_every_place_and_stay_inside() -> None:
    image, labels = coded(60, 50)
    rng = np.random.default_rng(2)
    corners = set()
    for _ in range(600):
        view, _ = augment(image, labels, rng, AugmentConfig.none(48))
        corners.add((round(float(view[1, 0, 0]) * 255), round(float(view[2, 0, 0]) * 255)))
    assert corners == {(top, left) for top in range(13) for left in range(3)}


@pytest.mark.parametrize("affine", [0.0, 1.0])
def test_smaller_pictures_are_mirrored(affine: float) -> None:
    image, labels = coded(20, 31)
    config = dataclasses.replace(AugmentConfig.none(64), affine=affine, angle=0.0, scale=(1, 1))
    view, truth = augment(image, labels, np.random.default_rng(3), config)
    assert truth.shape == (64, 64)
    np.testing.assert_array_equal(np.rint(view[0] * 255).astype(int), 10 * truth)
    rows = np.rint(view[1, :, 0] * 255).astype(int)
    assert set(rows) == set(range(20))
    np.testing.assert_array_equal(np.abs(np.diff(rows)), 1)  # mirrored, never torn or repeated


def test_a_single_pixel_fills_the_crop() -> None:
    image = np.full((1, 1, 3), 51, dtype=np.uint8)
    labels = np.ones((1, 1), dtype=np.int32)
    for affine in (0.0, 1.0):
        config = dataclasses.replace(AugmentConfig.none(8), affine=affine)
        view, truth = augment(image, labels, np.random.default_rng(0), config)
        np.testing.assert_allclose(view, 0.2, atol=1e-6)
        assert (truth == 1).all()


def test_inversion_inverts() -> None:
    image, labels = coded(48, 48)
    config = dataclasses.replace(AugmentConfig.none(48), invert=1.0)
    view, truth = augment(image, labels, np.random.default_rng(0), config)
    np.testing.assert_allclose(view, 1.0 - image.transpose(2, 0, 1) / 255.0, atol=1e-6)
    np.testing.assert_array_equal(truth, labels)


@pytest.mark.parametrize("least", [30.0, 600.0])
def test_photons_are_counted_and_grey_stays_grey(least: float) -> None:
    """Of a flat picture: the mean is kept, and the variance is that of counts (Poisson)."""
    labels = np.zeros((96, 96), dtype=np.int32)
    config = dataclasses.replace(AugmentConfig.none(96), photons=1.0, counts=least)
    for seed in range(8):
        image = np.full((96, 96, 3), 51, dtype=np.uint8)
        view, _ = augment(image, labels, np.random.default_rng(seed), config)
        assert np.ptp(view, axis=0).max() == 0.0  # a grey camera has one noise
        assert abs(view.mean() / 0.2 - 1) < 5 / np.sqrt(0.2 * least * view[0].size)
        # A pixel of value v counts v n photons: variance v / n, and n is at least what was asked.
        counts = 0.2 / view[0].var()
        assert 0.93 * least < counts < 1.07 * 16 * least
        coloured = image.copy()
        coloured[..., 1] = 102
        view, _ = augment(coloured, labels, np.random.default_rng(seed), config)
        ratio = (view[1].var() / view[1].mean()) / (view[0].var() / view[0].mean())
        assert abs(ratio - 1) < 0.15  # brighter pixels are noisier, in proportion
        assert abs(np.corrcoef(view[0].ravel(), view[1].ravel())[0, 1]) < 0.05


def test_a_bright_picture_with_photon_noise_is_stretched_back_to_one() -> None:
    image = np.full((96, 96, 3), 255, dtype=np.uint8)
    labels = np.zeros((96, 96), dtype=np.int32)
    config = dataclasses.replace(AugmentConfig.none(96), photons=1.0, counts=4.0)
    for seed in range(8):
        view, _ = augment(image, labels, np.random.default_rng(seed), config)
        assert view.max() == 1.0
        assert (view == 1.0).mean() < 0.06  # the brightest percent, whose counts are whole numbers


def test_the_generator_is_the_only_chance() -> None:
    image, labels = coded(110, 120)
    before = image.copy(), labels.copy()
    runs = []
    for seed in (7, 7, 8):
        rng = np.random.default_rng(seed)
        runs.append([augment(image, labels, rng, AugmentConfig(size=48)) for _ in range(12)])
    for first, second in zip(runs[0], runs[1], strict=True):
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])
    assert any(not np.array_equal(a[0], b[0]) for a, b in zip(runs[0], runs[2], strict=True))
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(labels, before[1])


def test_everything_at_once_keeps_shape_type_and_bounds() -> None:
    rng = np.random.default_rng(4)
    image = rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)
    labels = rng.integers(0, 4, (70, 90)).astype(np.int32)
    chances = dict.fromkeys(
        ("affine", "intensity", "stain", "invert", "coarse", "blur", "noise", "photons"), 1.0
    )
    config = AugmentConfig(size=40, grain=0.5, gain=5.0, dye=0.9, **chances)
    for _ in range(20):
        view, truth = augment(image, labels, rng, config)
        assert (view.shape, view.dtype) == ((3, 40, 40), np.float32)
        assert (truth.shape, truth.dtype) == ((40, 40), np.int32)
        assert view.flags.c_contiguous
        assert truth.flags.c_contiguous
        assert ((view >= 0.0) & (view <= 1.0)).all()  # false for NaN too
        assert set(np.unique(truth)) <= {0, 1, 2, 3}


@pytest.mark.parametrize("level", [0, 255])
def test_an_empty_picture_stays_empty(level: int) -> None:
    image = np.full((64, 64, 3), level, dtype=np.uint8)
    labels = np.zeros((64, 64), dtype=np.int32)
    for seed in range(20):
        view, truth = augment(image, labels, np.random.default_rng(seed), AugmentConfig(size=32))
        assert np.isfinite(view).all()
        assert not truth.any()


def test_appearance_leaves_the_labels_alone_and_changes_the_picture() -> None:
    image, labels = coded(48, 48)
    plain = image.transpose(2, 0, 1) / 255.0
    for name in ("intensity", "stain", "grey", "invert", "coarse", "blur", "noise", "photons"):
        config = dataclasses.replace(AugmentConfig.none(48), **{name: 1.0})
        view, truth = augment(image, labels, np.random.default_rng(5), config)
        np.testing.assert_array_equal(truth, labels)
        assert np.abs(view - plain).max() > 0.01, name


@pytest.mark.parametrize("factor", [2, 3])
def test_a_coarse_picture_is_reduced_and_enlarged(factor: int) -> None:
    """Against Pillow, away from the edges, which it blends otherwise."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize((48, 48))
    fewer = smooth.resize((48 // factor,) * 2, Image.Resampling.BILINEAR)
    expected = np.asarray(fewer.resize((48, 48), Image.Resampling.LANCZOS)) / 255.0
    axis = coarse(48, 48 // factor)
    found = np.einsum("yi,ijc,xj->yxc", axis, np.asarray(smooth) / 255.0, axis).clip(0, 1)
    np.testing.assert_allclose(found, expected, atol=2.5 / 255)
    assert np.abs(found - np.asarray(smooth) / 255.0).max() > 10 / 255


def test_grey_pictures_stay_grey_and_stain_respects_the_dyes() -> None:
    grey = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    labels = np.zeros((64, 64), dtype=np.int32)
    for seed in range(10):
        view, _ = augment(grey, labels, np.random.default_rng(seed), AugmentConfig(size=48))
        assert np.ptp(view, axis=0).max() < 1e-5
    # Pure haematoxylin may grow paler or darker but keeps its direction in optical density.
    density = np.array([0.65, 0.70, 0.29])
    image = np.rint(255 * np.exp(-np.linspace(0.2, 1.5, 64)[:, None] * density))
    picture = np.repeat(image[None].astype(np.uint8), 64, axis=0)
    config = dataclasses.replace(AugmentConfig.none(64), stain=1.0, hue=0.0)
    view, _ = augment(picture, labels, np.random.default_rng(6), config)
    after, before = -np.log(view[:, 0]).T, -np.log(picture[0] / 255.0)
    factor = (after * before).sum() / (before * before).sum()
    np.testing.assert_allclose(after, factor * before, atol=0.02)
    assert abs(factor - 1.0) > 0.01


def test_mixing_of_hues_leaves_grey_regions_grey() -> None:
    image = np.full((32, 32, 3), 120, dtype=np.uint8)
    image[:8] = (200, 40, 90)
    config = dataclasses.replace(AugmentConfig.none(32), stain=1.0, dye=0.0, hue=0.2)
    labels = np.zeros((32, 32), dtype=np.int32)
    view, _ = augment(image, labels, np.random.default_rng(9), config)
    np.testing.assert_allclose(view[:, 8:] * 255, 120.0, atol=0.01)
    assert np.abs(view[:, 0, 0] * 255 - image[0, 0]).min() > 1.0


@pytest.mark.parametrize(("low", "high"), [(5, 40), (180, 250), (0, 255)])
def test_intensity_never_washes_a_picture_out(low: int, high: int) -> None:
    rng = np.random.default_rng(8)
    plane = rng.integers(low, high + 1, (64, 64)).astype(np.uint8)
    image = np.repeat(plane[..., None], 3, axis=2)
    labels = np.zeros((64, 64), dtype=np.int32)
    config = dataclasses.replace(AugmentConfig.none(64), intensity=1.0)
    for _ in range(40):
        view, _ = augment(image, labels, rng, config)
        assert ((view <= 0.0) | (view >= 1.0)).mean() < 0.08
        assert np.ptp(view) > 0.4 * (high - low) / 255


def test_bad_input_is_named() -> None:
    image, labels = coded(48, 48)
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="do not match"):
        augment(image, labels[:-1], rng, AugmentConfig(size=8))
    with pytest.raises(InputError, match="no pixels"):
        augment(image[:0], labels[:0], rng, AugmentConfig(size=8))
    for wrong in (
        {"flip": 1.5},
        {"size": 0},
        {"scale": (1.4, 0.7)},
        {"scale": (0.0, 1.0)},
        {"gain": 0.5},
        {"gamma": 0.9},
        {"reduction": 0.9},
        *({name: -1.0} for name in ("angle", "offset", "dye", "hue", "sigma", "grain", "counts")),
    ):
        with pytest.raises(InputError, match=f"augmentation .*{next(iter(wrong))}"):
            AugmentConfig(**wrong)  # type: ignore[arg-type]


def test_strength_widens_stains_and_magnification_alone() -> None:
    usual, wild = AugmentConfig.of(64, 1.0), AugmentConfig.of(64, 2.0)
    assert usual == AugmentConfig(size=64)
    assert wild.scale == pytest.approx((usual.scale[0] ** 2, usual.scale[1] ** 2))
    assert (wild.dye, wild.hue, wild.grey) == pytest.approx((0.5, 0.2, 0.2))
    changed = {"scale", "dye", "hue", "grey"}
    for field in dataclasses.fields(AugmentConfig):
        if field.name not in changed:
            assert getattr(usual, field.name) == getattr(wild, field.name)
    most = AugmentConfig.of(64, 50.0)  # ends at what a probability and a share can be
    assert (most.dye, most.hue, most.grey) == (1.0, 0.5, 1.0)
    still = AugmentConfig.of(64, 0.0)
    assert (still.scale, still.dye, still.hue, still.grey) == ((1.0, 1.0), 0.0, 0.0, 0.0)


def test_a_margin_is_flat_and_holds_nothing() -> None:
    """A band along one side, black or white, at most half of the crop; the rest is untouched."""
    image = np.full((60, 60, 3), 100, np.uint8)
    labels = np.arange(1, 3601, dtype=np.int32).reshape(60, 60)
    config = dataclasses.replace(AugmentConfig.none(40), margin=1.0)
    sides, values = set(), set()
    for seed in range(40):
        view, truth = augment(image, labels, np.random.default_rng(seed), config)
        bare = truth == 0
        assert 0 < bare.mean() <= 21 / 40
        (value,) = np.unique(view[:, bare])
        assert np.allclose(view[:, ~bare], 100 / 255)
        assert bare.all(axis=0).any() or bare.all(axis=1).any()
        values.add(float(value))
        sides.add((bool(bare[0].all()), bool(bare[-1].all()), bool(bare[:, 0].all())))
    assert values == {0.0, 1.0}
    assert len(sides) == 4


def test_what_shrinks_is_averaged() -> None:
    """White noise smoothed with σ keeps 1 / (2 √π σ) of its spread; at a quarter σ is ½ √15."""
    noise = np.random.default_rng(0).normal(128, 30, (400, 400, 1)).clip(0, 255)
    image = np.repeat(noise.astype(np.uint8), 3, axis=2)
    labels = np.zeros((400, 400), np.int32)
    config = AugmentConfig.none(80)
    view, _ = augment(image, labels, np.random.default_rng(1), config, zoom=0.25)
    kept = float(view.std()) * 255 / 30
    assert kept == pytest.approx(1 / (2 * np.sqrt(np.pi) * 0.5 * np.sqrt(15)), abs=0.03)
    view, _ = augment(image, labels, np.random.default_rng(1), config, zoom=1.0)
    assert float(view.std()) * 255 / 30 == pytest.approx(1, abs=0.03)


def test_an_enlarged_ramp_is_a_ramp_to_its_very_edges() -> None:
    image = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 200, axis=0).repeat(3, axis=2)
    labels = np.zeros((200, 200), np.int32)
    view, _ = augment(image, labels, np.random.default_rng(0), AugmentConfig.none(48), zoom=2.0)
    np.testing.assert_allclose(np.diff(view, axis=2) * 255, 0.5, atol=1e-4)


@pytest.mark.parametrize("place", [0.0, 2.0, 9.5, 18.0, 19.0])
def test_a_window_around_a_place_holds_it(place: float) -> None:
    """Against all windows, one by one."""
    rng = np.random.default_rng(0)
    found = {corner(rng, 20, 6, place) for _ in range(300)}
    assert found == {first for first in range(15) if first <= place <= first + 5}
    assert {corner(rng, 4, 6, place) for _ in range(100)} == {-2, -1, 0}


@pytest.mark.parametrize("zoom", [0.6, 2.0])
def test_a_magnified_crop_holds_its_place(zoom: float) -> None:
    labels = np.zeros((300, 300), np.int32)
    labels[250:256, 20:26] = 1
    image = np.repeat(labels.astype(np.uint8)[..., None], 3, axis=2)
    rng = np.random.default_rng(0)
    config = AugmentConfig.none(32)
    for _ in range(30):
        _, truth = augment(image, labels, rng, config, zoom=zoom, around=(252.5, 22.5))
        assert truth.any()


def test_a_compressed_crop_is_one_that_pillow_compressed() -> None:
    """At qualities from 40 to 95, coarse and fine ones alike often."""
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    labels = np.zeros((16, 16), np.int32)
    possible = {}
    for quality in range(40, 96):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        possible[np.asarray(Image.open(stream)).tobytes()] = quality
    config = dataclasses.replace(AugmentConfig.none(16), jpeg=1.0)
    rng, found = np.random.default_rng(1), []
    for _ in range(80):
        view, _ = augment(image, labels, rng, config)
        pixels = np.rint(view * 255).astype(np.uint8).transpose(1, 2, 0)
        found.append(possible[np.ascontiguousarray(pixels).tobytes()])
    assert min(found) < 50
    assert max(found) > 85
    assert 60 < np.mean(found) < 75


def test_a_grey_picture_becomes_one_channel_of_three() -> None:
    """The others show nothing, half of the time, or a blurred copy with clouds in it."""
    rows, columns = np.mgrid[:64, :64]
    grey = np.where(np.hypot(rows - 32, columns - 32) < 12, 200, 20).astype(np.uint8)
    image, labels = np.repeat(grey[..., None], 3, axis=2), np.zeros((64, 64), np.int32)
    config = dataclasses.replace(AugmentConfig.none(64), merge=1.0)
    at, empty, brightness = [], [], []
    for seed in range(120):
        view, _ = augment(image, labels, np.random.default_rng(seed), config)
        (own,) = [k for k in range(3) if np.allclose(view[k] * 255, grey, atol=0.01)]
        at.append(own)
        for k in {0, 1, 2} - {own}:
            empty.append(not view[k].any())
            if view[k].any():
                assert np.abs(np.diff(view[k], axis=0)).max() < 0.35  # nothing sharp
                brightness.append(view[k].mean() / view[own].mean())
    assert min(np.bincount(at, minlength=3)) > 24
    assert 0.37 < np.mean(empty) < 0.63
    # From .3 to 1.5 times as bright, and clouds, whose darker half is cut off on dark ground.
    assert 0.9 < np.median(brightness) < 1.6
    coloured = image.copy()
    coloured[..., 1] //= 2
    view, _ = augment(coloured, labels, np.random.default_rng(0), config)
    np.testing.assert_allclose(view, coloured.transpose(2, 0, 1) / 255, atol=1e-6)


def test_a_picture_that_loses_its_colour_is_the_mean_of_its_channels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    config = dataclasses.replace(AugmentConfig.none(16), grey=1.0, stain=1.0)
    view, _ = augment(image, np.zeros((16, 16), np.int32), np.random.default_rng(0), config)
    for channel in view:
        np.testing.assert_allclose(channel, image.mean(axis=2) / 255, atol=1e-6)


def test_blurs_are_spread_up_to_the_largest() -> None:
    """By the height that is left of a single bright pixel, against SciPy's own blur of it."""
    image = np.zeros((33, 33, 3), np.uint8)
    image[16, 16] = 255
    config = dataclasses.replace(AugmentConfig.none(33), blur=1.0, sigma=2.0)
    point = (image[..., 0] > 0).astype(float)
    least, middle = (ndimage.gaussian_filter(point, sigma).max() for sigma in (2.0, 1.0))
    heights = [
        augment(image, point.astype(np.int32), np.random.default_rng(seed), config)[0].max()
        for seed in range(60)
    ]
    assert min(heights) > 0.98 * least
    assert 18 < np.sum(np.array(heights) < middle) < 42  # half of them have σ above 1


def test_photons_are_as_many_as_drawn() -> None:
    """From the least to sixteen times as many, evenly in the logarithm."""
    image, labels = np.full((48, 48, 3), 51, np.uint8), np.zeros((48, 48), np.int32)
    config = dataclasses.replace(AugmentConfig.none(48), photons=1.0, counts=30.0)
    views = [augment(image, labels, np.random.default_rng(n), config)[0][0] for n in range(60)]
    octaves = np.log2([0.2 / view.var() / 30 for view in views])
    assert np.mean(octaves) == pytest.approx(2, abs=0.5)
    assert np.std(octaves) == pytest.approx(4 / np.sqrt(12), abs=0.3)


@pytest.mark.parametrize("name", ["gain", "offset", "gamma"])
def test_intensity_changes_by_what_was_drawn(name: str) -> None:
    """A picture of two values, of which all three operations can be read off, one at a time."""
    image = np.full((32, 32, 3), 51, np.uint8)
    image[:, 16:] = 102
    labels = np.zeros((32, 32), np.int32)
    strengths = {"gain": 1.0, "offset": 0.0, "gamma": 1.0} | {name: {"offset": 0.1}.get(name, 1.5)}
    config = dataclasses.replace(AugmentConfig.none(32), intensity=1.0, **strengths)
    drawn = []
    for seed in range(60):
        view, _ = augment(image, labels, np.random.default_rng(seed), config)
        assert np.ptp(view, axis=0).max() == 0
        dark, bright = np.unique(view)
        if name == "gain":
            assert bright / dark == pytest.approx(2, rel=1e-5)
            drawn.append(np.log(dark / 0.2) / np.log(1.5))
        elif name == "offset":
            assert bright - dark == pytest.approx(0.2, rel=1e-5)
            drawn.append((dark - 0.2) / 0.1)
        else:  # relative to the brightest value
            assert bright == pytest.approx(0.4, rel=1e-5)
            drawn.append(np.log(np.log(0.4 / dark) / np.log(2)) / np.log(1.5))
    assert -1.001 < min(drawn) < -0.8
    assert 0.8 < max(drawn) < 1.001


def test_a_varied_picture_changes_in_more_ways_and_no_less() -> None:
    usual, varied = AugmentConfig.of(64, 1.0), AugmentConfig.varied(64, 1.0)
    more = {*("grey", "merge", "invert", "coarse", "blur", "noise"),
            *("photons", "jpeg", "margin", "texture")}  # fmt: skip
    for field in dataclasses.fields(AugmentConfig):
        before, after = getattr(usual, field.name), getattr(varied, field.name)
        assert (after > before) if field.name in more else (after == before), field.name
