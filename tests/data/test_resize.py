"""Labels at another size, against torch's own resizing of each nucleus for itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ngat.data.resize import resized_labels


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
