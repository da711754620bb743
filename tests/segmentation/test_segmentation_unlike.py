"""Warnings where a picture is unlike training, and none where it is like it."""

from __future__ import annotations

import numpy as np
import pytest
from local_network import Local
from pictures import discs
from scipy import ndimage

from ngat.io.picture import array_picture
from ngat.segmentation.find import find_nuclei
from ngat.segmentation.remarks import (
    BLUE,
    CONTRAST,
    RED,
    SHARPNESS,
    different_stains,
    features,
    glare,
    stain,
)


def nuclei(blur=1.0, noise=0.01, radius=8, step=32):
    light = ndimage.gaussian_filter((discs((160, 160), radius, step) > 0).astype(float), blur)
    light /= light.max()
    return light + np.random.default_rng(0).normal(0, noise, light.shape)


def notes_of(light):
    picture = array_picture(1000 * light - 5)
    return find_nuclei(picture, Local(probability=0.3, min_area=4)).notes


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, ""),
        ({"noise": 0.2}, "contrast"),
        ({"blur": 8.0, "radius": 4, "step": 70}, "more blurred"),
        ({"blur": 0.3}, "sharper"),
    ],
)
def test_what_is_unlike_training_is_said(options, says):
    notes = "; ".join(notes_of(nuclei(**options)))
    assert (says in notes) if says else (notes == "")


def test_nuclei_too_large_or_small_for_the_network_are_said():
    notes = find_nuclei(array_picture(nuclei()), Local(0.2, probability=0.3, min_area=4)).notes
    assert "unusually small" in "; ".join(notes)
    picture = array_picture(np.kron(nuclei(), np.ones((5, 5))))
    assert "unusually large" in "; ".join(find_nuclei(picture, Local(probability=0.4)).notes)
    assert find_nuclei(picture, Local(0.2, probability=0.4)).notes == ()


def test_features_do_not_depend_on_the_range_of_values():
    first = features(nuclei(), 16)
    assert features(4000 * nuclei() + 300, 16) == pytest.approx(first)
    assert first[0] > 3 * CONTRAST
    assert 2 * SHARPNESS[0] < first[1] < SHARPNESS[1]
    wider = np.kron(nuclei(), np.ones((3, 3)))  # the same picture at another magnification
    assert features(wider, 48)[1] == pytest.approx(first[1], rel=0.3)


@pytest.mark.parametrize(
    ("dye", "says"),
    [
        ((0.65, 0.70, 0.29), ""),  # haematoxylin, by its absorbance of red, green and blue
        ((0.27, 0.57, 0.78), "another colour"),  # diaminobenzidine: brown
        ((0.90, 0.35, 0.20), "another colour"),  # a green one
    ],
)
def test_a_stain_of_another_colour_is_said(dye, says):
    """Beer and Lambert: light that is left of a white lamp."""
    dye = np.array(dye)
    light = 240 * np.exp(-1.2 * nuclei(noise=0)[:, :, None] * dye / np.linalg.norm(dye))
    light = np.clip(light + np.random.default_rng(1).normal(0, 1, light.shape), 0, 255)
    pixels = light.astype(np.uint8)
    shares = dye / dye.sum()
    assert stain(pixels) == pytest.approx((shares[0], shares[2]), abs=0.02)
    assert (RED[0] < shares[0] < RED[1] and BLUE[0] < shares[2] < BLUE[1]) == (not says)
    network = Local(probability=0.3, core=0.4)
    network.predict = lambda image, *rest: Local.predict(network, 255 - image, *rest)
    network.survey = lambda *_: {"low": np.array(0.0), "high": np.array(160.0)}
    notes = "; ".join(find_nuclei(array_picture(pixels), network).notes)
    assert (says in notes) if says else (notes == "")


def test_colours_of_a_display_are_no_stain():
    light = 200 * np.clip(nuclei(), 0, 1)
    blue = np.stack([0 * light, 0 * light, light], axis=2).astype(np.uint8)
    assert stain(blue) is None
    assert stain(light) is None
    assert stain(np.repeat(255 - light[:, :, None], 3, axis=2)) is None


def test_a_picture_without_nuclei_is_said():
    flat = np.random.default_rng(0).normal(0, 1, (60, 60))
    flat[0, 0] = 1e4
    assert "no nucleus was found" in find_nuclei(array_picture(flat), Local(probability=0.9)).notes


def test_defects_of_a_camera_are_no_edges():
    light = nuclei()
    hot = light.copy()
    hot[tuple(np.random.default_rng(3).integers(0, 160, (2, 15)))] = 60
    assert features(hot, 16) == pytest.approx(features(light, 16), rel=0.1)


def test_empty_background_does_not_make_a_nucleus_faint():
    alone = np.pad(nuclei(noise=0)[23:55, 24:56], 240)
    assert notes_of(alone + np.random.default_rng(0).normal(0, 0.01, alone.shape)) == ()


def test_stains_in_channels_of_their_own_are_said():
    light = 200 * np.clip(nuclei(), 0, 1)
    cytoplasm = ndimage.shift(light, (9, 11), mode="nearest")
    merged = np.stack([0 * light, cytoplasm, light], axis=2).astype(np.uint8)
    picture = array_picture(merged, channel="blue")
    network = Local(probability=0.3, min_area=4)
    assert "--channel blue" in "; ".join(find_nuclei(array_picture(merged), network).notes)
    assert find_nuclei(picture, network).notes == ()
    for tint in ((0, 0, 1), (1, 1, 1), (0.1, 0.6, 0.9)):
        tinted = (light[:, :, None] * tint).astype(np.uint8)
        assert not different_stains(tinted)
        assert not different_stains(255 - tinted)


def test_nuclei_in_the_glare_of_a_bright_object_are_said():
    labels = discs((160, 160), 8, 32)
    light = nuclei()
    light[labels == 13] *= 20
    picture = array_picture(1000 * light - 5)
    found = find_nuclei(picture, Local(probability=0.3, min_area=4))
    assert len(found.table) == 1
    notes = "; ".join(found.notes)
    limit = float(notes.partition("values above ")[2].split()[0])
    assert 1500 < limit < 5000
    clipped = array_picture(np.minimum(1000 * light - 5, limit))
    found = find_nuclei(clipped, Local(probability=0.2, min_area=4))
    assert len(found.table) == labels.max()
    assert "bright" not in "; ".join(found.notes)
    one = np.where(labels == 13, labels, 0)
    alone = np.where(one, light, 0.01 * nuclei(noise=0.2, blur=80))
    uneven = alone + np.linspace(0, 2, 160)
    for others in (nuclei(), alone, uneven):
        assert glare(others, one, 16) is None


def test_one_nucleus_that_fills_the_picture_or_surrounds_what_is_looked_at():
    full = np.tile(np.linspace(0.8, 1, 40), (40, 1))
    assert glare(full, np.ones((40, 40), np.int32), 40) is None
    assert glare(full, np.zeros((40, 40), np.int32), 40) is None
    away = np.hypot(*(np.indices((900, 900)) - 450))
    ring = (
        20 + 200 * ((away > 400) & (away < 440)) + np.random.default_rng(0).normal(0, 1, (900,) * 2)
    )
    assert len(find_nuclei(array_picture(ring), Local(probability=0.4)).table) == 1


def test_why_nothing_is_seen():
    flat = np.full((40, 50, 4), 9, np.uint8)
    assert "all pixels have the same value" in find_nuclei(array_picture(flat), Local()).notes
    flat[:20], flat[:, :, 3] = 80, 0
    assert "every pixel is transparent" in find_nuclei(array_picture(flat), Local()).notes[0]
