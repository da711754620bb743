"""Texture of large nuclei: where it is, how strong, how fine, and the same on a device."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from ngat.training import appearance
from ngat.training.appearance import textured
from ngat.training.augment import AugmentConfig, augment
from ngat.training.device import appearance as device

SIDE = 96


def nucleus(colour: tuple[float, float, float] = (0.7, 0.7, 0.7)) -> tuple[np.ndarray, np.ndarray]:
    """A disc of 60 pixels on a ground of 0.2, and its mask."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    mask = rows**2 + columns**2 < 34**2
    view = np.where(mask[..., None], np.float32(colour), np.float32(0.2))
    return view.astype(np.float32), mask


def draws(count: int, **options: object) -> np.ndarray:
    view, mask = nucleus(**options)
    changed = [textured(view, mask, 60.0, np.random.default_rng(n)) for n in range(count)]
    return np.stack(changed) - view


def test_its_strength_is_a_share_of_the_contrast_by_channel() -> None:
    """Green stands out half as far as red, blue not at all: so do the grains."""
    change = draws(20, colour=(0.6, 0.4, 0.2))
    red, green, blue = np.moveaxis(change, -1, 0)
    np.testing.assert_allclose(green, red / 2, atol=1e-5)
    assert np.abs(blue).max() < 1e-6
    assert np.abs(red).max() > 0.05


def test_grains_lie_in_nuclei_and_unevenness_on_the_ground() -> None:
    change = draws(400)[..., 0]
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    away = np.hypot(rows, columns)
    within, beyond = change[:, away < 26], change[:, away > 42]
    # Half of the crops have grains of variance s², half bright ones only, whose square is on
    # average half as large; s is even up to INSIDE times a contrast of 0.5.
    expected = (0.5 * appearance.INSIDE) ** 2 / 3 * 0.75
    assert np.mean(within**2) == pytest.approx(expected, rel=0.15)
    expected = (0.5 * appearance.OUTSIDE) ** 2 / 3 * 0.5
    # Mirrored at the edges, a coarse field varies more there.
    assert expected < np.mean(beyond**2) < 1.5 * expected
    assert beyond.min() >= -1e-4  # the ground only comes nearer to the nuclei


def test_grains_are_as_fine_as_they_should_be() -> None:
    """The neighbours of a pixel in a field smoothed with σ: correlation exp(−1 / 4σ²)."""
    change = draws(200)[:, SIDE // 2 - 20 : SIDE // 2 + 20, SIDE // 2 - 20 : SIDE // 2 + 20, 0]
    sigma = 60 * np.linspace(*appearance.GRAIN, 1000)
    both = [(one - one.mean(), one.std()) for one in change]
    found = [(one[1:] * one[:-1]).mean() / max(std, 1e-9) ** 2 for one, std in both]
    assert np.mean(found) == pytest.approx(np.exp(-1 / (4 * sigma**2)).mean(), abs=0.03)


def test_the_edge_of_a_nucleus_is_soft() -> None:
    """σ is 1.8 pixels: just inside the edge grains are a little more than half as strong."""
    change = draws(120)[..., 0]
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    away = np.hypot(rows, columns)
    at_edge, within = (
        np.mean(change[:, part] ** 2) for part in ((away > 33) & (away < 34), away < 26)
    )
    assert 0.5**2 < at_edge / within < 0.75**2


def test_uneven_ground_is_coarser_than_grains() -> None:
    """Without a nucleus, the contrast is half of the mean; grains would end within 8 pixels."""
    view, nothing = np.full((SIDE, SIDE, 3), 0.4, np.float32), np.zeros((SIDE, SIDE), bool)
    np.testing.assert_allclose(appearance.contrast_of(view, nothing), 0.2)
    np.testing.assert_allclose(appearance.contrast_of(view, ~nothing), 0.2)
    fields = [textured(view, nothing, 60.0, np.random.default_rng(n))[..., 0] for n in range(60)]
    found = [np.corrcoef(one[8:].ravel(), one[:-8].ravel())[0, 1] for one in fields]
    assert 0.4 < np.mean(found) < 0.9


def test_only_large_nuclei_show_it() -> None:
    view, mask = nucleus()
    image, labels = np.rint(255 * view).astype(np.uint8), mask.astype(np.int32)
    config = dataclasses.replace(AugmentConfig.none(SIDE), texture=1.0)
    for size, changes in ((30.3, True), (29.7, False)):
        seen, truth = augment(image, labels, np.random.default_rng(0), config, nucleus=size)
        assert (np.abs(seen - image.transpose(2, 0, 1) / 255).max() > 0.02) == changes
        np.testing.assert_array_equal(truth, labels)


@pytest.mark.parametrize("whole", [True, False])
def test_a_crop_of_one_kind_stays_finite(whole: bool) -> None:
    view = np.full((32, 32, 3), 0.4, dtype=np.float32)
    mask = np.full((32, 32), whole)
    assert np.isfinite(textured(view, mask, 60.0, np.random.default_rng(0))).all()
    many = torch.from_numpy(view).permute(2, 0, 1)[None]
    config = dataclasses.replace(AugmentConfig.none(32), texture=1.0)
    size, chance = torch.tensor([60.0]), torch.Generator().manual_seed(0)
    found = device.textured(many, torch.from_numpy(mask)[None], size, chance, config)
    assert found.isfinite().all()


def test_a_device_makes_the_same() -> None:
    """Mean and standard deviation at every place over many draws, and which crops have it."""
    view, mask = nucleus()
    count = 400
    many = torch.from_numpy(view).permute(2, 0, 1).expand(count, -1, -1, -1)
    masks = torch.from_numpy(mask).expand(count, -1, -1)
    config = dataclasses.replace(AugmentConfig.none(SIDE), texture=1.0)
    size, chance = torch.full((count,), 60.0), torch.Generator().manual_seed(0)
    found = device.textured(many, masks, size, chance, config).numpy()[:, 0]
    expected = (view + draws(count))[..., 0].clip(0, 1)
    for statistic in (np.mean, np.std):
        smooth = [ndimage.uniform_filter(statistic(x, axis=0), 9) for x in (found, expected)]
        np.testing.assert_allclose(*smooth, atol=0.025)
    half = dataclasses.replace(config, texture=0.5)
    even = torch.arange(count) % 2 == 0
    size = torch.where(even, 1.01 * appearance.LARGE, 0.99 * appearance.LARGE)
    changed = device.textured(many, masks, size, chance, half).numpy() != many.numpy()
    changed = changed.any(axis=(1, 2, 3))
    assert not changed[1::2].any()
    assert 60 < changed[::2].sum() < 140
