"""Labels at another size, against torch's own resizing of each nucleus for itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ngat.data import Sample
from ngat.data.resize import resized_labels, resized_sample


def discs(side: int, radius: float, seed: int = 0) -> np.ndarray:
    """Discs in a grid, at places between pixels, some of which touch; every third label is free."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.int32)
    pitch = int(2 * radius)
    for k, (top, left) in enumerate(np.ndindex(side // pitch, side // pitch)):
        centre = np.array([top, left]) * pitch + radius + rng.uniform(-1, 1, 2)
        labels[np.hypot(y - centre[0], x - centre[1]) < radius] = k + 1 + k // 3
    return labels


@pytest.mark.parametrize("shape", [(24, 24), (12, 12), (21, 30), (31, 17), (96, 96), (60, 20)])
def test_a_pixel_has_the_label_of_which_it_holds_most(shape: tuple[int, int]) -> None:
    labels = discs(48, 5.0)
    apart = torch.from_numpy(np.stack([labels == n for n in range(labels.max() + 1)])).double()
    there = F.interpolate(apart[None], shape, mode="bilinear", antialias=True)[0]
    found = resized_labels(labels, *shape)
    assert found.dtype == np.int32
    first, second = there.sort(dim=0, descending=True).values[:2]
    clear = (first - second > 1e-6).numpy()
    assert clear.mean() > 0.7
    np.testing.assert_array_equal(found[clear], there.argmax(0).numpy()[clear])


@pytest.mark.parametrize("factor", [2, 4])
def test_nuclei_stay_where_they_are(factor: int) -> None:
    """Every n-th pixel would move them by half a pixel of the large picture, all to one side."""
    labels = discs(160, 9.0)
    small = resized_labels(labels, 160 // factor, 160 // factor)
    shifts = []
    for n in np.unique(labels)[1:]:
        was, now = (np.argwhere(found == n).mean(axis=0) + 0.5 for found in (labels, small))
        shifts.append(factor * now - was)
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.2
    areas = [np.bincount(found.ravel())[1:] for found in (labels, small)]
    assert factor**2 * areas[1].sum() == pytest.approx(areas[0].sum(), rel=0.05)


def one_column(image: np.ndarray, labels: np.ndarray) -> Sample:
    """A sample of one column of pixels."""
    image = np.repeat(np.uint8(image)[:, None, None], 3, axis=2)
    return Sample("a", image, np.int32(labels)[:, None], "small_fluorescent", "a", "val")


def test_sides_are_rounded_and_none_is_lost() -> None:
    sample = one_column(np.arange(7), np.ones(7))
    for factor, height in ((0.25, 2), (0.4, 3), (0.05, 1), (1.5, 10)):
        found = resized_sample(sample, factor)
        assert found.image.shape == (height, max(1, round(factor)), 3)
        assert found.labels.shape == found.image.shape[:2]


def test_enlarged_images_are_interpolated_and_rounded() -> None:
    """Twice as large: pixels are a quarter of the way from one middle to the other."""
    found = resized_sample(one_column([0, 10, 30], [0, 1, 1]), 2).image
    # 0, 2.5, 7.5, 15, 25, 30, of which halves are rounded to the even number.
    assert found[1:5, 0, 0].tolist() == [2, 8, 15, 25]
    # Of 15 and 24: 17.25 and 21.75.
    assert resized_sample(one_column([15, 24], [0, 0]), 2).image[1:3, 0, 0].tolist() == [17, 22]


def test_only_smaller_images_are_smoothed() -> None:
    """One bright pixel of eight is one eighth of the light, wherever it lies."""
    spots = 255 * (np.arange(96) % 8 == 2)
    small = resized_sample(one_column(spots, np.zeros(96)), 0.125).image[2:-2]
    assert np.abs(small - 255 / 8).max() < 8
    same = one_column(spots, np.zeros(96))
    np.testing.assert_array_equal(resized_sample(same, 1).image, same.image)


def test_half_a_pixel_is_not_most_of_it() -> None:
    """Of equal shares, background goes first, then the lower label; the type stays."""
    found = resized_labels(np.array([[2, 1]], np.uint16), 1, 1)
    assert found.tolist() == [[1]]
    assert found.dtype == np.uint16
    assert resized_labels(np.array([[0, 1]], np.uint16), 1, 1).tolist() == [[0]]
