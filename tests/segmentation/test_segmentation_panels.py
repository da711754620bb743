"""Pictures side by side are found where they meet, and each is searched as if it were alone."""

from __future__ import annotations

import numpy as np
import pictures
import pytest
from local_network import Local
from pictures import as_jpeg
from PIL import Image

import ngat
from ngat.errors import InputError
from ngat.io.picture import array_picture
from ngat.segmentation.find import find_nuclei
from ngat.segmentation.panels import panels_of

SIDE = 160


def cells(seed, *, shape=(SIDE, SIDE), **options):
    return pictures.cells(seed, shape, shape[0] * shape[1] // 600, **options)


def window(top, bottom, left, right):
    return slice(top, bottom), slice(left, right)


LEFT, RIGHT = window(0, SIDE, 0, SIDE), window(0, SIDE, SIDE, 2 * SIDE)
WHOLE = window(0, SIDE, 0, SIDE)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("first", "second"), [((120, 20), (60, 40)), ((60, 8), (150, 40)), ((120, 20), (120, 20))]
)
def test_two_pictures_side_by_side(seed, first, second):
    """Bright and dim, in either order; also two that are alike."""
    one, other = (
        cells(2 * seed + i, light=light, ground=ground)
        for i, (light, ground) in enumerate((first, second))
    )
    assert panels_of(np.hstack([one, other])) == [LEFT, RIGHT]
    below = [tuple(reversed(place)) for place in (LEFT, RIGHT)]
    assert panels_of(np.vstack([one, other])) == below
    wide = np.hstack([one, other]).astype(np.uint16) * 16
    assert panels_of(wide) == [LEFT, RIGHT]


def test_a_grid_of_pictures_with_and_without_a_gap():
    tiles = [cells(seed, bright=True) for seed in range(4)]
    grid = np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])
    assert panels_of(grid) == [
        window(top, top + SIDE, left, left + SIDE) for top in (0, SIDE) for left in (0, SIDE)
    ]
    gap = 7
    framed = np.vstack([
        np.pad(np.hstack([np.pad(tile, [(0, 0), (0, gap)]) for tile in tiles[i : i + 2]]),
               [(0, gap), (0, 0)])
        for i in (0, 2)
    ])  # fmt: skip
    assert panels_of(framed) == [
        window(top, top + SIDE, left, left + SIDE)
        for top in (0, SIDE + gap)
        for left in (0, SIDE + gap)
    ]


def enlarged(pixels, factor=2):
    size = (factor * pixels.shape[1], factor * pixels.shape[0])
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def test_compressed_and_enlarged_pictures_are_found_to_a_pixel():
    both = np.hstack([cells(0), cells(1, light=90, ground=30)])
    for pixels, scale in ((as_jpeg(both), 1), (enlarged(both), 2)):
        (one, other) = panels_of(pixels)
        assert one[1].start == 0
        assert other[1].stop == 2 * SIDE * scale
        assert abs(one[1].stop - SIDE * scale) <= scale
        assert one[1].stop == other[1].start


def lone(radius, noise, seed):
    """One nucleus in a large dark field."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((300, 400))
    y, x = rng.uniform(50, 250, 2)
    levels = 20 + 180 * np.clip((radius - np.hypot(rows - y, columns - x)) / 2, 0, 1)
    return (levels + rng.normal(0, noise, levels.shape)).clip(0, 255).astype(np.uint8)


def with_line(pixels):
    pixels = pixels.copy()
    pixels[70] = 255
    return pixels


def shaded(pixels):
    """Two fields of a mosaic, the second brighter: what crosses goes on."""
    pixels = pixels.astype(float)
    pixels[:, SIDE // 2 :] *= 1.3
    return pixels.clip(0, 255).astype(np.uint8)


NOISE = np.random.default_rng(0).normal(20, 4, (SIDE, SIDE)).clip(0, 255).astype(np.uint8)
COUNTS = np.random.default_rng(0).poisson(0.2, (SIDE, SIDE)).astype(np.uint8)
HALVES = np.repeat(np.uint8([[0, 255]]), [80, 80], axis=1).repeat(SIDE, axis=0)


@pytest.mark.parametrize(
    "pixels",
    [
        *(make(cells(seed, bright=bright)) for make in (np.asarray, with_line, shaded, as_jpeg)
          for seed in (0, 1) for bright in (False, True)),
        *(lone(radius, noise, seed) for radius in (5, 15, 40) for noise in (0, 2)
          for seed in (0, 1)),
        NOISE, COUNTS, HALVES,
        np.zeros((SIDE, SIDE)), np.eye(20),
        np.hstack([cells(0, shape=(12, 12)), cells(1, light=60, shape=(12, 12))]),
    ],
)  # fmt: skip
def test_what_is_one_picture(pixels):
    """Also with a line across, a jump of brightness, few nuclei, or nothing but noise."""
    assert panels_of(pixels) == [window(0, pixels.shape[0], 0, pixels.shape[1])]


def test_generated_pictures_are_not_cut():
    for seed in (0, 1):
        for sample in ngat.load("synthetic", "val", seed=seed, progress=False):
            assert len(panels_of(sample.image)) == 1


def test_real_pictures_are_cut_where_they_meet_and_nowhere_else(evaluation_pictures):
    """Each alone, and each beside the next."""
    others = evaluation_pictures[1:] + evaluation_pictures[:1]
    found = 0
    for one, other in zip(evaluation_pictures, others, strict=True):
        height, width = one.shape[:2]
        assert panels_of(one) == [window(0, height, 0, width)]
        common = min(height, other.shape[0])
        both = panels_of(np.hstack([one[:common], other[:common]]))
        found += window(0, common, 0, width) in both
    assert found >= 60


def test_nothing_but_noise_is_one_picture_whatever_its_shape():
    rng = np.random.default_rng(0)
    for shape in 10 * ((256, 256), (600, 40), (64, 64)):
        for noise in (rng.normal(20, 3, shape), rng.poisson(0.2, shape)):
            assert len(panels_of(noise.clip(0, 255).astype(np.uint8))) == 1


def test_a_line_across_a_nearly_empty_picture_parts_nothing():
    for seed in range(8):
        assert len(panels_of(with_line(lone(15, 2, seed)))) == 1


def test_what_was_enlarged_three_times_is_found():
    """By next neighbours alone, three of eight are not."""
    for seed in range(8):
        small = np.hstack([cells(2 * seed), cells(2 * seed + 1, light=60, ground=30)])
        one, other = panels_of(enlarged(small, 3))
        assert abs(one[1].stop - 3 * SIDE) <= 2
        assert one[1].stop == other[1].start


def test_each_picture_is_searched_as_if_it_were_alone():
    one, other = cells(0), cells(1, light=60, ground=40)
    network = Local(probability=0.4)
    alone = [find_nuclei(array_picture(pixels), network) for pixels in (one, other)]
    both = array_picture(np.hstack([one, other]))
    found = find_nuclei(both, network)
    labels = found.labels.whole()
    for place, single in zip((LEFT, RIGHT), alone, strict=True):
        expected, here = single.labels.whole(), labels[place]
        assert expected.any()
        np.testing.assert_array_equal(here > 0, expected > 0)
        pairs = set(zip(here[here > 0], expected[here > 0], strict=True))
        assert len(pairs) == len(single.table) == len(np.unique(here)) - 1
    first = [np.flatnonzero(labels == n)[0] for n in range(1, labels.max() + 1)]
    assert first == sorted(first)
    assert len(found.table) == sum(len(single.table) for single in alone) == labels.max()
    x = [*alone[0].table["x"], *(alone[1].table["x"] + SIDE)]
    assert sorted(found.table["x"]) == pytest.approx(sorted(x))
    places = "rows 0 to 159 and columns 0 to 159 at 1.00; rows 0 to 159 and columns 160 to 319 at"
    assert f"2 pictures side by side, searched one by one: {places}" in found.notes[0]
    whole = find_nuclei(both, network, panels=False)
    assert not any("side by side" in note for note in whole.notes)
    assert (whole.labels.whole()[RIGHT] > 0).sum() != (labels[RIGHT] > 0).sum()


def test_remarks_say_which_picture_they_are_of():
    """The second picture shows nothing."""
    found = find_nuclei(array_picture(np.hstack([cells(0), NOISE])), Local(probability=1.0))
    assert found.notes[1:] == ("picture 1, 2: no nucleus was found",)
    many = np.hstack([cells(seed) for seed in range(6)])
    found = find_nuclei(array_picture(many), Local(probability=0.4))
    assert found.notes[0].startswith("6 pictures side by side")
    assert found.notes[0].count("rows") == 4
    assert found.notes[0].endswith("; and so on")


def test_the_magnification_told_is_the_largest_pictures():
    class Found(Local):
        def magnification(self, picture):
            return float(picture.shape[1]) / 100, ()

    both = np.hstack([cells(0, shape=(SIDE, 100)), cells(1, shape=(SIDE, 200))])
    assert find_nuclei(array_picture(both), Found()).magnification == 2.0


def test_users_can_ask_for_the_picture_as_it_is():
    both = np.hstack([cells(0), cells(1, light=60, ground=40)])
    network = Local(probability=0.4)
    assert "side by side" in ngat.segment(both, network=network).notes[0]
    found = ngat.segment(both, network=network, panels=False)
    assert not any("side by side" in note for note in found.notes)
    with pytest.raises(InputError, match="panels is True or False; got 1"):
        ngat.segment(both, network=network, panels=1)
