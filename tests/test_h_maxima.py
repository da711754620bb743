"""h-maxima found by basins are those of their definition, reconstruction by dilation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction

from ngat.h_maxima import h_maxima


def by_reconstruction(heights, h, mask):
    """Regional maxima of the map lowered by h and grown again under itself, component by component.

    scikit-image finds no maximum in a picture of one value, hence the frame.
    """
    components, count = ndimage.label(mask)
    low = heights.min() - h - 1
    cross = ndimage.generate_binary_structure(2, 1)
    found = np.zeros(mask.shape, bool)
    for number in range(1, count + 1):
        framed = np.pad(np.where(components == number, heights, low), 1, constant_values=low)
        grown = reconstruction(framed - h, framed, method="dilation", footprint=cross)
        maxima = local_maxima(grown, connectivity=1).astype(bool)[1:-1, 1:-1]
        found |= maxima & (components == number)
    return found


def hills(rng, shape):
    heights = ndimage.gaussian_filter(rng.random(shape), rng.choice([0.0, 0.7, 1.5, 3.0]))
    return (heights - heights.min()) / max(float(np.ptp(heights)), 1e-9)


def steps(rng, shape):
    """Few values: plateaus, and saddles exactly h below a maximum."""
    return np.round(rng.random(shape) * rng.choice([2, 4, 8])) / 8


def saturated(rng, shape):
    """Flat tops and flat valleys, as a sure network draws them."""
    return np.clip(2.5 * hills(rng, shape) - 0.7, 0, 1)


def terraces(rng, shape):
    return np.kron(np.round(4 * rng.random(shape)) / 4, np.ones((5, 5)))[: shape[0], : shape[1]]


@pytest.mark.parametrize("draw", [hills, steps, saturated, terraces])
@pytest.mark.parametrize("h", [0.02, 0.125, 0.3])
def test_they_are_those_of_the_reconstruction(draw, h):
    rng = np.random.default_rng(7)
    for _ in range(25):
        shape = tuple(rng.integers(1, 30, 2))
        heights = draw(rng, shape)
        mask = ndimage.gaussian_filter(rng.random(shape), 1) > rng.choice([0.0, 0.45, 0.5])
        np.testing.assert_array_equal(
            h_maxima(heights, h, mask), by_reconstruction(heights, h, mask)
        )


def test_by_hand():
    heights = np.array([[0.9, 0.4, 0.8, 0.75, 0.85, 0.1]])
    # From .85 the way to .9 leads over .4; between .8 and .85 it only falls to .75.
    expected = np.array([[True, False, True, True, True, False]])
    np.testing.assert_array_equal(h_maxima(heights, 0.1), expected)
    np.testing.assert_array_equal(h_maxima(heights, 0.04), [[1, 0, 1, 0, 1, 0]])
    np.testing.assert_array_equal(h_maxima(heights, 0.5), [[1, 1, 1, 1, 1, 0]])
    # A gap in the mask is no way.
    mask = np.array([[True, True, False, True, True, True]])
    np.testing.assert_array_equal(h_maxima(heights, 0.6, mask), [[1, 1, 0, 1, 1, 0]])


def test_nothing_inside():
    assert not h_maxima(np.ones((3, 4)), 0.1, np.zeros((3, 4), bool)).any()
    assert h_maxima(np.ones((3, 4)), 0.1).all()
