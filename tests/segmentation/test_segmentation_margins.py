"""A page, a frame or a bar beside a picture: nuclei are those of the picture alone."""

from __future__ import annotations

import numpy as np
import pytest
from local_network import Local
from pictures import discs
from scipy import ndimage

from ngat.io.picture import array_picture
from ngat.segmentation.find import find_nuclei
from ngat.segmentation.margins import without_margins

TOP, LEFT = 30, 20


def cells(bright=False):
    light = ndimage.gaussian_filter((discs((120, 140), 8, 32) > 0).astype(float), 1.0)
    light = 20 + 120 * light + np.random.default_rng(0).normal(0, 3, light.shape)
    return (240 - light if bright else light).clip(5, 250).astype(np.uint8)


def framed(pixels, value):
    return np.pad(pixels, [(TOP, 9), (LEFT, 0)], constant_values=value)


def barred(pixels, value, letters):
    bar = np.full((24, pixels.shape[1]), value, np.uint8)
    bar[8:14, 10:60:3] = bar[16:19, -50:-10] = letters
    return np.concatenate([pixels, bar])


INSIDE = (slice(TOP, TOP + 120), slice(LEFT, LEFT + 140))
WHOLE = (slice(0, 120), slice(0, 140))


@pytest.mark.parametrize(
    ("pixels", "inside"),
    [
        (framed(cells(), 255), INSIDE),  # a page
        (framed(cells(bright=True), 0), INSIDE),  # a black frame round a stained section
        (np.repeat(framed(cells(), 255)[:, :, None], 3, axis=2), INSIDE),
        (framed(cells().astype(np.uint16) * 100, 65535), INSIDE),
        (barred(cells(), 255, 0), WHOLE),
        (barred(cells(), 0, 255), WHOLE),
        (barred(cells(bright=True), 0, 255), WHOLE),
        (cells(), None),
        (framed(cells(), 0), None),  # as its background: no harm
        (framed(cells(bright=True), 255), None),  # glass round a section
        (np.zeros((40, 40), np.uint8), None),
        (np.full((7, 9), 3.0), None),
        (np.eye(40, dtype=bool), None),
    ],
)
def test_margins(pixels, inside):
    assert without_margins(pixels) == inside


def lone(bright=255, shape=(120, 140), at=(60, 70), radius=45):
    """One large nucleus on black, as a background that was taken off leaves it."""
    rows, columns = np.indices(shape)
    away = np.hypot(rows - at[0], columns - at[1])
    return (bright * np.clip((radius - away) / 9, 0, 1)).astype(np.uint8)


@pytest.mark.parametrize(
    "pixels", [lone(), lone(200), lone(at=(0, 70), radius=60), lone(at=(0, 0), radius=90)]
)
def test_a_nucleus_on_black_is_no_picture_in_a_frame(pixels):
    assert without_margins(pixels) is None
    assert without_margins(255 - pixels) is None


def test_nuclei_are_those_of_the_picture_alone():
    network = Local(probability=0.4)
    alone = find_nuclei(array_picture(cells()), network)
    found = find_nuclei(array_picture(framed(cells(), 255)), network)
    labels = found.labels.whole()
    np.testing.assert_array_equal(labels[INSIDE], alone.labels.whole())
    assert (labels > 0).sum() == (alone.labels.whole() > 0).sum() > 0
    assert found.table["y"].to_numpy() == pytest.approx(alone.table["y"].to_numpy() + TOP)
    assert found.table["x"].to_numpy() == pytest.approx(alone.table["x"].to_numpy() + LEFT)
    assert list(found.table) == list(alone.table)
    intensity = "mean_intensity"
    assert found.table[intensity].to_list() == pytest.approx(alone.table[intensity].to_list())
    assert "rows 30 to 149 and columns 20 to 159" in found.notes[0]
    assert found.notes[1:] == alone.notes
