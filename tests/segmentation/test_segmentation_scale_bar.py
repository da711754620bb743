"""A scale bar drawn into a picture is found with its letters, and nothing else is taken for one."""

from __future__ import annotations

import numpy as np
import pictures
import pytest
from local_network import Local
from pictures import as_jpeg
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

import ngat
from ngat.io.picture import array_picture
from ngat.segmentation.find import find_nuclei
from ngat.segmentation.panels import panels_of, searched
from ngat.segmentation.scale_bar import drawn_on, without, without_drawn

SIDE = 200
BAR = (slice(180, 185), slice(120, 180))


def cells(seed=0, *, bright=False):
    """Blurred discs on a dark ground, or dark ones on a bright ground, ``uint8 [H, W, 3]``."""
    levels = pictures.cells(seed, (SIDE, SIDE), 30, light=180, bright=bright)
    return np.repeat(levels[:, :, None], 3, axis=2)


def with_bar(pixels, colour, *, box=BAR, text="20 um"):
    """The picture with a bar and letters above it, and where they are."""
    picture = Image.fromarray(pixels)
    mask = Image.new("L", picture.size)
    rows, columns = box
    for image, fill in ((picture, colour), (mask, 255)):
        draw = ImageDraw.Draw(image)
        draw.rectangle((columns.start, rows.start, columns.stop - 1, rows.stop - 1), fill=fill)
        middle = (columns.start + columns.stop) / 2
        font = ImageFont.load_default(size=16)
        draw.text((middle, rows.start - 3), text, fill=fill, font=font, anchor="md")
    return np.asarray(picture), np.asarray(mask) > 60


WHITE, BLACK, YELLOW = (255, 255, 255), (0, 0, 0), (255, 255, 0)


def check(found, drawn):
    """Nearly all of what was drawn is found, and little beyond its edge."""
    assert found is not None
    assert (found & drawn).sum() > 0.9 * drawn.sum()
    near = ndimage.binary_dilation(drawn, np.ones((3, 3)), iterations=4)
    assert (found & ~near).sum() < 0.1 * drawn.sum()


@pytest.mark.parametrize(
    ("bright", "colour"), [(False, WHITE), (False, YELLOW), (True, BLACK), (True, WHITE)]
)
@pytest.mark.parametrize("keep", [np.asarray, as_jpeg])
def test_bar_and_letters_are_found(bright, colour, keep):
    if keep is as_jpeg and colour == YELLOW:
        pytest.skip("JPEG stores colours at half the resolution: a thin bar's is no longer one")
    pixels, drawn = with_bar(cells(bright=bright), colour)
    check(drawn_on(keep(pixels)), drawn)


def test_a_bar_in_16_bits_and_of_one_channel():
    pixels, drawn = with_bar(cells(), WHITE)
    check(drawn_on(pixels[:, :, 0]), drawn)
    deep = pixels[:, :, 0].astype(np.uint16) * 16 + 100  # a 12-bit camera's; white is its maximum
    check(drawn_on(deep), drawn)
    deep[drawn] = 65535
    check(drawn_on(deep), drawn)


@pytest.mark.parametrize("bright", [False, True])
@pytest.mark.parametrize(
    "box",
    [
        (slice(90, 102), slice(60, 95)),  # not three times as long as thick
        (slice(60, 61), slice(60, 120)),  # a line of one pixel: a camera's defect
        (slice(0, 4), slice(60, 120)),  # at the border, as what was cut is
        (slice(60, 64), slice(60, 70)),  # too short
    ],
)
def test_what_is_no_bar(bright, box):
    pixels = cells(1, bright=bright)
    assert drawn_on(pixels) is None
    pixels[box] = 0 if bright else 255
    assert drawn_on(pixels) is None


def test_a_bar_that_runs_out_at_its_sides_is_none():
    """Half of the lines round it have its colour, as in a nucleus that is cut off by the range."""
    pixels = cells(1)
    pixels[60:65, 60:120] = 255
    assert drawn_on(pixels) is not None
    pixels[56:70, 80:100] = 255
    assert drawn_on(pixels) is None


@pytest.mark.parametrize(("ground", "bar"), [(0, 20), (250, 255), (255, 250)])
def test_a_bar_in_a_picture_of_few_grey_levels(ground, bar):
    pixels = np.full((60, 60), ground, np.uint8)
    assert drawn_on(pixels) is None
    pixels[30:33, 20:50] = bar
    check(drawn_on(pixels), pixels == bar)


@pytest.mark.parametrize("bright", [False, True])
def test_noise_that_was_enlarged_is_no_bar(bright):
    """Some pixels in a row that are alike make a rectangle."""
    for seed in range(3):
        small = cells(seed, bright=bright)[:80, :80]
        assert drawn_on(np.kron(small[:, :, 0], np.ones((5, 5), np.uint8))) is None
        assert drawn_on(np.kron(small, np.ones((4, 4, 1), np.uint8))) is None


def test_generated_pictures_have_none():
    for seed in (0, 1):
        for sample in ngat.load("synthetic", "val", seed=seed, progress=False):
            assert drawn_on(sample.image) is None


def test_real_pictures_have_none_until_one_is_drawn(evaluation_pictures):
    found = 0
    for pixels in evaluation_pictures:
        assert drawn_on(pixels) is None
        height, width = pixels.shape[:2]
        box = slice(height - 14, height - 10), slice(width // 2, width // 2 + 60)
        there, drawn = with_bar(pixels, WHITE if np.median(pixels) < 128 else BLACK, box=box)
        mask = drawn_on(there)
        found += mask is not None and (mask & drawn).sum() > 0.9 * drawn.sum()
    assert found >= 60


def test_what_was_drawn_is_filled_from_the_nearest_pixels():
    pixels = np.arange(12).reshape(3, 4)
    mask = np.zeros((3, 4), bool)
    mask[1, 1] = mask[0, 3] = True
    filled = without(pixels, mask)
    assert filled[1, 1] in (pixels[0, 1], pixels[2, 1], pixels[1, 0], pixels[1, 2])
    assert filled[0, 3] in (pixels[0, 2], pixels[1, 3])
    assert (filled[~mask] == pixels[~mask]).all()
    assert pixels[1, 1] == 5


def test_nuclei_of_which_most_was_drawn_are_none():
    labels = np.zeros((4, 8), np.int32)
    labels[:, 1:3], labels[:, 5:7] = 1, 2
    mask = np.zeros((4, 8), bool)
    mask[:2, 1:3] = mask[:3, 5:7] = True  # half of one, three quarters of the other
    assert np.unique(without_drawn(labels, mask)).tolist() == [0, 1]


def test_nuclei_beside_a_scale_bar_are_those_without_it():
    plain = cells()
    pixels, drawn = with_bar(plain, WHITE)
    network = Local(probability=0.4)
    alone = find_nuclei(array_picture(plain), network).labels.whole()
    found = find_nuclei(array_picture(pixels), network)
    away = ~ndimage.binary_dilation(drawn, np.ones((3, 3)), iterations=5)
    changed = (found.labels.whole() > 0) != (alone > 0)
    assert changed[away].mean() < 0.005  # what the bar hid counts in the contrast
    assert found.notes[0].startswith("a scale bar at rows 16")
    assert found.notes[0].endswith("was left out")
    seen = find_nuclei(array_picture(pixels), network, panels=False)
    assert seen.labels.whole()[drawn].any()
    assert not any("scale bar" in note for note in seen.notes)
    # The table measures the picture as it is stored.
    assert len(found.table) == found.labels.whole().max()


def test_nuclei_near_a_bar_of_their_colour_are_no_letters():
    """They are as dark as the bar, and no thicker: their edges are not as sharp."""
    rows, columns = np.indices((SIDE, SIDE))
    distance = np.min([np.hypot(rows - 150, columns - x) for x in (115, 140, 165)], axis=0)
    levels = 230 - 230 * np.exp(-((distance / 17) ** 2))
    plain = np.repeat(levels[:, :, None], 3, axis=2).astype(np.uint8)
    assert (plain < 255 / 8).sum() > 3 * 60 * 3  # of the bar's colour, within an eighth
    pixels, drawn = with_bar(plain, BLACK, box=(slice(172, 192), slice(100, 180)), text="")
    check(drawn_on(pixels), drawn)


def test_a_large_picture_has_its_bar_and_its_margins_left_out_and_is_one():
    """The tiles of a mosaic differ as pictures side by side do; they are searched as one."""
    tile = np.tile(cells(), (6, 6, 1))
    mosaic = np.hstack([tile, tile // 2 + 40])
    box = slice(1100, 1120), slice(2000, 2200)
    pixels, drawn = with_bar(mosaic, WHITE, box=box)
    found = searched(pixels)
    check(found.drawn, drawn)
    assert found.windows == [(slice(0, 1200), slice(0, 2400))]
    assert len(panels_of(mosaic[:, 200:2200])) == 60
    page = np.pad(mosaic, [(0, 60), (0, 0), (0, 0)], constant_values=255)
    assert searched(page).windows == found.windows
