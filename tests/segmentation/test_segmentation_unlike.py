"""Warnings where a picture is unlike training, and none where it is like it."""

from __future__ import annotations

import numpy as np
import pytest
from local_network import Local
from pictures import discs
from scipy import ndimage

from ngat.io import array_picture
from ngat.segmentation.find import find
from ngat.segmentation.unlike import CONTRAST, SHARPNESS, features


def nuclei(blur=1.0, noise=0.01, radius=8, step=32):
    light = ndimage.gaussian_filter((discs((160, 160), radius, step) > 0).astype(float), blur)
    light /= light.max()
    return light + np.random.default_rng(0).normal(0, noise, light.shape)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, ""),
        ({"noise": 0.2}, "contrast"),
        ({"blur": 8.0, "radius": 4, "step": 70}, "blurred"),
    ],
)
def test_what_is_unlike_training_is_said(options, says):
    picture = array_picture(1000 * nuclei(**options) - 5)
    notes = "; ".join(find(picture, Local(probability=0.3, min_area=4)).notes)
    assert (says in notes) if says else (notes == "")


def test_nuclei_too_large_or_small_for_the_network_are_said():
    notes = find(array_picture(nuclei()), Local(0.2, probability=0.3, min_area=4)).notes
    assert "unusually small" in "; ".join(notes)
    picture = array_picture(np.kron(nuclei(), np.ones((5, 5))))
    assert "unusually large" in "; ".join(find(picture, Local(probability=0.4)).notes)
    assert find(picture, Local(0.2, probability=0.4)).notes == ()


def test_features_do_not_depend_on_the_range_of_values():
    first = features(nuclei(), 16)
    assert features(4000 * nuclei() + 300, 16) == pytest.approx(first)
    assert first[0] > 3 * CONTRAST
    assert first[1] > 2 * SHARPNESS
    wider = np.kron(nuclei(), np.ones((3, 3)))  # the same picture at another magnification
    assert features(wider, 48)[1] == pytest.approx(first[1], rel=0.3)


def test_a_picture_without_nuclei_is_said():
    flat = np.random.default_rng(0).normal(0, 1, (60, 60))
    flat[0, 0] = 1e4
    assert "no nucleus was found" in find(array_picture(flat), Local(probability=0.9)).notes
